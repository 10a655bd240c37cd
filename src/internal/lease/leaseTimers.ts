/**
 * The locks that a service holds, and when each is due for renewal.
 *
 * A short-lived lock costs one linked-list node and a shared timer. Timers stop
 * while the machine is suspended and ignore the wall clock, so while any lock is
 * held both clocks are also compared once a second.
 */
import type { Clock } from "effect/Clock"
import { type Instant, monotonicMillis } from "../base/clock.ts"
import { LinkedNode } from "../base/linkedList.ts"
import type { Timer, Timers } from "../base/timers.ts"

const clockCheckIntervalMillis = 1000
/** A larger change of the offset (wall − monotonic) means that a clock was set or the machine was suspended. */
const clockJumpMillis = 100

/** Something whose lease needs renewing. */
export interface Leased {
  /** Called when the renewal is due, or the lease has ended. */
  onRenewalDue(): void
  /** Called when the service closes, and no longer watches the lease. */
  closeWithService(): void
}

/** A held lock and its next timer. A lock that takes over the lease takes the timer with it. */
export class LeaseTimer extends LinkedNode {
  lock: Leased | undefined
  timer: Timer | undefined

  constructor(lock: Leased | undefined) {
    super()
    this.lock = lock
  }
}

export class LeaseTimers {
  readonly #clock: Clock
  readonly #timers: Timers
  /** The sentinel of the list of held locks. */
  readonly #held = new LeaseTimer(undefined)
  #clockCheck: Timer | undefined
  #clockOffset = 0
  #closed = false

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock
    this.#timers = timers
  }

  /** Calls the lock's `onRenewalDue` after `millis` milliseconds, replacing any earlier schedule. */
  schedule(leaseTimer: LeaseTimer, millis: number): void {
    if (this.#closed) return leaseTimer.lock!.closeWithService()
    if (leaseTimer.timer === undefined) leaseTimer.insertBefore(this.#held)
    else leaseTimer.timer.cancel()
    leaseTimer.timer = this.#timers.schedule(millis, () => leaseTimer.lock!.onRenewalDue())
    if (this.#clockCheck !== undefined) return
    this.#clockOffset = this.#clock.currentTimeMillisUnsafe() - monotonicMillis(this.#clock)
    this.#clockCheck = this.#timers.schedule(clockCheckIntervalMillis, () => this.#checkClocks())
  }

  cancel(leaseTimer: LeaseTimer): void {
    leaseTimer.timer?.cancel()
    leaseTimer.timer = undefined
    leaseTimer.unlink()
  }

  /**
   * For how long this process has stood still: how late the lock's timer is, plus how far the two
   * clocks have moved apart since `before`.
   */
  stalledMillis({ timer }: LeaseTimer, before: Instant): number {
    const monotonic = monotonicMillis(this.#clock)
    const late = timer === undefined ? 0 : monotonic - timer.dueAt
    const apart = this.#clock.currentTimeMillisUnsafe() - monotonic - (before.wall - before.monotonic)
    return [late, apart].filter((millis) => millis > clockJumpMillis).reduce((sum, millis) => sum + millis, 0)
  }

  /** Ends the remaining holds, which are no longer watched. */
  close(): void {
    this.#closed = true
    for (const lock of this.#locks()) lock.closeWithService()
  }

  #locks(): Array<Leased> {
    const locks: Array<Leased> = []
    for (let leaseTimer = this.#held.next; leaseTimer.lock !== undefined; leaseTimer = leaseTimer.next) {
      locks.push(leaseTimer.lock)
    }
    return locks
  }

  #checkClocks() {
    if (this.#held.next === this.#held) {
      this.#clockCheck = undefined
      return
    }
    const clockOffset = this.#clock.currentTimeMillisUnsafe() - monotonicMillis(this.#clock)
    if (Math.abs(clockOffset - this.#clockOffset) > clockJumpMillis) {
      // A lease may now end before its timer fires.
      for (const lock of this.#locks()) lock.onRenewalDue()
    }
    this.#clockOffset = clockOffset
    this.#clockCheck = this.#timers.schedule(clockCheckIntervalMillis, () => this.#checkClocks())
  }
}
