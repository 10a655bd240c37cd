/**
 * Where a service stands in the line of other services for a name, and what is handed over to it there.
 *
 * | state | event | next | does |
 * | - | - | - | - |
 * | Out | join | Joining, or Out with a timer if no list is usable | a fresh value |
 * | Joining | position | Placed | timer to look again |
 * | Joining | key is ours already | Voted | asks all nodes: the notifications were lost |
 * | Joining | failed | Joining the next list, or Out with a timer | the same value |
 * | Joining | join, key changed, resync | Joining | looks again after the answer |
 * | Placed | join, key changed, resync, first, timer | Joining | keeps its position |
 * | Joining, Placed | woken | Turn | the value is dead |
 * | Joining, Placed, Voted | vote | Voted | timer to top up; at a quorum the head is woken |
 * | Voted | timer | Voted | asks the nodes that have not voted |
 * | Voted | topped up in vain | Joining in front | the value is dead: given up on the nodes |
 * | Voted | taken | Out | the value is the lock's |
 * | Turn | refused | Joining in front | a fresh value |
 * | any | granted otherwise | Out | leaves the line; votes are given up, waking nobody |
 * | any | nobody waits any more | Out | leaves the line; a turn and votes are handed on |
 *
 * There is at most one timer, and it belongs to the state. A dead value no longer counts: a lock
 * that is still handed over to it is given up on arrival. Every transition of this state machine is
 * in this file.
 */
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import type { NodeError } from "../../LockError.ts"
import type { HandedOver, HandOverChain, LineEntry, LinePosition, LockNode } from "../../LockNode.ts"
import { type Instant, monotonicMillis } from "../base/clock.ts"
import type { Timer } from "../base/timers.ts"
import type { WaitingContext } from "./context.ts"
import { type NodeWaitingList, retryMillis } from "./nodeWaitingList.ts"
import type { NodeWaitingLists } from "./nodeWaitingLists.ts"
import { HandOverVotes } from "./stopwatch.ts"

/** What the lease of a waiter depends on. */
export interface Terms {
  readonly driftFactor: number
  readonly expiryMillis: number
  readonly nodeTimeoutMillis: number
  readonly isFenced: boolean
}

/** The value that stands in line, and what happens to it when the lock is handed over to it. */
export interface LineClaim {
  readonly value: string
  readonly isFenced: boolean
  /** Records that a node has counted up to this token for it. */
  counted(node: LockNode, token: number): void
  /**
   * Asks the nodes to set the key to the value, unless they have done so. Each node that has it
   * then votes, for `expiryMillis` from the time of the request.
   */
  topUp(
    nodes: ReadonlyArray<LockNode>,
    onVote: (node: LockNode, sentAt: Instant, expiryMillis: number) => void,
    onSettled: () => void
  ): void
  /** Deletes the value on these nodes, and wakes the next in line there if `wakes`. */
  giveUp(nodes: ReadonlyArray<LockNode>, wakes: boolean): void
}

/** What a place needs of the queue it stands in line for. */
export interface PlaceQueue<C> {
  readonly key: string
  /** The settings of the fiber that asks the nodes; `undefined` if nobody waits. */
  readonly terms: Terms | undefined
  /** Until when others go first. */
  readonly yieldUntil: number
  /** A value to stand in line with. */
  claim(): C
  /** Called when others want the name too. */
  markContended(): void
  /**
   * Called while readers hold the lock: no more readers are to be admitted for this long, unless
   * this is called again.
   */
  announce(waitMillis: number): void
  /** Wakes the head, to make an attempt. */
  wake(): void
  /** Wakes the head, to take the lock that was handed over. */
  wakeToTake(): void
}

/** A lock that was handed over. */
export interface Taken<C> {
  readonly claim: C
  readonly end: Instant
  readonly votes: HandOverVotes
  readonly chain: HandOverChain
  readonly next: LineEntry | undefined
  readonly list: NodeWaitingList
  /** A join was in progress, which may have put the entry in the list again. */
  readonly wasJoining: boolean
}

