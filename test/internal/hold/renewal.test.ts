/**
 * A held lock keeps itself, and stops its program once it cannot.
 */
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Random,
  Ref,
  Scheduler,
  Scope
} from "effect"
import { TestClock } from "effect/testing"
import {
  inspect,
  Lock,
  lock,
  LockLost,
  type LockNode,
  MemoryNode,
  Redsync,
  retryPolicy,
  tryLock,
  withLock
} from "../../../src/index.ts"
import { open } from "../../support/opened.ts"
import * as ShiftedClock from "../../support/shiftedClock.ts"
import * as TestNodes from "../../support/testNodes.ts"

const expiry = 8000
/** The lease that an expiry of 8 s buys. */
const lease = expiry - (expiry * 0.01 + 2)
const third = Math.ceil(expiry / 3)

describe("extension", () => {
  it.effect("a third of the expiry after the last success, for as long as the program runs", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const fiber = yield* Effect.forkChild(provide(nodes, withLock("a", Effect.as(Effect.sleep("1 minute"), "done"))))
      yield* TestClock.adjust(third - 1)
      assert.deepStrictEqual(nodes.map(extensions), [0, 0, 0])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(nodes.map(extensions), [1, 1, 1])
      yield* TestClock.adjust(third)
      assert.deepStrictEqual(nodes.map(extensions), [2, 2, 2])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* Fiber.join(fiber), "done")
      assert.deepStrictEqual(nodes.map(extensions), [22, 22, 22])
    }))

  it.effect("an extension by hand puts the next one off", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      yield* TestClock.adjust(2000)
      yield* held.extend
      yield* TestClock.adjust(third - 1)
      assert.strictEqual(extensions(nodes[0]!), 1)
      yield* TestClock.adjust(1)
      assert.strictEqual(extensions(nodes[0]!), 2)
      assert.strictEqual(yield* remaining(held), lease)
    }).pipe(Effect.scoped))

  it.effect("the lease counts from when the extension was sent", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      for (const node of nodes) node.state = { slow: 300 }
      yield* TestClock.adjust(third + 300)
      assert.strictEqual(yield* remaining(held), lease - 300)
      for (const node of nodes) node.state = "up"
    }).pipe(Effect.scoped))

  it.effect("a round that misses the quorum is tried again, ever more rarely, until the lease ends", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      nodes[0]!.state = nodes[1]!.state = { rejects: "OOM is near" }
      const rounds: Array<number> = []
      let seen = 0
      for (let at = 1; at <= lease + 100; at++) {
        yield* TestClock.adjust(1)
        if (extensions(nodes[2]!) > seen) rounds.push(at)
        seen = extensions(nodes[2]!)
      }
      const gaps = rounds.slice(1).map((at, index) => at - rounds[index]!)
      assert.isAtLeast(gaps.length, 5)
      // The last pause is cut short by the end of the lease.
      for (const [index, gap] of gaps.slice(1, -1).entries()) assert.isAtLeast(gap, gaps[index]!)
      assert.isAtLeast(gaps.at(-2)!, gaps[0]! * 4)
      assert.isAtMost(rounds.at(-1)!, lease)
      const { reason, votes } = yield* lossOf(held)
      assert.strictEqual(reason, "NodesUnavailable")
      assert.deepStrictEqual(votes.map(({ _tag }) => _tag), ["Failed", "Failed", "Pending"])
      for (const node of nodes) node.state = "up"
    }).pipe(Effect.scoped))

  it.effect("after a round that succeeded the next miss is tried again as soon as the first was", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* elsewhere(nodes, lock("a"))
      const fail = (state: TestNodes.State) => {
        nodes[0]!.state = nodes[1]!.state = state
      }
      /** Lets one round after the other miss, and tells how long it was from the first to the second of so many. */
      const missed = (count: number) =>
        Effect.gen(function*() {
          fail({ rejects: "OOM is near" })
          const before = extensions(nodes[2]!)
          const rounds: Array<number> = []
          for (let at = 0; rounds.length < count; at++) {
            yield* TestClock.adjust(1)
            if (extensions(nodes[2]!) > before + rounds.length) rounds.push(at)
          }
          fail("up")
          return rounds[1]! - rounds[0]!
        })
      const first = yield* missed(5)
      // Time for a round that succeeds.
      yield* TestClock.adjust(1000)
      assert.strictEqual(yield* missed(2), first)
      yield* TestClock.adjust(1000)
    }).pipe(Effect.scoped))

  it.effect("a majority that comes back a second before the lease ends keeps the lock, time and again", () =>
    Effect.gen(function*() {
      for (const state of ["deaf", { rejects: "OOM is near" }] as const) {
        const nodes = yield* TestNodes.makeMany(3)
        const held = yield* elsewhere(nodes, lock("a"))
        for (let i = 0; i < 5; i++) {
          nodes[0]!.state = nodes[1]!.state = state
          yield* TestClock.adjust((yield* remaining(held)) - 1000)
          nodes[0]!.state = nodes[1]!.state = "up"
          yield* TestClock.adjust(1000)
          assert.isAbove(yield* remaining(held), lease - 1000, `${JSON.stringify(state)} ${i}`)
        }
      }
    }).pipe(Effect.scoped))

  it.effect("stops with the release", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      yield* TestClock.adjust(third)
      yield* held.release
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(nodes.map(extensions), [1, 1, 1])
    }).pipe(Effect.scoped))

  it.effect("one under way during the release never revives the lock, however late it is answered", () =>
    Effect.gen(function*() {
      for (const state of [{ slow: 50 }, "mute"] as const) {
        const nodes = yield* TestNodes.makeMany(3)
        const held = yield* elsewhere(nodes, lock("a"))
        for (const node of nodes) node.state = state
        yield* TestClock.adjust(third)
        assert.strictEqual(extensions(nodes[0]!), 1)
        for (const node of nodes) node.state = "up"
        yield* held.release
        assert.isTrue(yield* isFree(nodes, "a"))
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* isFree(nodes, "a"))
        assert.strictEqual(yield* remaining(held), 0)
      }
    }).pipe(Effect.scoped))

  it.effect("one by hand under way during the release is LockLost and leaves no key", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      for (const node of nodes) node.state = { slow: 50 }
      const extending = yield* Effect.forkChild(Effect.exit(held.extend))
      yield* Effect.yieldNow
      yield* Effect.forkChild(held.release)
      yield* TestClock.adjust("1 second")
      assert.instanceOf(errorOf(yield* Fiber.join(extending)), LockLost)
      for (const node of nodes) node.state = "up"
      assert.isTrue(yield* isFree(nodes, "a"))
    }).pipe(Effect.scoped))

  it.effect("autoExtend: false asks for nothing and interrupts at the end of the lease, to the millisecond", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const stoppedAt = yield* Ref.make(0)
      const program = Effect.ensuring(
        Effect.never,
        Effect.flatMap(Clock.currentTimeMillis, (at) => Ref.set(stoppedAt, at))
      )
      const fiber = yield* Effect.forkChild(provide(nodes, withLock("a", program, { autoExtend: false })))
      yield* TestClock.adjust(lease - 1)
      assert.strictEqual(yield* Ref.get(stoppedAt), 0)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Ref.get(stoppedAt), lease)
      const error = errorOf(yield* Fiber.await(fiber))
      assert.instanceOf(error, LockLost)
      assert.strictEqual(error.reason, "Expired")
      assert.deepStrictEqual(nodes.map(extensions), [0, 0, 0])
    }))
})

