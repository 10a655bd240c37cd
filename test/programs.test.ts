/**
 * What may be a program, what becomes of the fibers it leaves behind, and what
 * it hears when it asks for a lock it holds itself.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Option, Schedule, Scheduler, type Scope } from "effect"
import {
  type ErrFailed,
  fencedLock,
  Lock,
  lock,
  Redsync,
  tryLock,
  withFencedLock,
  withLock,
  withLockIfAvailable,
  withLocks
} from "effect-redsync"
import { vi } from "vitest"

/** An effect, which is a function too: calling it would make an instance, or fail. */
class Answer extends Context.Service<Answer, { readonly value: number }>()("test/Answer") {}

const Limit = Context.Reference<number>("test/Limit", { defaultValue: () => 7 })

const answer = Effect.provideService(Answer, { value: 42 })

describe("a program that is both an effect and a function", () => {
  it.effect("is run, by every verb and in both forms", () =>
    Effect.gen(function*() {
      const held = yield* lock("held")
      const programs: ReadonlyArray<Effect.Effect<unknown, unknown, Answer | Redsync>> = [
        withLock("a", Answer),
        Answer.pipe(withLock("a")),
        withLockIfAvailable("a", Answer).pipe(Effect.map(Option.getOrThrow)),
        Answer.pipe(withLockIfAvailable("a"), Effect.map(Option.getOrThrow)),
        withLocks(["a", "b"], Answer),
        Answer.pipe(withLocks(["a", "b"])),
        Lock.guard(held, Answer),
        Answer.pipe(Lock.guard(held))
      ]
      for (const program of programs) assert.deepStrictEqual(yield* answer(program), { value: 42 })
      assert.strictEqual(yield* withLock("a", Limit), 7)
      assert.strictEqual(yield* Limit.pipe(withLocks(["a", "b"])), 7)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory())))

  it.effect("is run when a function returns it", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* answer(withLock("a", () => Answer)), { value: 42 })
      assert.deepStrictEqual(yield* answer(withFencedLock("a", () => Answer)), { value: 42 })
    }).pipe(Effect.provide(Redsync.layerMemory())))
})

describe("what is no program", () => {
  it.effect.each<readonly [string, Effect.Effect<unknown, unknown, Redsync>]>([
    ["withLock", withLock("a", 42 as unknown as Effect.Effect<void>, {})],
    ["withLock", withLock("a", null as unknown as Effect.Effect<void>, {})],
    ["withLock", withLock("a")(42 as never)],
    ["withLock", withLock("a", (() => Promise.resolve(1)) as unknown as Effect.Effect<void>)],
    ["withLockIfAvailable", withLockIfAvailable("a", "text" as never, {})],
    ["withLocks", withLocks(["a"])(undefined as never)],
    ["withFencedLock", withFencedLock("a", (() => 1) as unknown as () => Effect.Effect<void>)],
    ["withFencedLock", withFencedLock("a", {} as never, {})],
    ["guard", Effect.scoped(Effect.flatMap(lock("a"), (held) => Lock.guard(held, 42 as never)))]
  ])("is refused, and leaves no lock behind: %s", ([, effect]) =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(effect)
      assert.include(dieMessage(exit), "the option program is")
      assert.isTrue(Option.isNone((yield* Redsync.inspect("a")).holder))
    }).pipe(Effect.provide(Redsync.layerMemory())))

  it.effect("that is a function and returns a Promise is refused as such", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(withLock("a", (() => Promise.resolve(1)) as unknown as Effect.Effect<void>))
      assert.include(dieMessage(exit), "a function that returned a Promise; it must return an Effect")
    }).pipe(Effect.provide(Redsync.layerMemory())))
})

