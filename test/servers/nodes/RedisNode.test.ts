import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, layer } from "@effect/vitest"
import { Cause, Context, Effect, Fiber, Layer } from "effect"
import { Redis } from "effect/persistence"
import { health, type LockNode, RedisNode, Redsync, withLock } from "../../../src/index.ts"
import { assertDown, assertNodeError, Backend, realTime, redisSuite, Subject } from "../../support/conformance.ts"
import { clientLayer, nodeOver, type NodeRedisOptions } from "../../support/effectRedis.ts"
import { until } from "../../support/faults.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"
import { onThree, service } from "../../support/trouble.ts"

/** Effect's Redis service over the first server. */
const redis = (options: NodeRedisOptions = {}) =>
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

// -----------------------------------------------------------------------------
// nodes with a service of their own
// -----------------------------------------------------------------------------

const nodeOf = ({ url }: RedisServer, options?: NodeRedisOptions) => nodeOver(url, options)

redisSuite(
  "RedisNode.fromLayer",
  Layer.effectContext(Effect.gen(function*() {
    const [server] = yield* RedisServers
    return Context.make(Subject, { node: yield* nodeOf(server!), ...realTime }).pipe(
      Context.add(Backend, { onKey: server!.command, flushScripts: server!.command("SCRIPT", "FLUSH") })
    )
  })).pipe(Layer.provide(RedisServers.layer(1)))
)

