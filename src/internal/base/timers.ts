/**
 * Many timers of few durations, for the price of one.
 *
 * Timers of one duration fall due in the order in which they were set, so the
 * first of each duration is all there is to look at, setting and cancelling are
 * constant work, and one fiber sleeps for them all.
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

/** The ring of the timers of one duration: begins and ends with one that never falls due. */
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

  /** Calls `run` once so many milliseconds have passed on the monotonic clock. */
  schedule(millis: number, run: () => void): Timer {
    const timer = new Timer(monotonicMillis(this.#clock) + millis, run)
    let timers = this.#byMillis.get(millis)
    if (timers === undefined) this.#byMillis.set(millis, timers = ring())
    timer.insertBefore(timers)
    if (timer.dueAt < this.#wakeAt) this.#sleepUntil(timer.dueAt)
    return timer
  }

  /** Forgets all timers. */
  close(): void {
    this.#byMillis.clear()
    this.#wakeAt = Number.POSITIVE_INFINITY
    this.#sleeper?.interruptUnsafe()
  }

  #sleepUntil(at: number) {
    this.#sleeper?.interruptUnsafe()
    this.#wakeAt = at
    // Timers count whole milliseconds, and rounding down would wake too early. After a blocked event loop they fire
    // before the answers that wait in the sockets are read. Yielding lets those be read first, and what falls due
    // meanwhile waits for the next time.
    const sleep = Effect.sleep(Duration.millis(Math.ceil(at - monotonicMillis(this.#clock))))
    this.#sleeper = this.#fork(Effect.flatMap(sleep, () => {
      const now = monotonicMillis(this.#clock)
      return Effect.andThen(Effect.yieldNow, Effect.sync(() => this.#wake(now)))
    }))
  }

  #wake(now: number) {
    this.#sleeper = undefined
    // While the timers that are due run, those they set must not start a sleep each.
    this.#wakeAt = Number.NEGATIVE_INFINITY
    let next = Number.POSITIVE_INFINITY
    for (const timers of this.#byMillis.values()) {
      while (timers.next.dueAt <= now) {
        const timer = timers.next
        timer.cancel()
        try {
          timer.run()
        } catch (defect) {
          // The others must fall due all the same.
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