describe("nodes that lost the key", () => {
  it.effect("get it back", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      yield* nodes[1]!.remove("a")
      yield* TestClock.adjust(third)
      assert.deepStrictEqual(yield* valuesOf(nodes, "a"), [held.value, held.value, held.value])
      assert.strictEqual(yield* remaining(held), lease)
    }).pipe(Effect.scoped))

  it.effect("do not vote in that round: with another one silent it is missed, and the next is not", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      yield* nodes[1]!.remove("a")
      nodes[2]!.state = { rejects: "OOM is near" }
      yield* TestClock.adjust(third)
      assert.strictEqual(yield* remaining(held), lease - third)
      yield* TestClock.adjust(50)
      assert.strictEqual(yield* remaining(held), lease)
      nodes[2]!.state = "up"
    }).pipe(Effect.scoped))

  it.effect("in a majority confirm nothing: Taken, and no key of ours stays behind", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(5)
      const held = yield* elsewhere(nodes, lock("a"))
      for (const index of [0, 2, 4]) yield* nodes[index]!.remove("a")
      yield* TestClock.adjust(third)
      const { reason, votes } = yield* lossOf(held)
      assert.strictEqual(reason, "Taken")
      assert.deepStrictEqual(votes.map(({ _tag }) => _tag), ["Refused", "Granted", "Refused", "Granted", "Refused"])
      assert.isTrue(yield* isFree(nodes, "a"))
    }).pipe(Effect.scoped))

  it.effect("or have another value: Taken by the next round, and the other's key is not touched", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      for (const index of [0, 1]) {
        yield* nodes[index]!.remove("a")
        yield* nodes[index]!.acquire("a", "theirs", 60_000)
      }
      yield* TestClock.adjust(third)
      assert.strictEqual((yield* lossOf(held)).reason, "Taken")
      assert.deepStrictEqual(yield* valuesOf(nodes, "a"), ["theirs", "theirs", undefined])
    }).pipe(Effect.scoped))
})

