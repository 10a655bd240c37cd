/**
 * The root command, with what all commands need: the nodes.
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { RedisOptions } from "ioredis"
import { X509Certificate } from "node:crypto"
import { readFileSync } from "node:fs"
import { quoted } from "../internal/base/text.ts"
import { urlNodes } from "../internal/ioredis/nodes.ts"
import { nodeAddress, parseRedisUrl, splitUrls } from "../internal/ioredis/url.ts"
import { fromEnvironment } from "../internal/service/environment.ts"
import { checkOptions } from "../internal/service/serviceOptions.ts"
import * as IoredisNode from "../IoredisNode.ts"
import type { LockNode } from "../LockNode.ts"
import type { ServiceOptions } from "../LockOptions.ts"
import * as Redsync from "../Redsync.ts"
import { durationFlag } from "./duration.ts"
import { fail, Failure, wrongUsage, wrongUsageOf } from "./failure.ts"

/** A file, with a flag named as in redis-cli, or a variable instead. */
const pemFlag = (name: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("file"),
    Flag.withDescription(`${description}; also ${variableOf(name)}`),
    Flag.optional
  )

const variableOf = (name: string): string => `REDSYNC_${name.toUpperCase()}`

/** `redsync`, with the flags that name the nodes. */
export const redsync = Command.make("redsync").pipe(
  Command.withSharedFlags({
    node: Flag.String("node").pipe(
      Flag.withMetavar("url"),
      Flag.withDescription(
        "The URL of a Redis server: redis://, rediss:// or unix:, or redis+sentinel://HOST,HOST/NAME for a primary behind " +
          "Sentinels. Repeat the flag for each node. A password given here is visible in ps: use --nodes-file or REDSYNC_NODES instead"
      ),
      Flag.atLeast(0)
    ),
    nodesFile: Flag.String("nodes-file").pipe(
      Flag.withMetavar("file"),
      Flag.withDescription(
        "A file with one URL per line. Without --node and --nodes-file, the URLs are those in REDSYNC_NODES, separated by commas"
      ),
      Flag.optional
    ),
    cacert: pemFlag("cacert", "The CA certificate with which rediss:// nodes are verified"),
    cert: pemFlag("cert", "The client certificate for rediss:// nodes"),
    key: pemFlag("key", "The private key of the client certificate"),
    delayedRestart: durationFlag("delayed-restart").pipe(
      Flag.withDescription(
        "How long a server must have been up before it may grant new locks, since it may have lost locks in a restart; also REDSYNC_DELAYED_RESTART"
      ),
      Flag.optional
    )
  }),
  Command.withDescription(
    "Distributed locks over independent Redis servers, from the command line. Set REDSYNC_PREFIX, REDSYNC_QUORUM and the other variables as for your services."
  )
)

/** The nodes given by the flags, otherwise by REDSYNC_NODES. */
export const givenNodes = Effect.gen(function*() {
  const { node, nodesFile } = yield* redsync
  const fromFile = Option.isNone(nodesFile) ? [] : yield* readNodes(nodesFile.value)
  const given = [...node.map((url) => [url, "--node"]), ...fromFile.map((url) => [url, "--nodes-file"])] as const
  const fromEnv = splitUrls(process.env["REDSYNC_NODES"] ?? "")
    .map((url, index) => [url, `REDSYNC_NODES, entry ${index + 1},`] as const)
  const targets = (given.length > 0 ? given : fromEnv)
    .map(([url, option]) => Result.merge(parseRedisUrl(url, option)))
  const wrong = targets.find(Predicate.isString)
  if (wrong !== undefined) return yield* wrongUsageOf(wrong)
  const ids = (targets as ReadonlyArray<RedisOptions>).map(nodeAddress)
  const twice = ids.find((id, index) => ids.indexOf(id) !== index)
  if (twice !== undefined) return yield* fail(wrongUsage, `the node ${twice} is given twice; each node has one vote`)
  return yield* overTls(targets as ReadonlyArray<RedisOptions>)
})

/** The same, but fails if there are none. */
const requiredNodes = Effect.filterOrElse(givenNodes, (nodes) => nodes.length > 0, () =>
  fail(
    wrongUsage,
    "no nodes: name them with --node URL (repeated for each), --nodes-file FILE, or " +
      "REDSYNC_NODES=redis://a:6379,redis://b:6379,redis://c:6379"
  ))

