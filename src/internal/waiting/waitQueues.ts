/**
 * The waiting rooms: who waits in this service for a name, and who holds it.
 *
 * Waiters queue first come first served, whatever their options, and only the
 * head of the queue talks to the nodes; while the lock is held in this very
 * service there is nothing to ask at all. Among services the order is kept by a
 * waiting list on one node, whose notices wake the head early. All of it is a
 * hint: exclusion is the quorum's alone, and each waiter attempts on its own
 * schedule whatever it hears.
 */
import type { Clock } from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Hash from "effect/Hash"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { LockLost, NodeError, Vote } from "../../LockError.ts"
import type { LinePosition, LockNode, Notice, WaitingList } from "../../LockNode.ts"
import { mapResult } from "../base/callbackEffect.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Timer, Timers } from "../base/timers.ts"
import { attributes } from "../telemetry/attributes.ts"
import type { Metrics } from "../telemetry/metrics.ts"

/** What waiting needs of the service it belongs to. */
export interface WaitingContext {
  readonly nodes: ReadonlyArray<LockNode>
  readonly clock: Clock
  readonly timers: Timers
  readonly metrics: Metrics
  /** Whether the node failed when it was last asked. */
  isFailing(node: LockNode): boolean
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E>
  background(effect: Effect.Effect<unknown>): void
  defer(run: () => void): void
  log(level: "Warn" | "Info", message: string, about: Record<string, string>): void
}

/** Who holds a lock in this service. */
export interface Holder {
  readonly key: string
  readonly value: string
  /** Ends the hold. */
  markLost(reason: LockLost["reason"], votes: ReadonlyArray<Vote>): void
}

/** A fiber that waits for a name. */
export interface Waiter {
  /** Ends its sleep, while it sleeps. */
  wake: (() => void) | undefined
}

/** Everything known in this service about one name. */
export class Room<Refusal> {
  /** The key on the nodes. */
  readonly key: string
  readonly waiters = new Set<Waiter>()
  readonly holders = new Set<Holder>()
  /** What the nodes last said to anybody in here. */
  answers: Refusal | undefined
  /** The node in whose waiting list we stand, or are about to. */
  listedOn: LockNode | undefined
  /** The node whose list said that it is our turn, as long as we have not stood in line again or got the lock. */
  turnOn: LockNode | undefined
  /** How often a list has said so. */
  turns = 0
  /** The head should attempt now, without waiting for its schedule. */
  changed = false
  /** The release in here woke another service, which goes first. */
  behindOthers = false
  /** How often in a row a look found no key, and the attempt was refused all the same. */
  freeLooks = 0
  /** A turn was given to us, and no attempt has been made since. */
  wasWokenUp = false
  /** When somebody in here last asked the nodes, on the monotonic clock. */
  attemptedAt = Number.NEGATIVE_INFINITY
  joining: Joining | undefined
  /** When to attempt though nobody wakes us. */
  timer: Timer | undefined
  /** When to stand in line once more: a list is forgotten if nobody joins it for a minute. */
  lookTimer: Timer | undefined

  constructor(key: string) {
    this.key = key
  }

  get head(): Waiter | undefined {
    for (const waiter of this.waiters) return waiter
    return undefined
  }

  /** Whether this waiter is the one to ask the nodes. */
  isTurnOf(waiter: Waiter): boolean {
    return this.holders.size === 0 && this.head === waiter
  }

  wake(): void {
    this.changed = true
    if (this.holders.size === 0) this.head?.wake?.()
  }
}

/** A try to stand in line that is under way. */
interface Joining {
  readonly node: LockNode
  fiber: Fiber.Fiber<void> | undefined
  /** Something has happened meanwhile: look once more. */
  again: boolean
}

/** The waiting lists of a node. */
class Line {
  readonly node: LockNode
  readonly list: WaitingList
  /** All nodes, this one first. */
  readonly nodesAfterIt: ReadonlyArray<LockNode>
  /** Until when it is left alone, because the node refuses waiting lists. */
  unableUntil: number | undefined
  /** Until when another is used instead, because it did not answer. */
  awayUntil: number | undefined
  readonly #hash: number

  constructor(node: LockNode, list: WaitingList, nodes: ReadonlyArray<LockNode>) {
    this.node = node
    this.list = list
    this.nodesAfterIt = [node, ...nodes.filter((other) => other !== node)]
    this.#hash = Hash.string(node.id)
  }

