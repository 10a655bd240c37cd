/**
 * The test kit: each error of a lock in three lines, and nodes that do what they
 * are told.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Option, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { forceUnlock, health, inspect, lock, tryLock, withLock } from "../src/index.ts"
import type { NodeError } from "../src/LockError.ts"
import { layerTest, type TestNode, TestNodes } from "../src/testing.ts"

const once = { retry: Schedule.recurs(0) }
const work = withLock("invoices:42", Effect.never)
const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** How an effect fails that is over without any time passing. */
const failureNow = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ _tag }) => _tag)

const operations = Effect.map(
  TestNodes,
  ({ nodes }) => nodes.map(({ calls }) => calls.map(({ operation }) => operation))
)

describe("each error of a lock, in three lines", () => {
  it.effect("ErrFailed", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      yield* nodes.occupy("invoices:42")
      const error = yield* Effect.flip(withLock("invoices:42", Effect.void, once))
      assert.strictEqual(error._tag, "ErrFailed")
    }).pipe(Effect.provide(layerTest())))

  it.effect("ErrFailed, on the default schedule", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      yield* nodes.occupy("invoices:42")
      const fiber = yield* begin(Effect.flip(work))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "ErrFailed")
    }).pipe(Effect.provide(layerTest())))

  it.effect("NodesUnavailable", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      yield* nodes.all("down")
      const error = yield* Effect.flip(withLock("invoices:42", Effect.void, once))
      assert.strictEqual(error._tag, "NodesUnavailable")
    }).pipe(Effect.provide(layerTest())))

  it.effect("LockLost", () =>
    Effect.gen(function*() {
      const fiber = yield* begin(Effect.flip(work))
      yield* (yield* TestNodes).steal("invoices:42")
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag, "LockLost")
      assert.strictEqual(error._tag === "LockLost" && error.reason, "Taken")
    }).pipe(Effect.provide(layerTest())))

  it.effect("LockLost, since the nodes do not answer", () =>
    Effect.gen(function*() {
      const fiber = yield* begin(Effect.flip(work))
      yield* (yield* TestNodes).all("silent")
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag === "LockLost" && error.reason, "NodesUnavailable")
    }).pipe(Effect.provide(layerTest({ count: 3 }))))
})