describe("what is no lock", () => {
  it.effect("can guard no program, and become no shared lock", () =>
    Effect.gen(function*() {
      const fail = () => assert.fail("asked")
      const unreadable = new Proxy({}, { get: fail, has: fail, getPrototypeOf: fail })
      for (const none of [null, undefined, 7, "a", {}, unreadable]) {
        for (const effect of [Lock.guard(none as never, Effect.void), Lock.downgrade(none as never)]) {
          assert.include(dieMessage(yield* Effect.exit(Effect.scoped(effect))), "the option lock is ")
        }
      }
    }))
})

const dieMessage = (exit: Exit.Exit<unknown, unknown>): string => {
  const defect = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason)?.defect : undefined
  return Cause.isIllegalArgumentError(defect) ? defect.message : `no refusal: ${String(exit)}`
}

describe("fibers that a program leaves behind", () => {
  /** Each step takes a lock and leaves a fiber behind that takes the next, once this one is released. */
  const steps = (count: number): Effect.Effect<Scheduler.Scheduler, unknown, Redsync> =>
    Effect.gen(function*() {
      const done = yield* Deferred.make<Scheduler.Scheduler>()
      const step = (
        left: number,
        released: Deferred.Deferred<void>
      ): Effect.Effect<unknown, unknown, Redsync> =>
        Effect.gen(function*() {
          yield* Deferred.await(released)
          if (left === 0) return yield* Deferred.succeed(done, (yield* Effect.fiber).cache.scheduler)
          const next = yield* Deferred.make<void>()
          yield* withLock(`step ${left}`, Effect.forkDetach(step(left - 1, next)))
          return yield* Deferred.succeed(next, undefined)
        })
      const first = yield* Deferred.make<void>()
      yield* Deferred.succeed(first, undefined)
      yield* Effect.forkDetach(step(count, first))
      return yield* Deferred.await(done)
    })

  it.effect("do not look at the leases of locks that are long released, however many there were", () =>
    Effect.gen(function*() {
      const inherited = yield* steps(200)
      const asked = vi.spyOn(Object.getPrototypeOf(inherited) as Scheduler.Scheduler, "shouldYield")
      try {
        // What the program of one more lock asks: its own scheduler, and no other of ours.
        yield* Effect.provideService(withLock("last", Effect.void), Scheduler.Scheduler, inherited)
        asked.mockClear()
        yield* Effect.provideService(
          withLock(
            "last",
            Effect.suspend(() => {
              asked.mockClear()
              return Effect.repeat(Effect.void, Schedule.recurs(100))
            })
          ),
          Scheduler.Scheduler,
          inherited
        )
        const schedulers = new Set(asked.mock.contexts)
        assert.isAtMost(schedulers.size, 2)
      } finally {
        asked.mockRestore()
      }
    }).pipe(Effect.provide(Redsync.layerMemory())))

  it.effect("nest no schedulers of ours in each other", () =>
    Effect.gen(function*() {
      let deepest = 0
      class Counting extends Scheduler.MixedScheduler {
        override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
          const { stackTraceLimit } = Error
          Error.stackTraceLimit = 1000
          const { stack = "" } = new Error()
          Error.stackTraceLimit = stackTraceLimit
          deepest = Math.max(deepest, stack.split("LeaseScheduler.shouldYield").length - 1)
          return super.shouldYield(fiber)
        }
      }
      yield* Effect.provideService(steps(50), Scheduler.Scheduler, new Counting())
      assert.isAtLeast(deepest, 1)
      assert.isAtMost(deepest, 2)
    }).pipe(Effect.provide(Redsync.layerMemory())))

  it.effect("die with the program where they are its children", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<string>()
      yield* withLock(
        "a",
        Effect.forkChild(Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, "interrupted")), {
          startImmediately: true
        })
      )
      assert.strictEqual(yield* Deferred.await(interrupted), "interrupted")
    }).pipe(Effect.provide(Redsync.layerMemory())))
})

