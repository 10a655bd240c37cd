/**
 * Who waits in this service for permits of a semaphore, and who holds some.
 *
 * Whoever comes while nobody waits asks the nodes at once. Those who were refused queue
 * first come first served, whatever their number of permits: only the head asks, so
 * that a request for many permits is not overtaken for ever. It asks again when
 * permits were released in this service, when some may have expired on the nodes, and
 * when its schedule says so.
 */
import type { Clock } from "effect/Clock"
import type * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Timer, Timers } from "../base/timers.ts"
import type { LockMetrics } from "../telemetry/metrics.ts"
import type { Holder } from "./waitQueue.ts"

interface PermitContext {
  readonly nodes: ReadonlyArray<LockNode>
  readonly clock: Clock
  readonly timers: Timers
  readonly metrics: { readonly permits: LockMetrics }
}

/** A fiber that waits for permits. */
export interface PermitWaiter {
  /** Ends its sleep, while it sleeps. */
  wake: (() => void) | undefined
}

/** All that is known in this service about one semaphore. */
export class PermitQueue {
  readonly key: string
  readonly waiters = new Set<PermitWaiter>()
  readonly holders = new Set<Holder>()
  /** The head should ask now, without waiting for its schedule. */
  wakePending = false
  /** When a waiter last asked the nodes, on the monotonic clock. */
  lastAttemptAt = Number.NEGATIVE_INFINITY
  readonly #context: PermitContext
  #timer: Timer | undefined

  constructor(key: string, context: PermitContext) {
    this.key = key
    this.#context = context
  }

  get head(): PermitWaiter | undefined {
    for (const waiter of this.waiters) return waiter
    return undefined
  }

  wake(): void {
    this.wakePending = true
    this.head?.wake?.()
  }

  /** Wakes the head after so many milliseconds, unless it is woken earlier. */
  wakeWithin(millis: number): void {
    if (!Number.isFinite(millis)) return
    const whole = Math.ceil(millis)
    const dueAt = monotonicMillis(this.#context.clock) + whole
    if (this.#timer !== undefined && this.#timer.dueAt <= dueAt) return
    this.#timer?.cancel()
    this.#timer = this.#context.timers.schedule(whole, () => {
      this.#timer = undefined
      this.wake()
    })
  }

  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}

export class PermitQueues {
  readonly #context: PermitContext
  readonly #queues = new Map<string, PermitQueue>()
  /** The semaphores that were found to have another limit elsewhere. */
  readonly #warned = new Set<string>()
  closed = false

  constructor(context: PermitContext) {
    this.#context = context
  }

  /** Whether anybody in here waits. */
  isAwaited(key: string): boolean {
    return (this.#queues.get(key)?.waiters.size ?? 0) > 0
  }

  /** The holds of this service under a key. */
  holders(key: string): ReadonlyArray<Holder> {
    return [...this.#queues.get(key)?.holders ?? []]
  }

  /** True once for each key. */
  isFirstWarning(key: string): boolean {
    if (this.#warned.size > mostWarned) this.#warned.clear()
    return this.#warned.size < this.#warned.add(key).size
  }

  enter(key: string, waiter: PermitWaiter): PermitQueue {
    const queue = this.#queue(key)
    queue.waiters.add(waiter)
    return queue
  }

  leave(queue: PermitQueue, waiter: PermitWaiter): void {
    const wasHead = queue.head === waiter
    if (!queue.waiters.delete(waiter)) return
    if (queue.waiters.size === 0) this.#retire(queue)
    else if (wasHead) queue.wake()
  }

  lockHeld(holder: Holder): void {
    this.#queue(holder.key).holders.add(holder)
  }

  /** Permits were lost or released. */
  lockEnded(holder: Holder): void {
    const queue = this.#queues.get(holder.key)
    if (queue === undefined || !queue.holders.delete(holder)) return
    if (queue.waiters.size === 0) this.#retire(queue)
    else queue.wake()
  }

  lockLeft(holder: Holder): void {
    this.lockEnded(holder)
  }

  releaseOrder(): ReadonlyArray<LockNode> {
    return this.#context.nodes
  }

  /** Permits are released, and whoever wants them asks the nodes. */
  releasing(): undefined {
    return undefined
  }

  release(node: LockNode, { key, value }: Pick<Holder, "key" | "value">): Effect.Effect<boolean, NodeError> {
    return node.permits!.release(key, value)
  }

  transfer(node: LockNode, holder: Pick<Holder, "key" | "value">): Effect.Effect<boolean, NodeError> {
    return this.release(node, holder)
  }

  /** Ends all waiting: nothing can be acquired any more. */
  close(): void {
    this.closed = true
    for (const queue of this.#queues.values()) {
      queue.close()
      for (const waiter of queue.waiters) waiter.wake?.()
    }
  }

  #retire(queue: PermitQueue): void {
    queue.close()
    queue.wakePending = false
    if (queue.holders.size === 0) this.#queues.delete(queue.key)
  }

  #queue(key: string): PermitQueue {
    let queue = this.#queues.get(key)
    if (queue === undefined) this.#queues.set(key, queue = new PermitQueue(key, this.#context))
    return queue
  }
}

/** Only to bound the memory. */
const mostWarned = 1000
