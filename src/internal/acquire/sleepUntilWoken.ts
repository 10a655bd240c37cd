/**
 * The sleep of a waiter between two attempts.
 */
import * as Effect from "effect/Effect"
import { monotonicMillis } from "../base/clock.ts"
import type { AcquireContext } from "./attempt.ts"

interface Sleeper {
  /** Ends the sleep; set while it sleeps. */
  wake: (() => void) | undefined
}

/** Sleeps until an instant on the monotonic clock, or until the waiter is woken. */
export const sleepUntilWoken = (
  { clock, quorum: { timers } }: Pick<AcquireContext, "clock" | "quorum">,
  waiter: Sleeper,
  until: number,
  isAwake: () => boolean
): Effect.Effect<void> =>
  Effect.callback((resume) => {
    // It may have been woken since it last checked.
    if (isAwake()) return resume(Effect.void)
    const wake = () => {
      waiter.wake = undefined
      timer.cancel()
      resume(Effect.void)
    }
    // Whole milliseconds, so that the timers of many waiters share a few durations.
    const timer = timers.schedule(Math.max(0, Math.ceil(until - monotonicMillis(clock))), wake)
    waiter.wake = wake
    return Effect.sync(() => {
      waiter.wake = undefined
      timer.cancel()
    })
  })
