/**
 * Timers grouped by duration, all served by a single sleeping fiber.
 *
 * Timers of one duration expire in the order they were scheduled, so only
 * the first of each duration has to be checked, and scheduling and cancelling take
 * constant time.
 */
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { monotonicMillis } from "./clock.ts"
import { LinkedNode } from "./linkedList.ts"

export class Timer extends LinkedNode {
  readonly dueAt: number
  readonly run: () => void

  constructor(dueAt: number, run: () => void) {
    super()
    this.dueAt = dueAt
    this.run = run
  }

  cancel(): void {
    this.unlink()
  }
}

/** The circular list of the timers of one duration, with a sentinel that never expires. */
const ring = () => new Timer(Number.POSITIVE_INFINITY, () => {})

export class Timers {
  readonly #clock: Clock
  readonly #fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  readonly #byMillis = new Map<number, Timer>()
  #sleeper: Fiber.Fiber<void> | undefined
  #wakeAt = Number.POSITIVE_INFINITY

  constructor(clock: Clock, fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>) {
    this.#clock = clock
    this.#fork = fork
  }

  /** Calls `run` after `millis` milliseconds of monotonic time. */
  schedule(millis: number, run: () => void): Timer {
    const timer = new Timer(monotonicMillis(this.#clock) + millis, run)
    let timers = this.#byMillis.get(millis)
    if (timers === undefined) this.#byMillis.set(millis, timers = ring())
    timer.insertBefore(timers)
    if (timer.dueAt < this.#wakeAt) this.#sleepUntil(timer.dueAt)
    return timer
  }

  /** Drops all timers. */
  close(): void {
    this.#byMillis.clear()
    this.#wakeAt = Number.POSITIVE_INFINITY
    this.#sleeper?.interruptUnsafe()
  }

  #sleepUntil(at: number) {
    this.#sleeper?.interruptUnsafe()
    this.#wakeAt = at
    // Timers count whole milliseconds, so round up: rounding down would wake too early. After the event loop was
    // blocked, timers fire before the replies waiting in the sockets are read. Yielding lets those be read first;
    // timers that expire in the meantime are left for the next wake-up.
    const sleep = Effect.sleep(Duration.millis(Math.ceil(at - monotonicMillis(this.#clock))))
    this.#sleeper = this.#fork(Effect.flatMap(sleep, () => {
      const now = monotonicMillis(this.#clock)
      return Effect.andThen(Effect.yieldNow, Effect.sync(() => this.#wake(now)))
    }))
  }

  #wake(now: number) {
    this.#sleeper = undefined
    // Timers scheduled by the callbacks below must not each start a sleep of their own.
    this.#wakeAt = Number.NEGATIVE_INFINITY
    let next = Number.POSITIVE_INFINITY
    for (const timers of this.#byMillis.values()) {
      while (timers.next.dueAt <= now) {
        const timer = timers.next
        timer.cancel()
        try {
          timer.run()
        } catch (defect) {
          // The remaining timers must still run.
          this.#fork(Effect.die(defect))
        }
      }
    }
    for (const [millis, timers] of this.#byMillis) {
      if (timers.next === timers) this.#byMillis.delete(millis)
      else next = Math.min(next, timers.next.dueAt)
    }
    this.#wakeAt = Number.POSITIVE_INFINITY
    if (next < Number.POSITIVE_INFINITY) this.#sleepUntil(next)
  }
}
