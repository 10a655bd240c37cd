/**
 * The locks a service holds, and when to extend them.
 *
 * A lock that is held only briefly costs a place in a ring and a timer that it
 * shares with the others. A timer stands still while the machine is suspended
 * and knows nothing of the wall clock, so both clocks are looked at once a
 * second too while locks are held.
 */
import type { Clock } from "effect/Clock"
import { monotonicMillis } from "../base/clock.ts"
import { LinkedNode } from "../base/linkedList.ts"
import type { Timer, Timers } from "../base/timers.ts"

const clockCheckIntervalMillis = 1000
/** Further apart than this, one of the two clocks was set or stood still. */
const clockJumpMillis = 100

/** What has a lease to look after. */
export interface Leased {
  /** It is time to extend, or the lease has ended. */
  onRenewalDue(): void
  /** The service closes, and nobody would watch over it any more. */
  closeWithService(): void
}

/** A lock that is held, and its next date. */
export class LeaseTimer extends LinkedNode {
  readonly lock: Leased | undefined
  timer: Timer | undefined

  constructor(lock: Leased | undefined) {
    super()
    this.lock = lock
  }
}

export class LeaseTimers {
  readonly #clock: Clock
  readonly #timers: Timers
  /** Begins and ends the ring of those that are held. */
  readonly #held = new LeaseTimer(undefined)
  #clockCheck: Timer | undefined
  #clockOffset = 0
  #closed = false

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock
    this.#timers = timers
  }

  /** Calls the lock's `due` after so many milliseconds, unless it is deleted or set anew before. */
  schedule(leaseTimer: LeaseTimer, millis: number): void {
    const lock = leaseTimer.lock!
    if (this.#closed) return lock.closeWithService()
    if (leaseTimer.timer === undefined) leaseTimer.insertBefore(this.#held)
    else leaseTimer.timer.cancel()
    leaseTimer.timer = this.#timers.schedule(millis, () => lock.onRenewalDue())
    if (this.#clockCheck !== undefined) return
    this.#clockOffset = this.#clock.currentTimeMillisUnsafe() - monotonicMillis(this.#clock)
    this.#clockCheck = this.#timers.schedule(clockCheckIntervalMillis, () => this.#checkClocks())
  }

  cancel(leaseTimer: LeaseTimer): void {
    leaseTimer.timer?.cancel()
    leaseTimer.timer = undefined
    leaseTimer.unlink()
  }

  /** Ends the holds that are left: nobody would watch them any more. */
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
    this.#clockCheck = undefined
    if (this.#held.next === this.#held) return
    const clockOffset = this.#clock.currentTimeMillisUnsafe() - monotonicMillis(this.#clock)
    if (Math.abs(clockOffset - this.#clockOffset) > clockJumpMillis) {
      // What was to end later may end before its timer now.
      for (const lock of this.#locks()) lock.onRenewalDue()
    }
    this.#clockOffset = clockOffset
    this.#clockCheck = this.#timers.schedule(clockCheckIntervalMillis, () => this.#checkClocks())
  }
}
