/**
 * The verbs on nodes in memory and `TestClock`: what is promised, and what
 * breaks it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Duration, Effect, Exit, Fiber, Layer, Logger, Option, Ref, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  adopt,
  ErrFailed,
  forceUnlock,
  inspect,
  Lock,
  lock,
  LockLost,
  type LockNode,
  MemoryNode,
  NodesUnavailable,
  Redsync,
  retryPolicy,
  type ServiceOptions,
  sharedLock,
  tryLock,
  unlock,
  withLock,
  withLockIfAvailable,
  withLocks
} from "../src/index.ts"
import { toNodeError } from "../src/internal/redis/errors.ts"
import * as TestNodes from "./support/testNodes.ts"

const once = { retry: retryPolicy({ tries: 1 }) }

const errorOf = <A, E>(exit: Exit.Exit<A, E>): unknown => Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined

/** Whether no node has a key of that name. */
const isFree = (name: string) => Effect.map(inspect(name), ({ nodes }) => nodes.every((node) => node._tag === "Free"))

describe("withLock", () => {
  it.effect("runs the program once the lock is held, and releases it", () =>
    Effect.gen(function*() {
      const during = yield* withLock("a", (held) =>
        Effect.map(inspect("a"), ({ holder }) => [held.value, holder] as const))
      assert.deepStrictEqual(during[1], Option.some({ value: during[0], ttlMillis: 8000 }))
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("excludes: of two programs one runs after the other", () =>
    Effect.gen(function*() {
      const inside = yield* Ref.make(0)
      const work = Effect.gen(function*() {
        assert.strictEqual(yield* Ref.updateAndGet(inside, (n) => n + 1), 1)
        yield* Effect.sleep("100 millis")
        yield* Ref.update(inside, (n) => n - 1)
        return yield* Clock.currentTimeMillis
      })
      const fibers = yield* Effect.forEach([1, 2], () => Effect.forkChild(withLock("a", work)))
      yield* TestClock.adjust("2 seconds")
      const [first, second] = yield* Fiber.joinAll(fibers)
      assert.isAtLeast(Math.abs(second! - first!), 100)
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("releases when the program fails, dies or is interrupted", () =>
    Effect.gen(function*() {
      for (const program of [Effect.fail("no"), Effect.die("broken"), Effect.interrupt]) {
        const exit = yield* Effect.exit(withLock("a", program))
        assert.isTrue(Exit.isFailure(exit))
        assert.isTrue(yield* isFree("a"))
      }
      const fiber = yield* Effect.forkChild(withLock("a", Effect.never))
      yield* Effect.yieldNow
      assert.isFalse(yield* isFree("a"))
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("interrupts a program that outlives its lease, exactly then", () =>
    Effect.gen(function*() {
      const stoppedAt = yield* Ref.make(0)
      const program = Effect.never.pipe(
        Effect.ensuring(Effect.flatMap(Clock.currentTimeMillis, (now) => Ref.set(stoppedAt, now)))
      )
      const fiber = yield* Effect.forkChild(withLock("a", program, { expiry: 1000, autoExtend: false }))
      yield* TestClock.adjust(987)
      assert.strictEqual(yield* Ref.get(stoppedAt), 0)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Ref.get(stoppedAt), 1000 - (1000 * 0.01 + 2))
      const error = errorOf(yield* Fiber.await(fiber))
      assert.instanceOf(error, LockLost)
      assert.strictEqual(error.reason, "Expired")
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("never reports success for a program that outlived its lock", () =>
    Effect.gen(function*() {
      // Uninterruptible, so it goes on after the loss and succeeds.
      const program = Effect.uninterruptible(Effect.as(Effect.sleep("2 seconds"), "done"))
      const fiber = yield* Effect.forkChild(withLock("a", program, { expiry: 1000, autoExtend: false }))
      yield* TestClock.adjust("3 seconds")
      assert.instanceOf(errorOf(yield* Fiber.await(fiber)), LockLost)
      // A blocked event loop: the time has passed, and no timer could fire.
      const clock = blockableClock()
      const blocked = yield* withLock("b", Effect.sync(() => clock.block(1000)), { expiry: 1000 }).pipe(
        Effect.provide(Redsync.layerMemory({ count: 3 })),
        Effect.provideService(Clock.Clock, clock),
        Effect.exit
      )
      assert.instanceOf(errorOf(blocked), LockLost)
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("fails with LockLost at once, without waiting to release", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* on(
        nodes,
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(withLock("a", Effect.never, { expiry: 1000, autoExtend: false }))
          yield* Effect.yieldNow
          for (const node of nodes) node.state = "silent"
          yield* TestClock.adjust(988)
          assert.instanceOf(errorOf(fiber.pollUnsafe()!), LockLost)
        })
      )
    }))

  it.effect("keeps the program's own failure", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Effect.exit(withLock("a", Effect.fail("mine"))), Exit.fail("mine"))
    }).pipe(Effect.provide(Redsync.layerMemory())))

  it.effect("gives a program its scope, not the lock's", () =>
    Effect.gen(function*() {
      const closed = yield* Ref.make(false)
      const program = Effect.addFinalizer(() => Ref.set(closed, true))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* withLock("a", program)
        assert.isFalse(yield* Ref.get(closed))
      }))
      assert.isTrue(yield* Ref.get(closed))
    }).pipe(Effect.provide(Redsync.layerMemory())))
})

describe("waiting", () => {
  it.effect("tries 16 times, 512 ms apart give or take a fifth, then tells who holds it for how long", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* Effect.gen(function*() {
        yield* elsewhere(nodes, lock("a", { expiry: "1 minute" }))
        const fiber = yield* Effect.forkChild(withLock("a", Effect.void))
        yield* TestClock.adjust(Duration.millis(512 * 15 * 1.2))
        const error = errorOf(yield* Fiber.await(fiber))
        assert.instanceOf(error, ErrFailed)
        assert.strictEqual(error.attempts, 16)
        const waited = Duration.toMillis(error.waited)
        assert.isTrue(waited > 512 * 15 * 0.8 && waited < 512 * 15 * 1.2, String(waited))
        assert.match(
          error.message,
          /^Could not acquire lock "a" after 16 attempts in \d\.\d s: node-1 held by another for about 5\d\.\d s more; node-2 /
        )
        // 1 by the holder, 16 by us, and one look.
        assert.deepStrictEqual(TestNodes.operations(nodes[0]!), [
          ...Array.from({ length: 17 }, () => "acquire"),
          "inspect"
        ])
      }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes })))
    }))

  it.effect("retryPolicy: tries counts attempts, there is no delay after the last, within bounds the wait", () =>
    Effect.gen(function*() {
      yield* lock("a", { expiry: "1 hour" })
      const cases = [
        [{ tries: 1 }, 1, 0, 0],
        [{ tries: 3, delay: 100 }, 3, 160, 240],
        [{ tries: 3, delay: "1 second", within: 500 }, 2, 500, 500],
        [{ delay: 100, within: "1 second" }, undefined, 1000, 1000]
      ] as const
      for (const [policy, attempts, least, most] of cases) {
        const fiber = yield* Effect.forkChild(withLock("a", Effect.void, { retry: retryPolicy(policy) }))
        yield* TestClock.adjust("5 seconds")
        const error = errorOf(yield* Fiber.await(fiber))
        assert.instanceOf(error, ErrFailed)
        if (attempts !== undefined) assert.strictEqual(error.attempts, attempts)
        const waited = Duration.toMillis(error.waited)
        assert.isTrue(waited >= least && waited <= most, `${JSON.stringify(policy)} waited ${waited}`)
      }
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("any schedule will do: it is stepped with the error of each attempt", () =>
    Effect.gen(function*() {
      yield* lock("a", { expiry: "1 hour" })
      const seen: Array<string> = []
      const retry = Schedule.recurs(2).pipe(
        Schedule.setInputType<ErrFailed | NodesUnavailable>(),
        Schedule.tap(({ input }) => Effect.sync(() => seen.push(input._tag)))
      )
      assert.instanceOf(errorOf(yield* Effect.exit(withLock("a", Effect.void, { retry }))), ErrFailed)
      assert.deepStrictEqual(seen, ["ErrFailed", "ErrFailed"])
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("a fresh value for every attempt", () =>
    Effect.gen(function*() {
      const values = new Set<string>()
      const node = MemoryNode.make()
      const spy = {
        ...node,
        acquire: (key: string, value: string, expiry: number) => {
          values.add(value)
          return node.acquire(key, value, expiry)
        }
      }
      yield* Effect.gen(function*() {
        yield* elsewhere([spy], lock("a"))
        yield* Effect.exit(withLock("a", Effect.void, { retry: Schedule.recurs(9) }))
      }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: [spy] })))
      assert.strictEqual(values.size, 11)
      for (const value of values) assert.match(value, /^[A-Za-z0-9+/]{28}$/)
    }))

  it.effect("Effect.timeout ends it at once and leaves no key behind", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* Effect.gen(function*() {
        nodes[0]!.state = { slow: 10 }
        nodes[1]!.state = "mute"
        nodes[2]!.state = "mute"
        const fiber = yield* Effect.forkChild(Effect.timeoutOption(withLock("a", Effect.void), 20))
        yield* TestClock.adjust(20)
        assert.deepStrictEqual(yield* Fiber.join(fiber), Option.none())
        for (const node of nodes) node.state = "up"
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* isFree("a"))
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
    }))
})

describe("votes", () => {
  it.effect("a minority that fails or is silent is invisible, one log line a change", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(5)
      const logged: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => logged.push(String(message)))
      yield* on(
        nodes,
        Effect.gen(function*() {
          nodes[1]!.state = { rejects: "OOM is near" }
          nodes[3]!.state = "silent"
          for (let i = 0; i < 3; i++) {
            yield* withLock("a", Effect.void)
            yield* TestClock.adjust("1 second")
          }
          for (const node of nodes) node.state = "up"
          for (let i = 0; i < 3; i++) yield* withLock("a", Effect.void)
        }),
        Logger.layer([logger])
      )
      assert.deepStrictEqual(logged.slice(0, 2), [
        "Lock node node-2 answered with an error: OOM is near",
        "Lock node node-4 did not answer in time"
      ])
      assert.deepStrictEqual(logged.slice(2).sort(), [
        "Lock node node-2 answers again",
        "Lock node node-4 answers again"
      ])
    }))

  it.effect("a majority that fails is NodesUnavailable, after the schedule, with each node's reason", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(5)
      for (const index of [0, 1]) nodes[index]!.state = { rejects: "OOM is near" }
      nodes[2]!.state = "silent"
      const fiber = yield* withLock("a", Effect.void, {
        retry: Schedule.addDelay(Schedule.recurs(1), () => Effect.succeed(100))
      }).pipe(
        Effect.provide(Redsync.layer({ nodes })),
        Effect.forkChild
      )
      yield* TestClock.adjust("10 seconds")
      const error = errorOf(yield* Fiber.await(fiber))
      assert.instanceOf(error, NodesUnavailable)
      assert.strictEqual(error.quorum, 3)
      assert.strictEqual(
        error.message,
        `No quorum for lock "a": 2 of 5 nodes usable, 3 required: node-1 answered with an error: OOM is near; ` +
          "node-2 answered with an error: OOM is near; node-3 is not connected: it has not answered anything for 0.5 s; " +
          "node-4 has no such key now; node-5 has no such key now"
      )
      for (const node of nodes) node.state = "up"
      assert.isTrue(yield* isFree("a").pipe(Effect.provide(Redsync.layer({ nodes }))))
    }))

  it.effect("an attempt that was granted too late is refused, and undone", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      for (const node of nodes) node.state = { slow: 990 }
      const options = { expiry: 1000, nodeTimeout: 2000, ...once }
      const fiber = yield* Effect.exit(withLock("a", Effect.void, options)).pipe(
        Effect.provide(Redsync.layer({ nodes })),
        Effect.forkChild
      )
      yield* TestClock.adjust("10 seconds")
      assert.instanceOf(errorOf(yield* Fiber.join(fiber)), ErrFailed)
      assert.include(TestNodes.operations(nodes[0]!), "release")
    }))

  it.effect("never waits for a straggler", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      nodes[2]!.state = { slow: 300 }
      yield* on(
        nodes,
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(withLock("a", Clock.currentTimeMillis))
          yield* Effect.yieldNow
          assert.deepStrictEqual(fiber.pollUnsafe(), Exit.succeed(0))
        })
      )
    }))

  it.effect("a refused attempt is undone where it may have been granted, and only there", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(5)
      yield* Effect.gen(function*() {
        for (const index of [0, 1, 2]) yield* nodes[index]!.acquire("a", "theirs", 10_000)
        nodes[4]!.state = "mute"
        assert.isTrue(Option.isNone(yield* withLockIfAvailable("a", Effect.void)))
        nodes[4]!.state = "up"
        yield* TestClock.adjust("2 seconds")
        const { nodes: views } = yield* inspect("a")
        assert.deepStrictEqual(views.map(({ _tag }) => _tag), ["Held", "Held", "Held", "Free", "Free"])
        assert.deepStrictEqual(nodes.map((node) => TestNodes.callsOf(node, "release").length > 0), [
          false,
          false,
          false,
          true,
          true
        ])
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
    }))

  it.effect("the clean-up asks a failing node again until it answers", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* on(
        nodes,
        Effect.gen(function*() {
          const held = yield* lock("a", { expiry: "1 minute" })
          nodes[2]!.state = { rejects: "OOM is near" }
          assert.isTrue(yield* held.release)
          yield* TestClock.adjust("5 seconds")
          nodes[2]!.state = "up"
          assert.isFalse(yield* isFree("a"))
          yield* TestClock.adjust("5 seconds")
          assert.isTrue(yield* isFree("a"))
        })
      )
    }))
})

