/**
 * True time, and all that is to happen in it.
 *
 * The whole history runs in one synchronous loop: there are no promises and no
 * timers of the host. Time is in milliseconds, with fractions.
 */
import type { Chance } from "./chance.ts"

interface Event {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** More events than this in one history are taken for a program that spins. */
const mostEvents = 400_000

export class World {
  now = 0
  events = 0
  /** No further event is run: the history has come to its end, or spins. */
  stopped = false
  /** Called after each event. */
  onEvent: () => void = () => {}
  /** What happened, line by line, where somebody wants to read it. */
  readonly timeline: Array<string> | undefined
  /** The chance of the network and the machines. */
  readonly chance: Chance
  #order = 0
  readonly #heap: Array<Event> = []

  constructor(chance: Chance, record: boolean) {
    this.chance = chance
    this.timeline = record ? [] : undefined
  }

  /** Lets something happen at a time, after all that is to happen at that time already. */
  at(time: number, run: () => void): void {
    const event = { at: Math.max(time, this.now), order: this.#order++, run }
    const heap = this.#heap
    let index = heap.length
    heap.push(event)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(event, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = event
  }

  after(millis: number, run: () => void): void {
    this.at(this.now + millis, run)
  }

  /**
   * Lets time pass. It may be called while an event runs, by a process that
   * blocks: all others go on meanwhile.
   */
  runUntil(time: number): void {
    while (!this.stopped) {
      const next = this.#heap[0]
      if (next === undefined || next.at > time) break
      this.#pop()
      this.now = Math.max(this.now, next.at)
      if (++this.events > mostEvents) this.stopped = true
      next.run()
      this.onEvent()
    }
    this.now = Math.max(this.now, time)
  }

  /** Lets all happen that is still to happen, up to a time. */
  runOut(horizon: number): void {
    while (!this.stopped && this.#heap.length > 0 && this.#heap[0]!.at <= horizon) this.runUntil(this.#heap[0]!.at)
  }

  /** Writes a line; `line` is called only if somebody reads it. */
  log(line: () => string): void {
    this.timeline?.push(`${this.now.toFixed(3).padStart(11)}  ${line()}`)
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let index = 0
    while (true) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
  }
}

const isBefore = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