describe("a node", () => {
  it.effect("in a minority, in whatever state, keeps no lock from working", () =>
    Effect.gen(function*() {
      const { nodes: [first] } = yield* TestNodes
      for (const state of ["up", "down", "silent", { rejects: "OOM" }, { slow: "1 minute" }] as const) {
        yield* first!.set(state)
        assert.isTrue(yield* withLock("a", Effect.succeed(true)))
      }
    }).pipe(Effect.provide(layerTest({ count: 3 }))))

  const states = [
    ["up", "free"],
    ["down", "is not connected: the server is down"],
    ["silent", "did not answer in time"],
    [{ rejects: "OOM command not allowed" }, "answered with an error: OOM command not allowed"],
    [{ slow: "10 millis" }, "free"],
    [{ slow: 0 }, "free"],
    [{ slow: "1 minute" }, "did not answer in time"]
  ] as const
  for (const [state, answer] of states) {
    it.effect(`that is ${JSON.stringify(state)}: ${answer}`, () =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes
        yield* nodes.all(state)
        const looking = yield* begin(inspect("a"))
        yield* TestClock.adjust("1 second")
        const [node] = (yield* Fiber.join(looking)).nodes
        assert.strictEqual(node!._tag === "Failed" ? node!.error.summary.slice(0, answer.length) : "free", answer)
        assert.deepStrictEqual((yield* operations).map(([first]) => first), ["inspect"])
      }).pipe(Effect.provide(layerTest())))
  }

  it.effect("that is down reports each operation as the kind that a server's node does", () =>
    Effect.gen(function*() {
      const { nodes: [first] } = yield* TestNodes
      const { permits, shared, waitingList, ...node } = first!.node
      const { handOver, permits: permitLine, ...line } = yield* waitingList!("waiter".padStart(12), () => {})
      const entry = { value: "value", mode: "exclusive", weight: 1, fenced: false } as const
      yield* first!.set("down")
      const asked = {
        acquire: [
          node.acquire("a", "value", 1000),
          node.replace!("a", "value", "other", 1000),
          node.fencing!.raise("a", "value", 1),
          shared!.downgrade("a", "value", "other", 1000),
          permits!.settle("a", "value", { expiryMillis: 1000, limit: 1, round: 1, slots: [0] })
        ],
        extend: [node.extend("a", "value", 1000), permits!.extend("a", "value", 1000, [0])],
        release: [
          node.release("a", "value"),
          shared!.yieldToReaders("a", "value", 1000),
          line.leave("a", entry),
          line.release("a", "value", entry),
          line.yieldToReaders!("a", "value", 1000),
          permitLine!.leave("a", { value: "value", permits: 1 }),
          handOver!.transfer("a", "value", entry, {
            expiryMillis: 1000,
            proposal: 1,
            chain: { length: 1, millis: 0 }
          })
        ],
        inspect: [
          node.inspect("a"),
          shared!.announce("a", 1000),
          line.join("a", entry, "back"),
          line.watch!("a"),
          permitLine!.join("a", { value: "value", permits: 1 }, 1, "back"),
          handOver!.listen("a")
        ],
        remove: [node.remove("a"), permits!.remove("a")]
      }
      for (const [kind, operations] of Object.entries(asked)) {
        for (const [index, operation] of operations.entries()) {
          const failed = yield* Effect.flip<unknown, NodeError, never>(operation)
          assert.strictEqual(failed.operation, kind, `the ${index + 1}th`)
        }
      }
    }).pipe(Effect.scoped, Effect.provide(layerTest())))

  it.effect("that was silent executes what it was sent, in order, and nothing is left", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      yield* nodes.all("silent")
      const waiting = yield* begin(Effect.flip(tryLock("a").pipe(Effect.scoped)))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "NodesUnavailable")
      yield* nodes.all("up")
      assert.strictEqual((yield* inspect("a")).nodes[0]!._tag, "Free")
      assert.includeMembers((yield* operations)[0]!, ["acquire", "release"])
    }).pipe(Effect.provide(layerTest())))

  it.effect("that is wiped has no locks, no tokens and no waiting lists, and whoever waits for the lock gets it", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      const [{ node, wipe }] = nodes.nodes as [TestNode]
      const count = node.fencing!.acquire("b", "value", 60_000, 0)
      assert.deepStrictEqual([yield* count, yield* count], [Option.some(1), Option.none()])
      yield* nodes.occupy("a")
      const waiting = yield* begin(withLock("a", Effect.succeed("mine")))
      yield* TestClock.adjust(1)
      yield* wipe
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(waiting), "mine")
      assert.deepStrictEqual(yield* count, Option.some(1))
    }).pipe(Effect.provide(layerTest())))

  it.effect("that is wiped loses what it was sent while it was silent", () =>
    Effect.gen(function*() {
      const { nodes: [first] } = yield* TestNodes
      yield* first!.set("silent")
      yield* Effect.scoped(lock("a"))
      yield* first!.wipe
      yield* first!.set("up")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* inspect("a")).nodes.map(({ _tag }) => _tag), ["Free", "Free", "Free"])
    }).pipe(Effect.provide(layerTest({ count: 3 }))))

  it.effect("that is wiped tells at once whoever waits for the answer of a silent one", () =>
    Effect.gen(function*() {
      const { all, nodes } = yield* TestNodes
      yield* all("silent")
      const looking = yield* begin(inspect("a"))
      yield* Effect.forEach(nodes, ({ wipe }) => wipe)
      const [node] = (yield* Fiber.join(looking)).nodes
      assert.strictEqual(
        node!._tag === "Failed" && node!.error.summary,
        "is not connected: the server has restarted"
      )
    }).pipe(Effect.provide(layerTest())))

  it.effect("that was down while it was wiped tells whoever waits when it is up again", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      yield* nodes.occupy("a")
      const waiting = yield* begin(withLock("a", Effect.succeed("mine"), { retry: Schedule.spaced("1 hour") }))
      yield* TestClock.adjust(1)
      yield* nodes.all("down")
      yield* nodes.nodes[0]!.wipe
      yield* TestClock.adjust("10 seconds")
      yield* nodes.all("up")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(waiting), "mine")
    }).pipe(Effect.provide(layerTest())))
})

