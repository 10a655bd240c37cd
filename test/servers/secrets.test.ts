/**
 * Servers that say more than they should: what they answer, and what is written
 * where it does not belong, shows no secret and does nothing to a terminal.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Schedule, type Scope } from "effect"
import { Cluster, Redis } from "ioredis"
import { createServer, type Socket } from "node:net"
import { type LockNode, Redsync, type ServiceOptions, withFencedLock, withLock } from "../../src/index.ts"
import * as IoredisNode from "../../src/IoredisNode.ts"
import { logged } from "../support/faults.ts"

const secret = "hunter2 %&@/\"'"

/** Repeats what it was sent in each of its errors, around what no terminal should see. */
const echoing: Effect.Effect<number, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => {
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        sockets.add(socket.on("error", () => {}))
        socket.setEncoding("utf8").on("data", (sent: string) => {
          const words = sent.split("\r\n").filter((word) => !/^[*$]\d+$/.test(word))
          for (const _ of sent.match(/^\*\d+\r$/gm) ?? []) {
            socket.write(`-ERR \u001b[31m\u202e${words.join(" ")}${"x".repeat(1000)}\r\n`)
          }
        })
      })
      return new Promise<{ readonly port: number; readonly close: () => void }>((resolve) => {
        server.listen(0, "127.0.0.1", () => {
          const close = () => {
            for (const socket of sockets) socket.destroy()
            server.close()
          }
          resolve({ port: (server.address() as { readonly port: number }).port, close })
        })
      })
    }),
    ({ close }) => Effect.sync(close)
  ),
  ({ port }) => port
)

const client = <C extends { disconnect: () => void }>(make: () => C) =>
  Effect.acquireRelease(Effect.sync(make), (client) => Effect.sync(() => client.disconnect()))

const kinds: Record<string, (port: number) => Effect.Effect<string | LockNode, never, Scope.Scope>> = {
  "a URL": (port) => Effect.succeed(`redis://ada:${encodeURIComponent(secret)}@127.0.0.1:${port}`),
  options: (port) => IoredisNode.make({ host: "127.0.0.1", port, password: secret }),
  "a password where the user should be": (port) =>
    Effect.succeed(`redis://${encodeURIComponent(secret)}@127.0.0.1:${port}`),
  Sentinels: (port) =>
    IoredisNode.make({
      sentinels: [{ host: "127.0.0.1", port }],
      name: "main",
      sentinelPassword: secret,
      sentinelRetryStrategy: () => null
    }),
  "a client": (port) =>
    Effect.map(
      client(() => new Redis({ port, password: secret, enableOfflineQueue: false }).on("error", () => {})),
      IoredisNode.fromClient
    ),
  "a cluster": (port) =>
    Effect.map(
      client(() =>
        new Cluster([{ host: "127.0.0.1", port }], {
          redisOptions: { password: secret },
          enableOfflineQueue: false,
          clusterRetryStrategy: () => null
        }).on("error", () => {})
      ),
      IoredisNode.fromClient
    )
}

const shows = (text: string) => {
  for (const part of ["hunter2", encodeURIComponent(secret)]) assert.notInclude(text, part)
}

describe("a server that repeats what it was sent", () => {
  it.live.each(Object.keys(kinds))(
    "shows no secret and does nothing to a terminal: %s",
    (kind) =>
      Effect.gen(function*() {
        const node = yield* kinds[kind]!(yield* echoing)
        const logs = logged()
        const retry = Schedule.recurs(1)
        const exits: ReadonlyArray<Exit.Exit<unknown, unknown>> = yield* Effect.all([
          Effect.exit(withLock("a", Effect.void, { retry })),
          Effect.exit(withFencedLock("a", () => Effect.void, { retry })),
          Effect.exit(Redsync.forceUnlock("a")),
          Effect.exit(Redsync.health)
        ]).pipe(Effect.provide(Redsync.layer({ nodes: [node], nodeTimeout: "1 second" })), Effect.provide(logs.layer))
        assert.isTrue(exits.some(Exit.isFailure))
        const texts = exits.flatMap((exit) =>
          Exit.isSuccess(exit)
            ? [JSON.stringify(exit.value)]
            : [Cause.pretty(exit.cause), String(Cause.squash(exit.cause)), JSON.stringify(Cause.squash(exit.cause))]
        )
        for (const text of [...texts, ...logs.lines]) {
          shows(text)
          assert.notMatch(text, /(?!\n)[\p{Cc}\p{Cf}]/u)
        }
        for (const line of logs.lines) assert.isBelow(line.length, 600)
        assert.isNotEmpty(logs.lines)
      }).pipe(Effect.scoped)
  )
})

describe("a secret where it does not belong", () => {
  it.live.each<readonly [string, ServiceOptions["nodes"][number]]>([
    ["a host", IoredisNode.make({ host: "hunter2@h" })],
    ["a path", IoredisNode.make({ path: "redis://ada:hunter2@h" })],
    ["the name of a Sentinel", IoredisNode.make({ sentinels: [{ host: "127.0.0.1" }], name: "redis://:hunter2@h" })],
    ["a database", "redis://127.0.0.1/hunter2@"],
    ["a port", IoredisNode.make({ port: "redis://:hunter2@h" as never })]
  ])("is refused without showing it: %s", ([, node]) =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.provide(Redsync.health, Redsync.layer({ nodes: [node] })))
      assert.isTrue(Exit.hasDies(exit))
      if (Exit.isFailure(exit)) shows(Cause.pretty(exit.cause))
    }))

  it.live.each<readonly [string, () => Redis]>([
    ["a host", () => new Redis({ host: "hunter2@h", enableOfflineQueue: false, lazyConnect: true })],
    ["a path", () => new Redis({ path: "redis://ada:hunter2@h", lazyConnect: true, enableOfflineQueue: false })]
  ])("shows in no error of a caller's client: %s", ([, make]) =>
    Effect.gen(function*() {
      const redis = yield* client(() => make().on("error", () => {}))
      const node = IoredisNode.fromClient(redis)
      shows(node.id)
      redis.connect().catch(() => {})
      const error = yield* Effect.flip(Effect.timeout(node.acquire("a", "v", 1000), "5 seconds"))
      shows(`${error.message} ${JSON.stringify(error)} ${String((error as { cause?: unknown }).cause)}`)
    }).pipe(Effect.scoped))
})