/** Adds the certificates and the key to the nodes that are reached by TLS. */
const overTls = Effect.fnUntraced(function*(nodes: ReadonlyArray<RedisOptions>) {
  const flags = yield* redsync
  const pem: { ca?: string; cert?: string; key?: string } = {}
  for (const [option, name] of [["ca", "cacert"], ["cert", "cert"], ["key", "key"]] as const) {
    const path = Option.getOrElse(flags[name], () => process.env[variableOf(name)])
    if (path) pem[option] = yield* readText(path)
  }
  if (Object.keys(pem).length === 0) return nodes
  if ((pem.cert === undefined) !== (pem.key === undefined)) {
    return yield* fail(wrongUsage, "--cert and --key must be given together: a certificate and its private key")
  }
  if (nodes.length > 0 && nodes.every(({ tls }) => tls === undefined)) {
    return yield* fail(wrongUsage, "--cacert, --cert and --key are for rediss:// nodes, but no node has such a URL")
  }
  const { createSecureContext } = yield* Effect.promise(() => import("node:tls"))
  yield* Effect.try({
    try: () => {
      createSecureContext(pem)
      // `createSecureContext` ignores a CA that it cannot read.
      if (pem.ca !== undefined) void new X509Certificate(pem.ca)
    },
    catch: (cause) =>
      new Failure({ code: wrongUsage, message: `cannot use the certificates or the key: ${(cause as Error).message}` })
  })
  return nodes.map((node): RedisOptions => ({
    ...node,
    ...node.tls !== undefined && { tls: { ...node.tls, ...pem } },
    ...node.sentinelTLS !== undefined && { sentinelTLS: { ...node.sentinelTLS, ...pem } }
  }))
})

const readText = (path: string) =>
  Effect.try({
    try: () => readFileSync(path, "utf8"),
    catch: (cause) =>
      new Failure({
        code: wrongUsage,
        message: `cannot read the file ${quoted(path)}: ${(cause as NodeJS.ErrnoException).code}`
      })
  })

const readNodes = Effect.fnUntraced(function*(path: string) {
  const lines = (yield* readText(path)).split("\n").map((line) => line.trim())
  const urls = lines.filter((line) => line !== "" && !line.startsWith("#"))
  return urls.length > 0 ? urls : yield* fail(wrongUsage, `the file ${quoted(path)} contains no URL`)
})

/** What a service is made from: the servers, and the other options. */
interface Given extends Omit<ServiceOptions, "nodes"> {
  readonly targets: ReadonlyArray<RedisOptions>
}

/**
 * The options of the flags, which override those that the library reads from the environment. Fails if one is invalid.
 */
export const givenOptions = Effect.gen(function*() {
  const targets = yield* requiredNodes
  const delayedRestart = Option.getOrUndefined((yield* redsync).delayedRestart)
  // Variables that the flags override.
  const given = ["REDSYNC_NODES", ...delayedRestart === undefined ? [] : ["REDSYNC_DELAYED_RESTART"]]
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !given.includes(name)))
  const urls = urlNodes(IoredisNode.make)
  const all = yield* fromEnvironment({ nodes: targets.map(IoredisNode.make), delayedRestart }, urls).pipe(
    Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: env as Record<string, string> }))),
    Effect.mapError(({ message }) => wrongUsageOf(message))
  )
  const checked = checkOptions(all, Redsync.defaultRetry, urls)
  if (Predicate.isString(checked)) return yield* wrongUsageOf(checked)
  const { nodes: _, ...options } = all
  return { ...options, targets } satisfies Given
})

/** The service's nodes, for the keys beside a lock. */
export class OpenNodes extends Context.Service<OpenNodes, ReadonlyArray<LockNode>>()("redsync/OpenNodes") {}

/** A service over these servers. */
export const serviceWith = ({ targets, ...options }: Given): Layer.Layer<Redsync.Redsync | OpenNodes> =>
  Layer.unwrap(
    Effect.map(
      Effect.forEach(targets, IoredisNode.make),
      (nodes) => Layer.merge(Redsync.layer({ ...options, nodes }), Layer.succeed(OpenNodes, nodes))
    )
  )

/** The service that the flags and the environment describe. */
export const connected = Layer.unwrap(Effect.map(givenOptions, serviceWith))
