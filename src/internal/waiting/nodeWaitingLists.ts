/**
 * The waiting lists of the nodes: which of them is used for a name, the requests to them, and what
 * is asked instead if a node refuses one.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Hash from "effect/Hash"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { NodeError } from "../../LockError.ts"
import type { HandOverTerms, LineEntry, LinePosition, LockNode, WaitingList } from "../../LockNode.ts"
import { effectOf, mapResult } from "../base/callbackEffect.ts"
import type { WaitingContext } from "./context.ts"
import { NodeWaitingList } from "./nodeWaitingList.ts"
import { Stopwatches } from "./stopwatch.ts"

/** What a node did with a lock that was released or handed over. */
export interface Released {
  readonly released: boolean
  /** Whether another service was woken, or has the lock now. */
  readonly woke: boolean
  /** Whether there was neither a key nor anybody in line. */
  readonly isVacant?: boolean
}

const listTimeoutMillis = 1000

/** How long a key is kept for waiting readers, which first have to be notified and then to ask. */
const graceBaseMillis = 20
const longestGraceMillis = 250

/** A value that no lock has. */
const valueOfNobody = "-"

/** A node's clock is read again when the last reading is older than this. */
const oldReadingMillis = 1000

export class NodeWaitingLists {
  readonly stopwatches: Stopwatches
  readonly #context: WaitingContext
  readonly #lists = new Map<LockNode, NodeWaitingList>()
  #listening: Fiber.Fiber<unknown> | undefined
  #hasListened = false

  constructor(context: WaitingContext) {
    this.#context = context
    this.stopwatches = new Stopwatches(context.clock)
  }

  add(node: LockNode, list: WaitingList): void {
    this.#lists.set(node, new NodeWaitingList(node, list, this.#context))
  }

  /** Whether any node has waiting lists. */
  get areThere(): boolean {
    return this.#lists.size > 0
  }

  /** The lists of a node for a key, if it has any. */
  of(node: LockNode, key: string): NodeWaitingList | undefined {
    return this.#lists.get(node)?.at(key)
  }

  /** The list for a name: the same in every process, as long as its node responds. */
  firstInRank(key: string): NodeWaitingList | undefined {
    return this.#firstInRank(key, (list) => list.isUsable)
  }

  /** The same for a semaphore. */
  firstForPermits(key: string): NodeWaitingList | undefined {
    return this.#firstInRank(key, (list) => list.permitLine !== undefined)
  }