  /** Where it stands among the lines for a name, given the hash of that. */
  rank(name: number): number {
    const mixed = Math.imul(name ^ this.#hash, 0x9e3779b1)
    return Math.imul(mixed ^ (mixed >>> 15), 0x85ebca77)
  }
}

/** By how much later than the one before it a waiter tries when the key in the way should have expired. */
const expirySpacingMillis = 5

/** How long after a look that found no key and an attempt that was refused all the same; four times as long each time. */
const freeLookPauseMillis = 5

const listTimeoutMillis = 1000
/** How often those who wait look again, at least: well within the minute for which a list lives. */
const lookMillis = 20_000

const unableMillis = 60_000

export class Rooms<Refusal> {
  readonly #context: WaitingContext
  readonly #rooms = new Map<string, Room<Refusal>>()
  readonly #lines = new Map<LockNode, Line>()
  /** What the log has said of nodes that cannot do all of this. */
  readonly #told = new Set<string>()
  closed = false

  constructor(context: WaitingContext) {
    this.#context = context
  }

  /** Opens the waiting lists of the nodes that have them; `waiter` is this service's name in them. */
  open(waiter: string) {
    return Effect.forEach(this.#context.nodes, (node) =>
      node.waitingList === undefined
        ? Effect.void
        : Effect.matchCause(Effect.suspend(() => node.waitingList!(waiter, (notice) => this.#hear(node, notice))), {
          onSuccess: (list) => {
            this.#lines.set(node, new Line(node, list, this.#context.nodes))
          },
          onFailure: () => this.#warn(node, `Lock node ${node.id} keeps no waiting lists: it could not open them`)
        }), { discard: true })
  }

  /** Whether the lock is held in this service. */
  isHeld(key: string): boolean {
    const room = this.#rooms.get(key)
    return room !== undefined && room.holders.size > 0
  }

  /** The holds of this service under a key. */
  holders(key: string): ReadonlyArray<Holder> {
    return [...this.#rooms.get(key)?.holders ?? []]
  }

  /** Whether anybody in here holds the lock or waits for it. */
  isBusy(key: string): boolean {
    return this.#rooms.has(key)
  }

  enter(key: string, waiter: Waiter): Room<Refusal> {
    const room = this.#room(key)
    room.waiters.add(waiter)
    this.#context.metrics.waitersChanged(1)
    return room
  }

  leave(room: Room<Refusal>, waiter: Waiter): void {
    const wasHead = room.head === waiter
    if (!room.waiters.delete(waiter)) return
    this.#context.metrics.waitersChanged(-1)
    if (room.waiters.size === 0) this.#empty(room)
    else if (wasHead) room.wake()
  }

  hold(lock: Holder): void {
    const room = this.#room(lock.key)
    room.holders.add(lock)
    room.turnOn = undefined
    this.#wokenUp(room, "used")
  }

  /** A lock held in here was lost or released; `woke` if that woke another service. */
  ended(lock: Holder, woke: boolean): void {
    const room = this.#rooms.get(lock.key)
    if (room === undefined || !room.holders.delete(lock)) return
    room.behindOthers = woke
    if (room.waiters.size === 0) this.#empty(room)
    else room.wake()
  }

  /** The nodes, and before the others the one whose list the first to wake stands in: there it is waited for. */
  wakingFirst(key: string): ReadonlyArray<LockNode> {
    return this.#firstInRank(key)?.nodesAfterIt ?? this.#context.nodes
  }

  /** Releases on a node, and wakes the first in its waiting list if it has one. */
  release(node: LockNode, lock: Holder, release: { woke: boolean }): Effect.Effect<boolean, NodeError> {
    const line = this.#lines.get(node)
    if (line === undefined || this.#isBefore(line.unableUntil)) return node.release(lock.key, lock.value)
    const room = this.#rooms.get(lock.key)
    // Whoever holds stands in no line. A lock that was lost before is not the one for which we stand there now.
    const listed = room?.holders.has(lock) === true
    if (listed && room.listedOn === node) room.listedOn = undefined
    return mapResult(line.list.release(lock.key, lock.value, listed), (answer) => {
      if (Result.isSuccess(answer)) {
        if (answer.success.woke) release.woke = true
        return Result.succeed(answer.success.released)
      }
      const error = answer.failure
      if (error.reason !== "Rejected") return Result.fail(error)
      // Perhaps it is only the waiting list that is refused.
      return mapResult(node.release(lock.key, lock.value), (answer) => {
        if (Result.isSuccess(answer)) this.#giveUp(line, error)
        return answer
      })
    })
  }

  /**
   * Stands in line, in front if it was our turn, or keeps the place there is; in
   * the background.
   */
  join(room: Room<Refusal>): void {
    if (this.closed) return
    const place = room.turnOn === undefined ? "back" : "front"
    const node = room.listedOn ??= this.#firstInRank(room.key)?.node
    const line = node && this.#lines.get(node)
    if (node === undefined || line === undefined) {
      if (this.#lines.size > 0) this.#context.timers.schedule(listTimeoutMillis, () => this.#rejoin(room))
      return
    }
    const { turns } = room
    if (room.joining?.node === node) {
      room.joining.again = true
      return
    }
    room.joining?.fiber?.interruptUnsafe()
    const joining: Joining = { node, fiber: undefined, again: false }
    room.joining = joining
    joining.fiber = this.#context.fork(
      Effect.match(Effect.timeoutOption(Effect.suspend(() => line.list.join(room.key, place)), listTimeoutMillis), {
        onSuccess: (place) => {
          if (room.joining === joining) room.joining = undefined
          if (Option.isNone(place)) return this.#joinFailed(room, line)
          // Meanwhile all who waited may have left.
          if (this.#rooms.get(room.key) !== room || room.waiters.size === 0) return this.#leave(node, room.key)
          // Our turn may have come before the answer did: then we stand in line no longer.
          if (room.turns !== turns) return joining.again ? this.join(room) : undefined
          room.listedOn = node
          room.turnOn = undefined
          if (joining.again) return this.join(room)
          this.#joined(room, place.value)
        },
        onFailure: (error) => {
          if (room.joining === joining) room.joining = undefined
          if (error.reason === "Rejected") this.#giveUp(line, error)
          this.#joinFailed(room, line)
        }
      })
    )
  }

  /** Goes on to the next list in rank, and back to this one when it may answer again. */
  #joinFailed(room: Room<Refusal>, line: Line) {
    if (room.listedOn === line.node) room.listedOn = undefined
    line.awayUntil = monotonicMillis(this.#context.clock) + listTimeoutMillis
    this.#context.timers.schedule(listTimeoutMillis, () => this.#rejoin(room))
    this.#rejoin(room)
  }

  #rejoin(room: Room<Refusal>) {
    if (this.#isWaiting(room) && room.listedOn === undefined && room.joining === undefined) this.join(room)
  }

  /** Whether anybody in here waits for others. */
  #isWaiting(room: Room<Refusal>): boolean {
    return this.#rooms.get(room.key) === room && room.waiters.size > 0 && room.holders.size === 0
  }

  /** Ends all waiting: nothing can be acquired any more. */
  close(): void {
    this.closed = true
    for (const room of this.#rooms.values()) {
      for (const waiter of room.waiters) waiter.wake?.()
    }
  }

  #joined(room: Room<Refusal>, { ahead, ttlMillis }: LinePosition) {
    room.lookTimer?.cancel()
    room.lookTimer = this.#context.timers.schedule(lookMillis, () => {
      if (this.#isWaiting(room)) this.join(room)
    })
    if (ttlMillis === 0) {
      if (room.freeLooks === 0) {
        room.freeLooks = 1
        return room.wake()
      }
      // Others hold it on other nodes, and this one has lost the key: each attempt of ours changes it here.
      this.wakeAfter(room, freeLookPauseMillis * 4 ** (room.freeLooks++ - 1))
    } else {
      room.freeLooks = 0
      this.wakeAfter(room, ttlMillis + 1 + ahead * expirySpacingMillis)
    }
  }

  /** Wakes the head after so many milliseconds, instead of when it was to be woken so far. */
  wakeAfter(room: Room<Refusal>, millis: number): void {
    room.timer?.cancel()
    room.timer = Number.isFinite(millis) ? this.#context.timers.schedule(millis, () => room.wake()) : undefined
  }

  #hear(node: LockNode, notice: Notice): void {
    switch (notice._tag) {
      case "WakeUp": {
        const room = this.#rooms.get(notice.key)
        if (room === undefined || (room.waiters.size === 0 && room.holders.size === 0)) {
          // Whom it was for has left: the next in line has to hear of it.
          this.#context.metrics.wakeUpEnded("wasted")
          return this.#leave(node, notice.key)
        }
        if (room.listedOn === node) room.listedOn = undefined
        room.freeLooks = 0
        room.turnOn = node
        room.turns++
        this.#wokenUp(room, "wasted")
        room.wasWokenUp = true
        return room.wake()
      }
      case "KeyChanged": {
        // The holder's own extension is a change too, so look again before attempting.
        const room = this.#rooms.get(notice.key)
        if (room === undefined) return
        // A release of ours gives notice of the change and of the turn at once: then there is no need to look.
        this.#context.defer(() => {
          if (room.turnOn === undefined && this.#isWaiting(room)) this.join(room)
        })
        return
      }
      case "Resync": {
        for (const room of this.#rooms.values()) {
          if (room.listedOn === node && this.#isWaiting(room)) this.join(room)
        }
        return
      }
      case "Unsupported": {
        if (this.#told.has(notice.why)) return
        this.#told.add(notice.why)
        this.#warn(node, `Lock node ${node.id} cannot give notice to all waiters: ${notice.why}`)
      }
    }
  }

  /** Goes on without the waiting lists of a node that refuses them, and says so the first time. */
  #giveUp(line: Line, { summary }: NodeError) {
    const { node } = line
    const isFirst = line.unableUntil === undefined
    line.unableUntil = monotonicMillis(this.#context.clock) + unableMillis
    if (!isFirst) return
    this.#warn(node, `Lock node ${node.id} keeps no waiting lists, so waiters poll: it ${summary}`)
  }

  #warn(node: LockNode, message: string) {
    this.#context.log("Warn", message, { [attributes.node]: node.id })
  }

