/**
 * How long a lock is valid.
 *
 * A lease ends as soon as either clock says so: the monotonic clock, which cannot
 * be set but may stop while the machine is suspended, or the wall clock, which
 * keeps running during a suspension but can be set.
 */
import type { Clock } from "effect/Clock"
import { type Instant, monotonicMillis } from "../base/clock.ts"

/**
 * How long a grant is valid, counted from when the request was sent: the expiry
 * minus the drift. The drift is that of Redlock: a fraction of the expiry for
 * clocks that run at different speeds, plus 2 ms for the precision of Redis' expiry.
 */
export const validityMillis = (expiryMillis: number, driftFactor: number): number =>
  expiryMillis - (expiryMillis * driftFactor + 2)

/** When a lease ends that was requested at `start`. */
export const leaseEndFrom = (start: Instant, validity: number): Instant => ({
  monotonic: start.monotonic + validity,
  wall: start.wall + validity
})

/** Milliseconds until `end`, zero once it is past. */
export const remainingMillis = (clock: Clock, end: Instant): number => Math.max(0, -sinceMillis(clock, end))

/** Milliseconds since `end`, by whichever clock is further ahead; negative before it. */
export const sinceMillis = (clock: Clock, end: Instant): number =>
  Math.max(monotonicMillis(clock) - end.monotonic, clock.currentTimeMillisUnsafe() - end.wall)
