/**
 * Nodes that are silent, slow, or do late what they were asked: what they are asked
 * meanwhile, and that nothing of ours stays on them.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { type LockNode, MemoryNode, NodeError, Redsync, retryPolicy, tryLock, withLock } from "../../../src/index.ts"
import * as TestNodes from "../../support/testNodes.ts"

const once = { retry: retryPolicy({ tries: 1 }) }
const expiry = 4000
const nodeTimeout = 400

const open = (nodes: ReadonlyArray<LockNode>) => Layer.build(Redsync.layer({ nodes, expiry, nodeTimeout }))

/** How many of these names have a key on the node. */
const keysOn = (node: LockNode, names: ReadonlyArray<string>) =>
  Effect.map(
    Effect.forEach(names, (name) => node.inspect(name)),
    (found) => found.filter(Option.isSome).length
  )

/** A node that does the acquisitions late that were asked while it stood still, and whose releases do as they are told. */
const late = (releases: () => NodeError | undefined = () => undefined, more: Partial<LockNode> = {}) => {
  // Without waiting lists, which release as well.
  const { waitingList: _, ...memory } = MemoryNode.make("late")
  const queue: Array<Effect.Effect<unknown, NodeError>> = []
  const world = { isStill: false, memory, goOn: Effect.suspend(() => Effect.all(queue.splice(0))) }
  const node: LockNode = {
    ...memory,
    ...more,
    acquire: (...args) =>
      Effect.suspend(() => {
        if (!world.isStill) return memory.acquire(...args)
        queue.push(memory.acquire(...args))
        return Effect.never
      }),
    release: (...args) =>
      Effect.suspend((): Effect.Effect<boolean, NodeError> => {
        const error = world.isStill ? releases() : undefined
        return error === undefined ? memory.release(...args) : Effect.fail(error)
      })
  }
  return { ...world, node, world }
}

const disconnected = new NodeError({ node: "late", operation: "release", reason: "Disconnected" })

/** An attempt that the two others refuse, while the third stands still. */
const refused = (node: LockNode) =>
  Effect.gen(function*() {
    const others = MemoryNode.makeMany(2)
    for (const other of others) yield* other.acquire("a", "theirs", 3_600_000)
    const service = yield* open([...others, node])
    const attempt = yield* Effect.forkChild(Effect.flip(Effect.provide(withLock("a", Effect.void, once), service)))
    yield* TestClock.adjust(2 * nodeTimeout)
    assert.strictEqual((yield* Fiber.join(attempt))._tag, "ErrFailed")
  })

describe("what is left on a node", () => {
  it.effect("is asked for all at once when it answers again", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const node = nodes[2]!
      const service = yield* open(nodes)
      const names = Array.from({ length: 10 }, (_, index) => `lock-${index}`)
      const held = yield* Effect.forkChild(
        Effect.forEach(names, (name) => withLock(name, Effect.sleep(10), { expiry: "1 hour", nodeTimeout }), {
          concurrency: "unbounded"
        }).pipe(Effect.provide(service))
      )
      yield* TestClock.adjust(5)
      node.state = "deaf"
      yield* TestClock.adjust("20 seconds")
      yield* Fiber.join(held)
      node.state = "up"
      const left = keysOn(node, names)
      assert.strictEqual(yield* left, 10)
      while ((yield* left) === 10) yield* TestClock.adjust(1)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* left, 0)
    }).pipe(Effect.scoped))

  it.effect("is not forgotten before an expiry is over since the node was heard again", () =>
    Effect.gen(function*() {
      const { goOn, memory, node, world } = late(() => disconnected)
      world.isStill = true
      yield* refused(node)
      yield* TestClock.adjust(3 * expiry)
      yield* goOn
      assert.isTrue(Option.isSome(yield* memory.inspect("a")))
      world.isStill = false
      // The longest pause between two tries.
      yield* TestClock.adjust(1001)
      assert.isTrue(Option.isNone(yield* memory.inspect("a")))
    }).pipe(Effect.scoped))

  it.effect("is asked for again where what was sent before may be done after it", () =>
    Effect.gen(function*() {
      const { goOn, memory, node, world } = late(undefined, { mayOvertake: () => true })
      world.isStill = true
      yield* refused(node)
      // The release has been answered: there was nothing.
      yield* TestClock.adjust(1000)
      yield* goOn
      assert.isTrue(Option.isSome(yield* memory.inspect("a")))
      yield* TestClock.adjust(1001)
      assert.isTrue(Option.isNone(yield* memory.inspect("a")))
    }).pipe(Effect.scoped))

  it.effect("is asked for again while the service closes", () =>
    Effect.gen(function*() {
      let failures = 0
      const { memory, node, world } = late(() => failures++ < 5 ? disconnected : undefined)
      const scope = yield* Scope.make()
      const service = yield* Scope.provide(open([node]), scope)
      yield* Effect.provide(Redsync.lock("a"), service).pipe(Scope.provide(scope))
      world.isStill = true
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust(nodeTimeout)
      yield* Fiber.join(closing)
      assert.isTrue(Option.isNone(yield* memory.inspect("a")))
    }))
})