describe("loss", () => {
  it.effect("interrupts the program at once; its finalizers run; LockLost does not wait for the release", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const finalized = yield* Ref.make(0)
      const program = Effect.ensuring(
        Effect.never,
        Effect.flatMap(Clock.currentTimeMillis, (at) => Ref.set(finalized, at))
      )
      const fiber = yield* Effect.forkChild(provide(
        nodes,
        Effect.exit(withLock("a", program)).pipe(
          // Closing the layer does wait, so look before.
          Effect.tap(() =>
            Effect.flatMap(Clock.currentTimeMillis, (at) => Ref.update(finalized, (was) => was === at ? at : -1))
          )
        )
      ))
      yield* Effect.yieldNow
      for (const node of nodes) node.state = "silent"
      yield* TestClock.adjust(lease)
      assert.strictEqual(yield* Ref.get(finalized), lease)
      for (const node of nodes) node.state = "up"
      yield* TestClock.adjust("10 seconds")
      const error = errorOf(yield* Fiber.join(fiber))
      assert.instanceOf(error, LockLost)
      assert.strictEqual(error.reason, "NodesUnavailable")
      assert.deepStrictEqual(error.votes.map(({ _tag }) => _tag), ["Failed", "Failed", "Pending"])
    }))

  it.effect("Expired tells what the nodes said when it could not be extended", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      // Neither a majority that refuses nor one that fails.
      nodes[0]!.state = { rejects: "OOM is near" }
      yield* nodes[1]!.remove("a")
      yield* nodes[1]!.acquire("a", "theirs", 60_000)
      yield* TestClock.adjust(lease)
      const { reason, votes } = yield* lossOf(held)
      assert.strictEqual(reason, "Expired")
      assert.deepStrictEqual(votes.map(({ _tag }) => _tag), ["Failed", "Refused", "Granted"])
      nodes[0]!.state = "up"
    }).pipe(Effect.scoped))

  it.effect("Lock.lost and Lock.guard say so, and remaining is zero", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      const interrupted = yield* Deferred.make<void>()
      const lost = yield* Effect.forkChild(held.lost)
      const guarded = yield* Effect.forkChild(
        Lock.guard(held, Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined)))
      )
      yield* Effect.yieldNow
      for (const node of nodes) yield* node.remove("a")
      yield* TestClock.adjust(third)
      assert.isTrue(Deferred.isDoneUnsafe(interrupted))
      for (const fiber of [lost, guarded]) {
        const error = errorOf(yield* Fiber.await<never, LockLost>(fiber))
        assert.instanceOf(error, LockLost)
        assert.strictEqual(error.reason, "Taken")
      }
      assert.strictEqual(yield* remaining(held), 0)
    }).pipe(Effect.scoped))
})

