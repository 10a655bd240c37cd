/**
 * The waiters of this service for one name, and its holder.
 *
 * | mode | event | next | does |
 * | - | - | - | - |
 * | Open | a lock is held here | HeldHere | leaves the line |
 * | HeldHere | the last hold ends, and nobody else was woken | Open | wakes the head |
 * | HeldHere | the last hold ends, and another service was woken or has the lock now | Yielding | wakes the head, which joins the line |
 * | Yielding | its time has passed | Open | – |
 * | HeldHere | the lock is passed on within this service | HeldHere | – |
 *
 * A name that others want too stays contended for a second: new waiters join the line first,
 * instead of making an attempt that would be refused or overtake others.
 */
import type { LockLost, Vote } from "../../LockError.ts"
import type { HandOverChain, LineEntry } from "../../LockNode.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Timer } from "../base/timers.ts"
import type { WaitingContext } from "./context.ts"
import type { NodeWaitingLists } from "./nodeWaitingLists.ts"
import { entryFor, type LineClaim, PlaceInLine, type PlaceQueue, type Taken, type Terms } from "./placeInLine.ts"

/** Who holds a lock in this service. */
export interface Holder {
  readonly key: string
  /** The claim. The nodes store its value, and whoever has the value can release the lock. */
  readonly claim: { readonly value: string }
  readonly settings: { readonly expiryMillis: number }
  /** Called when someone may have seen the value. */
  reveal(): void
  /** Ends the hold. */
  markLost(reason: LockLost["reason"], votes: ReadonlyArray<Vote>): void
}

/** A fiber that waits for a name. */
export interface Waiter<C> {
  readonly terms: Terms
  /** When its schedule next has it ask, on the monotonic clock. */
  readonly dueAt: number
  /** Ends its sleep, while it sleeps. */
  wake: (() => void) | undefined
  /** Whether it sleeps, and nothing has been given to it. */
  readonly isAsleep: boolean
  /** A fresh value to stand in line with. */
  claim(): C
}

/** How long a name counts as contended after others were found to hold or want it. */
const contendedMillis = 1000

/** How long readers are expected to return after they were last seen. */
const sharedMillis = 60_000

/** How long a service that has just let another one go first leaves a free key to it. */
const yieldMillis = 50

/** How often, and for how long, a lock is passed on within this service before others in line have their turn. */
const passedBeforeOthers = { turns: 16, millis: 20 }

/**
 * While nobody is known to stand in line, a lock is passed on for this fraction of the expiry, up
 * to a maximum in milliseconds, since others may be waiting without having been able to say so.
 */
const passedShare = 1 / 8
const longestPassedMillis = 1000

/** For this fraction of that time the lock then stays free, so that a client that only polls may find it free. */
const restShare = 1 / 20

/** For how long a lock with this expiry is passed on while nobody is known to stand in line. */
const passedForMillis = (expiryMillis: number): number => Math.min(longestPassedMillis, expiryMillis * passedShare)

/**
 * A chain of hand-overs ends here, and the key is free for a moment, so that clients that only poll
 * get their chance.
 */
const longestChain: HandOverChain = { length: 64, millis: 1000 }

export class WaitQueue<Refusal, C extends LineClaim, W extends Waiter<C> = Waiter<C>> implements PlaceQueue<C> {
  readonly key: string
  readonly waiters = new Set<W>()
  readonly holders = new Set<Holder>()
  /** The last refusal of any attempt of this service. */
  lastRefusal: Refusal | undefined
  /** The head should make an attempt now, without waiting for its schedule. */
  wakePending = false
  /** When a fiber of this service last asked the nodes, on the monotonic clock. */
  lastAttemptAt = Number.NEGATIVE_INFINITY
  /** A turn was given to us, and no attempt has been made since. */
  wasWokenUp = false
  /** Until when new waiters join the line first, on the monotonic clock. */
  contendedUntil = Number.NEGATIVE_INFINITY
  /** Until when a release leaves the lock to readers that wait, on the monotonic clock. */
  sharedUntil = Number.NEGATIVE_INFINITY
  #announcedUntil = Number.NEGATIVE_INFINITY
  /** Until when others go first. */
  yieldUntil = Number.NEGATIVE_INFINITY
  /** Keeps the queue while it is contended, though nobody waits. */
  lingering: Timer | undefined
  /** The first in line, as reported for the lock with this value. */
  successor: { readonly value: string; readonly entry: LineEntry | undefined } | undefined
  /** The lock that the line last handed over to us, while it is held. */
  taken: Taken<C> | undefined
  /** Whether `taken` has not been released yet. */
  isTakenHeld = false
  /** The holders that have sent their release. */
  readonly #released = new WeakSet<Holder>()
  /** The hand-overs that have led to the lock with this value, and when the first of them was, on the monotonic clock. */
  #chain: { readonly value: string; readonly length: number; readonly since: number } | undefined
  /** When this service last acquired the lock, on the monotonic clock, and how often it has been passed on since. */
  #heldSince = 0
  #passed = 0
  #place: PlaceInLine<C> | undefined
  readonly #context: WaitingContext
  readonly #lists: NodeWaitingLists