describe("a silent node", () => {
  const asked = (node: TestNodes.TestNode) => TestNodes.callsOf(node, "acquire").length

  /** So many attempts at once; how many of them the last node is asked before it has answered any. */
  const attempts = (nodes: ReadonlyArray<TestNodes.TestNode>, names: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const before = asked(nodes[2]!)
      const fiber = yield* Effect.forkChild(
        Effect.forEach(names, (name) => Effect.scoped(tryLock(name)), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust(0)
      const count = asked(nodes[2]!) - before
      yield* Fiber.join(fiber)
      return count
    })

  it.effect("is asked one thing at a time, and everything again when a late reply has come", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const service = yield* open(nodes)
      nodes[2]!.state = { slow: 3 * nodeTimeout }
      yield* Effect.gen(function*() {
        assert.strictEqual(yield* attempts(nodes, ["a"]), 1)
        yield* TestClock.adjust(nodeTimeout + 1)
        // The release of the first is the one question.
        assert.isAtMost(yield* attempts(nodes, ["b", "c", "d"]), 1)
        nodes[2]!.state = "up"
        yield* TestClock.adjust(2 * nodeTimeout)
        assert.strictEqual(yield* attempts(nodes, ["e", "f", "g"]), 3)
      }).pipe(Effect.provide(service))
      yield* TestClock.adjust("10 seconds")
    }).pipe(Effect.scoped))

  it.effect("is none that has answered something since", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const service = yield* open(nodes)
      yield* Effect.gen(function*() {
        nodes[2]!.state = "silent"
        yield* attempts(nodes, ["a"])
        nodes[2]!.state = "up"
        yield* TestClock.adjust(100)
        yield* attempts(nodes, ["b"])
        // The time of the first is over just now.
        yield* TestClock.adjust(nodeTimeout - 100 + 1)
        nodes[2]!.state = { slow: 10 }
        assert.strictEqual(yield* attempts(nodes, ["c", "d"]), 2)
      }).pipe(Effect.provide(service))
      yield* TestClock.adjust("10 seconds")
    }).pipe(Effect.scoped))

  it.effect("has its connection given up, where it can be", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      let reconnects = 0
      const service = yield* open([
        nodes[0]!,
        nodes[1]!,
        { ...nodes[2]!, reconnect: Effect.sync(() => void reconnects++) }
      ])
      nodes[2]!.state = "silent"
      yield* Effect.provide(Effect.scoped(tryLock("a")), service)
      yield* TestClock.adjust("10 seconds")
      assert.isAbove(reconnects, 0)
      nodes[2]!.state = "up"
      yield* TestClock.adjust("10 seconds")
      const seen = reconnects
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(reconnects, seen)
    }).pipe(Effect.scoped))
})
