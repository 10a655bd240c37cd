/**
 * The locks a service holds, and when to extend them.
 *
 * A lock that is held only briefly costs an entry in a map and a timer that it
 * shares with the others. A timer stands still while the machine is suspended
 * and knows nothing of the wall clock, so both clocks are looked at once a
 * second too while locks are held.
 */
import type { Clock } from "effect/Clock"
import type { HeldLock } from "./held.ts"
import { monotonicMillis } from "./lease.ts"
import type { Timer, Timers } from "./timers.ts"

const lookAroundMillis = 1000
/** Further apart than this, one of the two clocks was set or stood still. */
const clockJumpMillis = 100

export class Holdings {
  readonly #clock: Clock
  readonly #timers: Timers
  readonly #due = new Map<HeldLock, Timer>()
  #lookAround: Timer | undefined
  #clocksApart = 0
  #closed = false

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock
    this.#timers = timers
  }

  /** Calls the lock's `due` after so many milliseconds, unless it is deleted or set anew before. */
  set(lock: HeldLock, millis: number): void {
    this.delete(lock)
    if (this.#closed) return this.#end(lock)
    this.#due.set(lock, this.#timers.after(millis, () => lock.due()))
    if (this.#lookAround !== undefined) return
    this.#clocksApart = this.#clock.currentTimeMillisUnsafe() - monotonicMillis(this.#clock)
    this.#lookAround = this.#timers.after(lookAroundMillis, () => this.#look())
  }

  delete(lock: HeldLock): void {
    const timer = this.#due.get(lock)
    if (timer === undefined) return
    this.#due.delete(lock)
    this.#timers.cancel(timer)
  }

  /** Ends the holds that are left: nobody would watch them any more. */
  close(): void {
    this.#closed = true
    for (const lock of this.#due.keys()) this.#end(lock)
  }

  #end(lock: HeldLock) {
    lock.lose("Expired", [])
    lock.startRelease()
  }

  #look() {
    this.#lookAround = undefined
    if (this.#due.size === 0) return
    const clocksApart = this.#clock.currentTimeMillisUnsafe() - monotonicMillis(this.#clock)
    if (Math.abs(clocksApart - this.#clocksApart) > clockJumpMillis) {
      // What was to end later may end before its timer now.
      const locks = [...this.#due.keys()]
      for (const lock of locks) lock.due()
    }
    this.#clocksApart = clocksApart
    this.#lookAround = this.#timers.after(lookAroundMillis, () => this.#look())
  }
}
