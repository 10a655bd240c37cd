/**
 * Reads the monotonic clock and the wall clock.
 */
import type { Clock } from "effect/Clock"

/** Monotonic time in fractional milliseconds. */
export const monotonicMillis = (clock: Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

/** An instant on both clocks, in milliseconds. */
export interface Instant {
  readonly monotonic: number
  readonly wall: number
}

export const instantNow = (clock: Clock): Instant => ({
  monotonic: monotonicMillis(clock),
  wall: clock.currentTimeMillisUnsafe()
})
