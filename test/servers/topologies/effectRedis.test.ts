/**
 * Nodes over Effect's Redis service that wait for replicas.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import { Redis } from "effect/persistence"
import { type LockNode, RedisNode } from "../../../src/index.ts"
import { assertNodeError, Backend, realTime, redisSuite, Subject } from "../../support/conformance.ts"
import { clientLayer, nodeOver } from "../../support/effectRedis.ts"
import { callsOf, until } from "../../support/faults.ts"
import { admitReplicas, cutReplicas, primaryWithReplica } from "../../support/servers/failover.ts"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import { connectionsTo } from "../../support/trouble.ts"

const replicated = (node: LockNode, withinMillis = 300) => node.replicas!(1, withinMillis)

redisSuite(
  "RedisNode.fromLayer with replicas",
  Layer.effectContext(Effect.gen(function*() {
    const primary = yield* primaryWithReplica
    const node = replicated(yield* nodeOver(primary.url), 10_000)
    return Context.make(Subject, { node, ...realTime }).pipe(
      Context.add(Backend, { onKey: primary.command, flushScripts: primary.command("SCRIPT", "FLUSH") })
    )
  }))
)

/** The ids of the connections that wait for replicas. */
const waitingOn = (server: RedisServer) =>
  Effect.map(
    server.command<string>("CLIENT", "LIST"),
    (list) => [...list.matchAll(/^id=(\d+) .* flags=b .* cmd=wait /gm)].map(([, id]) => id!)
  )

describe("RedisNode with replicas", () => {
  it.live("grants nothing that they have not acknowledged, and a refusal waits for none", () =>
    Effect.gen(function*() {
      const primary = yield* primaryWithReplica
      const node = replicated(yield* nodeOver(primary.url))
      assert.isTrue(yield* node.acquire("a", "mine", 60_000))
      yield* cutReplicas(primary)
      const names = Array.from({ length: 50 }, (_, index) => `many-${index}`)
      const before = yield* callsOf(primary, "wait")
      const errors = yield* Effect.forEach(names, (name) => Effect.flip(node.acquire(name, "mine", 60_000)), {
        concurrency: "unbounded"
      })
      for (const error of errors) assertNodeError(error, node, "acquire", "Rejected", /^NOREPLICAS 0 of 1 replica /)
      const waits = yield* callsOf(primary, "wait")
      assert.isAtMost(waits - before, 2)
      assert.isFalse(yield* node.acquire("a", "another", 60_000))
      assert.isFalse(yield* node.extend("a", "another", 60_000))
      assert.isTrue(yield* node.release("a", "mine"))
      assert.strictEqual(yield* callsOf(primary, "wait"), waits)
    }).pipe(Effect.scoped))

  it.live("what is asked again on another connection is no answer, and the next write is on a new one", () =>
    Effect.gen(function*() {
      const primary = yield* primaryWithReplica
      const node = replicated(yield* nodeOver(primary.url), 60_000)
      assert.isTrue(yield* node.acquire("a", "mine", 60_000))
      yield* cutReplicas(primary)
      const extension = yield* Effect.forkScoped(Effect.flip(node.extend("a", "mine", 60_000)))
      let ids: Array<string> = []
      yield* until("it waits", Effect.map(waitingOn(primary), (now) => (ids = now).length > 0))
      yield* primary.command("CLIENT", "KILL", "ID", ids[0]!)
      const error = yield* Fiber.join(extension)
      assertNodeError(error, node, "extend", "Disconnected", /./)
      yield* admitReplicas(primary)
      assert.isTrue(yield* node.extend("a", "mine", 60_000))
      assert.isTrue(node.mayOvertake!(60_000))
    }).pipe(Effect.scoped))

  it.live("takes one connection beside the client's, however many ask at once, until its scope closes", () =>
    Effect.gen(function*() {
      const primary = yield* primaryWithReplica
      const connections = Effect.map(connectionsTo(primary), (all) => all.length)
      const before = yield* connections
      yield* Effect.scoped(Effect.gen(function*() {
        const context = yield* Layer.build(clientLayer(primary.url))
        const redis = yield* Effect.scoped(Effect.gen(function*() {
          const node = replicated(yield* RedisNode.node())
          const names = Array.from({ length: 50 }, (_, index) => `many-${index}`)
          yield* Effect.forEach(names, (name) => node.acquire(name, "mine", 60_000), { concurrency: "unbounded" })
          yield* Effect.forEach(names, (name) => node.release(name, "mine"), { concurrency: "unbounded" })
          assert.strictEqual(yield* connections, before + 2)
          return yield* Redis.Redis
        })).pipe(Effect.provide(context))
        // It went back to the pool, for others to use.
        assert.strictEqual(yield* Effect.scoped(Effect.flatMap(redis.reserve, ({ send }) => send("PING"))), "PONG")
        assert.strictEqual(yield* connections, before + 2)
      }))
      yield* until("all are closed", Effect.map(connections, (now) => now === before))
    }).pipe(Effect.scoped))
})
