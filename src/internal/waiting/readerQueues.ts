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
import type { Timers } from "../base/timers.ts"
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
}

/** The pause before a reader that was refused several times in a row asks again, at most a tenth of a second. */
const pauseMillis = (times: number): number => Math.min(100, 5 * times ** 2)

/** The waiters for exclusive locks. */
interface Writers {
  wake(key: string): void
  alert(key: string): void
  watch(key: string, onAnswer: (isHeld: boolean | undefined) => void): void
}

export class ReaderQueues implements Onlookers {
  readonly #nodes: ReadonlyArray<LockNode>
  readonly #writers: Writers
  readonly #timers: Timers
  readonly #queues = new Map<string, ReaderQueue>()
  closed = false

  constructor(
    { nodes, timers }: { readonly nodes: ReadonlyArray<LockNode>; readonly timers: Timers },
    writers: Writers
  ) {
    this.#nodes = nodes
    this.#timers = timers
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
    if (reader.isAlone && !isGranted) this.changed(key)
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
    queue.isWatching = true
    const watch = () =>
      this.#writers.watch(key, (isHeld) => {
        queue.isWatching = false
        if (isHeld !== false) queue.freeLooks = 0
        else this.#timers.schedule(pauseMillis(queue.freeLooks++), () => this.changed(key))
      })
    if (wasVain && queue.vainChanges > 0) this.#timers.schedule(pauseMillis(queue.vainChanges), watch)
    else watch()
    queue.vainChanges = wasVain ? queue.vainChanges + 1 : 0
  }

  /** Called when the lock may be free for readers: one of them asks. */
  changed(key?: string): void {
    for (const name of key === undefined ? this.#queues.keys() : [key]) {
      for (const reader of this.#queues.get(name)?.waiters ?? []) {
        reader.isAlone = true
        wake(reader)
        break
      }
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
    return this.#nodes
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
        queue = { waiters: new Set(), holders: new Set(), isWatching: false, freeLooks: 0, vainChanges: 0 }
      )
    }
    return queue
  }
}

const wake = (reader: Reader) => {
  reader.wakePending = true
  reader.wake?.()
}
