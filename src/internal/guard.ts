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

export const guard = <A, E, R>(lock: HeldLock, program: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R> =>
  // The program gets a fiber of its own, and is as interruptible in it as the caller was.
  Effect.uninterruptibleMask((restore) => restore(guarded(lock, restore(program))))

const guarded = <A, E, R>(lock: HeldLock, program: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R> =>
  Effect.withFiber((caller) =>
    Effect.callback((resume) => {
      const lost = lock.check()
      if (lost !== undefined) return resume(Effect.fail(lost))
      const context = Context.add(
        caller.context as Context.Context<R>,
        Scheduler.Scheduler,
        new LeaseScheduler(caller.cache.scheduler, lock)
      )
      const fiber = Effect.runForkWith(context)(program, { uninterruptible: true })
      const forget = lock.onLost(() => fiber.interruptUnsafe())
      // Its first steps have run already, and may have outlasted the lease.
      if (lock.check() !== undefined) fiber.interruptUnsafe()
      fiber.addObserver((exit) => {
        forget()
        // It may have ended before the timer that would have interrupted it could fire.
        const lost = lock.check()
        resume(lost === undefined ? exit : outlived(exit, lost))
      })
      return Effect.andThen(Effect.sync(forget), Fiber.interrupt(fiber))
    })
  )

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
  readonly #lock: HeldLock

  constructor(scheduler: Scheduler.Scheduler, lock: HeldLock) {
    this.executionMode = scheduler.executionMode
    this.#scheduler = scheduler
    this.#lock = lock
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    // Whoever finds the loss has the program interrupted, which takes effect once this step has yielded.
    return this.#lock.isLostNow() || this.#scheduler.shouldYield(fiber)
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return this.#scheduler.makeDispatcher()
  }
}
