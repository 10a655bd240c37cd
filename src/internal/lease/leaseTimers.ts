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
import { Link } from "../base/linkedList.ts"
import type { Timer, Timers } from "../base/timers.ts"

const lookAroundMillis = 1000
/** Further apart than this, one of the two clocks was set or stood still. */
const clockJumpMillis = 100

/** What has a lease to look after. */
export interface Leased {
  /** It is time to extend, or the lease has ended. */
  due(): void
  /** The service closes, and nobody would watch over it any more. */
  closeWithService(): void
}

/** A lock that is held, and its next date. */
export class Holding extends Link {
  readonly lock: Leased | undefined
  due: Timer | undefined

  constructor(lock: Leased | undefined) {
    super()
    this.lock = lock
  }
}

export class Holdings {
  readonly #clock: Clock
  readonly #timers: Timers
  /** Begins and ends the ring of those that are held. */
  readonly #held = new Holding(undefined)
  #lookAround: Timer | undefined
  #clocksApart = 0
  #closed = false

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock
    this.#timers = timers
  }

  /** Calls the lock's `due` after so many milliseconds, unless it is deleted or set anew before. */
  set(holding: Holding, millis: number): void {
    const lock = holding.lock!
    if (this.#closed) return lock.closeWithService()
    if (holding.due === undefined) holding.insertBefore(this.#held)
    else holding.due.takeOut()
    holding.due = this.#timers.after(millis, () => lock.due())
    if (this.#lookAround !== undefined) return
    this.#clocksApart = this.#clock.currentTimeMillisUnsafe() - monotonicMillis(this.#clock)
    this.#lookAround = this.#timers.after(lookAroundMillis, () => this.#look())
  }

  delete(holding: Holding): void {
    holding.due?.takeOut()
    holding.due = undefined
    holding.takeOut()
  }

  /** Ends the holds that are left: nobody would watch them any more. */
  close(): void {
    this.#closed = true
    for (const lock of this.#locks()) lock.closeWithService()
  }

  #locks(): Array<Leased> {
    const locks: Array<Leased> = []
    for (let holding = this.#held.next; holding.lock !== undefined; holding = holding.next) locks.push(holding.lock)
    return locks
  }

  #look() {
    this.#lookAround = undefined
    if (this.#held.next === this.#held) return
    const clocksApart = this.#clock.currentTimeMillisUnsafe() - monotonicMillis(this.#clock)
    if (Math.abs(clocksApart - this.#clocksApart) > clockJumpMillis) {
      // What was to end later may end before its timer now.
      for (const lock of this.#locks()) lock.due()
    }
    this.#clocksApart = clocksApart
    this.#lookAround = this.#timers.after(lookAroundMillis, () => this.#look())
  }
}
