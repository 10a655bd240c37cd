/**
 * The waiters of this service for shared locks, and its holders.
 *
 * Readers do not wait for each other, so there is no order among them. Each reader asks the nodes
 * itself: at once, when a writer of this service has left, and on its schedule. When a key has
 * changed on a node, one reader asks, and the others ask once it has the lock.
 */
import type * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { WaitingContext } from "./context.ts"
import type { Holder } from "./waitQueue.ts"
import type { Held, Onlookers } from "./waitQueues.ts"

/** A fiber that waits for a shared lock. */
export interface Reader {
  /** It should ask now, without waiting for its schedule. */
  wakePending: boolean
  /** It was woken, the others were not, and it has not been refused since. */
  isAlone: boolean
  /** Ends its sleep, while it sleeps. */
  wake: (() => void) | undefined
}

/** What this service knows about the readers of one name. */
interface ReaderQueue {
  readonly waiters: Set<Reader>
  readonly holders: Set<Holder>
  /** A node will notify us of the next change of the key. */
  isWatching: boolean
  /** Consecutive times the key was absent but a reader was refused, because a writer is about to set it. */
  freeLooks: number
  /**
   * Consecutive times a change of the key woke a reader that was then refused. If the nodes disagree on whether a writer
   * waits, its own attempt is such a change.
   */
  vainChanges: number
  /** Until when a change of the key wakes nobody yet, on the monotonic clock. */
  pausedUntil: number
  /** A reader will be woken at the end of the pause. */
  isPausing: boolean
}

/** The pause before a reader that was refused a free key several times in a row asks again. */
const freePauseMillis = (times: number): number => Math.min(100, 5 * times ** 2)

/** The same for one that was woken by a change in vain: much less than the time for which a writer lets readers in. */
const vainPauseMillis = (times: number): number => Math.min(10, 5 * times)

type ReadersContext = Pick<WaitingContext, "clock" | "defer" | "nodes" | "timers">

/** The waiters for exclusive locks. */
interface Writers {
  wake(key: string): void
  alert(key: string): void
  watch(key: string, onAnswer: (isHeld: boolean | undefined) => void): void
}

export class ReaderQueues implements Onlookers {
  readonly #context: ReadersContext
  readonly #writers: Writers
  readonly #queues = new Map<string, ReaderQueue>()
  closed = false

  constructor(context: ReadersContext, writers: Writers) {
    this.#context = context
    this.#writers = writers
  }

  /** The holds of this service under a key. */
  holders(key: string): ReadonlyArray<Holder> {
    return [...this.#queues.get(key)?.holders ?? []]
  }

  enter(key: string, reader: Reader): void {
    this.#queue(key).waiters.add(reader)
  }

  /** Called when the reader has the lock, or gives up: another one then asks in its place. */
  leave(key: string, reader: Reader, isGranted: boolean): void {
    const queue = this.#queues.get(key)
    if (queue?.waiters.delete(reader) !== true) return
    // Later, since all may be leaving.
    if (reader.isAlone && !isGranted) this.#context.defer(() => this.changed(key))
    this.#retire(key, queue)
  }

  isAwaited(key: string): boolean {
    return (this.#queues.get(key)?.waiters.size ?? 0) > 0
  }

  /** Called when a reader was refused: the next change of the key wakes a reader. */
  refused(key: string, reader: Reader): void {
    const wasVain = reader.isAlone
    reader.isAlone = false
    const queue = this.#queues.get(key)
    if (queue === undefined || queue.isWatching) return
    queue.vainChanges = wasVain ? queue.vainChanges + 1 : 0
    queue.pausedUntil = monotonicMillis(this.#context.clock) + vainPauseMillis(queue.vainChanges)
    queue.isWatching = true
    this.#writers.watch(key, (isHeld) => {
      queue.isWatching = false
      if (isHeld !== false) queue.freeLooks = 0
      else this.#context.timers.schedule(freePauseMillis(queue.freeLooks++), () => this.changed(key))
    })
  }

  /** Called when the lock may be free for readers: one of them asks. */
  changed(key?: string): void {
    for (const name of key === undefined ? this.#queues.keys() : [key]) {
      const queue = this.#queues.get(name)
      if (queue !== undefined && !queue.isPausing) this.#wakeOne(queue)
    }
  }

  #wakeOne(queue: ReaderQueue): void {
    const pause = Math.ceil(queue.pausedUntil - monotonicMillis(this.#context.clock))
    if (pause > 0) {
      queue.isPausing = true
      this.#context.timers.schedule(pause, () => {
        queue.isPausing = false
        this.#wakeOne(queue)
      })
      return
    }
    for (const reader of queue.waiters) {
      reader.isAlone = true
      return wake(reader)
    }
  }

  /** Called when the lock is free for readers: all of them ask. */
  wakeAll(key: string): void {
    for (const reader of this.#queues.get(key)?.waiters ?? []) wake(reader)
  }

  lockHeld(holder: Holder): void {
    this.#queue(holder.key).holders.add(holder)
    this.wakeAll(holder.key)
  }

  /** Called when a shared lock was lost or released. */
  lockEnded(holder: Holder): void {
    const { key } = holder
    const queue = this.#queues.get(key)
    if (queue === undefined || !queue.holders.delete(holder)) return
    if (queue.holders.size === 0) this.#writers.wake(key)
    this.#retire(key, queue)
  }

  lockLeft(holder: Holder): void {
    this.lockEnded(holder)
  }

  releaseOrder(): ReadonlyArray<LockNode> {
    return this.#context.nodes
  }

  /** A shared lock is not handed over. */
  releasing(): undefined {
    return undefined
  }

  /** A shared lock is not passed on either: no reader waits for another. */
  heir(): undefined {
    return undefined
  }

  passedOn(): void {}

  /** While readers hold the lock, the first in line watches it. */
  wakeFirst(): void {}

  alert(key: string): void {
    this.#writers.alert(key)
  }

  release(node: LockNode, { key, value }: Held): Effect.Effect<boolean, NodeError> {
    return node.shared!.release(key, value)
  }

  transfer(node: LockNode, holder: Held): Effect.Effect<boolean, NodeError> {
    return this.release(node, holder)
  }

  /** Ends all waiting: nothing can be acquired any more. */
  close(): void {
    this.closed = true
    for (const key of this.#queues.keys()) this.wakeAll(key)
  }

  #retire(key: string, { holders, waiters }: ReaderQueue) {
    if (holders.size === 0 && waiters.size === 0) this.#queues.delete(key)
  }

  #queue(key: string): ReaderQueue {
    let queue = this.#queues.get(key)
    if (queue === undefined) {
      this.#queues.set(
        key,
        queue = {
          waiters: new Set(),
          holders: new Set(),
          isWatching: false,
          freeLooks: 0,
          vainChanges: 0,
          pausedUntil: Number.NEGATIVE_INFINITY,
          isPausing: false
        }
      )
    }
    return queue
  }
}

const wake = (reader: Reader) => {
  reader.wakePending = true
  reader.wake?.()
}
