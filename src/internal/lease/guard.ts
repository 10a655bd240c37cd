/**
 * Running a program for as long as a lock is held.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type { LockLost } from "../../LockError.ts"

/** What a program is run under: something that is held, and may be lost. */
export abstract class Guardable {
  /** The loss, if it is lost by now. */
  abstract checkLease(): LockLost | undefined
  /** Whether this very look finds it lost. It costs a look at one clock; the other is looked at every second. */
  abstract detectLoss(): boolean
  /** Calls the listener if it is lost; returns how to forget the listener. */
  abstract onLost(listener: (lost: LockLost) => void): () => void
}

export const guard = <A, E, R>(
  hold: Guardable,
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLost, R> =>
  // The program gets a fiber of its own, and is as interruptible in it as the caller was.
  Effect.uninterruptibleMask((restore) => restore(runGuarded(hold, restore(program))))

/** `guard` for a program that is interrupted by the loss even where the caller is not interruptible. */
export const guardInterruptible = <A, E, R>(
  hold: Guardable,
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLost, R> => runGuarded(hold, Effect.interruptible(program))

const runGuarded = <A, E, R>(
  hold: Guardable,
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLost, R> =>
  Effect.withFiber((caller) =>
    Effect.callback((resume) => {
      const lost = hold.checkLease()
      if (lost !== undefined) return resume(Effect.fail(lost))
      const scheduler = new LeaseScheduler(caller.cache.scheduler, hold)
      const context = Context.add(caller.context as Context.Context<R>, Scheduler.Scheduler, scheduler)
      const fiber = Effect.runForkWith(context)(program, { uninterruptible: true })
      const end = (exit: Exit.Exit<A, E>) => {
        scheduler.end()
        // It may have ended before the timer that would have interrupted it could fire.
        const lost = hold.checkLease()
        resume(lost === undefined ? exit : resultAfterLoss(exit, lost))
      }
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return end(exit)
      const forget = hold.onLost(() => fiber.interruptUnsafe())
      // Its first steps have run already, and may have outlasted the lease.
      if (hold.checkLease() !== undefined) fiber.interruptUnsafe()
      fiber.addObserver((exit) => {
        forget()
        end(exit)
      })
      return Effect.andThen(Effect.sync(forget), Fiber.interrupt(fiber))
    })
  )

/** The end of a program that has outlived its lock: its own failure, or the loss. */
const resultAfterLoss = <A, E>(exit: Exit.Exit<A, E>, lost: LockLost): Exit.Exit<A, E | LockLost> => {
  if (Exit.isSuccess(exit)) return Exit.fail(lost)
  const { reasons } = exit.cause
  if (reasons.some(Cause.isFailReason)) return exit
  return Exit.failCause(Cause.fromReasons([Cause.makeFailReason(lost), ...reasons.filter(Cause.isDieReason)]))
}

/** The holds whose programs the fiber runs in, the innermost first. */
export function* holdsAround(fiber: Fiber.Fiber<unknown, unknown>): Iterable<Guardable> {
  for (let at = fiber.cache.scheduler; at instanceof LeaseScheduler; at = at.outer) {
    if (at.hold !== undefined) yield at.hold
  }
}

/**
 * Looks at the lease whenever the run loop takes up an effect, which it does with
 * every asynchronous one. After a blocked event loop or a process that stood
 * still, the program goes on in the middle of a turn before any timer can fire;
 * here it is interrupted before its next asynchronous step.
 *
 * Fibers that the program leaves behind keep the scheduler. Once the program has
 * ended it only passes on what it is asked, and others skip it.
 */
class LeaseScheduler implements Scheduler.Scheduler {
  readonly executionMode: "sync" | "async"
  #outer: Scheduler.Scheduler
  #hold: Guardable | undefined

  constructor(outer: Scheduler.Scheduler, hold: Guardable) {
    this.executionMode = outer.executionMode
    this.#outer = outer
    this.#hold = hold
  }

  get hold(): Guardable | undefined {
    return this.#hold
  }

  /** The scheduler that the program was started under, without those whose programs have ended. */
  get outer(): Scheduler.Scheduler {
    while (this.#outer instanceof LeaseScheduler && this.#outer.#hold === undefined) this.#outer = this.#outer.#outer
    return this.#outer
  }

  /** The program has ended. */
  end(): void {
    this.#hold = undefined
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    // Whoever finds the loss has the program interrupted, which takes effect once this step has yielded.
    return this.#hold?.detectLoss() === true || this.outer.shouldYield(fiber)
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return this.outer.makeDispatcher()
  }
}
