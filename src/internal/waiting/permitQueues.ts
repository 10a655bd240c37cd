/**
 * The waiters of this service for permits of a semaphore, and its holders.
 *
 * A request made while nobody waits asks the nodes at once. Refused requests queue first come first
 * served, whatever their number of permits: only the head asks, so that a request for many permits
 * is not overtaken forever. It asks again when permits were released in this service, when some may
 * have expired on the nodes, and when its schedule says so.
 *
 * Across services a line on one node keeps the order. It is a hint, like the waiting lists of
 * locks: a release there wakes the first once its permits are free, with the number of a free slot, so
 * that woken waiters ask for different ones.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { NodeError } from "../../LockError.ts"
import type { LockNode, Notice, PermitEntry, PermitLine } from "../../LockNode.ts"
import { mapResult } from "../base/callbackEffect.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Timer } from "../base/timers.ts"
import type { WaitingContext } from "./context.ts"
import type { NodeWaitingList } from "./nodeWaitingList.ts"
import type { NodeWaitingLists } from "./nodeWaitingLists.ts"
import type { Holder } from "./waitQueue.ts"
import type { Held } from "./waitQueues.ts"

/** A fiber that waits for permits. */
export interface PermitWaiter {
  readonly permits: number
  readonly limit: number
  /** When its schedule next has it ask, on the monotonic clock. */
  dueAt: number
  /** Ends its sleep, while it sleeps. */
  wake: (() => void) | undefined
}

/** A place in the line of a semaphore, for the head of the queue. */
interface Place {
  readonly list: NodeWaitingList
  readonly line: PermitLine
  readonly entry: PermitEntry
}

/** The longest time between two joins of a waiter, well within the minute that a line lives. */
const lookMillis = 20_000

/**
 * The first pause after the line said that permits were free but the attempt was refused; four
 * times as long each time.
 */
const freeLookPauseMillis = 5

const lineTimeoutMillis = 1000

/** What this service knows about one semaphore. */
export class PermitQueue {
  readonly key: string
  readonly waiters = new Set<PermitWaiter>()
  readonly holders = new Set<Holder>()
  /** The head should ask now, without waiting for its schedule. */
  wakePending = false
  /** When a waiter last asked the nodes, on the monotonic clock. */
  lastAttemptAt = Number.NEGATIVE_INFINITY
  place: Place | undefined
  /** The head was woken by the line, and joins it in front if it is refused. */
  isTurn = false
  /** A slot that was free when the head was woken. */
  freeSlot: number | undefined
  /** Consecutive times the line said that permits were free but the attempt was refused. */
  freeLooks = 0
  readonly #context: WaitingContext
  #timer: Timer | undefined

  constructor(key: string, context: WaitingContext) {
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

  /** Wakes the head after the given number of milliseconds, unless it is woken earlier. */
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
  readonly #context: WaitingContext
  readonly #lists: NodeWaitingLists
  readonly #queues = new Map<string, PermitQueue>()
  /** The semaphores for which a different limit elsewhere was logged. */
  readonly #warned = new Set<string>()
  closed = false

  constructor(context: WaitingContext, lists: NodeWaitingLists) {
    this.#context = context
    this.#lists = lists
  }

  /** Whether any fiber of this service waits. */
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

  /**
   * Called when the waiter has been granted its permits, or gives up: its turn is then that of the next waiter, here or
   * elsewhere.
   */
  leave(queue: PermitQueue, waiter: PermitWaiter, isGranted: boolean): void {
    const wasHead = queue.head === waiter
    if (!queue.waiters.delete(waiter)) return
    const isLast = queue.waiters.size === 0
    if (wasHead && !isGranted && queue.place === undefined && isLast) this.wakeFirst(queue.key)
    if (wasHead && (isGranted || !queue.isTurn || isLast)) this.#giveUpPlace(queue)
    if (isLast) this.#retire(queue)
    // Later, since all may be leaving: each would wake the next within this call, which would make an attempt in vain.
    else if (wasHead) this.#context.defer(() => queue.waiters.size > 0 && queue.wake())
  }

  /** Called when the head was refused: it joins the line, or keeps its place. */
  standInLine(queue: PermitQueue, { limit, permits }: PermitWaiter, value: () => string): void {
    const list = queue.place?.list ?? this.#lists.firstForPermits(queue.key)
    const line = list?.list.permits
    if (this.closed || list === undefined || line === undefined) return
    const end = queue.isTurn ? "front" : "back"
    queue.isTurn = false
    this.#join(queue, queue.place ??= { list, line, entry: { value: value(), permits } }, limit, end)
  }

  #join(queue: PermitQueue, place: Place, limit: number, end: "front" | "back"): void {
    const { entry, line, list } = place
    const joined = Effect.suspend(() => line.join(queue.key, entry, limit, end))
    const fiber = this.#context.fork(Effect.result(Effect.timeoutOption(joined, lineTimeoutMillis)))
    fiber.addObserver((exit) => {
      if (exit._tag === "Failure" || queue.place !== place) return
      const answer = exit.value
      if (Result.isFailure(answer) || Option.isNone(answer.success)) {
        queue.place = undefined
        return list.permitJoinFailed(Result.isFailure(answer) ? answer.failure : undefined)
      }
      list.granted("permitJoin")
      if (answer.success.value) queue.wakeWithin(queue.freeLooks === 0 ? 0 : freeLookPauseMillis * 4 ** queue.freeLooks)
      queue.freeLooks = answer.success.value ? queue.freeLooks + 1 : 0
      queue.wakeWithin(lookMillis)
    })
  }