  constructor(key: string, lists: NodeWaitingLists, context: WaitingContext) {
    this.key = key
    this.#context = context
    this.#lists = lists
  }

  /** The place of the service in line. Most locks never need one. */
  get place(): PlaceInLine<C> {
    return this.#place ??= new PlaceInLine<C>(this, this.#lists, this.#context)
  }

  get head(): W | undefined {
    for (const waiter of this.waiters) return waiter
    return undefined
  }

  get terms(): Terms | undefined {
    return this.head?.terms
  }

  /** Whether this waiter is the one to ask the nodes. */
  isHead(waiter: W): boolean {
    return this.holders.size === 0 && this.head === waiter
  }

  /** Whether any fiber of this service holds the lock or waits for it. */
  get isBusy(): boolean {
    return this.waiters.size > 0 || this.holders.size > 0
  }

  /** Whether the head waits for others, so that a place in line is of use. */
  get isWaiting(): boolean {
    return this.waiters.size > 0 && this.holders.size === 0
  }

  get isContended(): boolean {
    return this.#now < this.contendedUntil
  }

  /** Whether the head joins the line instead of asking the nodes. */
  get joinsFirst(): boolean {
    return this.isContended && this.place.isOut && this.#lists.firstInRank(this.key) !== undefined
  }

  /** Whether readers wait for the name too. */
  get isShared(): boolean {
    return this.#now < this.sharedUntil
  }

  markShared(): void {
    this.sharedUntil = this.#now + sharedMillis
  }