describe("another program", () => {
  it.effect("has the lock for a minute, or as long as is said", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      for (const duration of [undefined, "3 seconds"] as const) {
        yield* nodes.occupy("a", duration)
        const millis = Duration.toMillis(duration ?? "1 minute")
        yield* TestClock.adjust(millis - 1)
        assert.strictEqual(yield* failureNow(withLock("a", Effect.void, once)), "ErrFailed")
        yield* TestClock.adjust(1)
        yield* withLock("a", Effect.void, once)
      }
    }).pipe(Effect.provide(layerTest({ count: 3 }))))

  it.effect("gives it back to forceUnlock", () =>
    Effect.gen(function*() {
      yield* (yield* TestNodes).occupy("a")
      yield* forceUnlock("a")
      yield* withLock("a", Effect.void, once)
    }).pipe(Effect.provide(layerTest())))

  it.effect("takes nothing from a holder unless it steals", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      const held = yield* lock("a")
      const other = yield* lock("b")
      yield* nodes.occupy("a")
      yield* nodes.steal("b")
      assert.isTrue(yield* held.release)
      assert.isFalse(yield* other.release)
    }).pipe(Effect.scoped, Effect.provide(layerTest({ count: 3 }))))

  it.effect("has it on one node alone, and from nodes that do not answer", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      yield* nodes.all("silent")
      yield* nodes.nodes[1]!.occupy("a")
      yield* nodes.all("up")
      const { nodes: seen } = yield* inspect("a")
      assert.deepStrictEqual(seen.map(({ _tag }) => _tag), ["Free", "Held", "Free"])
      yield* withLock("a", Effect.void, once)
    }).pipe(Effect.provide(layerTest({ count: 3 }))))

  it.effect("goes by the names of the layer, whose prefix is on the nodes", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes
      yield* nodes.occupy("a")
      assert.strictEqual(yield* failureNow(withLock("a", Effect.void, once)), "ErrFailed")
      assert.strictEqual(nodes.nodes[0]!.calls[0]!.key, "billing:a")
      const fiber = yield* begin(Effect.flip(work))
      yield* nodes.steal("invoices:42")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "LockLost")
    }).pipe(Effect.provide(layerTest({ prefix: "billing:" }))))
})

describe("what a test asks of the nodes", () => {
  it.effect("is refused where there is no such thing", () =>
    Effect.gen(function*() {
      const { all, nodes, occupy } = yield* TestNodes
      const refused: ReadonlyArray<readonly [option: string, Effect.Effect<void>]> = [
        ...["dwon", null, 5, {}, { slow: "later" }, { rejects: 5 }].map((state) =>
          ["state", all(state as never)] as const
        ),
        ...[null, "later", -1, 0, Number.NaN].map((duration) => ["duration", occupy("a", duration as never)] as const)
      ]
      for (const [option, control] of refused) {
        const exit = yield* Effect.exit(control)
        assert.include(
          Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "",
          `effect-redsync: the option ${option} is `
        )
      }
      assert.isTrue(Option.isNone((yield* inspect("a")).holder))
      assert.isTrue((yield* health).isReady)
      assert.lengthOf(nodes, 3)
    }).pipe(Effect.provide(layerTest({ count: 3 }))))
})

describe("the layer", () => {
  it.effect("has nodes and ids of its own, each time", () =>
    Effect.gen(function*() {
      const ids = Effect.map(TestNodes, ({ nodes }) => nodes.map(({ node }) => node.id))
      const seen = Effect.andThen(Effect.flatMap(TestNodes, ({ occupy }) => occupy("a")), ids)
      for (let build = 0; build < 2; build++) {
        assert.deepStrictEqual(yield* Effect.provide(seen, layerTest({ count: 2 })), ["test-1", "test-2"])
      }
      yield* Effect.provide(withLock("a", Effect.void, once), layerTest())
    }))

  const wrong: Record<string, object> = { "count is 0": { count: 0 }, "misspelt": { misspelt: 1 } }
  for (const [words, options] of Object.entries(wrong)) {
    it.effect(`refuses what it cannot do: ${words}`, () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Effect.provide(TestNodes, layerTest(options)))
        assert.include(Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "", words)
      }))
  }

  layer(layerTest({ count: 3 }))("can be shared by several tests", (it) => {
    it.effect("on the test clock", () =>
      Effect.gen(function*() {
        const fiber = yield* begin(Effect.flip(work))
        yield* (yield* TestNodes).steal("invoices:42")
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "LockLost")
      }))
  })
})
