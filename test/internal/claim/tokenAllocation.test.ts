/**
 * Fencing tokens: strictly increasing in the order of the grants, whichever quorum
 * grants and whatever the clients' clocks say.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import {
  ErrFailed,
  fencedLock,
  type Fencing,
  inspect,
  type LockNode,
  NodesUnavailable,
  Redsync,
  retryPolicy,
  withFencedLock,
  withLock
} from "../../../src/index.ts"
import * as TestNodes from "../../support/testNodes.ts"
import { assertIncreasing, client, tokenOf } from "../../support/tokens.ts"

const once = { retry: retryPolicy({ tries: 1 }) }

/** Lets all nodes but those answer. */
const without = (nodes: ReadonlyArray<TestNodes.TestNode>, ...absent: ReadonlyArray<number>) =>
  nodes.forEach((node, index) => {
    node.state = absent.includes(index) ? { rejects: "OOM is near" } : "up"
  })

const asked = (nodes: ReadonlyArray<TestNodes.TestNode>, operation: string) =>
  nodes.map((node) => TestNodes.callsOf(node, operation).length)

/** Tokens that two clients with clocks apart get in turn, from quorums that take turns too. */
const rotate = Effect.fnUntraced(function*(nodes: ReadonlyArray<TestNodes.TestNode>) {
  const early = yield* client(nodes, -1000)
  const late = yield* client(nodes, 1000)
  const tokens: Array<Fencing.FencingToken> = []
  for (let round = 0; round < 60; round++) {
    without(nodes, round % nodes.length)
    tokens.push(yield* tokenOf(round % 2 === 0 ? late : early))
    yield* TestClock.adjust(1)
  }
  return tokens
})