describe("tryLock and withLockIfAvailable", () => {
  it.effect("none where somebody else has it, after one attempt; NodesUnavailable where too few answer", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* on(
        nodes,
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* withLockIfAvailable("a", Effect.succeed(1)), Option.some(1))
          const held = yield* tryLock("a")
          assert.isTrue(Option.isSome(held))
          assert.isTrue(Option.isNone(yield* tryLock("a")))
          assert.deepStrictEqual(yield* Effect.succeed(1).pipe(withLockIfAvailable("a")), Option.none())
          nodes[0]!.state = nodes[1]!.state = { rejects: "OOM is near" }
          assert.instanceOf(errorOf(yield* Effect.exit(tryLock("b"))), NodesUnavailable)
          assert.instanceOf(errorOf(yield* Effect.exit(withLockIfAvailable("b", Effect.void))), NodesUnavailable)
          for (const node of nodes) node.state = "up"
        })
      )
    }))
})

describe("Lock", () => {
  it.effect("remaining is the expiry less the drift, and zero after release", () =>
    Effect.gen(function*() {
      const held = yield* lock("a", { expiry: "10 seconds", driftFactor: 0.05 })
      assert.strictEqual(Duration.toMillis(yield* held.remaining), 10_000 - 502)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Duration.toMillis(yield* held.remaining), 9000 - 502)
      yield* held.release
      assert.strictEqual(Duration.toMillis(yield* held.remaining), 0)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("extend starts the lease anew; release twice gives the same answer; extend after release is LockLost", () =>
    Effect.gen(function*() {
      const held = yield* lock("a", { expiry: 1000 })
      for (let i = 0; i < 5; i++) {
        yield* TestClock.adjust(900)
        yield* held.extend
        assert.strictEqual(Duration.toMillis(yield* held.remaining), 988)
      }
      assert.isTrue(yield* held.isHeld)
      assert.isTrue(yield* held.release)
      assert.isTrue(yield* held.release)
      assert.isFalse(yield* held.isHeld)
      assert.instanceOf(errorOf(yield* Effect.exit(held.extend)), LockLost)
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("after expiry: release is false, extend is LockLost, lost fails", () =>
    Effect.gen(function*() {
      const held = yield* lock("a", { expiry: 1000, autoExtend: false })
      const lost = yield* Effect.forkChild(held.lost)
      yield* TestClock.adjust(1001)
      assert.instanceOf(errorOf(yield* Fiber.await(lost)), LockLost)
      assert.instanceOf(errorOf(yield* Effect.exit(held.lost)), LockLost)
      assert.instanceOf(errorOf(yield* Effect.exit(held.extend)), LockLost)
      assert.isFalse(yield* held.isHeld)
      assert.isFalse(yield* held.release)
      assert.isFalse(yield* held.release)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("extend finds out that the lock was taken, and guard stops the program", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      const guarded = yield* Effect.forkChild(Lock.guard(held, Effect.never))
      yield* Effect.yieldNow
      assert.isTrue(yield* elsewhere(nodes, forceUnlock("a")))
      const thief = yield* elsewhere(nodes, lock("a"))
      const error = errorOf(yield* Effect.exit(held.extend))
      assert.instanceOf(error, LockLost)
      assert.strictEqual(error.reason, "Taken")
      assert.instanceOf(errorOf(yield* Fiber.await(guarded)), LockLost)
      assert.isFalse(yield* held.release)
      assert.isTrue(yield* thief.isHeld)
    }).pipe(Effect.scoped))

  it.effect("extend that too few confirm is NodesUnavailable; the lock is held to its end as before", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* on(
        nodes,
        Effect.gen(function*() {
          const held = yield* lock("a", { expiry: 1000, autoExtend: false })
          yield* TestClock.adjust(500)
          nodes[0]!.state = nodes[1]!.state = { rejects: "OOM is near" }
          assert.instanceOf(errorOf(yield* Effect.exit(held.extend)), NodesUnavailable)
          assert.instanceOf(errorOf(yield* Effect.exit(held.isHeld)), NodesUnavailable)
          assert.strictEqual(Duration.toMillis(yield* held.remaining), 488)
          for (const node of nodes) node.state = "up"
        })
      )
    }))

  it.effect("guard: releasing does not stop the program, and its own failure is kept", () =>
    Effect.gen(function*() {
      const held = yield* lock("a")
      assert.deepStrictEqual(yield* Effect.exit(Lock.guard(held, Effect.fail("mine"))), Exit.fail("mine"))
      const program = Effect.succeed(1).pipe(Effect.tap(held.release), Lock.guard(held))
      assert.strictEqual(yield* program, 1)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("guard: no program is started with a lock that has been given up; an abandoned one has its lease", () =>
    Effect.gen(function*() {
      let started = 0
      const reasonAfter = (giveUp: (held: Lock) => Effect.Effect<unknown, unknown>) =>
        Effect.gen(function*() {
          const held = yield* lock("a")
          yield* giveUp(held)
          const exit = yield* Effect.exit(Lock.guard(held, Effect.sync(() => started++)))
          yield* forceUnlock("a")
          return Exit.isSuccess(exit) ? "started" : (errorOf(exit) as LockLost).reason
        }).pipe(Effect.scoped)
      assert.strictEqual(yield* reasonAfter((held) => held.release), "Released")
      assert.strictEqual(yield* reasonAfter((held) => held.detach), "Released")
      assert.strictEqual(yield* reasonAfter((held) => Effect.scoped(Lock.downgrade(held))), "Released")
      assert.strictEqual(yield* reasonAfter((held) => Effect.andThen(held.abandon, TestClock.adjust(8000))), "Released")
      assert.strictEqual(started, 0)
      assert.strictEqual(yield* reasonAfter((held) => held.abandon), "started")
      // The scope of the lock has closed.
      const escaped = yield* Effect.scoped(lock("a"))
      assert.strictEqual((errorOf(yield* Effect.exit(Lock.guard(escaped, Effect.void))) as LockLost).reason, "Released")
      const several = yield* withLocks(["a", "b"], (locks) => Effect.succeed(locks))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Lock.guard(several[1]!, Effect.void))))
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("the wall clock set forward ends the lease, set back does not prolong it", () =>
    Effect.gen(function*() {
      const clock = blockableClock()
      yield* Effect.gen(function*() {
        const held = yield* lock("a", { expiry: 1000 })
        clock.setWall(3_600_000)
        assert.strictEqual(Duration.toMillis(yield* held.remaining), 0)
        const other = yield* lock("b", { expiry: 1000 })
        clock.setWall(-3_600_000)
        assert.strictEqual(Duration.toMillis(yield* other.remaining), 988)
        clock.block(988)
        assert.strictEqual(Duration.toMillis(yield* other.remaining), 0)
      }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory()), Effect.provideService(Clock.Clock, clock))
    }))
})

describe("from elsewhere", () => {
  it.effect("adopt adopts a lock by its value and releases it", () =>
    Effect.gen(function*() {
      const held = yield* lock("a", { expiry: 1000 })
      yield* TestClock.adjust(500)
      yield* Effect.scoped(Effect.gen(function*() {
        const adopted = yield* adopt("a", held.value, { expiry: 2000 })
        assert.strictEqual(Duration.toMillis(yield* adopted.remaining), 2000 - 22)
      }))
      assert.isTrue(yield* isFree("a"))
      const error = errorOf(yield* Effect.exit(adopt("a", held.value)))
      assert.instanceOf(error, LockLost)
      assert.strictEqual(error.reason, "Taken")
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("unlock deletes by value only; forceUnlock whoever holds it", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const held = yield* elsewhere(nodes, lock("a"))
      yield* Effect.gen(function*() {
        assert.isFalse(yield* unlock("a", "somebody else's"))
        assert.isTrue(yield* unlock("a", held.value))
        assert.isFalse(yield* forceUnlock("a"))
        yield* lock("a")
        assert.isTrue(yield* forceUnlock("a"))
        assert.isTrue(yield* isFree("a"))
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
    }).pipe(Effect.scoped))

  it.effect("unlock waits for every node, so that whoever looks afterwards finds the lock nowhere", () =>
    Effect.gen(function*() {
      for (const locks of [lock, sharedLock]) {
        const nodes = yield* TestNodes.makeMany(3)
        const held = yield* elsewhere(nodes, locks("a"))
        yield* Effect.gen(function*() {
          nodes[2]!.state = "silent"
          const unlocking = yield* Effect.forkChild(unlock("a", held.value))
          yield* Effect.yieldNow
          assert.isUndefined(unlocking.pollUnsafe())
          nodes[2]!.state = "up"
          assert.isTrue(yield* Fiber.join(unlocking))
          assert.isTrue(yield* isFree("a"))
        }).pipe(Effect.provide(Redsync.layer({ nodes })))
      }
    }).pipe(Effect.scoped))

  it.effect("inspect shows free, held and failed, and the holder only on a quorum", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* Effect.gen(function*() {
        yield* nodes[0]!.acquire("a", "v", 5000)
        nodes[2]!.state = { rejects: "OOM is near" }
        const split = yield* inspect("a")
        assert.deepStrictEqual(split.nodes.map(({ _tag }) => _tag), ["Held", "Free", "Failed"])
        assert.isTrue(Option.isNone(split.holder))
        yield* nodes[1]!.acquire("a", "v", 4000)
        assert.deepStrictEqual((yield* inspect("a")).holder, Option.some({ value: "v", ttlMillis: 4000 }))
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
    }))
})

describe("wrong arguments", () => {
  /** A node with nothing but what every node must have. */
  const plain = (id: string): LockNode => {
    const { acquire, extend, inspect, release, remove } = MemoryNode.make(id)
    return { id, acquire, extend, inspect, release, remove }
  }
  const nodes = ["redis://127.0.0.1:1", "redis://127.0.0.1:2", "redis://127.0.0.1:3"]
  const wrong = (options: Partial<ServiceOptions>) =>
    Effect.map(
      Effect.exit(Effect.scoped(Layer.build(Redsync.layer({ nodes, ...options })))),
      (exit) => String(errorOf(exit))
    )

  it.effect.each<[Partial<ServiceOptions>, RegExp]>([
    [{ nodes: [] }, /nodes is \[\]; it must be an array of at least one node/],
    [{ expiry: 0 }, /expiry is 0; it must be a finite duration of at least 1 ms/],
    [{ expiry: "-1 second" as const }, /expiry is "-1 second"/],
    [{ expiry: Duration.infinity }, /expiry is Infinity; it must be a finite/],
    [{ expiry: 2 }, /expiry is 2; it must be more than the clock drift allowed for, here 2.02 ms/],
    [{ quorum: 1 }, /quorum is 1; it must be a whole number from 2 to 3, a majority of the 3 nodes/],
    [{ quorum: 4 }, /quorum is 4; it must be/],
    [{ quorum: 2.5 }, /quorum is 2.5; it must be/],
    [{ replicas: -1 }, /replicas is -1; it must be a whole number of at least 0/],
    [{ replicas: 1, nodes: [MemoryNode.make("m")] }, /replicas is 1; the node m cannot wait for replicas/],
    [{ driftFactor: 1 }, /driftFactor is 1; it must be at least 0 and less than 1/],
    [{ driftFactor: -0.1 }, /driftFactor is -0.1/],
    [{ driftFactor: Number.NaN }, /driftFactor is NaN/],
    [{ nodeTimeout: 0 }, /nodeTimeout is 0; it must be a finite duration of more than 0 ms/],
    [{ delayedRestart: 0 }, /delayedRestart is 0; it must be a finite duration of more than 0 ms/],
    [{ delayedRestart: "soon" as never }, /delayedRestart is "soon"; it must be a finite duration/],
    [
      { delayedRestart: 1000, nodes: [plain("mine")] },
      /delayedRestart is 1000; the node mine cannot tell when it was restarted/
    ],
    [{ nodes: ["http://h:1"] }, /nodes, entry 1, is "http:\/\/h:1"; it must be like "redis:/],
    [{ nodes: ["redis://u:secret@:6379"] }, /nodes, entry 1, is "redis:\/\/\*\*\*@:6379"/],
    [{ nodes: ["redis://127.0.0.1:1", "redis://127.0.0.1:1"] }, /nodes has 127.0.0.1:1 twice/],
    // What a missing environment variable leads to must not become a lock on localhost.
    [{ nodes: ["redis://h", undefined as never] }, /nodes, entry 2, is undefined; it must be a URL, a LockNode or/],
    [
      { nodes: ["localhost:6379"] },
      /nodes, entry 1, is "localhost:6379"; it has no scheme; write "redis:\/\/localhost:6379"/
    ],
    [{ nodes: [{ host: "h" } as never] }, /nodes, entry 1, is an object; .* go through IoredisNode.make/],
    [{ nodes: [new URL("redis://:secret@h") as never] }, /nodes, entry 1, is an object; it must be a URL/],
    [{ nodes: "redis://:secret@h" as never }, /nodes is a string; it must be an array of nodes/],
    [{ retry: 3 as never }, /retry is 3; it must be a Schedule/]
  ])("a defect names the option, its value and what is allowed: %j", ([options, message]) =>
    Effect.gen(function*() {
      const problem = yield* wrong(options)
      assert.match(problem, message)
      assert.notInclude(problem, "secret")
    }))

  it.effect("a name that is empty, or options of one lock, before any command is sent", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* Effect.gen(function*() {
        for (const effect of [withLock("", Effect.void), Effect.scoped(lock("")), inspect(""), unlock("", "v")]) {
          assert.match(String(errorOf(yield* Effect.exit(effect))), /name is ""; it must be a non-empty string/)
        }
        assert.match(String(errorOf(yield* Effect.exit(withLock("a", Effect.void, { expiry: 1 })))), /expiry is 1;/)
        assert.isTrue(Exit.hasDies(yield* Effect.exit(tryLock("a", { driftFactor: 2 }))))
      }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes })))
      assert.deepStrictEqual(nodes.flatMap(({ calls }) => calls), [])
    }))
})

describe("found by review", () => {
  it.effect("a program that releases its lock too late has still lost it", () =>
    Effect.gen(function*() {
      const clock = blockableClock()
      const exit = yield* withLock("a", (held) =>
        Effect.gen(function*() {
          clock.block(2000)
          yield* held.release
        }), { expiry: 1000 }).pipe(
          Effect.provide(Redsync.layerMemory({ count: 3 })),
          Effect.provideService(Clock.Clock, clock),
          Effect.exit
        )
      assert.instanceOf(errorOf(exit), LockLost)
    }))

  it.effect("a schedule that waits by itself can be interrupted", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* elsewhere(nodes, lock("a"))
      const retry = Schedule.forever.pipe(Schedule.tap(() => Effect.never))
      const fiber = yield* withLock("a", Effect.void, { retry }).pipe(
        Effect.timeoutOption(100),
        Effect.provide(Redsync.layer({ nodes })),
        Effect.forkChild
      )
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.none())
    }).pipe(Effect.scoped))

  it.effect("a minority that is held does not hide that a majority is dead", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* nodes[0]!.acquire("a", "theirs", 60_000)
      nodes[1]!.state = "silent"
      nodes[2]!.state = { rejects: "OOM is near" }
      yield* on(
        nodes,
        Effect.gen(function*() {
          const fibers = yield* Effect.forEach([
            Effect.scoped(tryLock("a")),
            withLockIfAvailable("a", Effect.void),
            withLock("a", Effect.void, once)
          ], (effect) => Effect.forkChild(Effect.exit(effect)))
          yield* TestClock.adjust("10 seconds")
          for (const fiber of fibers) assert.instanceOf(errorOf(yield* Fiber.join(fiber)), NodesUnavailable)
        })
      )
    }))

  it.effect("an option that is undefined is not given", () =>
    Effect.gen(function*() {
      const held = yield* lock("a", { expiry: undefined, nodeTimeout: undefined })
      assert.strictEqual(Duration.toMillis(yield* held.remaining), 60_000 - 602)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 1, expiry: "1 minute" }))))

  it.effect("a program is as interruptible as its caller is", () =>
    Effect.gen(function*() {
      const done = yield* Ref.make<ReadonlyArray<string>>([])
      const note = (step: string) => Ref.update(done, (steps) => [...steps, step])
      const transfer = Effect.andThen(note("debit"), Effect.andThen(Effect.sleep(2000), note("credit")))
      const options = { expiry: 1000, autoExtend: false }
      const fiber = yield* Effect.forkChild(Effect.exit(Effect.uninterruptible(withLock("a", transfer, options))))
      yield* TestClock.adjust("3 seconds")
      assert.instanceOf(errorOf(yield* Fiber.join(fiber)), LockLost)
      assert.deepStrictEqual(yield* Ref.get(done), ["debit", "credit"])
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("values and policies that cannot be are told", () =>
    Effect.gen(function*() {
      for (const effect of [Effect.scoped(adopt("a", "")), unlock("a", undefined as never)]) {
        assert.match(
          String(errorOf(yield* Effect.exit<unknown, unknown, Redsync>(effect))),
          /value is .*; it must be the value of a lock/
        )
      }
      assert.throws(() => retryPolicy({ tries: 0 }), /tries is 0; it must be at least 1/)
      assert.throws(() => retryPolicy({ delay: -5 }), /delay is -5; it must be a duration/)
      assert.throws(() => retryPolicy({ delay: "abc" as never }), /delay is "abc"/)
      assert.throws(() => retryPolicy({ within: Number.NaN }), /within is NaN/)
    }).pipe(Effect.provide(Redsync.layerMemory())))

  it.effect("adopt never brings back a lock that was released meanwhile", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      for (const node of nodes) yield* node.acquire("a", "theirs", 8000)
      yield* on(
        nodes,
        Effect.gen(function*() {
          for (const node of nodes) yield* node.release("a", "theirs")
          assert.instanceOf(errorOf(yield* Effect.exit(adopt("a", "theirs"))), LockLost)
          assert.isTrue(yield* isFree("a"))
        })
      )
    }))

  it.effect("two thousand locks at once", () =>
    Effect.gen(function*() {
      const names = Array.from({ length: 2000 }, (_, index) => `lock-${index}`)
      assert.strictEqual(yield* withLocks(names, Effect.succeed("held")), "held")
    }).pipe(Effect.provide(Redsync.layerMemory())))

  it("errors never repeat the arguments of a command", () => {
    const said = "ERR unknown command 'auth', with args beginning with: 'ada' 'hunter2'"
    assert.notInclude(toNodeError("a", "acquire", new Error(said)).message, "hunter2")
  })
})

