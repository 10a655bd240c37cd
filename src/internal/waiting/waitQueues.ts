/**
 * Waiting: the queues of this service, one for each name, and the notifications from the nodes' waiting lists.
 *
 * Waiters queue first come first served, whatever their options, and only the head of a queue talks
 * to the nodes; while the lock is held by this service there is nothing to ask at all. Across
 * services a waiting list on one node keeps the order. The holder is notified of the first in line,
 * and hands the lock over to it; otherwise the first in line is woken, and asks the nodes. The line
 * is only a hint: the quorum alone enforces exclusion, and each waiter also makes attempts on its
 * own schedule.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { HandOverChain, LineEntry, LockNode, Notice } from "../../LockNode.ts"
import { serviceIdLength } from "../nodeContract.ts"
import { attributes } from "../telemetry/attributes.ts"
import type { WaitingContext } from "./context.ts"
import { NodeWaitingLists, type Released } from "./nodeWaitingLists.ts"
import { openList } from "./openList.ts"
import type { LineClaim } from "./placeInLine.ts"
import { type Holder, type Waiter, WaitQueue } from "./waitQueue.ts"

/** A custom node that takes longer has no waiting lists. */
const openTimeout = Duration.seconds(2)

/** How a lock is to be handed over. */
export interface HandOverOrder {
  readonly successor: LineEntry
  readonly chain: HandOverChain
  readonly expiryMillis: number
  readonly proposal: number
}

/** The readers of this service, which wait for writers to leave. */
export interface Onlookers {
  /** Whether any reader waits. */
  isAwaited(key: string): boolean
  wakeAll(key: string): void
  /** Called when a key has changed; without a key, any may have changed. */
  changed(key?: string): void
}

/** A key, and the value under which it is held. */
export interface Held {
  readonly key: string
  readonly value: string
}

export class WaitQueues<Refusal, C extends LineClaim, W extends Waiter<C> = Waiter<C>> {
  readonly #context: WaitingContext
  readonly #lists: NodeWaitingLists
  #serviceId = ""
  readonly #onDead: (node: LockNode, key: string, value: string) => void
  readonly #queues = new Map<string, WaitQueue<Refusal, C, W>>()
  /** The logged reasons why nodes cannot deliver notifications. */
  readonly #warnedReasons = new Set<string>()
  /** Values of locks that were left to expire or to another process. */
  readonly #left = new Set<string>()
  closed = false
  /** The readers of this service. */
  readers: Onlookers | undefined
  /** The waiters for permits, which have lines of their own on the same nodes. */
  permitQueues: { readonly onNotice: (node: LockNode, notice: Notice) => void } | undefined

  /** `onDead` deletes a value on a node that has handed a lock over to it too late, and wakes the next in line there. */
  constructor(context: WaitingContext, onDead: (node: LockNode, key: string, value: string) => void) {
    this.#context = context
    this.#onDead = onDead
    this.#lists = new NodeWaitingLists(context)
  }

  get lists(): NodeWaitingLists {
    return this.#lists
  }