describe("a lock that the program holds itself", () => {
  const once = { retry: Schedule.recurs(0) }
  const failure = (effect: Effect.Effect<unknown, unknown, Redsync>) =>
    Effect.map(Effect.flip(effect), (error) => error as ErrFailed)

  it.effect.each<readonly [string, Effect.Effect<unknown, unknown, Redsync>]>([
    ["withLock in withLock", withLock("a", withLock("a", Effect.void, once))],
    ["withLocks in withLock", withLock("a", withLocks(["b", "a"], Effect.void, once))],
    ["withLock in withLocks", withLocks(["b", "a"], withLock("a", Effect.void, once))],
    ["withLock two locks down", withLock("a", withLock("b", withLock("a", Effect.void, once)))],
    ["withFencedLock in withFencedLock", withFencedLock("a", () => withFencedLock("a", () => Effect.void, once))],
    ["a fiber forked", withLock("a", Effect.flatMap(Effect.forkChild(withLock("a", Effect.void, once)), Fiber.join))],
    ["lock and lock in one scope", Effect.scoped(Effect.andThen(lock("a"), lock("a", once)))],
    ["lock and fencedLock in one scope", Effect.scoped(Effect.andThen(lock("a"), fencedLock("a", once)))],
    ["withLock in the scope of a lock", Effect.scoped(Effect.andThen(lock("a"), withLock("a", Effect.void, once)))],
    ["withLock in the scope of tryLock", Effect.scoped(Effect.andThen(tryLock("a"), withLock("a", Effect.void, once)))]
  ])("fails with a message that says so: %s", ([, effect]) =>
    Effect.gen(function*() {
      const error = yield* failure(effect)
      assert.strictEqual(error._tag, "ErrFailed")
      assert.isTrue(error.isNested)
      assert.include(error.message, "not re-entrant")
    }).pipe(Effect.provide(Redsync.layerMemory())))

  /** Somebody else takes the lock, and keeps it for as long as the scope is open. */
  const taken = Effect.gen(function*() {
    const held = yield* Deferred.make<void>()
    yield* Effect.forkScoped(withLock("a", Effect.andThen(Deferred.succeed(held, undefined), Effect.never)))
    yield* Deferred.await(held)
  })
  const asked = withLock("a", Effect.void, once)

  it.effect.each<readonly [string, Effect.Effect<unknown, unknown, Redsync | Scope.Scope>]>([
    ["another's, within a lock of another name", Effect.andThen(taken, withLock("b", asked))],
    ["one released by hand", withLock("a", (held) => Effect.andThen(Effect.andThen(held.release, taken), asked))],
    [
      "one released by hand in a scope",
      Effect.scoped(Effect.flatMap(lock("a"), (held) => Effect.andThen(Effect.andThen(held.release, asked), asked)))
    ],
    [
      "one that a program held that has ended",
      Effect.gen(function*() {
        const ended = yield* Deferred.make<void>()
        const behind = yield* withLock("a", Effect.forkDetach(Effect.andThen(Deferred.await(ended), asked)))
        yield* taken
        yield* Effect.yieldNow
        yield* Deferred.succeed(ended, undefined)
        return yield* Fiber.join(behind)
      })
    ],
    [
      "one that is held in another service",
      withLock("a", Effect.andThen(taken, asked).pipe(Effect.provide(Redsync.layerMemory(), { local: true })))
    ]
  ])("is not %s", ([what, effect]) =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(effect)
      const failed = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error as ErrFailed : undefined
      if (what !== "one released by hand in a scope") assert.strictEqual(failed?._tag, "ErrFailed")
      assert.isUndefined(failed?.isNested)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory())))

  it.effect("waits as long as any other: a child may outlast the lock", () =>
    Effect.gen(function*() {
      const child = yield* Effect.scoped(Effect.gen(function*() {
        yield* lock("a")
        return yield* Effect.forkDetach(withLock("a", Effect.succeed("got it")))
      }))
      assert.strictEqual(yield* Fiber.join(child), "got it")
    }).pipe(Effect.provide(Redsync.layerMemory())))
})