describe("the layer", () => {
  it.effect("releases what is still held when it closes, and says so", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const scope = yield* Effect.scope
      const held = yield* lock("a").pipe(
        Effect.provide(Redsync.layer({ nodes })),
        Effect.provideService(Scope.Scope, scope)
      )
      assert.instanceOf(errorOf(yield* Effect.exit(held.lost)), LockLost)
      assert.isTrue(yield* isFree("a").pipe(Effect.provide(Redsync.layer({ nodes }))))
    }).pipe(Effect.scoped))

  it.effect("waits for pending clean-ups when it closes, but no longer than the node timeout", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const fiber = yield* withLock("a", Effect.sync(() => void (nodes[2]!.state = "silent"))).pipe(
        Effect.provide(Redsync.layer({ nodes, nodeTimeout: 200 })),
        Effect.andThen(Clock.currentTimeMillis),
        Effect.forkChild
      )
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), 200)
    }))
})

/** Runs an effect on another service over the same nodes, which stays open until the scope closes. */
const elsewhere = <A, E>(
  nodes: ReadonlyArray<LockNode>,
  effect: Effect.Effect<A, E, Redsync | Scope.Scope>
) => Effect.flatMap(Layer.build(Redsync.layer({ nodes })), (context) => Effect.provide(effect, context))