  readonly onNotice = (node: LockNode, notice: Notice): void => {
    if (notice._tag === "Resync") {
      for (const queue of this.#queues.values()) if (queue.place?.list.node === node) queue.wake()
    }
    if (notice._tag !== "PermitsFree" && notice._tag !== "Lost") return
    const queue = this.#queues.get(notice.key)
    if (notice._tag === "Lost") {
      if (queue?.head !== undefined && queue.place !== undefined) {
        this.#join(queue, queue.place, queue.head.limit, "back")
      }
      return
    }
    if (queue?.place?.entry.value === notice.value) {
      queue.place = undefined
      queue.isTurn = true
      queue.freeSlot = notice.slot
      queue.freeLooks = 0
      return queue.wake()
    }
    // The waiter that the notice was for has left, so the next in line has to be woken.
    const line = this.#lists.of(node, notice.key)?.list.permits
    if (line !== undefined) this.#leaveLine(notice.key, line, { value: notice.value, permits: 1 })
  }

  lockHeld(holder: Holder): void {
    this.#queue(holder.key).holders.add(holder)
  }

  /** Called when permits were lost or released. */
  lockEnded(holder: Holder): void {
    const queue = this.#queues.get(holder.key)
    if (queue === undefined || !queue.holders.delete(holder)) return
    if (queue.waiters.size === 0) this.#retire(queue)
    // A waiter that stands in line is woken when it is its turn.
    else if (queue.place === undefined) queue.wake()
  }

  lockLeft(holder: Holder): void {
    this.lockEnded(holder)
  }

  /** The node with the line comes last: a woken waiter asks the others, too. */
  releaseOrder(key: string): ReadonlyArray<LockNode> {
    const first = this.#lists.firstForPermits(key)?.node
    const { nodes } = this.#context
    return first === undefined ? nodes : [...nodes.filter((node) => node !== first), first]
  }

  /** Permits are not passed on within this service. */
  heir(): undefined {
    return undefined
  }

  passedOn(): void {}

  /** Permits are not handed over: they are released, and waiters ask the nodes for them. */
  releasing(): undefined {
    return undefined
  }

  /** Releases on a node, and wakes the first in its line, for as long as their permits are free. */
  release(node: LockNode, { key, value }: Held): Effect.Effect<boolean, NodeError> {
    const list = this.#lists.of(node, key)
    const line = list?.list.permits
    if (line === undefined || this.#lists.firstForPermits(key) !== list) return node.permits!.release(key, value)
    return mapResult(line.release(key, value), (answer) =>
      // Perhaps only the line is refused.
      Result.isFailure(answer) && answer.failure.reason === "Rejected" ? node.permits!.release(key, value) : answer)
  }

  /** Wakes the first in line, for as long as their permits are free. */
  wakeFirst(key: string): void {
    const line = this.#lists.firstForPermits(key)?.list.permits
    if (line === undefined) return
    const woken = Effect.suspend(() => line.release(key, "-"))
    this.#context.background(Effect.timeoutOption(Effect.ignore(woken), lineTimeoutMillis))
  }

  /** Makes all services that wait for permits ask again, after a holder has found its own gone. */
  alert(key: string): void {
    this.#lists.alertForPermits(key)
  }

  transfer(node: LockNode, holder: Held): Effect.Effect<boolean, NodeError> {
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

  #giveUpPlace(queue: PermitQueue): void {
    const { place } = queue
    queue.place = undefined
    queue.isTurn = false
    queue.freeSlot = undefined
    queue.freeLooks = 0
    if (place !== undefined) this.#leaveLine(queue.key, place.line, place.entry)
  }

  #leaveLine(key: string, line: PermitLine, entry: PermitEntry): void {
    const left = Effect.suspend(() => line.leave(key, entry))
    this.#context.background(Effect.timeoutOption(Effect.ignore(left), lineTimeoutMillis))
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

/** Bounds the memory used. */
const mostWarned = 1000