const untilAnswers = (node: LockNode) => until(`${node.id} answers`, Effect.isSuccess(node.inspect("any")))

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("RedisNode.fromLayer", (it) => {
  it.effect("three nodes make a service whose servers may be down at the start, die and come back", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [first, , third] = servers
      const states = Effect.map(health, ({ nodes }) => nodes.map(({ _tag }) => _tag))
      const untilAre = (...expected: ReadonlyArray<string>) =>
        until(`they are ${expected.join(", ")}`, Effect.map(states, (states) => String(states) === String(expected)))
      yield* third.kill
      const nodes = servers.map((server) => nodeOf(server))
      const { run } = yield* service(nodes)
      yield* run(Effect.gen(function*() {
        assert.deepStrictEqual(yield* states, ["Up", "Up", "Down"])
        yield* withLock("a", Effect.void)
        yield* third.restart
        yield* untilAre("Up", "Up", "Up")
        yield* first.kill
        yield* withLock("a", Effect.void)
        yield* untilAre("Down", "Up", "Up")
        yield* first.restart
        yield* untilAre("Up", "Up", "Up")
        yield* withLock("a", Effect.void)
      }))
    })))

  it.effect("says why there is no connection, on the first attempt and later", () =>
    onThree(Effect.fnUntraced(function*([server]) {
      yield* server.kill
      const node = yield* nodeOf(server)
      assert.isFalse(yield* node.ready!)
      yield* assertDown(node)
      yield* server.restart
      yield* untilAnswers(node)
      yield* server.kill
      yield* assertDown(node)
      yield* server.restart
    })))

  it.effect("requests wait for the first connection, and keep their order", () =>
    onThree(Effect.fnUntraced(function*([server]) {
      const node = yield* nodeOf(server)
      const answers = yield* Effect.all([node.acquire("a", "mine", 60_000), node.release("a", "mine")], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(answers, [true, true])
      assert.isTrue(yield* node.ready!)
    })))

  it.effect("makes a new client where the old one has given up", () =>
    onThree(Effect.fnUntraced(function*([server]) {
      const node = yield* nodeOf(server, { socket: { socketTimeout: 100 } })
      yield* untilAnswers(node)
      yield* server.stop
      // node-redis never reconnects after a timeout of its socket.
      const error = yield* Effect.flip(node.inspect("any"))
      assertNodeError(error, node, "inspect", "Disconnected", /Socket timeout/)
      yield* server.resume
      yield* untilAnswers(node)
    })))

  it.effect("gives up a connection on which nothing is answered", () =>
    onThree(Effect.fnUntraced(function*([server]) {
      const node = yield* nodeOf(server)
      yield* untilAnswers(node)
      yield* server.stop
      const unanswered = yield* Effect.forkScoped(Effect.flip(node.acquire("a", "mine", 60_000)), {
        startImmediately: true
      })
      yield* node.reconnect!
      assert.strictEqual((yield* Fiber.join(unanswered)).reason, "Disconnected")
      assertNodeError(
        yield* Effect.flip(node.inspect("a")),
        node,
        "inspect",
        "Disconnected",
        /^the connection was given up because the server did not respond$/
      )
      yield* server.resume
      yield* untilAnswers(node)
      assert.isTrue(node.mayOvertake!(60_000), "the server may execute what was sent on the old connection")
      yield* node.remove("a")
    })))

  it.effect.each(["connected to a server that is stopped", "connecting to one"])(
    "closes at once while %s",
    (when) =>
      onThree(Effect.fnUntraced(function*([server]) {
        yield* Effect.scoped(Effect.gen(function*() {
          if (when === "connecting to one") yield* server.stop
          const node = yield* nodeOf(server)
          if (when === "connecting to one") return
          yield* untilAnswers(node)
          yield* server.stop
          yield* Effect.forkDetach(node.acquire("a", "mine", 60_000), { startImmediately: true })
        }))
        yield* server.resume
        yield* server.command("DEL", "a")
      }))
  )

  it.effect("waits for the layer's finalizers when it closes, but not for ever", () =>
    onThree(Effect.fnUntraced(function*([server]) {
      for (const [ends, finalizer] of [[true, Effect.sleep("20 millis")], [false, Effect.never]] as const) {
        let hasEnded = false
        const layer = Layer.effectDiscard(
          Effect.addFinalizer(() => Effect.andThen(finalizer, Effect.sync(() => hasEnded = true)))
        ).pipe(Layer.merge(clientLayer(server.url)))
        yield* Effect.scoped(Effect.flatMap(RedisNode.fromLayer("slow", layer), untilAnswers))
        assert.strictEqual(hasEnded, ends)
      }
    })))

  it.effect("the layer may fail as it likes, and is built again", () =>
    onThree(Effect.fnUntraced(function*([server]) {
      let builds = 0
      const layer = Layer.unwrap(Effect.gen(function*() {
        if (++builds < 3) return yield* Effect.fail("not yet")
        return NodeRedis.layer({ url: server.url })
      }))
      const node = yield* RedisNode.fromLayer("slow", layer)
      assertNodeError(yield* Effect.flip(node.inspect("a")), node, "inspect", "Disconnected", /^not yet$/)
      yield* untilAnswers(node)
      assert.strictEqual(builds, 3)
    })))
})

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

layer(RedisServers.layer(1), { excludeTestServices: true, timeout: "60 seconds" })("RedisNode", (it) => {
  const failing = (cause: unknown) => {
    const fail = () => Effect.fail(new Redis.RedisError({ cause }))
    return RedisNode.make({ send: fail, eval: () => fail, subscribe: () => Effect.never, reserve: fail() } as never)
  }

  it.effect("what a client gives up waiting for is a timeout", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const node = RedisNode.make(yield* Redis.Redis)
      yield* server!.kill
      // It is queued until there is a connection again.
      const error = yield* Effect.ensuring(Effect.flip(node.inspect("any")), server!.restart)
      assert.strictEqual(error.reason, "Timeout", error.message)
    }).pipe(Effect.provide(redis({ commandOptions: { timeout: 50 } }))))

  it.effect("so is what its pool gives up waiting for", () =>
    Effect.gen(function*() {
      const node = failing(new Cause.TimeoutError("Timed out waiting for a reserved Redis connection"))
      const error = yield* Effect.flip(node.acquire("any", "mine", 1000))
      assert.strictEqual(error.reason, "Timeout", error.message)
    }))
})
