/**
 * The `TestClock` with what an operator, a blocked event loop or a suspended
 * machine does to a clock, and a count of who sleeps on it.
 */
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"

export interface ShiftedClock extends TestClock.TestClock {
  /** By how many milliseconds the wall clock was set forward; negative for back. */
  wall: number
  /** For how many milliseconds time went by and no timer fired. */
  blocked: number
  /** Sleeps so far, and those under way. */
  slept: number
  sleeping: number
}

const nanos = (millis: number) => BigInt(millis) * 1_000_000n

export const make: Effect.Effect<ShiftedClock> = TestClock.testClockWith((inner) =>
  Effect.sync(() => {
    const clock: ShiftedClock = {
      ...inner,
      wall: 0,
      blocked: 0,
      slept: 0,
      sleeping: 0,
      currentTimeMillisUnsafe: () => inner.currentTimeMillisUnsafe() + clock.wall + clock.blocked,
      currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe()),
      currentTimeNanosUnsafe: () => inner.currentTimeNanosUnsafe() + nanos(clock.wall + clock.blocked),
      currentTimeNanos: Effect.sync(() => clock.currentTimeNanosUnsafe()),
      monotonicTimeNanosUnsafe: () => inner.monotonicTimeNanosUnsafe() + nanos(clock.blocked),
      monotonicTimeNanos: Effect.sync(() => clock.monotonicTimeNanosUnsafe()),
      sleep: (duration) =>
        Effect.acquireUseRelease(
          Effect.sync(() => [clock.slept++, clock.sleeping++]),
          () => inner.sleep(duration),
          () => Effect.sync(() => clock.sleeping--)
        )
    }
    return clock
  })
)

/** Runs a test on a clock of its own. */
export const on = <A, E, R>(body: (clock: ShiftedClock) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(make, (clock) => Effect.provideService(body(clock), Clock.Clock, clock))