describe("clocks", () => {
  const hour = 3_600_000

  it.effect("a lease ended by the wall clock is noticed within a second or so", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes.makeMany(3)
        const fiber = yield* Effect.forkChild(provide(nodes, withLock("a", Effect.never)))
        yield* TestClock.adjust("20 seconds")
        clock.wall = hour
        yield* TestClock.adjust(1001)
        assert.instanceOf(errorOf(yield* ended(fiber)), LockLost)
      })
    ))

  it.effect("so is one that the wall clock ends early without ending it then and there", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes.makeMany(3)
        const fiber = yield* Effect.forkChild(provide(nodes, withLock("a", Effect.never, { autoExtend: false })))
        yield* TestClock.adjust(3000)
        clock.wall = 3000
        yield* TestClock.adjust(lease - 6000 + 1001)
        assert.instanceOf(errorOf(yield* ended(fiber)), LockLost)
      })
    ))

  it.effect("set once, they have locks extended once more, and then as before", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes.makeMany(3)
        const fiber = yield* Effect.forkChild(provide(nodes, withLock("a", Effect.never)))
        yield* TestClock.adjust(1500)
        clock.wall = 300
        yield* TestClock.adjust(501)
        assert.strictEqual(extensions(nodes[0]!), 1)
        yield* TestClock.adjust(10 * third)
        assert.strictEqual(extensions(nodes[0]!), 11)
        yield* Fiber.interrupt(fiber)
      })
    ))

  it.effect("are compared once a second, however often they were set", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const { run, service } = yield* open({ nodes: MemoryNode.makeMany(1) })
        yield* run(lock("a", { autoExtend: false, expiry: "1 hour" }))
        let compared = 0
        const { timers } = service.quorum
        const schedule = timers.schedule.bind(timers)
        timers.schedule = (millis, act) => {
          if (millis === 1000) compared++
          return schedule(millis, act)
        }
        for (let times = 0; times < 5; times++) {
          clock.wall += 300
          yield* TestClock.adjust("1 second")
        }
        assert.strictEqual(compared, 5)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(compared, 15)
      })
    ).pipe(Effect.scoped))

  it.effect("set back it neither ends nor prolongs anything", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes.makeMany(3)
        const fiber = yield* Effect.forkChild(provide(nodes, withLock("a", Effect.never, { autoExtend: false })))
        yield* TestClock.adjust(1000)
        clock.wall = -hour
        yield* TestClock.adjust(lease - 1001)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.instanceOf(errorOf(yield* ended(fiber)), LockLost)
      })
    ))

  it.effect("set forward and back by an hour while holding and waiting: never two holders, and the waiter gets it", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = MemoryNode.makeMany(3)
        const inside = new Set<number>()
        const turns: Array<number> = []
        const work = (who: number) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              inside.add(who)
              assert.strictEqual(inside.size, 1)
              turns.push(who)
            }),
            () => Effect.sleep("5 seconds"),
            () => Effect.sync(() => inside.delete(who))
          )
        const retry = retryPolicy({ delay: "1 second", within: "10 minutes" })
        const fibers = yield* Effect.forEach([1, 2, 3, 4], (who) =>
          provide(nodes, Effect.exit(withLock("a", work(who), { retry }))).pipe(Effect.forkChild))
        const jumps = [0, hour, 0, -hour, 0, -hour, hour, 0]
        for (const wall of jumps) {
          yield* TestClock.adjust(1700)
          clock.wall = wall
        }
        yield* TestClock.adjust("1 minute")
        const exits = yield* Fiber.joinAll(fibers)
        assert.sameMembers(turns, [1, 2, 3, 4])
        for (const exit of exits) {
          if (Exit.isFailure(exit)) {
            assert.instanceOf(errorOf(exit), LockLost)
          }
        }
        // Set forward while held it costs the holder its lock.
        assert.isTrue(exits.some(Exit.isFailure) && exits.some(Exit.isSuccess))
      })
    ))

  it.effect("setting the wall clock neither ends nor prolongs a wait", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = MemoryNode.makeMany(3)
        // Somebody else's, who keeps it whatever our clock says.
        for (const node of nodes) yield* node.acquire("a", "theirs", 60_000)
        for (const wall of [hour, -hour]) {
          const fiber = yield* Effect.forkChild(provide(
            nodes,
            withLock("a", Effect.void, {
              retry: retryPolicy({ delay: 100, within: "3 seconds" })
            })
          ))
          yield* TestClock.adjust(1000)
          clock.wall = wall
          yield* TestClock.adjust(1999)
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust(1)
          assert.isTrue(Exit.isFailure(yield* ended(fiber)))
          clock.wall = 0
        }
      }).pipe(Effect.scoped)
    ))

  it.effect("after a blocked event loop the program is interrupted before its next step", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = MemoryNode.makeMany(3)
        const block = Effect.sync(() => void (clock.blocked += lease))
        const steps: Array<string> = []
        const step = (name: string) => Effect.sync(() => void steps.push(name))
        const programs = [
          Effect.gen(function*() {
            yield* step("before")
            yield* block
            yield* step("after")
          }),
          Effect.andThen(Effect.andThen(step("before"), block), step("after")),
          Effect.gen(function*() {
            yield* step("before")
            yield* Effect.sleep(10)
            yield* block
            yield* Effect.promise(() => Promise.resolve(steps.push("after")))
          }),
          Effect.andThen(Effect.andThen(step("before"), block), Effect.never),
          // In a fiber of the program's own.
          Effect.andThen(Effect.andThen(step("before"), block), step("after")).pipe(
            Effect.forkChild,
            Effect.flatMap(Fiber.join)
          ),
          // While it holds another lock, which is not lost.
          withLock("b", Effect.andThen(Effect.andThen(step("before"), block), step("after")), { expiry: "1 hour" })
        ]
        for (const preventsYields of [false, true]) {
          for (const program of programs) {
            steps.length = 0
            const finalized = Effect.ensuring(program, step("finalized"))
            const fiber = yield* provide(nodes, withLock("a", finalized)).pipe(
              Effect.provideService(Scheduler.PreventSchedulerYield, preventsYields),
              Effect.forkChild
            )
            yield* TestClock.adjust(100)
            assert.deepStrictEqual(steps, ["before", "finalized"])
            assert.instanceOf(errorOf(yield* ended(fiber)), LockLost)
          }
        }
      })
    ))

  it.effect("a blocked event loop within the lease costs nothing", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = MemoryNode.makeMany(3)
        const program = Effect.repeat(
          Effect.andThen(Effect.sleep(1000), Effect.sync(() => void (clock.blocked += lease - third - 1000))),
          { times: 9 }
        )
        const fiber = yield* Effect.forkChild(provide(nodes, withLock("a", Effect.as(program, "done"))))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(fiber.pollUnsafe(), Exit.succeed("done"))
      })
    ))
})

