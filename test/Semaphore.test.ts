import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Logger, Metric, Option, Ref, Schedule, type Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  Lock,
  LockError,
  type LockNode,
  MemoryNode,
  Redsync,
  retryPolicy,
  Semaphore,
  semaphore,
  withFencedPermits,
  withLock,
  withPermits,
  withPermitsIfAvailable
} from "../src/index.ts"
import type { WaitingList } from "../src/LockNode.ts"

const nodes = (count: number) => Array.from({ length: count }, (_, index) => MemoryNode.make(`node-${index + 1}`))

const once = retryPolicy({ tries: 1 })

/** Occupies slots on one node, as an attempt of another client that has not ended. */
const occupy = (node: LockNode, name: string, value: string, slots: ReadonlyArray<number>) =>
  node.permits!.settle(name, value, { expiryMillis: 60_000, limit: 100, slots, round: 2 })

const slotsOf = (node: LockNode, name: string, value: string) =>
  Effect.map(node.permits!.inspect(name, value), ({ holders }) => [...holders[0]?.slots ?? []].sort((a, b) => a - b))

/** Permits are requested from it, and granted by it, some milliseconds later. */
const slow = (node: LockNode, { answer = 0, request = 0 }): LockNode => ({
  ...node,
  permits: {
    ...node.permits!,
    acquire: (...args) =>
      Effect.delay(Effect.tap(Effect.suspend(() => node.permits!.acquire(...args)), Effect.sleep(answer)), request)
  }
})

const held = (name: string, options: Semaphore.PermitOptions) => Semaphore.permits(name, { retry: once, ...options })

