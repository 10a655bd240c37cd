/**
 * Running a program for as long as a lock is held.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type { LockLost } from "../LockError.ts"
import type { HeldLock } from "./held.ts"

export const guard = <A, E, R>(
  locks: ReadonlyArray<HeldLock>,
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLost, R> =>
  // The program gets a fiber of its own, and is as interruptible in it as the caller was.
  Effect.uninterruptibleMask((restore) => restore(guarded(locks, restore(program))))

/** `guard` for a program that is interrupted by the loss even where the caller is not interruptible. */
export const untilLost = <A, E, R>(
  locks: ReadonlyArray<HeldLock>,
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLost, R> => guarded(locks, Effect.interruptible(program))

const guarded = <A, E, R>(
  locks: ReadonlyArray<HeldLock>,
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLost, R> =>
  Effect.withFiber((caller) =>
    Effect.callback((resume) => {
      const lost = firstLost(locks)
      if (lost !== undefined) return resume(Effect.fail(lost))
      const context = Context.add(
        caller.context as Context.Context<R>,
        Scheduler.Scheduler,
        new LeaseScheduler(caller.cache.scheduler, locks)
      )
      const fiber = Effect.runForkWith(context)(program, { uninterruptible: true })
      const end = (exit: Exit.Exit<A, E>) => {
        // It may have ended before the timer that would have interrupted it could fire.
        const lost = firstLost(locks)
        resume(lost === undefined ? exit : outlived(exit, lost))
      }
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return end(exit)
      const listeners = locks.map((lock) => lock.onLost(() => fiber.interruptUnsafe()))
      const forget = () => listeners.forEach((forget) => forget())
      // Its first steps have run already, and may have outlasted the lease.
      if (firstLost(locks) !== undefined) fiber.interruptUnsafe()
      fiber.addObserver((exit) => {
        forget()
        end(exit)
      })
      return Effect.andThen(Effect.sync(forget), Fiber.interrupt(fiber))
    })
  )

const firstLost = (locks: ReadonlyArray<HeldLock>): LockLost | undefined => {
  for (const lock of locks) {
    const lost = lock.check()
    if (lost !== undefined) return lost
  }
  return undefined
}

/** The end of a program that has outlived its lock: its own failure, or the loss. */
const outlived = <A, E>(exit: Exit.Exit<A, E>, lost: LockLost): Exit.Exit<A, E | LockLost> => {
  if (Exit.isSuccess(exit)) return Exit.fail(lost)
  const { reasons } = exit.cause
  if (reasons.some(Cause.isFailReason)) return exit
  return Exit.failCause(Cause.fromReasons([Cause.makeFailReason(lost), ...reasons.filter(Cause.isDieReason)]))
}

/**
 * Looks at the lease whenever the run loop takes up an effect, which it does with
 * every asynchronous one. After a blocked event loop or a process that stood
 * still, the program goes on in the middle of a turn before any timer can fire;
 * here it is interrupted before its next asynchronous step.
 */
class LeaseScheduler implements Scheduler.Scheduler {
  readonly executionMode: "sync" | "async"
  readonly #scheduler: Scheduler.Scheduler
  readonly #locks: ReadonlyArray<HeldLock>

  constructor(scheduler: Scheduler.Scheduler, locks: ReadonlyArray<HeldLock>) {
    this.executionMode = scheduler.executionMode
    this.#scheduler = scheduler
    this.#locks = locks
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    // Whoever finds the loss has the program interrupted, which takes effect once this step has yielded.
    for (const lock of this.#locks) if (lock.isLostNow()) return true
    return this.#scheduler.shouldYield(fiber)
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return this.#scheduler.makeDispatcher()
  }
}