  announce(waitMillis: number): void {
    this.markShared()
    if (this.#announcedUntil - this.#now > waitMillis * 0.6) return
    this.#announcedUntil = this.#now + waitMillis
    this.#lists.announce(this.key, waitMillis)
  }

  /** Called when no fiber of this service waits for readers to leave any more. */
  withdraw(): void {
    if (this.#announcedUntil <= this.#now) return
    this.#announcedUntil = Number.NEGATIVE_INFINITY
    this.#lists.announce(this.key, 0)
  }

  claim(): C {
    return this.head!.claim()
  }

  markContended(): void {
    this.contendedUntil = this.#now + contendedMillis
  }

  wake(): void {
    this.wakePending = true
    if (this.holders.size === 0) this.head?.wake?.()
  }

  wakeToTake(): void {
    if (this.holders.size === 0) this.head?.wake?.()
  }

  /** Called when the key may be lost, and our place in line with it. */
  lost(): void {
    if (this.isWaiting) this.place.changed()
  }

  /** Called when nobody waits any more. */
  leaveLine(): void {
    this.recordWakeUp("wasted")
    this.#place?.leave()
    this.lastRefusal = undefined
  }

  /** Whether the waiter has a reason to act now. */
  hasNewsFor(waiter: W): boolean {
    return this.isHead(waiter) && (this.wakePending || this.place.isReady)
  }

  /** Called when the votes were split: the head makes another attempt after the given milliseconds. */
  wakeAfter(millis: number): void {
    this.recordWakeUp("wasted")
    this.markContended()
    this.place.refusedFor(millis)
  }

  /** Called when an attempt of ours was refused, because others hold the lock or too few nodes answered. */
  refused(isContended: boolean): void {
    this.recordWakeUp("wasted")
    if (isContended) this.markContended()
    // Meanwhile another fiber of this service may have been granted it.
    if (this.isWaiting) this.place.refused()
  }

  /** Takes the lock that the line has handed over, if enough nodes have. */
  take(terms: Terms): Taken<C> | undefined {
    const taken = this.place.take(terms)
    if (taken === undefined) return undefined
    const { chain, claim, next } = taken
    this.taken = taken
    this.isTakenHeld = true
    this.markContended()
    this.#chain = { value: claim.value, length: chain.length, since: this.#now - chain.millis }
    // A report about the first in line that has arrived since is newer.
    if (this.successor?.value !== claim.value) this.successor = { value: claim.value, entry: next }
    return taken
  }

  /** Forgets a lock that was taken from the line and is no longer held, or never was. */
  forget(value: string): void {
    if (this.taken?.claim.value === value) this.taken = undefined
    if (this.successor?.value === value) this.successor = undefined
    if (this.#chain?.value === value) this.#chain = undefined
  }

  /** Called when a lock was granted to this service. */
  held(holder: Holder): void {
    const { value } = holder.claim
    if (this.holders.size === 0) {
      this.#heldSince = this.#now
      this.#passed = 0
    }
    this.holders.add(holder)
    this.withdraw()
    this.recordWakeUp("used")
    if (this.taken?.claim.value === value) return
    const next = this.#place?.nextBehindTurn
    if (next !== undefined && this.successor?.value !== value) this.successor = { value, entry: next }
    this.#place?.granted()
  }

  /** Called when a node reports who is first in line behind the lock with this value. */
  told(value: string, entry: LineEntry | undefined): void {
    // The report may have been on its way while the lock was passed on.
    const [holder] = this.#passed > 0 ? this.holders : []
    this.successor = { value: holder?.claim.value ?? value, entry }
    this.markContended()
  }

  /**
   * Whether the lock has been passed on within this service, so that others may wait without having
   * been able to say so.
   */
  get wasPassedOn(): boolean {
    return this.#passed > 0
  }

  /**
   * The next waiter of this service, if the lock may be passed on to it. It must be asleep: a waiter
   * that is awake may be about to give up.
   */
  heir(holder: Holder): W | undefined {
    const { head } = this
    if (head?.isAsleep !== true || this.holders.size > 1 || this.#chainOf(holder) === undefined) return undefined
    const millis = this.#now - this.#heldSince
    const isInTime = millis < passedForMillis(holder.settings.expiryMillis)
    const isFair = this.#successorOf(holder) === undefined ||
      (this.#passed < passedBeforeOthers.turns && millis < passedBeforeOthers.millis)
    return isInTime && isFair ? head : undefined
  }

  /** Called when a lock that is held here was passed on, under the same value or another. */
  passedOn(from: Holder, to: Holder): void {
    this.holders.delete(from)
    this.holders.add(to)
    this.#passed++
    const { value } = to.claim
    if (from.claim.value === value) return
    const chain = this.#chain
    const entry = this.#successorOf(from)
    this.#leaveTaken(from)
    this.forget(from.claim.value)
    if (entry !== undefined) this.successor = { value, entry }
    if (chain?.value === from.claim.value) this.#chain = { ...chain, value }
  }

  /**
   * Called when the lock is about to be released. Returns the next in line for it, and the chain of
   * hand-overs that leads there; `undefined` if nobody is known to be in line, or the lock is to be
   * free for a moment.
   */
  releasing(holder: Holder): { readonly successor: LineEntry; readonly chain: HandOverChain } | undefined {
    this.#released.add(holder)
    if (this.taken?.claim.value === holder.claim.value) this.isTakenHeld = false
    const successor = this.#successorOf(holder)
    const chain = this.#chainOf(holder)
    return successor === undefined || chain === undefined ? undefined : { successor, chain }
  }

  /** The first of the others in line for this lock, if any is known. */
  #successorOf({ claim }: Holder): LineEntry | undefined {
    const { successor } = this
    if (successor?.value !== claim.value) return undefined
    // An entry of our own service was given up.
    return successor.entry?.value.slice(0, 12) === claim.value.slice(0, 12) ? undefined : successor.entry
  }

  /** The chain of hand-overs including the next one, unless it is time for the lock to be free for a moment. */
  #chainOf({ claim }: Holder): HandOverChain | undefined {
    if (this.#chain?.value !== claim.value) return { length: 1, millis: 0 }
    const chain = { length: this.#chain.length + 1, millis: Math.round(this.#now - this.#chain.since) }
    return chain.length > longestChain.length || chain.millis > longestChain.millis ? undefined : chain
  }

  /** Whether a lock with this value is held and not being released, or nodes are handing it over. */
  isInUse(value: string): boolean {
    if (this.#place?.isHandedTo(value) === true) return true
    if (this.isTakenHeld && this.taken?.claim.value === value) return true
    for (const holder of this.holders) if (holder.claim.value === value) return !this.#released.has(holder)
    return false
  }

  /**
   * Called when a lock held here was lost or released. `woke` says whether that woke another
   * service, or handed the lock to it.
   */
  ended(holder: Holder, woke: boolean): boolean {
    if (!this.holders.delete(holder)) return false
    this.#leaveTaken(holder)
    this.forget(holder.claim.value)
    if (!woke) return true
    this.markContended()
    this.yieldUntil = this.#now + yieldMillis
    this.wakePending = false
    return true
  }

  /**
   * Wakes the head once a lock is no longer held here. If it was passed on for as long as possible, the head
   * leaves it free for a while.
   */
  wakeHead({ settings: { expiryMillis } }: Holder, woke: boolean): void {
    const passedFor = passedForMillis(expiryMillis)
    if (woke) this.wakeToTake()
    else if (this.wasPassedOn && this.#now - this.#heldSince >= passedFor) {
      // The other waiters whose pause has begun do not wake the head when it ends.
      this.lastAttemptAt = this.#now
      this.place.refusedFor(passedFor * restShare)
    } else this.wake()
  }

  /** Leaves the line if the lock was taken from it. Not earlier, because leaving the line gives up the value. */
  #leaveTaken({ claim }: Holder) {
    const { taken } = this
    if (taken?.claim.value !== claim.value || !(taken.wasJoining || !taken.votes.isHandedOverOn(taken.list.node))) {
      return
    }
    this.#lists.leave(taken.list.node, this.key, entryFor(taken.claim))
  }

  recordWakeUp(outcome: "used" | "wasted"): void {
    if (this.wasWokenUp) this.#context.metrics.wakeUpEnded(outcome)
    this.wasWokenUp = false
  }

  get #now(): number {
    return monotonicMillis(this.#context.clock)
  }
}
