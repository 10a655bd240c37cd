import { Effect, Layer } from "effect"
import { RedisNode, Redsync } from "effect-redsync"
import * as Redis from "effect/persistence/Redis"
import { createSentinel } from "redis"

// Effect's Redis service over the primary that the Sentinels name, whichever it is at the time.
const layerSentinel = (options: Parameters<typeof createSentinel>[0]) => {
  const attempt = <A>(run: () => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: (cause) => new Redis.RedisError({ cause }) })
  return Layer.effect(
    Redis.Redis,
    Effect.gen(function*() {
      const sentinel = yield* Effect.acquireRelease(
        attempt(() => createSentinel(options).on("error", () => {}).connect()),
        (sentinel) => Effect.ignore(attempt(() => sentinel.destroy()))
      )
      return yield* Redis.make({
        send: <A>(command: string, ...args: ReadonlyArray<string>) =>
          attempt(() => sentinel.sendCommand<A>(false, [command, ...args])),
        subscribe: (channel, onMessage) => {
          const listener = (message: string | Buffer) => onMessage({ channel, message: String(message) })
          return Effect.as(
            Effect.acquireRelease(
              attempt(() => sentinel.subscribe(channel, listener)),
              () => Effect.ignore(attempt(() => sentinel.unsubscribe(channel, listener)))
            ),
            Effect.never
          )
        },
        // A connection reserved by a Sentinel client moves to the next primary, so it proves nothing about `replicas`.
        connect: Effect.fail(new Redis.RedisError({ cause: new Error("connections to a primary are not reserved") }))
      })
    })
  )
}

export const overSentinelNodeRedis = (sentinels: Array<{ readonly host: string; readonly port: number }>) =>
  Redsync.layer({
    nodes: [RedisNode.fromLayer("main", layerSentinel({ name: "main", sentinelRootNodes: sentinels }))]
  })
