/**
 * The first moments of connections and their last, their silence and their order.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option } from "effect"
import { IoredisNode, type LockNode, type NodeError } from "../src/index.ts"
import { assertNodeError } from "./support/conformance.ts"
import { until } from "./support/faults.ts"
import { front } from "./support/front.ts"
import { type RedisServer, startServer } from "./support/RedisServers.ts"

const names = Array.from({ length: 1000 }, (_, index) => `lock-${index}`)

/** Asks until there is an answer. */
const untilAnswered = <A>(effect: Effect.Effect<A, NodeError>) =>
  until("the node answers", Effect.map(Effect.option(effect), Option.isSome))

/** Starts so many that no server reads them at once, and none of which is answered while the server is stopped. */
const acquireAll = (node: LockNode.LockNode) =>
  Effect.gen(function*() {
    const fibers = yield* Effect.forEach(names, (name) =>
      Effect.forkScoped(Effect.exit(node.acquire(name, "mine", 60_000))))
    // All are written once the event loop has turned.
    yield* Effect.promise(() =>
      new Promise((resolve) => setImmediate(resolve))
    )
    return fibers
  })

const releaseAll = (node: LockNode.LockNode) =>
  Effect.forEach(names, (name) => node.release(name, "mine"), { concurrency: "unbounded", discard: true })

/** The server's clients, other than whoever asks. */
const clientsOf = (server: RedisServer) =>
  Effect.map(
    server.command<string>("CLIENT", "LIST"),
    (list) => list.trim().split("\n").filter((line) => !line.includes("name=test-admin"))
  )

describe("a connection on which nothing is answered", () => {
  it.live("is given up: what was under way fails at once, and nothing of it is left once the server goes on", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const node = yield* IoredisNode.make(server.url)
      assert.isTrue(yield* node.ready!)
      yield* server.stop
      const acquiring = yield* acquireAll(node)
      yield* node.reconnect!
      // The server is still stopped.
      for (const fiber of acquiring) {
        const error = Exit.findErrorOption(yield* Fiber.join(fiber))
        assertNodeError(
          Option.getOrThrow(error),
          node,
          "acquire",
          "Disconnected",
          /given up, since nothing was answered/
        )
      }
      yield* server.resume
      yield* untilAnswered(node.inspect("anything"))
      yield* releaseAll(node)
      assert.isFalse(node.mayOvertake!())
      // The old connection is gone, and with it what was not read of it.
      assert.lengthOf(yield* clientsOf(server), 1)
      assert.strictEqual(yield* server.command("DBSIZE"), 0)
    }).pipe(Effect.scoped))

  it.live("that breaks by itself is ended by the server too before anything else is executed", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const proxy = yield* front(server)
      const node = yield* IoredisNode.make(proxy.url)
      assert.isTrue(yield* node.ready!)
      yield* server.stop
      yield* acquireAll(node)
      proxy.cut()
      yield* server.resume
      yield* untilAnswered(node.inspect("anything"))
      yield* releaseAll(node)
      assert.isFalse(node.mayOvertake!())
      assert.lengthOf(yield* clientsOf(server), 1)
      assert.strictEqual(yield* server.command("DBSIZE"), 0)
    }).pipe(Effect.scoped))

  it.live("is ended by the server before anything else is executed, so that nothing of it comes later", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const network = yield* front(server)
      const node = yield* IoredisNode.make(network.url)
      assert.isTrue(yield* node.ready!)
      network.hold()
      const acquiring = yield* Effect.forkScoped(Effect.exit(node.acquire("late", "mine", 60_000)))
      yield* until("the network has it", Effect.sync(() => network.held() > 0))
      yield* node.reconnect!
      assert.isTrue(Exit.isFailure(yield* Fiber.join(acquiring)))
      yield* untilAnswered(node.release("late", "mine"))
      assert.isFalse(node.mayOvertake!())
      network.letGo()
      assert.lengthOf(yield* clientsOf(server), 1)
      assert.strictEqual(yield* server.command("EXISTS", "late"), 0)
    }).pipe(Effect.scoped))

  it.live.each([["may not be told", "-client|kill"], ["does not say which it is", "-client|info"]] as const)(
    "where the server %s to end it, what was sent may overtake",
    ([_, rule]) =>
      Effect.gen(function*() {
        const server = yield* startServer()
        yield* server.command("ACL", "SETUSER", "ada", "on", ">pass", "~*", "&*", "+@all", rule)
        const node = yield* IoredisNode.make(server.url.replace("redis://", "redis://ada:pass@"))
        assert.isTrue(yield* node.ready!)
        assert.isTrue(yield* node.acquire("mine", "mine", 60_000))
        // Nothing was under way.
        yield* node.reconnect!
        yield* untilAnswered(node.inspect("anything"))
        assert.isFalse(node.mayOvertake!())
        yield* server.stop
        yield* Effect.forkScoped(node.release("mine", "mine"))
        yield* Effect.yieldNow
        yield* node.reconnect!
        yield* server.resume
        yield* untilAnswered(node.inspect("anything"))
        assert.isTrue(node.mayOvertake!())
      }).pipe(Effect.scoped)
  )

  it.live("is not looked for on a server that was restarted, where another may have its number", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const node = yield* IoredisNode.make(server.url)
      assert.isTrue(yield* node.ready!)
      yield* server.stop
      yield* acquireAll(node)
      yield* server.restart
      yield* untilAnswered(node.inspect("anything"))
      assert.isFalse(node.mayOvertake!())
      assert.notInclude(yield* server.command<string>("INFO", "commandstats"), "client|kill")
    }).pipe(Effect.scoped))
})
