/**
 * Who waits in this service for shared locks, and who holds some.
 *
 * Readers do not wait for each other, so there is no order among them: each asks the
 * nodes itself, at once, when the lock may have become free, and when its schedule says so.
 */
import type * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import type { Holder } from "./waitQueue.ts"

/** A fiber that waits for a shared lock. */
export interface Reader {
  /** It should ask now, without waiting for its schedule. */
  wakePending: boolean
  /** Ends its sleep, while it sleeps. */
  wake: (() => void) | undefined
}

/** All that is known in this service about the readers of one name. */
interface ReaderQueue {
  readonly waiters: Set<Reader>
  readonly holders: Set<Holder>
}

export class ReaderQueues {
  readonly #nodes: ReadonlyArray<LockNode>
  readonly #onFree: (key: string) => void
  readonly #queues = new Map<string, ReaderQueue>()
  closed = false

  /** `onFree` is called when no reader of this service holds the lock any more. */
  constructor(nodes: ReadonlyArray<LockNode>, onFree: (key: string) => void) {
    this.#nodes = nodes
    this.#onFree = onFree
  }

  /** The holds of this service under a key. */
  holders(key: string): ReadonlyArray<Holder> {
    return [...this.#queues.get(key)?.holders ?? []]
  }

  enter(key: string, reader: Reader): void {
    this.#queue(key).waiters.add(reader)
  }

  leave(key: string, reader: Reader): void {
    const queue = this.#queues.get(key)
    if (queue?.waiters.delete(reader) === true) this.#retire(key, queue)
  }

  /** The lock may be free for readers: all of them ask. */
  wake(key: string): void {
    for (const reader of this.#queues.get(key)?.waiters ?? []) {
      reader.wakePending = true
      reader.wake?.()
    }
  }

  lockHeld(holder: Holder): void {
    this.#queue(holder.key).holders.add(holder)
  }

  /** A shared lock was lost or released. */
  lockEnded(holder: Holder): void {
    const { key } = holder
    const queue = this.#queues.get(key)
    if (queue === undefined || !queue.holders.delete(holder)) return
    if (queue.holders.size === 0) this.#onFree(key)
    this.#retire(key, queue)
  }

  lockLeft(holder: Holder): void {
    this.lockEnded(holder)
  }

  releaseOrder(): ReadonlyArray<LockNode> {
    return this.#nodes
  }

  /** What readers share is not handed over. */
  releasing(): undefined {
    return undefined
  }

  release(node: LockNode, { key, value }: Pick<Holder, "key" | "value">): Effect.Effect<boolean, NodeError> {
    return node.shared!.release(key, value)
  }

  transfer(node: LockNode, holder: Pick<Holder, "key" | "value">): Effect.Effect<boolean, NodeError> {
    return this.release(node, holder)
  }

  /** Ends all waiting: nothing can be acquired any more. */
  close(): void {
    this.closed = true
    for (const key of this.#queues.keys()) this.wake(key)
  }

  #retire(key: string, { holders, waiters }: ReaderQueue) {
    if (holders.size === 0 && waiters.size === 0) this.#queues.delete(key)
  }

  #queue(key: string): ReaderQueue {
    let queue = this.#queues.get(key)
    if (queue === undefined) this.#queues.set(key, queue = { waiters: new Set(), holders: new Set() })
    return queue
  }
}