class Out<C> {
  readonly _tag = "Out"
  /** The claim that is to stand in line once a list is usable. */
  readonly claim: C | undefined
  readonly end: "front" | "back"
  readonly dead: LineEntry | undefined

  constructor(claim?: C, end: "front" | "back" = "back", dead?: LineEntry) {
    this.claim = claim
    this.end = end
    this.dead = dead
  }
}

class Joining<C> {
  readonly _tag = "Joining"
  readonly list: NodeWaitingList
  readonly claim: C
  readonly end: "front" | "back"
  /** A dead entry that is to be removed first. */
  readonly dead: LineEntry | undefined
  fiber: Fiber.Fiber<void> | undefined
  isAnswered = false
  /** Something has happened meanwhile, so the list is to be read once more. */
  again = false
  /** The value has been sent before. */
  readonly isRepeated: boolean

  constructor(
    list: NodeWaitingList,
    claim: C,
    end: "front" | "back",
    dead: LineEntry | undefined,
    isRepeated: boolean
  ) {
    this.list = list
    this.claim = claim
    this.end = end
    this.dead = dead
    this.isRepeated = isRepeated
  }
}

class Placed<C> {
  readonly _tag = "Placed"
  readonly list: NodeWaitingList
  readonly claim: C
  /**
   * The last join may have been executed after a wake-up that has yet to arrive, and may have put
   * us in the list again.
   */
  readonly isRepeated: boolean

  constructor(list: NodeWaitingList, claim: C, isRepeated: boolean) {
    this.list = list
    this.claim = claim
    this.isRepeated = isRepeated
  }
}

class Voted<C> {
  readonly _tag = "Voted"
  readonly list: NodeWaitingList
  readonly claim: C
  /** A join was in progress, which may still put us in the list. */
  readonly wasJoining: boolean
  readonly votes = new HandOverVotes()
  chain: HandOverChain = { length: 0, millis: 0 }
  next: LineEntry | undefined
  isToppingUp = false
  /** Nodes that had not voted were asked to set the key, so they may have it. */
  wasToppedUp = false

  constructor(list: NodeWaitingList, claim: C, wasJoining: boolean) {
    this.list = list
    this.claim = claim
    this.wasJoining = wasJoining
  }

  /** Whether the entry may still be in line, or be put there. */
  get mayBeInLine(): boolean {
    return this.wasJoining || !this.votes.isHandedOverOn(this.list.node)
  }
}

class Turn {
  readonly _tag = "Turn"
  readonly node: LockNode
  readonly entry: LineEntry
  readonly next: LineEntry | undefined
  /**
   * A join was in progress, or was answered before the wake-up arrived; it may put the dead entry
   * in the list again.
   */
  readonly wasJoining: boolean

  constructor(node: LockNode, entry: LineEntry, next: LineEntry | undefined, wasJoining: boolean) {
    this.node = node
    this.entry = entry
    this.next = next
    this.wasJoining = wasJoining
  }
}

type State<C> = Out<C> | Joining<C> | Placed<C> | Voted<C> | Turn

/** For how long the nodes are told that a writer waits for readers to leave. */
const announceMillis = 1000
/** The longest time between two reads of the position, well within the minute that a list lives. */
const lookMillis = 10_000
/** Delay between successive waiters' reads once the key should have expired. */
const expiryStaggerMillis = 5
/** How long waiters that are not first leave a free key to the first. */
const politeMillis = 50
/** The first pause after the key was absent but the attempt was refused; four times as long each time. */
const staleReadBackoffMillis = 5
/** If no free key was seen for this long, the next one is believed at once. */
const quietMillis = 100
/** The minimum time the other nodes have after the first has handed the lock over. */
const topUpMillis = 5

export class PlaceInLine<C extends LineClaim> {
  #state: State<C> = new Out()
  #timer: Timer | undefined
  /** Consecutive times the key was absent but the attempt was refused. */
  #staleReads = 0
  /** When the key was last found absent, on the monotonic clock. */
  #readFreeAt = Number.NEGATIVE_INFINITY
  /** The claim that was last sent to stand in line. */
  #sent: C | undefined
  /** A free key was left to others once. */
  #wasPolite = false
  readonly #queue: PlaceQueue<C>
  readonly #lists: NodeWaitingLists
  readonly #context: WaitingContext