describe("for long, and for many", () => {
  const day = 24 * 3600
  const expiry = 60

  /** Holds a lock for a day over three nodes, of which one at a time comes back empty, and tells for how many seconds it was held. */
  const aDay = (nodes: ReadonlyArray<LockNode>) =>
    Effect.gen(function*() {
      const held = yield* elsewhere(nodes, lock("a", { expiry: `${expiry} seconds` }))
      let seconds = 0
      while (seconds < day && (yield* remaining(held)) > 0) {
        yield* (yield* Random.choice(nodes)).remove("a")
        const next = yield* Random.nextIntBetween(expiry / 3 + 1, expiry * 3)
        yield* TestClock.adjust(Duration.seconds(next))
        seconds += next
      }
      return seconds
    }).pipe(Effect.scoped)

  const memory = () => MemoryNode.makeMany(3)

  it.effect("a day of single nodes restarting empty: never lost, and lost without re-planting", () =>
    Effect.gen(function*() {
      assert.isAtLeast(yield* aDay(memory()), day)
      const forgetful = memory().map((node): LockNode => ({
        ...node,
        extend: (key, value, expiry) =>
          Effect.flatMap(
            node.extend(key, value, expiry),
            (extended) => extended ? Effect.succeed(true) : Effect.as(node.release(key, value), false)
          )
      }))
      assert.isBelow(yield* aDay(forgetful), day / 24)
    }).pipe(Random.withSeed("a day")))

  it.effect("ten thousand held locks share their timers", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const context = yield* Layer.build(Redsync.layer({ nodes: [MemoryNode.make()] }))
        const names = Array.from({ length: 10_000 }, (_, index) => `lock-${index}`)
        const locks = yield* Effect.forEach(names, (name) => lock(name)).pipe(Effect.provide(context))
        assert.isAtMost(clock.sleeping, 3)
        const slept = clock.slept
        yield* TestClock.adjust("20 seconds")
        assert.isAtMost(clock.sleeping, 3)
        assert.isBelow(clock.slept - slept, 100)
        for (const held of locks) assert.isAbove(yield* remaining(held), lease - third)
      }).pipe(Effect.scoped)
    ))

  it.effect("nobody sleeps any more for a service that is closed", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const nodes = yield* TestNodes.makeMany(3)
        const context = yield* Layer.buildWithScope(Redsync.layer({ nodes }), scope)
        yield* Effect.forEach(["a", "b", "c"], (name) => lock(name)).pipe(Effect.provide(context), Scope.provide(scope))
        const waiter = yield* Effect.forkChild(Effect.provide(withLock("a", Effect.void), context))
        yield* TestClock.adjust(100)
        assert.isAbove(clock.sleeping, 0)
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.await(waiter)
        assert.strictEqual(clock.sleeping, 0)
      })
    ))

  it.effect("all that are lost at once are told so", () =>
    Effect.gen(function*() {
      const node = yield* TestNodes.make("node")
      const context = yield* Layer.build(Redsync.layer({ nodes: [node] }))
      const names = Array.from({ length: 1000 }, (_, index) => `lock-${index}`)
      const locks = yield* Effect.forEach(names, (name) => tryLock(name)).pipe(Effect.provide(context))
      node.state = { rejects: "OOM is near" }
      yield* TestClock.adjust(lease)
      const reasons = yield* Effect.forEach(locks, (held) =>
        Effect.map(lossOf(Option.getOrThrow(held)), ({ reason }) => reason))
      assert.deepStrictEqual([...new Set(reasons)], ["NodesUnavailable"])
      node.state = "up"
    }).pipe(Effect.scoped))
})

