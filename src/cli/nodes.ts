/**
 * The root command with what all commands need: the nodes.
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { readFileSync } from "node:fs"
import { configured } from "../internal/environment.ts"
import { checkLayer } from "../internal/layer.ts"
import * as Redsync from "../Redsync.ts"
import { durationFlag } from "./duration.ts"
import { fail, Failure, wrongUsage, wrongUsageOf } from "./failure.ts"

/** `redsync`, with the flags that name the nodes. */
export const redsync = Command.make("redsync").pipe(
  Command.withSharedFlags({
    node: Flag.String("node").pipe(
      Flag.withMetavar("url"),
      Flag.withDescription(
        "A Redis server: redis://, rediss:// or unix:. Repeat it for each. " +
          "A password given here can be seen by ps: use the file or REDSYNC_NODES for that"
      ),
      Flag.atLeast(0)
    ),
    nodesFile: Flag.String("nodes-file").pipe(
      Flag.withMetavar("file"),
      Flag.withDescription("A file with a URL a line. Without both, REDSYNC_NODES has the URLs, separated by commas"),
      Flag.optional
    ),
    delayedRestart: durationFlag("delayed-restart").pipe(
      Flag.withDescription("For how long a server must be up before it counts for new locks, as it may have lost some"),
      Flag.optional
    )
  }),
  Command.withDescription("Locks over independent Redis servers, from the command line.")
)

/** The URLs of the nodes: those of the flags, or else of REDSYNC_NODES. */
export const givenUrls = Effect.gen(function*() {
  const { node, nodesFile } = yield* redsync
  const fromFile = Option.isNone(nodesFile) ? [] : yield* readNodes(nodesFile.value)
  const given = [...node, ...fromFile]
  return given.length > 0 ? given : listed((process.env["REDSYNC_NODES"] ?? "").split(","))
})

/** The same where there have to be some. */
export const nodeUrls = Effect.filterOrElse(givenUrls, (urls) => urls.length > 0, () =>
  fail(
    wrongUsage,
    "no nodes: name them with --node URL (repeat it for each), --nodes-file FILE, or " +
      "REDSYNC_NODES=redis://a:6379,redis://b:6379,redis://c:6379"
  ))

const readNodes = Effect.fnUntraced(function*(path: string) {
  const text = yield* Effect.try({
    try: () => readFileSync(path, "utf8"),
    catch: () => new Failure({ code: wrongUsage, message: `cannot read the file of nodes ${path}` })
  })
  const urls = listed(text.split("\n"))
  return urls.length > 0 ? urls : yield* fail(wrongUsage, `the file ${path} names no node`)
})

const listed = (urls: ReadonlyArray<string>) =>
  urls.map((url) => url.trim()).filter((url) => url !== "" && !url.startsWith("#"))

/**
 * The options of a layer over the nodes: what the flags say, over what the library takes from the environment. Fails
 * where they are not allowed.
 */
export const layerOptions = Effect.fnUntraced(function*(options: Redsync.LockOptions = {}) {
  const nodes = yield* nodeUrls
  const delayedRestart = Option.getOrUndefined((yield* redsync).delayedRestart)
  // The flags win.
  const given = ["REDSYNC_NODES", ...delayedRestart === undefined ? [] : ["REDSYNC_DELAYED_RESTART"]]
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !given.includes(name)))
  const all = yield* configured({ ...options, nodes, ...delayedRestart !== undefined && { delayedRestart } }).pipe(
    Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: env as Record<string, string> }))),
    Effect.mapError(({ message }) => wrongUsageOf(message))
  )
  const checked = checkLayer(all, Redsync.defaultRetry)
  return Predicate.isString(checked) ? yield* Effect.fail(wrongUsageOf(checked)) : all
})

/** The service over the nodes. */
export const connected = (options?: Redsync.LockOptions) =>
  Layer.unwrap(Effect.map(layerOptions(options), Redsync.layer))