  constructor(queue: PlaceQueue<C>, lists: NodeWaitingLists, context: WaitingContext) {
    this.#queue = queue
    this.#lists = lists
    this.#context = context
  }

  get isOut(): boolean {
    return this.#state._tag === "Out" && this.#timer === undefined
  }

  /** Whether at least one node has handed the lock over to us. */
  get isVoted(): boolean {
    return this.#state._tag === "Voted"
  }

  /** Whether at least one node has handed the lock over to this value. */
  isHandedTo(value: string): boolean {
    return this.isVoted && this.#isLive(value)
  }

  /** Whether enough nodes have handed the lock over. */
  get isReady(): boolean {
    const { terms } = this.#queue
    return this.#state._tag === "Voted" && terms !== undefined && this.#end(this.#state, terms) !== undefined
  }

  /** The next in line behind a turn of ours. */
  get nextBehindTurn(): LineEntry | undefined {
    return this.#state._tag === "Turn" ? this.#state.next : undefined
  }

  /** Joins the line, in front if it was our turn, or reads again from the present position. */
  join(): void {
    const state = this.#state
    switch (state._tag) {
      case "Out":
        // A timer is running if no list is usable.
        if (this.#timer === undefined) this.#start(this.#queue.claim(), "back")
        return
      case "Joining":
        state.again = true
        return
      case "Placed":
        return this.#send(state.list, state.claim, "back")
      case "Voted":
        return
      case "Turn":
        return this.#start(this.#queue.claim(), "front", state.wasJoining ? state.entry : undefined)
    }
  }

  /**
   * Called when a key that we watch has changed, or when notifications of a node may have been
   * lost, perhaps because it was down.
   */
  changed(node?: LockNode): void {
    const state = this.#state
    if (state._tag === "Out" && this.#timer !== undefined && state.claim !== undefined) {
      return this.#start(state.claim, state.end, state.dead)
    }
    if (state._tag !== "Placed" && state._tag !== "Joining") return
    if (node === undefined || state.list.node === node) this.join()
  }

  /** Called when we are the first in line; the key lives for another `ttlMillis`. */
  first(value: string, ttlMillis: number): void {
    const state = this.#state
    if (!this.#isLive(value)) return
    if (state._tag === "Joining") state.again ||= ttlMillis === 0
    else if (state._tag === "Placed") {
      if (ttlMillis === 0) this.join()
      else this.#after(Math.min(lookMillis, ttlMillis + 1), () => this.join())
    }
  }

  /** Called when it is our turn. Returns whether the wake-up was for the value that stands in line. */
  woken(node: LockNode, value: string, next: LineEntry | undefined): boolean {
    const state = this.#state
    if (!this.#isLive(value) || (state._tag !== "Joining" && state._tag !== "Placed")) return false
    this.#staleReads = 0
    const wasJoining = state._tag === "Joining" || state.isRepeated
    this.#to(new Turn(node, entryFor(state.claim), next, wasJoining))
    this.#queue.wake()
    return true
  }

  /** Called when a node has handed the lock over. Returns whether it was handed to the value that stands in line. */
  handedOver(node: LockNode, notice: HandedOver): boolean {
    const before = this.#state
    if (!this.#isLive(notice.value) || before._tag === "Out" || before._tag === "Turn") return false
    if (before._tag !== "Voted") this.#to(new Voted(before.list, before.claim, before._tag === "Joining"))
    const state = this.#state as Voted<C>
    const { terms } = this.#queue
    const { chain, next, time, token, ttlMillis } = notice
    const isCounted = token !== undefined || !state.claim.isFenced
    state.votes.handedOver(
      node,
      terms && isCounted ? this.#lists.stopwatches.vote(node, time, ttlMillis, terms.driftFactor) : undefined
    )
    if (token !== undefined) state.claim.counted(node, token)
    if (chain.length > state.chain.length) state.chain = chain
    if (next !== undefined) state.next = next
    this.#voted(state)
    return true
  }

  /**
   * Takes the lock, if a quorum has handed it over. Votes that are out of date are requested again;
   * if the waiter needs a token and none was counted, the lock goes back.
   */
  take(terms: Terms): Taken<C> | undefined {
    const state = this.#state
    if (state._tag !== "Voted") return undefined
    const { chain, claim, list, next, votes, wasJoining } = state
    if (terms.isFenced && !claim.isFenced) {
      this.#startAnew(state)
      return undefined
    }
    const end = this.#end(state, terms)
    if (end === undefined) {
      if (this.#timer === undefined && !state.isToppingUp) this.#topUp(state)
      return undefined
    }
    this.#to(new Out())
    this.#context.metrics.handOverEnded("taken")
    return { claim, end, votes, chain, next, list, wasJoining }
  }

  /** Called when an attempt was refused. */
  refused(): void {
    this.join()
  }

  /** Called when the votes on an attempt were split: the head makes another attempt after the given milliseconds. */
  refusedFor(millis: number): void {
    if (this.#state._tag === "Joining") this.#state.again = true
    else if (this.#state._tag !== "Voted") this.#after(millis, () => this.#queue.wake())
  }

  /** Called when the lock was granted by other means than the line. */
  granted(): void {
    this.#leave(false)
  }

  /** Called when nobody waits any more. */
  leave(): void {
    this.#leave(true)
  }

  /** Whether this is the value that stands in line. */
  #isLive(value: string): boolean {
    const state = this.#state
    return state._tag !== "Turn" && state.claim?.value === value
  }

  #leave(isHandedOn: boolean) {
    const state = this.#state
    const { key } = this.#queue
    this.#to(new Out())
    this.#staleReads = 0
    switch (state._tag) {
      case "Out":
        return
      case "Joining":
      case "Placed": {
        // A join may have been sent; anything sent from now on comes after it. The lock may have been handed
        // over without any notification having arrived.
        const { claim, list } = state
        const { nodes } = this.#context
        return this.#lists.leave(list.node, key, entryFor(claim), () => claim.giveUp(nodes, isHandedOn))
      }
      case "Voted":
        this.#context.metrics.handOverEnded("wasted")
        state.claim.giveUp(state.wasToppedUp ? this.#context.nodes : state.votes.nodes, isHandedOn)
        if (state.mayBeInLine) this.#lists.leave(state.list.node, key, entryFor(state.claim))
        return
      case "Turn":
        if (isHandedOn || state.wasJoining) this.#lists.leave(state.node, key, state.entry)
    }
  }

  #start(claim: C, end: "front" | "back", dead?: LineEntry) {
    const list = this.#lists.firstInRank(this.#queue.key)
    if (list !== undefined) return this.#send(list, claim, end, dead)
    if (!this.#lists.areThere) return this.#to(new Out())
    this.#to(new Out(claim, end, dead))
    this.#after(retryMillis, () => {
      if (this.#queue.terms !== undefined) this.#start(claim, end, dead)
    })
  }

  #send(list: NodeWaitingList, claim: C, end: "front" | "back", dead?: LineEntry) {
    const joining = new Joining(list, claim, end, dead, this.#sent === claim)
    this.#sent = claim
    this.#to(joining)
    const { key } = this.#queue
    this.#lists.listen(key, list.node)
    joining.fiber = this.#lists.join(list, key, entryFor(claim), end, dead, (answer) => {
      joining.isAnswered = true
      if (Result.isFailure(answer)) this.#failed(joining, answer.failure)
      else if (this.#state === joining) this.#joined(joining, answer.success)
    })
  }

  #failed(joining: Joining<C>, error: NodeError | undefined) {
    joining.list.joinFailed(error)
    if (this.#state === joining) this.#start(joining.claim, joining.end, joining.dead)
  }

  #joined({ again, claim, isRepeated, list }: Joining<C>, { ahead, isOurs, isShared, ttlMillis }: LinePosition) {
    if (isOurs === true) {
      // The notifications were lost.
      const voted = new Voted(list, claim, false)
      voted.votes.handedOver(list.node, undefined)
      this.#to(voted)
      return this.#topUp(voted)
    }
    this.#to(new Placed(list, claim, isRepeated))
    const isBehindReaders = isShared === true && ahead === 0
    // At once, since readers that come and go change the key before each further read is answered.
    if (isBehindReaders) this.#queue.announce(announceMillis)
    if (again) return this.join()
    if (ttlMillis === 0) return this.#free(ahead)
    this.#wasPolite = false
    this.#queue.markContended()
    const patience = isBehindReaders ? announceMillis / 2 : lookMillis
    this.#after(Math.min(patience, ttlMillis + 1 + ahead * expiryStaggerMillis), () => this.join())
  }

  /** Called when there is no key on the node with the list. */
  #free(ahead: number) {
    const now = monotonicMillis(this.#context.clock)
    // A key that existed in between proves nothing: it may have been that of an attempt of ours.
    if (now - this.#readFreeAt > quietMillis) this.#staleReads = 0
    this.#readFreeAt = now
    const patience = Math.max(this.#queue.yieldUntil - now, ahead > 0 && !this.#wasPolite ? politeMillis : 0)
    if (this.#staleReads === 0 && patience > 0) {
      this.#wasPolite = true
      return this.#after(Math.ceil(patience), () => this.join())
    }
    const reads = this.#staleReads++
    if (reads === 0) {
      this.#after(lookMillis, () => this.join())
      return this.#queue.wake()
    }
    // Others hold the lock on other nodes, and this node has lost the key: each attempt of ours changes it
    // here.
    this.#after(Math.min(lookMillis, staleReadBackoffMillis * 4 ** (reads - 1)), () => {
      this.#after(lookMillis, () => this.join())
      this.#queue.wake()
    })
  }

  /** Called when votes have come in. If they are not enough, the other nodes get some time. */
  #voted(state: Voted<C>) {
    const { terms } = this.#queue
    if (terms !== undefined && this.#end(state, terms) !== undefined) {
      this.#timer?.cancel()
      this.#timer = undefined
      return this.#queue.wakeToTake()
    }
    if (this.#timer !== undefined || state.isToppingUp) return
    const millis = Math.max(topUpMillis, Math.ceil(2 * this.#lists.stopwatches.roundTripMillis))
    this.#after(millis, () => this.#topUp(state))
  }

  #topUp(state: Voted<C>) {
    state.isToppingUp = state.wasToppedUp = true
    const missing = this.#context.nodes.filter((node) => !state.votes.isTimed(node))
    state.claim.topUp(missing, (node, sentAt, millis) => {
      state.votes.add(node, { sentAt, millis, elapsedMillis: 0 })
      if (this.#state === state) this.#voted(state)
    }, () => {
      state.isToppingUp = false
      const { terms } = this.#queue
      if (this.#state !== state || terms === undefined) return
      if (this.#end(state, terms) === undefined) this.#startAnew(state)
    })
  }

  /** Gives the value up and starts again with a fresh one, in front. */
  #startAnew(state: Voted<C>) {
    this.#context.metrics.handOverEnded("wasted")
    state.claim.giveUp(this.#context.nodes, true)
    this.#start(this.#queue.claim(), "front", state.mayBeInLine ? entryFor(state.claim) : undefined)
  }

  #end({ votes }: Voted<C>, terms: Terms): Instant | undefined {
    return votes.end(this.#context.clock, this.#context.size, terms)
  }

  #after(millis: number, run: () => void) {
    this.#timer?.cancel()
    this.#timer = this.#context.timers.schedule(millis, () => {
      this.#timer = undefined
      run()
    })
  }

  #to(state: State<C>) {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#state._tag === "Joining" && !this.#state.isAnswered) this.#state.fiber?.interruptUnsafe()
    this.#state = state
  }
}

export const entryFor = ({ isFenced, value }: LineClaim): LineEntry => ({
  value,
  mode: "exclusive",
  weight: 1,
  fenced: isFenced
})