/** Runs a body on a service of its own over the nodes, and lets time pass while the service closes. */
function on<A, E>(
  nodes: ReadonlyArray<LockNode>,
  body: Effect.Effect<A, E, Redsync | Scope.Scope>,
  layers: Layer.Layer<never> = Layer.empty
) {
  return Effect.gen(function*() {
    const scope = yield* Scope.make()
    const layer = Redsync.layer({ nodes }).pipe(Layer.provideMerge(layers))
    const exit = yield* Layer.buildWithScope(layer, scope).pipe(
      Effect.flatMap((context) => Effect.scoped(Effect.provideContext(body, context))),
      Effect.exit
    )
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(closing)
    return yield* exit
  })
}

/** A clock that stands still until it is told to move, with no timer firing; and whose wall time can be set. */
function blockableClock() {
  let monotonic = 0
  let wall = 0
  const clock: Clock.Clock & { block(millis: number): void; setWall(offset: number): void } = {
    currentTimeMillisUnsafe: () => monotonic + wall,
    currentTimeMillis: Effect.sync(() => monotonic + wall),
    currentTimeNanosUnsafe: () => BigInt(monotonic + wall) * 1_000_000n,
    currentTimeNanos: Effect.sync(() => BigInt(monotonic + wall) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => BigInt(monotonic) * 1_000_000n,
    monotonicTimeNanos: Effect.sync(() => BigInt(monotonic) * 1_000_000n),
    sleep: () => Effect.never,
    block: (millis) => void (monotonic += millis),
    setWall: (offset) => void (wall = offset)
  }
  return clock
}