  /** Opens the waiting lists of the nodes that have them; `waiterId` is this service's name in them. */
  open(waiterId: string) {
    this.#serviceId = waiterId.slice(-serviceIdLength)
    return Effect.forEach(this.#context.nodes, (node) =>
      node.waitingList === undefined
        ? Effect.void
        : Effect.matchCause(
          Effect.timeout(openList(node, waiterId, (notice) => this.#onNotice(node, notice)), openTimeout),
          {
            onSuccess: (list) => this.#lists.add(node, list),
            onFailure: () => this.#warn(node, `Lock node ${node.id} could not open its waiting lists, so waiters poll`)
          }
        ), { discard: true })
  }

  /** Whether the lock is held in this service. */
  isHeldHere(key: string): boolean {
    const queue = this.#queues.get(key)
    return queue !== undefined && queue.holders.size > 0
  }

  /** The holds of this service under a key. */
  holders(key: string): ReadonlyArray<Holder> {
    return [...this.#queues.get(key)?.holders ?? []]
  }

  /** Whether any fiber of this service holds the lock or waits for it. */
  hasQueue(key: string): boolean {
    return this.#queues.get(key)?.isBusy === true
  }

  enter(key: string, waiter: W): WaitQueue<Refusal, C, W> {
    const queue = this.#queue(key)
    queue.waiters.add(waiter)
    this.#context.metrics.waitersChanged(1)
    return queue
  }

  leave(queue: WaitQueue<Refusal, C, W>, waiter: W): void {
    const wasHead = queue.head === waiter
    if (!queue.waiters.delete(waiter)) return
    this.#context.metrics.waitersChanged(-1)
    if (queue.waiters.size === 0) this.#retire(queue)
    // Later, since all may be leaving: each would wake the next within this call, which would make an attempt in vain.
    else if (wasHead) this.#context.defer(() => queue.isWaiting && queue.wake())
  }

  lockHeld(holder: Holder): void {
    this.#queue(holder.key).held(holder)
  }

  /** The next waiter of this service, if the lock may be passed on to it without being free in between. */
  heir(holder: Holder): W | undefined {
    return this.closed || this.#isShared(holder.key) ? undefined : this.#queues.get(holder.key)?.heir(holder)
  }

  /** Called when a lock that is held here was passed on, under the same value or another. */
  passedOn(from: Holder, to: Holder): void {
    this.#queues.get(from.key)!.passedOn(from, to)
  }

  /**
   * Called when a lock held here was lost or released. `woke` says whether that woke another
   * service, or handed the lock to it.
   */
  lockEnded(holder: Holder, woke: boolean): void {
    const queue = this.#queues.get(holder.key)
    if (queue?.ended(holder, woke) !== true) return
    this.readers?.wakeAll(holder.key)
    if (queue.waiters.size === 0) this.#retire(queue)
    else queue.wakeHead(holder, woke)
  }

  /** Called when the lock may be free: the head makes an attempt. */
  wake(key: string): void {
    const queue = this.#queues.get(key)
    if (queue?.isWaiting === true) queue.wake()
  }

  /**
   * Called when a lock was given up without a release. Late hand-overs to its value are ignored for
   * as long as it may live.
   */
  lockLeft(holder: Holder, expiryMillis: number): void {
    const { value } = holder.claim
    this.#queues.get(holder.key)?.forget(value)
    this.#left.add(value)
    // A key that was handed over to us late may live for longer than one that we have set.
    this.#context.timers.schedule(Math.max(expiryMillis, latestNoticeMillis), () => this.#left.delete(value))
    this.lockEnded(holder, false)
  }

  /** All nodes, beginning with the one that has the waiting list, since the waiter watches for the release there. */
  releaseOrder(key: string): ReadonlyArray<LockNode> {
    return this.#lists.firstInRank(key)?.nodesOwnFirst ?? this.#context.nodes
  }

  /**
   * Called when the lock is about to be released. Returns the service to which it should be handed
   * over, if it can be.
   */
  releasing(holder: Holder): { readonly successor: LineEntry; readonly chain: HandOverChain } | undefined {
    const next = this.#queues.get(holder.key)?.releasing(holder)
    if (this.#isShared(holder.key)) return undefined
    return next !== undefined && this.#lists.canHandOver ? next : undefined
  }

  /** Releases on a node, and wakes the first in its waiting list if it has one. */
  release(
    node: LockNode,
    { key, value }: Held,
    onReleased: (released: Released) => void
  ): Effect.Effect<boolean, NodeError> {
    // Readers that wait elsewhere notify the holder, but only one that listens: a holder that has not waited
    // may not have been notified.
    const mayBeShared = this.#isShared(key) || this.#queues.get(key)?.wasPassedOn === true
    return mayBeShared && node.shared !== undefined
      ? this.#lists.yieldToReaders(node, key, value, onReleased)
      : this.#lists.release(node, key, value, undefined, onReleased)
  }

  /** Wakes the first in line of all services, if the key is free. */
  wakeFirst(key: string): void {
    this.#lists.wakeFirst(key)
  }

  /** Makes all services that wait for a lock look again, after its holder has found it gone. */
  alert(key: string): void {
    this.#lists.alert(key)
  }

  /**
   * Notifies the first in line of all services that a lock held here has ended without a release. It does not watch
   * the key, since the holder knew of it and would have woken it.
   */
  notifyFirst({ key, value }: Held): void {
    const node = this.#lists.firstInRank(key)?.node
    if (node !== undefined) this.#lists.leave(node, key, deadEntry(value))
  }

  /** Whether the name is shared, so that readers must get their turn. */
  #isShared(key: string): boolean {
    return this.#queues.get(key)?.isShared === true || this.readers?.isAwaited(key) === true
  }

  /** How many services stand in line for a key on a node, if it can say. */
  lineLength(node: LockNode, key: string): Effect.Effect<number | undefined> {
    return this.#lists.length(node, key)
  }

  /** Has a node notify us of the next change of a key for which a reader waits. */
  watch(key: string, onAnswer: (isHeld: boolean | undefined) => void): void {
    this.#lists.watch(key, onAnswer)
  }

  /** Hands the lock over on a node. */
  transfer(
    node: LockNode,
    { key, value }: Held,
    { successor, ...terms }: HandOverOrder,
    onReleased: (released: Released) => void
  ): Effect.Effect<boolean, NodeError> {
    return this.#lists.transfer(node, key, value, successor, terms, onReleased)
  }

  /** Forgets a lock that the line had handed over, and that was given up before it was held. */
  forget({ key, value }: Held): void {
    this.#queues.get(key)?.forget(value)
  }

  /** Ends all waiting: nothing can be acquired any more. */
  close(): void {
    this.closed = true
    this.#lists.close()
    for (const queue of this.#queues.values()) {
      queue.lingering?.cancel()
      for (const waiter of queue.waiters) waiter.wake?.()
    }
  }

  /**
   * Whether this service made the value. A notice with another value is forged or misdirected, and
   * nothing is deleted because of it.
   */
  #isOurs(value: string): boolean {
    return value.startsWith(this.#serviceId)
  }

  #onNotice(node: LockNode, notice: Notice): void {
    switch (notice._tag) {
      case "WakeUp": {
        const queue = this.#queues.get(notice.key)
        queue?.recordWakeUp("wasted")
        if (queue !== undefined) queue.wasWokenUp = true
        if (queue?.place.woken(node, notice.value, notice.next) === true) return
        if (queue === undefined) this.#context.metrics.wakeUpEnded("wasted")
        else queue.recordWakeUp("wasted")
        if (!this.#isOurs(notice.value) || this.#isInUse(queue, notice.value)) return
        // The waiter that the notice was for has left, so the next in line has to be woken.
        return this.#lists.leave(node, notice.key, deadEntry(notice.value))
      }
      case "Successor":
        return this.#queues.get(notice.key)?.told(notice.value, notice.successor)
      case "First":
        return this.#queues.get(notice.key)?.place.first(notice.value, notice.ttlMillis)
      case "HandedOver": {
        const queue = this.#queues.get(notice.key)
        if (queue?.place.handedOver(node, notice) === true) return
        const { taken } = queue ?? {}
        if (queue?.isTakenHeld === true && taken?.claim.value === notice.value) {
          taken.votes.handedOver(node, undefined)
          if (notice.next !== undefined && queue.successor?.entry === undefined) {
            queue.successor = { value: notice.value, entry: notice.next }
          }
          return
        }
        if (!this.#isOurs(notice.value) || this.#isInUse(queue, notice.value)) return
        // Nobody holds or will hold the lock with this value.
        return this.#onDead(node, notice.key, notice.value)
      }
      case "ReadersWait":
        return this.#queues.get(notice.key)?.markShared()
      case "KeyChanged": {
        this.readers?.changed(notice.key)
        const queue = this.#queues.get(notice.key)
        // A release in this service notifies of the change and of the turn together; then there is no need to
        // read.
        if (queue !== undefined) this.#context.defer(() => queue.isWaiting && queue.place.changed())
        return
      }
      case "PermitsFree":
        return this.#isOurs(notice.value) ? this.permitQueues?.onNotice(node, notice) : undefined
      case "Lost":
        this.permitQueues?.onNotice(node, notice)
        this.readers?.changed(notice.key)
        return this.#queues.get(notice.key)?.lost()
      case "Resync":
        this.#lists.renewed(node)
        this.permitQueues?.onNotice(node, notice)
        this.readers?.changed()
        for (const queue of this.#queues.values()) {
          if (queue.isWaiting) queue.place.changed(node)
        }
        return
      case "Unsupported":
        if (this.#warnedReasons.has(notice.why)) return
        this.#warnedReasons.add(notice.why)
        this.#warn(node, `Lock node ${node.id} cannot notify all waiters: ${notice.why}`)
    }
  }

  /**
   * Whether a lock with this value is held, or may still come to be held. A notice must not delete
   * it then: its entry may have remained in the line of a node that did not take part when the lock
   * was handed over.
   */
  #isInUse(queue: WaitQueue<Refusal, C, W> | undefined, value: string): boolean {
    return this.#left.has(value) || queue?.isInUse(value) === true
  }

  #warn(node: LockNode, message: string) {
    this.#context.log("Warn", message, { [attributes.node]: node.id })
  }

  /** Called when nobody waits any more. */
  #retire(queue: WaitQueue<Refusal, C, W>) {
    if (queue.holders.size > 0) return
    queue.leaveLine()
    queue.withdraw()
    this.#forget(queue)
  }

  /** Keeps the queue for as long as the name is contended. */
  #forget(queue: WaitQueue<Refusal, C, W>) {
    if (queue.isBusy || queue.lingering !== undefined) return
    if (!queue.isContended || this.closed) {
      this.#queues.delete(queue.key)
      return
    }
    queue.lingering = this.#context.timers.schedule(lingeringMillis, () => {
      queue.lingering = undefined
      this.#forget(queue)
    })
  }

  #queue(key: string): WaitQueue<Refusal, C, W> {
    let queue = this.#queues.get(key)
    if (queue === undefined) {
      this.#queues.set(key, queue = new WaitQueue<Refusal, C, W>(key, this.#lists, this.#context))
    }
    return queue
  }
}

/** For how long a notice about a value that was given up may still arrive. */
const latestNoticeMillis = 10_000

/** How often to check whether a queue without waiters can be forgotten. */
const lingeringMillis = 1000

/** An entry that is no longer in the list; leaving with it wakes the next in line. */
const deadEntry = (value: string): LineEntry => ({ value, mode: "exclusive", weight: 1, fenced: false })