const extensions = (node: TestNodes.TestNode) => TestNodes.callsOf(node, "extend").length

const remaining = (held: Lock) => Effect.map(held.remaining, Duration.toMillis)

const lossOf = (held: Lock) => Effect.flip(held.lost)

/** How the fiber ended; a defect if it has not yet. */
const ended = <A, E>(fiber: Fiber.Fiber<A, E>) =>
  Effect.sync(() => {
    const exit = fiber.pollUnsafe()
    assert.isDefined(exit)
    return exit
  })

const errorOf = <A, E>(exit: Exit.Exit<A, E>): unknown => Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined

/** The value each node has under the name. */
const valuesOf = (nodes: ReadonlyArray<LockNode>, name: string) =>
  Effect.map(
    provide(nodes, inspect(name)),
    (found) => found.nodes.map((node) => node._tag === "Held" ? node.value : undefined)
  )

const isFree = (nodes: ReadonlyArray<LockNode>, name: string) =>
  Effect.map(valuesOf(nodes, name), (values) => values.every((value) => value === undefined))

/** Runs an effect on a service of its own over the nodes. */
function provide<A, E, R>(nodes: ReadonlyArray<LockNode>, effect: Effect.Effect<A, E, R>) {
  return Effect.provide(effect, Redsync.layer({ nodes }))
}

/** The same on a service that stays open until the scope closes. */
function elsewhere<A, E>(
  nodes: ReadonlyArray<LockNode>,
  effect: Effect.Effect<A, E, Redsync | Scope.Scope>
) {
  return Effect.flatMap(Layer.build(Redsync.layer({ nodes })), (context) => Effect.provide(effect, context))
}