describe("Semaphore", () => {
  it.effect("at most the limit, each with a slot of its own", () =>
    Effect.gen(function*() {
      const permits = yield* Effect.forEach([1, 2, 3], () => held("s", { limit: 3 }))
      assert.deepStrictEqual(permits.map(({ slot }) => slot).sort((a, b) => a - b), [0, 1, 2])
      assert.deepStrictEqual(permits.map(({ limit }) => limit), [3, 3, 3])
      assert.deepStrictEqual(yield* Semaphore.tryPermits("s", { limit: 3 }), Option.none())
      const error = yield* Effect.flip(held("s", { limit: 3 }))
      assert(error._tag === "ErrFailed")
      assert.match(
        error.message,
        /^Could not acquire 1 of 3 permits of "s" after 1 attempt in 0.0 s: memory-1 has none/
      )
      yield* permits[1]!.release
      const next = yield* held("s", { limit: 3 })
      assert.strictEqual(next.slot, permits[1]!.slot)
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("waiters get permits first come first served, whatever their number", () =>
    Effect.gen(function*() {
      const order = yield* Ref.make<ReadonlyArray<string>>([])
      const first = yield* held("s", { limit: 3, permits: 2 })
      const waiting = (name: string, permits: number) =>
        Effect.forkChild(
          withPermits("s", Ref.update(order, (names) => [...names, name]), {
            limit: 3,
            permits,
            retry: Schedule.forever
          })
        )
      const fibers = [yield* waiting("large", 3)]
      yield* TestClock.adjust(1)
      fibers.push(yield* waiting("small", 1))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* Ref.get(order), [])
      yield* first.release
      yield* TestClock.adjust(1)
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(yield* Ref.get(order), ["large", "small"])
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("many at once, of several services: never more than the limit, no slot twice, and all have their turn", () => {
    const shared = nodes(3)
    const slots = new Set<number>()
    let most = 0
    let turns = 0
    const work = (limit: number, permits: number) =>
      withPermits(
        "s",
        (held) =>
          Effect.gen(function*() {
            for (const slot of held.slots) {
              assert.isFalse(slots.has(slot))
              slots.add(slot)
            }
            most = Math.max(most, slots.size)
            yield* Effect.sleep(10)
            turns++
            for (const slot of held.slots) slots.delete(slot)
          }),
        { limit, permits, retry: Schedule.spaced(20) }
      )
    const service = (permits: number) =>
      Effect.all(Array.from({ length: 10 }, () => work(5, permits)), { concurrency: "unbounded" }).pipe(
        Effect.provide(Redsync.layer({ nodes: shared }))
      )
    return Effect.gen(function*() {
      const fibers = yield* Effect.forEach([1, 2, 3], (permits) => Effect.forkChild(service(permits)))
      yield* TestClock.adjust("60 seconds")
      yield* Fiber.joinAll(fibers)
      assert.strictEqual(turns, 30)
      assert.isAtMost(most, 5)
      for (const node of shared) assert.deepStrictEqual((yield* node.permits!.inspect("s")).holders, [])
    })
  })

  it.effect("a release in one service wakes the first of another, though its schedule would wait", () => {
    const shared = nodes(3)
    return Effect.gen(function*() {
      const [ours, theirs] = [yield* Redsync.make({ nodes: shared }), yield* Redsync.make({ nodes: shared })]
      const options = { limit: 3, retry: Schedule.spaced("1 hour") }
      const first = yield* ours.permits("s", { ...options, permits: 2 })
      const second = yield* ours.permits("s", options)
      const large = yield* Effect.forkChild(
        theirs.withPermits("s", Effect.succeed("large"), { ...options, permits: 2 })
      )
      yield* TestClock.adjust(1)
      const small = yield* Effect.forkChild(ours.withPermits("s", ({ slot }) => Effect.succeed(slot), options))
      yield* TestClock.adjust(1)
      yield* second.release
      yield* TestClock.adjust(1)
      // The first in line needs two, and nobody is woken before it.
      assert.isUndefined(large.pollUnsafe())
      assert.isUndefined(small.pollUnsafe())
      yield* first.release
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(large), "large")
      yield* Fiber.join(small)
    }).pipe(Effect.scoped)
  })

  it.effect("forceReleasePermits wakes those who wait in another service", () => {
    const shared = nodes(3)
    return Effect.gen(function*() {
      const [ours, theirs] = [yield* Redsync.make({ nodes: shared }), yield* Redsync.make({ nodes: shared })]
      const options = { limit: 2, permits: 2, retry: Schedule.spaced("1 hour") }
      const held = yield* ours.permits("s", options)
      const waiting = yield* Effect.forkChild(theirs.withPermits("s", Effect.succeed("theirs"), options))
      yield* TestClock.adjust(1)
      assert.isUndefined(waiting.pollUnsafe())
      const third = yield* Redsync.make({ nodes: shared })
      assert.isTrue(yield* third.forceReleasePermits("s"))
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(waiting), "theirs")
      const error = yield* Effect.flip(held.extend)
      assert.strictEqual(
        error.message,
        "2 of 2 permits of \"s\" were lost: a quorum no longer stores their value (deleted or taken by another): " +
          "node-1 no longer stores them; node-2 no longer stores them (1 more not waited for)"
      )
    }).pipe(Effect.scoped)
  })

  it.effect("errors say permits where they mean permits", () => {
    const shared = nodes(3)
    const failing = shared.map((node): LockNode => ({
      ...node,
      permits: { ...node.permits!, acquire: () => unusable(node), remove: () => unusable(node) }
    }))
    const unusable = ({ id }: LockNode) =>
      Effect.fail(new LockError.NodeError({ node: id, operation: "acquire", reason: "Timeout" }))
    return Effect.gen(function*() {
      const redsync = yield* Redsync.make({ nodes: failing, prefix: "p:" })
      const attempts: ReadonlyArray<readonly [Effect.Effect<unknown, Error>, string]> = [
        [redsync.withPermits("s", Effect.void, { limit: 5, permits: 2, retry: once }), "2 of 5 permits"],
        [redsync.withPermitsIfAvailable("s", Effect.void, { limit: 1 }), "1 of 1 permit"],
        [redsync.forceReleasePermits("s"), "the permits"]
      ]
      for (const [attempt, what] of attempts) {
        const { message } = yield* Effect.flip(attempt)
        assert.match(
          message,
          new RegExp(`^No quorum for ${what} of "p:s": (at most 1|0) of 3 nodes usable, 2 required: `)
        )
      }
      const working = yield* Redsync.make({ nodes: shared, expiry: "1 second" })
      const one = yield* working.permits("s", { limit: 3, autoExtend: false })
      yield* TestClock.adjust("2 seconds")
      const lost = yield* Effect.flip(one.lost)
      assert.strictEqual(lost.message, "1 of 3 permits of \"s\" was lost: its lease ended, never extended")
      assert.deepInclude(lost.toJSON(), { permits: 1, limit: 3 })
      const two = yield* working.permits("s", { limit: 3, permits: 2 })
      yield* two.release
      assert.strictEqual(
        (yield* Effect.flip(two.extend)).message,
        "2 of 3 permits of \"s\" are no longer held: they were released, detached or abandoned, or their service was closed"
      )
    }).pipe(Effect.scoped)
  })

  it.effect("one attempt: all or none", () =>
    Effect.gen(function*() {
      const some = yield* withPermitsIfAvailable("s", (permits) => Effect.succeed(permits.slots.length), {
        limit: 5,
        permits: 3
      })
      assert.deepStrictEqual(some, Option.some(3))
      yield* held("s", { limit: 5, permits: 3 })
      const none = yield* withPermitsIfAvailable("s", Effect.void, { limit: 5, permits: 3 })
      assert.deepStrictEqual(none, Option.none())
      assert.isTrue(Option.isSome(yield* withPermitsIfAvailable("s", Effect.void, { limit: 5, permits: 2 })))
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("settles on the slot with the most votes if the nodes give different ones", () => {
    const [a, b, c] = nodes(3) as [LockNode, LockNode, LockNode]
    return Effect.gen(function*() {
      // Slot 1 is free on a and c only, slot 0 on b only.
      yield* occupy(a, "s", "other", [0])
      yield* occupy(b, "s", "another", [1])
      yield* occupy(c, "s", "third", [0])
      const permits = yield* held("s", { limit: 2 })
      assert.strictEqual(permits.slot, 1)
      assert.deepStrictEqual(yield* slotsOf(a, "s", permits.value), [1])
      assert.deepStrictEqual(yield* slotsOf(b, "s", permits.value), [])
      assert.deepStrictEqual(yield* slotsOf(c, "s", permits.value), [1])
    }).pipe(Effect.provide(Redsync.layer({ nodes: [a, b, c] })), Effect.scoped)
  })

  it.effect("is refused where each slot is free on too few nodes, and leaves nothing behind", () => {
    const [a, b, c] = nodes(3) as [LockNode, LockNode, LockNode]
    return Effect.gen(function*() {
      yield* occupy(a, "s", "a", [0, 1])
      yield* occupy(b, "s", "b", [0, 2])
      yield* occupy(c, "s", "c", [1, 2])
      assert.deepStrictEqual(yield* Semaphore.tryPermits("s", { limit: 3 }), Option.none())
      yield* Effect.yieldNow
      for (const node of [a, b, c]) assert.strictEqual((yield* node.permits!.inspect("s")).holders.length, 1)
    }).pipe(Effect.provide(Redsync.layer({ nodes: [a, b, c] })), Effect.scoped)
  })

  it.effect("nodes that gave other slots are brought to have those that are held", () => {
    const [a, b, c] = nodes(3) as [LockNode, LockNode, LockNode]
    return Effect.gen(function*() {
      const permits = yield* held("s", { limit: 3, permits: 2 })
      yield* permits.release
      const [first, second] = permits.slots
      yield* occupy(c, "s", "loser", [first!])
      const again = yield* held("s", { limit: 3, permits: 2 })
      yield* c.permits!.release("s", "loser")
      yield* again.extend
      for (const node of [a, b, c]) assert.deepStrictEqual(yield* slotsOf(node, "s", again.value), [...again.slots])
      assert.isDefined(second)
    }).pipe(Effect.provide(Redsync.layer({ nodes: [a, b, c] })), Effect.scoped)
  })

  it.effect("so is a node whose answer came later, so that it keeps no slot for nobody", () => {
    const [a, b, c] = nodes(3) as [LockNode, LockNode, LockNode]
    return Effect.gen(function*() {
      for (const node of [a, b]) yield* occupy(node, "s", "others", [2])
      yield* occupy(c, "s", "others", [0, 1])
      const permits = yield* held("s", { limit: 3 })
      assert.deepStrictEqual(yield* slotsOf(c, "s", permits.value), [2])
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(yield* slotsOf(c, "s", permits.value), [])
      assert.isTrue(yield* permits.isHeld)
    }).pipe(Effect.provide(Redsync.layer({ nodes: [a, b, slow(c, { answer: 10 })] })), Effect.scoped)
  })

  it.effect("each slot needs a quorum to be extended, not all of them the same", () => {
    const [a, b, c] = nodes(3) as [LockNode, LockNode, LockNode]
    return Effect.gen(function*() {
      const permits = yield* held("s", { limit: 2, permits: 2, autoExtend: false })
      const drop = (node: LockNode, slot: number) =>
        Effect.andThen(
          node.permits!.extend("s", permits.value, 60_000, [1 - slot], true),
          occupy(node, "s", `taken of ${node.id}`, [slot])
        )
      yield* drop(a, 0)
      yield* drop(b, 1)
      yield* permits.extend
      assert.isTrue(yield* permits.isHeld)
      yield* drop(c, 0)
      assert.isFalse(yield* permits.isHeld)
      const error = yield* Effect.flip(permits.extend)
      assert(error._tag === "LockLost")
      assert.strictEqual(error.reason, "Taken")
    }).pipe(Effect.provide(Redsync.layer({ nodes: [a, b, c] })), Effect.scoped)
  })

  it.effect("slots that a node has lost are taken back, which is no vote", () => {
    const [a, b, c] = nodes(3) as [LockNode, LockNode, LockNode]
    return Effect.gen(function*() {
      const permits = yield* held("s", { limit: 2, autoExtend: false })
      for (const node of [a, b]) yield* node.permits!.remove("s")
      assert.strictEqual((yield* Effect.flip(permits.extend))._tag, "LockLost")
    }).pipe(Effect.provide(Redsync.layer({ nodes: [a, b, c] })), Effect.scoped)
  })

  it.effect("are extended while the program runs, and gone after it", () => {
    const shared = nodes(3)
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        withPermits("s", Effect.sleep("1 minute"), { limit: 2, permits: 2, expiry: "5 seconds" })
      )
      yield* TestClock.adjust("59 seconds")
      assert.deepStrictEqual(yield* Semaphore.tryPermits("s", { limit: 2 }), Option.none())
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      for (const node of shared) assert.deepStrictEqual((yield* node.permits!.inspect("s")).holders, [])
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: shared })))
  })

  it.effect("forceReleasePermits takes them from all, and ends the holds of this service", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(withPermits("s", Effect.never, { limit: 2 }))
      yield* TestClock.adjust(1)
      const inspected = yield* Semaphore.inspectPermits("s")
      assert.strictEqual(inspected.taken, 1)
      assert.deepStrictEqual(inspected.limit, Option.some(2))
      assert.deepStrictEqual(inspected.holders.map(({ slots }) => slots.length), [1])
      assert.isTrue(yield* Semaphore.forceReleasePermits("s"))
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert(error._tag === "LockLost")
      assert.strictEqual(error.reason, "Taken")
      assert.isFalse(yield* Semaphore.forceReleasePermits("s"))
      assert.strictEqual((yield* Semaphore.inspectPermits("s")).taken, 0)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("tokens grow with each holder of a slot, whichever quorum granted them", () => {
    const shared = nodes(3)
    return Effect.gen(function*() {
      const last = new Map<number, number>()
      for (let round = 0; round < 20; round++) {
        // Another node misses each grant.
        yield* occupy(shared[round % 3]!, "s", "in the way", [0, 1, 2])
        yield* withFencedPermits(
          "s",
          ({ slots, token, tokens }) =>
            Effect.sync(() => {
              assert.strictEqual(token, tokens[0])
              slots.forEach((slot, index) => {
                assert.isAbove(tokens[index]!, last.get(slot) ?? 0)
                last.set(slot, tokens[index]!)
              })
            }),
          { limit: 3, permits: 1 + round % 3, retry: once }
        )
        yield* shared[round % 3]!.permits!.release("s", "in the way")
      }
      assert.deepStrictEqual([...last.keys()].sort((a, b) => a - b), [0, 1, 2])
    }).pipe(Effect.provide(Redsync.layer({ nodes: shared })))
  })

  it.effect("a deployment with another limit: the larger one bounds both, with one warning", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${[message].flat().join(" ")}`))
    return Effect.gen(function*() {
      yield* held("s", { limit: 4, permits: 3 })
      assert.deepStrictEqual(yield* Semaphore.tryPermits("s", { limit: 3 }), Option.none())
      const large = yield* held("s", { limit: 4 })
      yield* large.release
      assert.deepStrictEqual(lines, [])
      for (const limit of [5, 6]) {
        assert.isTrue(Option.isSome(yield* Effect.scoped(Semaphore.tryPermits("s", { limit, permits: 2 }))))
      }
      assert.deepStrictEqual(lines, [
        `Warn: Semaphore "s" is used with different limits, 5 here and 4 elsewhere: at most the larger number of permits is held`
      ])
      const { id, state } = (yield* Metric.snapshot).find(({ id }) => id === "redsync_limit_mismatches_total")!
      assert.strictEqual("count" in state ? Number(state.count) : id, 2, "though each time is counted")
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.provide(Redsync.layerMemory({ count: 3 }), Logger.layer([logger]))),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
  })

  it.effect("where others hold more than the own limit, an error tells that none is free, and not fewer", () =>
    Effect.gen(function*() {
      yield* held("s", { limit: 9, permits: 5 })
      const error = yield* Effect.flip(Effect.scoped(held("s", { limit: 2 })))
      assert.deepStrictEqual(
        error.votes.map((vote) => vote._tag === "Refused" ? vote.free : vote._tag),
        [0, 0, "Pending"]
      )
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("a semaphore and a lock of one name are independent", () =>
    withLock("s", withPermits("s", Effect.void, { limit: 1, retry: once }), { retry: once }).pipe(
      Effect.provide(Redsync.layerMemory({ count: 3 }))
    ))

  it.effect("permits that the scope holds are not taken for the lock of that name, and do not hide it", () =>
    Effect.gen(function*() {
      const [ours, theirs] = [yield* Redsync.Redsync, yield* Redsync.make({ nodes: nodes(1) })]
      const nested = (redsync: Redsync) =>
        Effect.map(Effect.flip(redsync.lock("s", { retry: once })), (error) => "isNested" in error && error.isNested)
      yield* ours.lock("s")
      yield* ours.permits("s", { limit: 1 })
      assert.isTrue(yield* nested(ours))
      yield* Effect.scoped(
        theirs.lock("s").pipe(
          Effect.andThen(Effect.scoped(Effect.andThen(theirs.permits("s", { limit: 1 }), nested(theirs)))),
          Effect.map((isNested) => assert.isFalse(isNested))
        )
      )
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("an interrupted wait leaves nothing behind, and the next one has its turn", () => {
    const shared = nodes(3)
    return Effect.gen(function*() {
      const first = yield* held("s", { limit: 1 })
      const waiting = yield* Effect.forkChild(withPermits("s", Effect.void, { limit: 1 }))
      yield* TestClock.adjust(1)
      const next = yield* Effect.forkChild(withPermits("s", Effect.succeed("next"), { limit: 1 }))
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(waiting)
      yield* first.release
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(next), "next")
      for (const node of shared) assert.deepStrictEqual((yield* node.permits!.inspect("s")).holders, [])
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: shared })))
  })

  it.effect("a waiter that is interrupted in its turn hands it on to the next service in line", () => {
    const shared = nodes(3)
    return Effect.gen(function*() {
      const options = { limit: 1, retry: Schedule.spaced("1 hour") }
      const ours = yield* Redsync.make({ nodes: shared.map((node) => slow(node, { answer: 10 })) })
      const theirs = yield* Redsync.make({ nodes: shared })
      const first = yield* held("s", { limit: 1 })
      const waiting = yield* Effect.forkChild(ours.withPermits("s", Effect.void, options))
      yield* TestClock.adjust(20)
      const next = yield* Effect.forkChild(theirs.withPermits("s", Effect.succeed("next"), options))
      yield* TestClock.adjust(20)
      yield* first.release
      yield* TestClock.adjust(5)
      yield* Fiber.interrupt(waiting)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(next.pollUnsafe(), Exit.succeed("next"))
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: shared })))
  })

  it.effect.each([["waits"], ["makes one attempt"]] as const)(
    "a request that %s and is interrupted wakes the first in line, who was refused because of it",
    ([kind]) => {
      const shared = nodes(3)
      return Effect.gen(function*() {
        const options = { limit: 1, retry: Schedule.spaced("1 hour") }
        const ours = yield* Redsync.make({ nodes: shared.map((node) => slow(node, { answer: 10 })) })
        const theirs = yield* Redsync.make({ nodes: shared.map((node) => slow(node, { request: 5 })) })
        const first = yield* held("s", { limit: 1 })
        const next = yield* Effect.forkChild(theirs.withPermits("s", Effect.succeed("next"), options))
        yield* TestClock.adjust(20)
        yield* first.release
        yield* TestClock.adjust(1)
        const other = yield* Effect.forkChild(
          kind === "waits"
            ? ours.withPermits("s", Effect.void, options)
            : ours.withPermitsIfAvailable("s", Effect.void, options)
        )
        yield* TestClock.adjust(6)
        yield* Fiber.interrupt(other)
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(next.pollUnsafe(), Exit.succeed("next"))
      }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: shared })))
    }
  )

  it.effect.each([["permits", "s", "a"], ["a lock", "a", "s"]] as const)(
    "nodes that keep no line for %s keep one for the other",
    ([, refused, kept]) => {
      const shared = nodes(3)
      const refusing = (node: LockNode) => {
        const refuse = () =>
          Effect.fail(new LockError.NodeError({ node: node.id, operation: "acquire", reason: "Rejected" }))
        return {
          ...node,
          waitingList: (...args: Parameters<NonNullable<LockNode["waitingList"]>>) =>
            Effect.map(node.waitingList!(...args), (list): WaitingList =>
              refused === "s"
                ? { ...list, permits: { ...list.permits!, join: refuse } }
                : { ...list, join: refuse, release: refuse })
        }
      }
      return Effect.gen(function*() {
        const [ours, theirs] = [
          yield* Redsync.make({ nodes: shared.map(refusing) }),
          yield* Redsync.make({ nodes: shared.map(refusing) })
        ]
        const wait = (redsync: Redsync, name: "s" | "a", every: Duration.Input) => {
          const retry = Schedule.spaced(every)
          return name === "s" ? redsync.permits("s", { limit: 1, retry }) : redsync.lock("a", { retry })
        }
        yield* wait(ours, refused, "1 hour")
        yield* Effect.forkChild(wait(theirs, refused, "1 second"))
        yield* TestClock.adjust("10 seconds")
        const held = yield* wait(ours, kept, "1 hour")
        const waiting = yield* Effect.forkChild(wait(theirs, kept, "1 hour"))
        yield* TestClock.adjust(100)
        assert.isUndefined(waiting.pollUnsafe())
        yield* held.release
        yield* TestClock.adjust(100)
        assert.isTrue(Exit.isSuccess(waiting.pollUnsafe()!))
      }).pipe(Effect.scoped)
    }
  )

  describe("a node that refuses to keep the line", () => {
    /** Waits for a permit while the node refuses its first so many requests to join; how many it got in 5 s, 2 and 12 minutes. */
    const joinsWhileRefused = (times: number) =>
      Effect.gen(function*() {
        let joins = 0
        const refusing = (node: LockNode): LockNode => ({
          ...node,
          waitingList: (...args) =>
            Effect.map(node.waitingList!(...args), (list): WaitingList => ({
              ...list,
              permits: {
                ...list.permits!,
                join: (...request) =>
                  ++joins <= times
                    ? Effect.fail(new LockError.NodeError({ node: node.id, operation: "acquire", reason: "Rejected" }))
                    : list.permits!.join(...request)
              }
            }))
        })
        const redsync = yield* Redsync.make({ nodes: nodes(1).map(refusing) })
        const options = { limit: 1, retry: Schedule.spaced("1 second") }
        yield* redsync.permits("s", options)
        yield* Effect.forkChild(redsync.permits("s", options))
        yield* TestClock.adjust("5 seconds")
        const soon = joins
        yield* TestClock.adjust("115 seconds")
        const later = joins
        yield* TestClock.adjust("10 minutes")
        return { soon, later, muchLater: joins }
      }).pipe(Effect.scoped)

    it.effect("for a moment, is asked again soon after", () =>
      Effect.gen(function*() {
        assert.isAtLeast((yield* joinsWhileRefused(1)).soon, 2)
      }))

    it.effect("for good, is asked ever more rarely", () =>
      Effect.gen(function*() {
        const { later, muchLater, soon } = yield* joinsWhileRefused(Number.POSITIVE_INFINITY)
        assert.isAtLeast(soon, 2)
        // After 1, 2, 4, 8, 16 and 32 s, then each minute.
        assert.isAtMost(later, 8)
        assert.isAtLeast(muchLater - later, 8)
      }))
  })

  it.effect("waits for the lease of a holder that was lost", () => {
    const shared = nodes(3)
    return Effect.gen(function*() {
      const lost = yield* Semaphore.permits("s", { limit: 1, expiry: "3 seconds" })
      yield* lost.abandon
      const waiting = yield* Effect.forkChild(
        withPermits("s", Effect.void, { limit: 1, retry: Schedule.spaced("1 hour") })
      )
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust(10)
      yield* Fiber.join(waiting)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: shared })))
  })

  it.effect("Lock.guard, remaining and release are those of a lock", () =>
    Effect.gen(function*() {
      const permits = yield* held("s", { limit: 1, expiry: "10 seconds" })
      assert.isAbove(Duration.toMillis(yield* permits.remaining), 9000)
      assert.strictEqual(yield* Lock.guard(permits, Effect.succeed(1)), 1)
      assert.isTrue(yield* permits.release)
      assert.strictEqual((yield* Effect.flip(permits.extend))._tag, "LockLost")
      assert.strictEqual(Duration.toMillis(yield* permits.remaining), 0)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("as a value, with the verbs of Effect's semaphores", () =>
    Effect.gen(function*() {
      const five = semaphore("s", { limit: 5, retry: once })
      assert.deepStrictEqual([five.name, five.limit], ["s", 5])
      assert.strictEqual(yield* five.withPermit(({ slots }) => Effect.succeed(slots.length)), 1)
      assert.strictEqual(yield* Effect.succeed("done").pipe(five.withPermits(2)), "done")
      const taken = yield* five.takeScoped(4)
      assert.strictEqual(taken.slots.length, 4)
      assert.deepStrictEqual(yield* five.takeScopedIfAvailable(2), Option.none())
      assert.deepStrictEqual(yield* five.withPermitsIfAvailable(1)(Effect.succeed(1)), Option.some(1))
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  const invalid: ReadonlyArray<readonly [options: unknown, words: RegExp]> = [
    [undefined, /options are undefined/],
    [{}, /limit is undefined; it must be a whole number from 1 to 10000/],
    [{ limit: 0 }, /limit is 0/],
    [{ limit: 1.5 }, /limit is 1.5/],
    [{ limit: 10_001 }, /limit is 10001/],
    [{ limit: "5" }, /limit is "5"/],
    [{ limit: 5, permits: 0 }, /permits is 0; it must be a whole number from 1 to the limit, 5/],
    [{ limit: 5, permits: 6 }, /permits is 6/],
    [{ limit: 5000, permits: 1001 }, /permits is 1001; it must be a whole number from 1 to 1000/],
    [{ limit: 5, expiry: -1 }, /expiry/],
    [{ limits: 5 }, /"limits" here; did you mean limit\?/]
  ]
  /** Everything that takes options. */
  const verbs: Record<
    string,
    (options: Semaphore.PermitOptions, name?: string) => Effect.Effect<unknown, unknown, Redsync | Scope.Scope>
  > = {
    withPermits: (options, name = "s") => withPermits(name, Effect.void, options),
    withPermitsIfAvailable: (options, name = "s") => withPermitsIfAvailable(name, Effect.void, options),
    withFencedPermits: (options, name = "s") => withFencedPermits(name, Effect.void, options),
    withFencedPermitsIfAvailable: (options, name = "s") =>
      Semaphore.withFencedPermitsIfAvailable(name, Effect.void, options),
    permits: (options, name = "s") => Semaphore.permits(name, options),
    tryPermits: (options, name = "s") => Semaphore.tryPermits(name, options),
    fencedPermits: (options, name = "s") => Semaphore.fencedPermits(name, options),
    tryFencedPermits: (options, name = "s") => Semaphore.tryFencedPermits(name, options)
  }

  /** The verbs of a semaphore as a value, which are given the number. */
  const verbsOfValue: ReadonlyArray<
    (five: Semaphore.DistributedSemaphore, permits: number) => Effect.Effect<unknown, unknown, Redsync | Scope.Scope>
  > = [
    (five, permits) => five.withPermits(permits)(Effect.void),
    (five, permits) => five.withPermitsIfAvailable(permits)(Effect.void),
    (five, permits) => five.takeScoped(permits),
    (five, permits) => five.takeScopedIfAvailable(permits)
  ]

  /** Dies with an error that says what is wrong, before a node is asked. */
  const isRefused = Effect.fnUntraced(function*(
    attempt: Effect.Effect<unknown, unknown, Redsync | Scope.Scope>,
    words: RegExp
  ) {
    let asked = 0
    const counting: LockNode = {
      ...MemoryNode.make("a"),
      permits: new Proxy({}, { get: () => () => asked++ }) as never
    }
    const exit = yield* Effect.exit(Effect.provide(attempt, Redsync.layer({ nodes: [counting] })))
    assert(Exit.isFailure(exit))
    const error = Cause.squash(exit.cause)
    assert(error instanceof Cause.IllegalArgumentError)
    assert.match(error.message, words)
    assert.strictEqual(asked, 0)
  })

  it.effect.each(invalid)("refuses %o before any command, whatever is called", ([options, words]) =>
    Effect.scoped(
      Effect.forEach(Object.values(verbs), (verb) => isRefused(verb(options as Semaphore.PermitOptions), words))
    ))

  const unreadable = new Proxy({}, {
    get: () => assert.fail(),
    has: () => assert.fail(),
    ownKeys: () => assert.fail(),
    getPrototypeOf: () => assert.fail()
  })

  it.effect("refuses a number or a limit that is none where a semaphore is a value, and names that are none", () =>
    Effect.gen(function*() {
      for (const verb of verbsOfValue) {
        for (const permits of [0, 6, -1, 1.5, NaN, Infinity]) {
          const words = new RegExp(`permits is ${permits}; it must be a whole number from 1 to the limit, 5`)
          yield* isRefused(verb(semaphore("s", { limit: 5 }), permits), words)
        }
        yield* isRefused(verb(semaphore("s", { limit: -1 }), 1), /limit is -1; it must be a whole number/)
        for (const options of [null, undefined, 7, "x", [], unreadable]) {
          yield* isRefused(verb(semaphore("s", options as never), 1), /the options are /)
        }
        yield* isRefused(verb(semaphore("s", { limit: 5, expirey: 1 } as never), 1), /did you mean expiry/)
        const throwing = Object.defineProperty({ limit: 5 }, "expiry", { enumerable: true, get: () => assert.fail() })
        yield* isRefused(verb(semaphore("s", throwing), 1), /the option expiry cannot be read/)
        yield* isRefused(verb(semaphore("", { limit: 1 }), 1), /name is ""/)
      }
      for (const verb of Object.values(verbs)) {
        yield* isRefused(verb({ limit: 1 }, ""), /name is ""/)
        yield* isRefused(verb({ limit: 1 }, "redsync:1:permits:{s}"), /keys that begin with "redsync:"/)
      }
      for (const verb of [Semaphore.inspectPermits, Semaphore.forceReleasePermits]) {
        yield* isRefused(verb(""), /name is ""/)
      }
    }).pipe(Effect.scoped))

  it.effect("needs permits of every node, and says which has none", () => {
    const { permits: _, ...plain } = MemoryNode.make("plain")
    return Effect.gen(function*() {
      const exit = yield* Effect.exit(withPermits("s", Effect.void, { limit: 1 }))
      assert(Exit.isFailure(exit))
      assert.match(String(Cause.squash(exit.cause)), /the node plain does not support semaphores/)
    }).pipe(Effect.provide(Redsync.layer({ nodes: [MemoryNode.make(), plain] })))
  })
})