  #isBefore(until: number | undefined): boolean {
    return until !== undefined && monotonicMillis(this.#context.clock) < until
  }

  #leave(node: LockNode, key: string) {
    const line = this.#lines.get(node)
    if (line === undefined) return
    const left = Effect.suspend(() => line.list.leave(key))
    this.#context.background(Effect.timeoutOption(Effect.ignore(left), listTimeoutMillis))
  }

  #wokenUp(room: Room<Refusal>, outcome: "used" | "wasted") {
    if (room.wasWokenUp) this.#context.metrics.wakeUpEnded(outcome)
    room.wasWokenUp = false
  }

  /** An attempt of ours was refused. */
  refused(room: Room<Refusal>): void {
    this.#wokenUp(room, "wasted")
  }

  /** Nobody waits any more. */
  #empty(room: Room<Refusal>) {
    if (room.holders.size === 0) this.#wokenUp(room, "wasted")
    if (room.joining !== undefined) {
      // Perhaps it has been sent, and what is sent from now on comes after it.
      room.joining.fiber?.interruptUnsafe()
      room.listedOn = room.joining.node
      room.joining = undefined
    }
    this.wakeAfter(room, Number.POSITIVE_INFINITY)
    room.lookTimer?.cancel()
    if (room.holders.size > 0) return
    this.#rooms.delete(room.key)
    room.answers = undefined
    // A turn that was not used is handed on.
    const node = room.listedOn ?? room.turnOn
    if (node !== undefined) this.#leave(node, room.key)
  }

  /** The line in which those who wait for a name stand: the same in every process, as long as its node answers. */
  #firstInRank(key: string): Line | undefined {
    const hash = Hash.string(key)
    let first: Line | undefined
    let highest = Number.NEGATIVE_INFINITY
    for (const line of this.#lines.values()) {
      const rank = line.rank(hash)
      if (rank <= highest || !this.#isUsable(line)) continue
      highest = rank
      first = line
    }
    return first
  }

  #isUsable({ awayUntil, node, unableUntil }: Line): boolean {
    return !this.#isBefore(unableUntil) && !this.#isBefore(awayUntil) && !this.#context.isFailing(node)
  }

  #room(key: string): Room<Refusal> {
    let room = this.#rooms.get(key)
    if (room === undefined) this.#rooms.set(key, room = new Room<Refusal>(key))
    return room
  }
}