describe("fencing tokens", () => {
  it.effect("the program gets the token and the lock, in both forms", () =>
    Effect.gen(function*() {
      const direct = yield* withFencedLock("a", (token, held) => {
        assert.strictEqual(held.token, token)
        return Effect.map(inspect("a"), ({ holder }) => {
          assert.strictEqual(Option.getOrThrow(holder).value, held.value)
          return token
        })
      })
      const piped = yield* withFencedLock("a", { expiry: "1 second" })((token) => Effect.succeed(token))
      const scoped = yield* Effect.scoped(Effect.map(fencedLock("a"), ({ token }) => token))
      assertIncreasing([direct, piped, scoped])
      assert.isTrue((yield* inspect("a")).nodes.every(({ _tag }) => _tag === "Free"))
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("a token is the time in microseconds as long as the nodes agree, and costs one round", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* TestClock.setTime(1_795_545_273_765)
      const service = yield* client(nodes)
      assert.strictEqual(yield* tokenOf(service), 1_795_545_273_765_000)
      assert.strictEqual(yield* tokenOf(service), 1_795_545_273_765_001)
      assert.deepStrictEqual(asked(nodes, "acquire"), [2, 2, 2])
      assert.deepStrictEqual(asked(nodes, "raise"), [0, 0, 0])
    }).pipe(Effect.scoped))

  it.effect("where the nodes disagree, a quorum is brought up to the token before the lock is handed out", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const late = yield* client(nodes, 60_000)
      const onTime = yield* client(nodes)
      without(nodes, 2)
      const first = yield* tokenOf(late)
      without(nodes, 0)
      const second = yield* tokenOf(onTime)
      assert.strictEqual(second, first + 1)
      assert.deepStrictEqual(asked(nodes, "raise"), [1, 1, 1])
      without(nodes, 1)
      assert.strictEqual(yield* tokenOf(onTime), first + 2)
    }).pipe(Effect.scoped))

  it.effect.each([3, 4, 5, 7])(
    "increase over rotating quorums of %i nodes, with clocks two seconds apart",
    (count) =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes.makeMany(count)
        assertIncreasing(yield* rotate(nodes))
        assert.isAbove(Math.max(...asked(nodes, "raise")), 0)
      }).pipe(Effect.scoped)
  )

  it.effect("without a second round they would not", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const forgetful = nodes.map((node) => ({
        ...node,
        fencing: { ...node.fencing!, raise: () => Effect.succeed(true) }
      }))
      const late = yield* client(forgetful, 60_000)
      const onTime = yield* client(forgetful)
      without(nodes, 2)
      const first = yield* tokenOf(late)
      without(nodes, 0)
      const second = yield* tokenOf(onTime)
      without(nodes, 1)
      // The third quorum shares its one counter that is up to date with nobody who knows of the second token.
      assert.deepStrictEqual([second, yield* tokenOf(onTime)], [first + 1, first + 1])
    }).pipe(Effect.scoped))

  it.effect("a second round that misses its quorum is a refused attempt, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const late = yield* client(nodes, 60_000)
      const onTime = yield* client(nodes)
      without(nodes, 2)
      const first = yield* tokenOf(late)
      without(nodes, 0)
      const failing = (node: TestNodes.TestNode): LockNode => ({
        ...node,
        fencing: {
          ...node.fencing!,
          raise: () =>
            Effect.andThen(
              Effect.sync(() => void (node.state = { rejects: "OOM is near" })),
              node.fencing!.raise("a", "", 0)
            )
        }
      })
      const unlucky = yield* client([nodes[0]!, failing(nodes[1]!), nodes[2]!])
      const error = yield* Effect.flip(
        Effect.provide(withFencedLock("a", () => Effect.die("never held"), once), unlucky)
      )
      assert.instanceOf(error, NodesUnavailable)
      without(nodes)
      yield* TestClock.adjust(200)
      const { nodes: views } = yield* Effect.provide(inspect("a"), onTime)
      assert.deepStrictEqual(views.map(({ _tag }) => _tag), ["Free", "Free", "Free"])
      assert.isAbove(yield* tokenOf(onTime), first)
    }).pipe(Effect.scoped))

  it.effect("a key that is evicted before the second round is not held by another", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      let isEvicted = true
      const evicting = nodes.map((node): LockNode => ({
        ...node,
        fencing: {
          ...node.fencing!,
          raise: (...args) => Effect.andThen(isEvicted ? node.remove("a") : Effect.void, node.fencing!.raise(...args))
        }
      }))
      const late = yield* client(nodes, 60_000)
      without(nodes, 2)
      yield* tokenOf(late)
      without(nodes, 0)
      const locking = Effect.provide(withFencedLock("a", Effect.succeed, once), yield* client(evicting))
      const error = yield* Effect.flip(locking)
      assert.instanceOf(error, ErrFailed)
      assert.deepStrictEqual(error.votes.map(({ _tag }) => _tag).slice(1), ["Free", "Free"])
      isEvicted = false
      yield* locking
    }).pipe(Effect.scoped))

  it.effect("interrupted in the second round it leaves no key", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const late = yield* client(nodes, 60_000)
      const slow = nodes.map((node): LockNode => ({
        ...node,
        fencing: { ...node.fencing!, raise: (...args) => Effect.delay(node.fencing!.raise(...args), 10) }
      }))
      const onTime = yield* client(slow)
      without(nodes, 2)
      yield* tokenOf(late)
      without(nodes, 0)
      const fiber = yield* Effect.forkChild(tokenOf(onTime))
      yield* TestClock.adjust(5)
      yield* Fiber.interrupt(fiber)
      without(nodes)
      yield* TestClock.adjust(200)
      const { nodes: views } = yield* Effect.provide(inspect("a"), onTime)
      assert.deepStrictEqual(views.map(({ _tag }) => _tag), ["Free", "Free", "Free"])
    }).pipe(Effect.scoped))

  it.effect("a lease that ends in the second round is no lock", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const late = yield* client(nodes, 60_000)
      const slow = nodes.map((node): LockNode => ({
        ...node,
        fencing: { ...node.fencing!, raise: (...args) => Effect.tap(node.fencing!.raise(...args), Effect.sleep(100)) }
      }))
      const onTime = yield* client(slow)
      without(nodes, 2)
      yield* tokenOf(late)
      without(nodes, 0)
      const options = { ...once, expiry: 100, nodeTimeout: 200 }
      const fiber = yield* Effect.forkChild(
        Effect.exit(Effect.provide(withFencedLock("a", () => Effect.die("never held"), options), onTime))
      )
      yield* TestClock.adjust(1000)
      const exit = yield* Fiber.join(fiber)
      assert(Exit.isFailure(exit))
      assert.notInclude(String(exit.cause), "never held")
    }).pipe(Effect.scoped))

  it.effect("increase when counters are forgotten, with clocks that agree within the hour", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* TestClock.setTime(1_795_545_273_765)
      const late = yield* client(nodes, 59 * 60_000)
      const onTime = yield* client(nodes)
      const first = yield* tokenOf(late)
      yield* TestClock.adjust("1 hour")
      const second = yield* tokenOf(onTime)
      assertIncreasing([first, second])
      assert.strictEqual(second, (1_795_545_273_765 + 3_600_000) * 1000)
    }).pipe(Effect.scoped))

  it.effect("a node that gets its key back by an extension gets its counter back too", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const late = yield* client(nodes, 60_000)
      const onTime = yield* client(nodes)
      const first = yield* Effect.scoped(Effect.gen(function*() {
        const held = yield* Effect.provide(fencedLock("a"), late)
        for (const node of nodes) {
          yield* node.wipe
          yield* TestClock.adjust("4 seconds")
        }
        assert.isAbove(asked(nodes, "raise")[0]!, 0)
        return held.token
      }))
      assert.strictEqual(yield* tokenOf(onTime), first + 1)
    }).pipe(Effect.scoped))

  it.effect("excludes, and is excluded by, locks without a token", () =>
    Effect.gen(function*() {
      const inside = yield* withLock("a", Effect.flip(withFencedLock("a", Effect.succeed, once)))
      assert.instanceOf(inside, ErrFailed)
      assert.instanceOf(yield* withFencedLock("a", () => Effect.flip(withLock("a", Effect.void, once))), ErrFailed)
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("names are counted apart", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const service = yield* client(nodes)
      yield* TestClock.setTime(1000)
      assert.strictEqual(yield* tokenOf(service, "a"), 1_000_000)
      assert.strictEqual(yield* tokenOf(service, "b"), 1_000_000)
    }).pipe(Effect.scoped))

  it.effect("nodes without counters are a programmer's error", () =>
    Effect.gen(function*() {
      const { fencing: _, ...node } = yield* TestNodes.make("plain")
      const service = yield* client([node])
      const exit = yield* Effect.exit(tokenOf(service))
      assert(Exit.isFailure(exit))
      assert.include(String(exit.cause), "the node plain does not support fencing tokens")
    }).pipe(Effect.scoped))
})