  #firstInRank(key: string, isUsable: (list: NodeWaitingList) => boolean): NodeWaitingList | undefined {
    const hash = Hash.string(key)
    let first: NodeWaitingList | undefined
    let highest = Number.NEGATIVE_INFINITY
    for (const each of this.#lists.values()) {
      const list = each.at(key)
      const rank = list.rank(hash)
      if (rank <= highest || !isUsable(list)) continue
      highest = rank
      first = list
    }
    return first
  }

  /** Whether a lock can be handed over on a quorum of the nodes. */
  get canHandOver(): boolean {
    let able = 0
    for (const list of this.#lists.values()) if (list.handOver !== undefined) able++
    return able >= this.#context.size
  }

  join(
    list: NodeWaitingList,
    key: string,
    entry: LineEntry,
    place: "front" | "back",
    dead: LineEntry | undefined,
    settled: (answer: Result.Result<LinePosition, NodeError | undefined>) => void
  ): Fiber.Fiber<void> {
    this.#hasListened = true
    const sentAt = this.stopwatches.start()
    const joined = Effect.timeoutOption(
      Effect.suspend(() => list.list.join(key, entry, place, dead)),
      listTimeoutMillis
    )
    return this.#context.fork(Effect.match(joined, {
      onSuccess: (position) => {
        if (Option.isNone(position)) return settled(Result.fail(undefined))
        list.granted("join")
        if (position.value.time !== undefined) this.stopwatches.read(list.node, sentAt, position.value.time)
        settled(Result.succeed(position.value))
      },
      onFailure: (error) => settled(Result.fail(error))
    }))
  }

  /** Called when the node has a new connection: what was known about it is out of date. */
  renewed(node: LockNode): void {
    this.stopwatches.forget(node)
    this.#lists.get(node)?.renewed()
  }

  /** `onHandedOver` is called if the lock had been handed over to the entry. */
  leave(node: LockNode, key: string, entry: LineEntry, onHandedOver: () => void = constVoid): void {
    const list = this.of(node, key)
    if (list === undefined) return
    const left = Effect.map(Effect.suspend(() => list.list.leave(key, entry)), (isHandedOver) => {
      if (isHandedOver) onHandedOver()
    })
    this.#context.background(Effect.timeoutOption(Effect.ignore(left), listTimeoutMillis))
  }

  /** Has all nodes but one notify us of hand-overs, and reads their clocks if the last reading is old. */
  listen(key: string, except: LockNode): void {
    if (this.#listening !== undefined) return
    const listens = [...this.#lists.values()].flatMap((list) => {
      const { node } = list
      const handOver = node === except || !list.isUsable ? undefined : list.handOver
      if (handOver === undefined || !this.stopwatches.isOlderThan(node, oldReadingMillis)) return []
      const sentAt = this.stopwatches.start()
      return [Effect.matchCause(Effect.suspend(() => handOver.listen(key)), {
        onSuccess: (time) => this.stopwatches.read(node, sentAt, time),
        onFailure: constVoid
      })]
    })
    if (listens.length === 0) return
    const listened = Effect.all(listens, { concurrency: "unbounded", discard: true })
    this.#listening = this.#context.fork(Effect.timeoutOption(listened, listTimeoutMillis))
    this.#listening.addObserver(() => {
      this.#listening = undefined
    })
  }

  /**
   * From now on nothing is handed over to this service. Hand-overs in progress are awaited and
   * given back; they would otherwise block the lock for a second.
   */
  close(): void {
    this.#listening?.interruptUnsafe()
    if (!this.#hasListened) return
    const stopped = [...this.#lists.values()].flatMap((list) => {
      const handOver = list.isUsable ? list.handOver : undefined
      return handOver === undefined ? [] : [Effect.ignore(Effect.suspend(() => handOver.stopListening()))]
    })
    const all = Effect.all(stopped, { concurrency: "unbounded", discard: true })
    this.#context.background(Effect.timeoutOption(all, listTimeoutMillis))
  }

  /** Releases on a node, and wakes the first in its waiting list if it has one. */
  release(
    node: LockNode,
    key: string,
    value: string,
    entry: LineEntry | undefined,
    onReleased: (released: Released) => void
  ): Effect.Effect<boolean, NodeError> {
    const list = this.of(node, key)
    if (list?.isSupported !== true) return node.release(key, value)
    return mapResult(list.list.release(key, value, entry), (answer) => {
      if (Result.isSuccess(answer)) {
        list.granted("release")
        if (answer.success.isVacant === true) this.alert(key, node)
        onReleased(answer.success)
        return Result.succeed(answer.success.released)
      }
      const error = answer.failure
      if (error.reason !== "Rejected") return Result.fail(error)
      // Perhaps only the waiting list is refused.
      return mapResult(node.release(key, value), (answer) => {
        if (Result.isSuccess(answer)) list.releaseRefused(error)
        return answer
      })
    })
  }

  /** Wakes the first in line if the key is free. */
  wakeFirst(key: string): void {
    const first = this.firstInRank(key)
    if (first === undefined) return
    const woken = Effect.suspend(() => first.list.release(key, valueOfNobody, undefined))
    this.#context.background(Effect.timeoutOption(Effect.ignore(woken), listTimeoutMillis))
  }

  /**
   * Notifies all waiting services that what is stored under the name may be lost, including their places in line. If a
   * node is given, it is one that has lost the key, and nobody is notified unless it has the list.
   */
  alert(key: string, node?: LockNode): void {
    const first = this.firstInRank(key)
    if (node === undefined || first?.node === node) this.#alert(first, key)
  }

  /** The same for a semaphore. */
  alertForPermits(key: string): void {
    this.#alert(this.firstForPermits(key), key)
  }

  #alert(first: NodeWaitingList | undefined, key: string) {
    if (first?.list.alert === undefined) return
    const alerted = Effect.suspend(() => first.list.alert!(key))
    this.#context.background(Effect.timeoutOption(Effect.ignore(alerted), listTimeoutMillis))
  }

  /** Releases on a node as `release` does, but keeps the key for readers if some wait. */
  yieldToReaders(
    node: LockNode,
    key: string,
    value: string,
    onReleased: (released: Released) => void
  ): Effect.Effect<boolean, NodeError> {
    const list = this.of(node, key)
    const graceMillis = Math.ceil(Math.min(longestGraceMillis, graceBaseMillis + 2 * this.stopwatches.roundTripMillis))
    if (list?.list.yieldToReaders === undefined || !list.isSupported) {
      return node.shared!.yieldToReaders(key, value, graceMillis)
    }
    return mapResult(list.list.yieldToReaders(key, value, graceMillis), (answer) => {
      if (Result.isSuccess(answer)) {
        onReleased(answer.success)
        return Result.succeed(answer.success.released)
      }
      return answer.failure.reason === "Rejected"
        ? this.release(node, key, value, undefined, onReleased)
        : Result.fail(answer.failure)
    })
  }

  /** How many services stand in line for a key on a node, if it can say. */
  length(node: LockNode, key: string): Effect.Effect<number | undefined> {
    const length = this.of(node, key)?.list.length
    return length === undefined
      ? Effect.succeed(undefined)
      : Effect.match(Effect.suspend(() => length(key)), {
        onSuccess: (count) => Number.isSafeInteger(count) && count >= 0 ? count : undefined,
        onFailure: () => undefined
      })
  }

  /**
   * Has a node notify us of the next change of the key; `onAnswer` is given whether the key exists,
   * if the node answers.
   */
  watch(key: string, onAnswer: (isHeld: boolean | undefined) => void): void {
    const list = this.firstInRank(key)
    if (list?.list.watch === undefined) return onAnswer(undefined)
    const watched = Effect.timeoutOption(Effect.suspend(() => list.list.watch!(key)), listTimeoutMillis)
    this.#context.background(Effect.matchCause(watched, {
      onSuccess: (isHeld) => onAnswer(Option.getOrUndefined(isHeld)),
      onFailure: () => onAnswer(undefined)
    }))
  }

  /** Tells the nodes that a writer waits for readers to leave, or no longer does. */
  announce(key: string, waitMillis: number): void {
    for (const { shared } of this.#context.nodes) {
      if (shared === undefined) continue
      const announced = Effect.suspend(() => effectOf(shared.announce(key, waitMillis)))
      this.#context.background(Effect.timeoutOption(Effect.ignore(announced), listTimeoutMillis))
    }
  }

  /** Hands the lock over on a node; if the node refuses that, releases the lock there. */
  transfer(
    node: LockNode,
    key: string,
    value: string,
    successor: LineEntry,
    terms: HandOverTerms,
    onReleased: (released: Released) => void
  ): Effect.Effect<boolean, NodeError> {
    const list = this.of(node, key)
    const handOver = list?.handOver
    if (list === undefined || handOver === undefined) return this.release(node, key, value, undefined, onReleased)
    return mapResult(handOver.transfer(key, value, successor, terms), (answer) => {
      if (Result.isSuccess(answer)) {
        list.granted("transfer")
        if (answer.success.isVacant === true) this.alert(key, node)
        onReleased(answer.success)
        return Result.succeed(answer.success.released)
      }
      const error = answer.failure
      if (error.reason !== "Rejected") return Result.fail(error)
      return mapResult(this.release(node, key, value, undefined, onReleased), (answer) => {
        // A node that refuses everything for now may hand locks over again soon.
        if (Result.isSuccess(answer)) list.transferRefused(error)
        return answer
      })
    })
  }
}
