/**
 * How long a lock is valid.
 *
 * A lease ends when either of two clocks says so: the monotonic one, which no
 * operator can set but which may stand still while the machine is suspended,
 * and the wall clock, which goes on during a suspension but can be set.
 */
import type { Clock } from "effect/Clock"
import { type Instant, monotonicMillis } from "../base/clock.ts"

/**
 * For how long after the request was sent the nodes' yes is good: the expiry
 * less the drift. Redlock's own drift is a share of the expiry for clocks that
 * run at different speeds, and 2 ms for the precision of Redis' expiry.
 */
export const validityMillis = (expiryMillis: number, driftFactor: number): number =>
  expiryMillis - (expiryMillis * driftFactor + 2)

/** The instant at which a lease ends that was asked for at `start`. */
export const leaseEndFrom = (start: Instant, validity: number): Instant => ({
  monotonic: start.monotonic + validity,
  wall: start.wall + validity
})

/** Milliseconds until `end`, zero once it is past. */
export const remainingMillis = (clock: Clock, end: Instant): number =>
  Math.max(0, Math.min(end.monotonic - monotonicMillis(clock), end.wall - clock.currentTimeMillisUnsafe()))
