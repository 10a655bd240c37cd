/**
 * Runs a program for as long as a lock is held.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type { LockLost } from "../../LockError.ts"

/** Something that is held, may be lost, and can guard a program. */
export abstract class Guardable {
  /** Checks both clocks; returns the loss, if the lock is lost. */
  abstract checkLease(): LockLost | undefined
  /** Like `checkLease`, but also returns a loss if it was released or detached. */
  abstract checkHeld(): LockLost | undefined
  /** Cheap check of the monotonic clock only, true if it detects the loss; the wall clock is checked once a second. */
  abstract detectLoss(): boolean
  /** Calls the listener on loss; returns a function that removes the listener. */
  abstract onLost(listener: (lost: LockLost) => void): () => void
}

export const guard = <A, E, R>(
  hold: Guardable,
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLost, R> =>
  // The program runs in its own fiber, with the interruptibility of the caller.
  Effect.uninterruptibleMask((restore) => restore(runGuarded(hold, restore(program))))

/** Like `guard`, but the loss interrupts the program even if the caller is uninterruptible. */
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
      const lost = hold.checkHeld()
      if (lost !== undefined) return resume(Effect.fail(lost))
      const { preventYield, scheduler: outer } = caller.cache
      const scheduler = new LeaseScheduler(outer, hold, preventYield)
      // A fiber that prevents yields would not ask the scheduler, which detects the loss.
      const context = (caller.context as Context.Context<R>).pipe(
        Context.add(Scheduler.Scheduler, scheduler),
        Context.add(Scheduler.PreventSchedulerYield, false)
      )
      const fiber = Effect.runForkWith(context)(program, { uninterruptible: true })
      const end = (exit: Exit.Exit<A, E>) => {
        scheduler.end()
        // The program may have finished before the timer that would have interrupted it could fire.
        const lost = hold.checkLease()
        resume(lost === undefined ? exit : resultAfterLoss(exit, lost))
      }
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return end(exit)
      const forget = hold.onLost(() => fiber.interruptUnsafe())
      // The first steps have already run and may have outlasted the lease.
      if (hold.checkLease() !== undefined) fiber.interruptUnsafe()
      fiber.addObserver((exit) => {
        forget()
        end(exit)
      })
      return Fiber.interrupt(fiber)
    })
  )

/** The result of a program that finished after its lock was lost: its own failure takes precedence over the loss. */
const resultAfterLoss = <A, E>(exit: Exit.Exit<A, E>, lost: LockLost): Exit.Exit<A, E | LockLost> => {
  if (Exit.isSuccess(exit)) return Exit.fail(lost)
  const { reasons } = exit.cause
  if (reasons.some(Cause.isFailReason)) return exit
  return Exit.failCause(Cause.fromReasons([Cause.makeFailReason(lost), ...reasons.filter(Cause.isDieReason)]))
}

/** The holds that guard the program the fiber is running, innermost first. */
export function* holdsAround(fiber: Fiber.Fiber<unknown, unknown>): Iterable<Guardable> {
  for (let at = fiber.cache.scheduler; at instanceof LeaseScheduler; at = at.outer) {
    if (at.hold !== undefined) yield at.hold
  }
}

/**
 * Checks the lease at every yield point, hence before each asynchronous step.
 * After the event loop was blocked or the process suspended, fibers resume before
 * any timer fires; this check interrupts the program before its next asynchronous
 * step.
 *
 * Fibers that outlive the program keep this scheduler. Once the program has ended,
 * it only delegates to the outer scheduler, and nested schedulers skip it.
 */
class LeaseScheduler implements Scheduler.Scheduler {
  readonly executionMode: "sync" | "async"
  #outer: Scheduler.Scheduler
  #hold: Guardable | undefined
  /** Whether the fiber that runs the program prevents yields, so that only a loss may make it yield. */
  readonly #preventsYields: boolean

  constructor(outer: Scheduler.Scheduler, hold: Guardable, preventsYields: boolean) {
    this.executionMode = outer.executionMode
    this.#outer = outer
    this.#hold = hold
    this.#preventsYields = preventsYields
  }

  get hold(): Guardable | undefined {
    return this.#hold
  }

  /** The scheduler under which the program was started, skipping those of programs that have ended. */
  get outer(): Scheduler.Scheduler {
    while (this.#outer instanceof LeaseScheduler && this.#outer.#hold === undefined) this.#outer = this.#outer.#outer
    return this.#outer
  }

  /** Called when the program has ended. */
  end(): void {
    this.#hold = undefined
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    // Detecting the loss interrupts the fiber; yielding lets the interruption take effect.
    return this.#detectLoss() || (!this.#preventsYields && this.outer.shouldYield(fiber))
  }

  #detectLoss(): boolean {
    if (this.#hold?.detectLoss() === true) return true
    const { outer } = this
    return this.#preventsYields && outer instanceof LeaseScheduler && outer.#detectLoss()
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return this.outer.makeDispatcher()
  }
}
