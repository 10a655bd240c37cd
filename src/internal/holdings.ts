/**
 * The locks a service holds, and the one clock that watches them all.
 *
 * A lock that is held only briefly costs an entry in a map and no timer of its
 * own. Locks of one period fall due in the order in which they were added, so
 * the first of each period is all the clock has to look at. Those that fall due
 * get a fiber that watches the end of their lease to the millisecond.
 *
 * A timer stands still while the machine is suspended and knows nothing of the
 * wall clock, so nothing here sleeps longer than `lookAroundMillis` before it
 * looks at both clocks again.
 */
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { HeldLock } from "./held.ts"
import { monotonicMillis } from "./lease.ts"

const lookAroundMillis = 1000
/** Further apart than this, one of the two clocks was set or stood still. */
const clockJumpMillis = 100

export class Holdings {
  readonly #clock: Clock
  readonly #fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  readonly #dueByPeriod = new Map<number, Map<HeldLock, number>>()
  readonly #watched = new Map<HeldLock, Fiber.Fiber<void>>()
  #timer: Fiber.Fiber<void> | undefined
  #wakeAt = Number.POSITIVE_INFINITY
  #clocksApart: number
  #closed = false

  constructor(clock: Clock, fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>) {
    this.#clock = clock
    this.#fork = fork
    this.#clocksApart = clock.currentTimeMillisUnsafe() - monotonicMillis(clock)
  }

  /** Watches a lock that was just granted or extended, until `delete`. */
  add(lock: HeldLock): void {
    this.delete(lock)
    if (this.#closed) return this.#end(lock)
    const period = lock.settings.expiryMillis / 3
    const dueAt = monotonicMillis(this.#clock) + period
    const due = this.#dueByPeriod.get(period)
    if (due === undefined) this.#dueByPeriod.set(period, new Map([[lock, dueAt]]))
    else due.set(lock, dueAt)
    if (dueAt < this.#wakeAt) this.#wake(dueAt)
  }

  delete(lock: HeldLock): void {
    this.#dueByPeriod.get(lock.settings.expiryMillis / 3)?.delete(lock)
    const fiber = this.#watched.get(lock)
    if (fiber === undefined) return
    this.#watched.delete(lock)
    fiber.interruptUnsafe()
  }

  /** Ends the holds that are left: nobody would watch them any more. */
  close(): void {
    this.#closed = true
    this.#timer?.interruptUnsafe()
    for (const lock of this.#locks()) this.#end(lock)
  }

  #end(lock: HeldLock) {
    lock.lose("Expired", [])
    lock.startRelease()
  }

  #locks(): Array<HeldLock> {
    return [...this.#watched.keys(), ...[...this.#dueByPeriod.values()].flatMap((due) => [...due.keys()])]
  }

  #wake(dueAt: number) {
    this.#timer?.interruptUnsafe()
    const now = monotonicMillis(this.#clock)
    this.#wakeAt = Math.min(dueAt, now + lookAroundMillis)
    this.#timer = this.#fork(Effect.andThen(sleep(this.#wakeAt - now), Effect.sync(() => this.#tick())))
  }

  #tick() {
    this.#timer = undefined
    this.#wakeAt = Number.POSITIVE_INFINITY
    const now = monotonicMillis(this.#clock)
    const clocksApart = this.#clock.currentTimeMillisUnsafe() - now
    if (Math.abs(clocksApart - this.#clocksApart) > clockJumpMillis) {
      for (const lock of this.#locks()) lock.check()
    }
    this.#clocksApart = clocksApart
    let next = Number.POSITIVE_INFINITY
    for (const [period, due] of this.#dueByPeriod) {
      for (const [lock, dueAt] of due) {
        if (dueAt > now) {
          next = Math.min(next, dueAt)
          break
        }
        due.delete(lock)
        this.#watch(lock)
      }
      if (due.size === 0) this.#dueByPeriod.delete(period)
    }
    if (next < this.#wakeAt) this.#wake(next)
  }

  #watch(lock: HeldLock) {
    const untilEnd: Effect.Effect<void> = Effect.suspend(() => {
      const remaining = lock.remainingMillis()
      return remaining > 0
        ? Effect.andThen(sleep(Math.min(remaining, lookAroundMillis)), untilEnd)
        : Effect.sync(() => lock.check())
    })
    this.#watched.set(lock, this.#fork(untilEnd))
  }
}

// Timers count whole milliseconds; rounding down would wake too early.
const sleep = (millis: number) => Effect.sleep(Duration.millis(Math.ceil(millis)))
