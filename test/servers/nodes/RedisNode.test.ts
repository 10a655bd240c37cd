import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { RedisNode, Redsync, withLock } from "../../../src/index.ts"
import { assertDown, Backend, realTime, redisSuite, Subject } from "../../support/conformance.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

type Options = NonNullable<Parameters<typeof NodeRedis.layer>[0]>

/** Effect's Redis service over the first server. */
const redis = (options: Options = {}) =>
  Layer.unwrap(Effect.map(RedisServers, ([server]) => Layer.orDie(NodeRedis.layer({ ...options, url: server!.url }))))

redisSuite(
  "RedisNode",
  Layer.effectContext(Effect.gen(function*() {
    const [server] = yield* RedisServers
    return Context.make(Subject, {
      node: RedisNode.make(yield* Redis.Redis, { id: "effect" }),
      ...realTime
    }).pipe(
      Context.add(Backend, { onKey: server!.command, flushScripts: server!.command("SCRIPT", "FLUSH") })
    )
  })).pipe(Layer.provide(redis()), Layer.provide(RedisServers.layer(1)))
)

layer(RedisServers.layer(1), { excludeTestServices: true, timeout: "60 seconds" })("RedisNode", (it) => {
  it.effect("fails at once on a server that is down, if its client does", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const node = RedisNode.make(yield* Redis.Redis)
      assert.isTrue(yield* node.acquire("key", "mine", 60_000))
      yield* server!.kill
      yield* Effect.ensuring(assertDown(node), server!.restart)
    }).pipe(Effect.provide(redis({ disableOfflineQueue: true }))))

  it.effect("layerRedis locks on the Redis service in the context", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const during = yield* withLock("ambient", (lock) =>
        Effect.map(server!.command("GET", "ambient"), (value) => [value, lock.value]))
      assert.strictEqual(during[0], during[1])
      assert.strictEqual(yield* server!.command("EXISTS", "ambient"), 0)
    }).pipe(Effect.provide(Redsync.layerRedis()), Effect.provide(redis())))
})
