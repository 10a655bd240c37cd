/**
 * A semaphore, as a model: what may happen next in a state.
 *
 * Clients ask three nodes for permits, settle once on slots that they were given, extend once, and may end at any
 * moment. Messages arrive in any order or never. A node gives any slots that are free: in which order is a hint.
 */
import type { Steps, Visit } from "../search.ts"
import { Layout, phase, type State } from "../state.ts"

/** A rule that the model breaks on purpose. */
export type Fault =
  | "a majority of nodes that gave any slots"
  | "one slot with a quorum is enough"
  | "a slot is settled on without looking who has it"
  | "a settlement does not renew the lease on the node"
  | "a slot is freed without comparing"
  | "the lease counts from the answer"
  | "a node that abstains settles"
  | "what an extension took back is a vote"

export interface Model {
  /** How many permits each client wants. */
  readonly permits: ReadonlyArray<number>
  readonly limit: number
  /** The clients that settle if the first round gave them too little, and those that extend. */
  readonly settling?: ReadonlyArray<number>
  readonly extending?: ReadonlyArray<number>
  /** How many nodes may restart empty, and for how many ticks each abstains then. */
  readonly restarts?: number
  readonly delayedRestart?: number
  readonly fault?: Fault
}

const nodes = 3
const quorum = 2

/** How many ticks a holder lives on a node. */
const lifetime = 2

/** A field of the state itself. */
const restarts = 0

/** Fields of a client: its slots, one bit each, and how long the lease lasts that the question under way would give. */
const inPhase = 0
const chosen = 1
const acquireLease = 2
const settleLease = 3
const extendLease = 4
const spent = 5

const once = { settle: 1, extend: 2 } as const

/** A field of a node. */
const abstaining = 0

/** Fields of a client on a node: what is under way, the slots it has and for how long, the round, and its votes. */
const underWay = 0
const held = 1
const expiry = 2
const round = 3
/** What is left of the lease that each slot was granted for, two bits for each. */
const votes = 4

const message = { acquire: 1, settle: 2, extend: 4 } as const

export class Permits implements Steps {
  readonly bytes: number
  readonly initial: State
  readonly #model: Required<Omit<Model, "fault">> & Pick<Model, "fault">
  readonly #layout: Layout
  readonly #next: State
  /** All sets of slots of each size. */
  readonly #sets: ReadonlyArray<ReadonlyArray<number>>
  #visit: Visit = () => {}

  constructor(model: Model) {
    this.#model = { settling: [], extending: [], restarts: 0, delayedRestart: 0, ...model }
    this.#layout = new Layout(nodes, model.permits.length, { head: 1, value: 6, node: 1, vote: 5 })
    this.bytes = this.#layout.bytes
    this.#next = new Uint8Array(this.bytes)
    this.#next[restarts] = this.#model.restarts
    this.initial = this.#next.slice()
    const all = Array.from({ length: 1 << model.limit }, (_, slots) => slots)
    this.#sets = Array.from({ length: model.limit + 1 }, (_, size) => all.filter((slots) => sizeOf(slots) === size))
  }

  canonize(state: State): void {
    this.#layout.sortNodes(state)
  }

  violation(state: State): string | undefined {
    let taken = 0
    let permits = 0
    for (let client = 1; client <= this.#layout.values; client++) {
      if (!this.#holds(state, client)) continue
      const slots = state[this.#layout.valueAt(client) + chosen]!
      permits += this.#model.permits[client - 1]!
      if (this.#model.fault === "a majority of nodes that gave any slots") continue
      if ((taken & slots) !== 0) return "a slot is held twice"
      taken |= slots
    }
    return permits > this.#model.limit ? "more permits are held than there are" : undefined
  }

  /** Somebody holds by a second round. */
  isNotable(state: State): boolean {
    for (let client = 1; client <= this.#layout.values; client++) {
      if ((state[this.#layout.valueAt(client) + spent]! & once.settle) !== 0 && this.#holds(state, client)) return true
    }
    return false
  }

  describe(action: string, client: number, node: number, slots: number): string {
    const list = Array.from({ length: this.#model.limit }, (_, slot) => slot).filter((slot) => slots >> slot & 1)
    return action.replace("$client", String.fromCharCode(64 + client)).replace("$node", `n${node + 1}`)
      .replace("$slots", list.join(",") || "none")
  }

  forEachStep(state: State, visit: Visit): void {
    this.#visit = visit
    this.#tick(state)
    for (let client = 1; client <= this.#layout.values; client++) {
      this.#ofClient(state, client)
      for (let node = 0; node < nodes; node++) {
        const sent = state[this.#layout.voteAt(node, client) + underWay]!
        if (sent & message.acquire) this.#acquire(state, client, node)
        if (sent & message.settle) this.#settle(state, client, node)
        if (sent & message.extend) this.#extend(state, client, node)
        if (state[this.#layout.valueAt(client) + inPhase] === phase.over) this.#release(state, client, node)
      }
    }
    if (state[restarts]! > 0) { for (let node = 0; node < nodes; node++) this.#restart(state, node) }
  }

  #tick(state: State): void {
    const next = this.#from(state)
    const pass = (at: number) => {
      if (next[at]! > 0) next[at]!--
    }
    for (let node = 0; node < nodes; node++) {
      pass(this.#layout.nodeAt(node) + abstaining)
      for (let client = 1; client <= this.#layout.values; client++) {
        const link = this.#layout.voteAt(node, client)
        pass(link + expiry)
        if (next[link + expiry] === 0) next[link + held] = next[link + round] = 0
        for (let slot = 0; slot < this.#model.limit; slot++) {
          if (lease(next[link + votes]!, slot) > 0) next[link + votes]! -= 1 << 2 * slot
        }
      }
    }
    for (let client = 1; client <= this.#layout.values; client++) {
      for (const field of [acquireLease, settleLease, extendLease]) pass(this.#layout.valueAt(client) + field)
    }
    this.#to("time goes by", 0, 0, 0)
  }

  /** What the client does. */
  #ofClient(state: State, client: number): void {
    const at = this.#layout.valueAt(client)
    const next = this.#from(state)
    if (state[at + inPhase] === phase.unborn) {
      next[at + inPhase] = phase.live
      next[at + acquireLease] = lifetime
      this.#send(next, client, message.acquire)
      return this.#to("$client asks", client, 0, 0)
    }
    if (state[at + inPhase] !== phase.live) return
    next[at + inPhase] = phase.over
    this.#forgetVotes(next, client)
    this.#to("$client ends", client, 0, 0)
    if (state[at + chosen] === 0) {
      this.#choose(state, client)
      if (this.#model.settling.includes(client)) this.#startToSettle(state, client)
    } else if (
      this.#model.extending.includes(client) && !(state[at + spent]! & once.extend) && this.#holds(state, client)
    ) {
      this.#from(state)
      next[at + spent]! |= once.extend
      next[at + extendLease] = lifetime
      this.#send(next, client, message.extend)
      this.#to("$client extends", client, 0, state[at + chosen]!)
    }
  }

  /** Takes the slots that a quorum has given in the first round. */
  #choose(state: State, client: number): void {
    for (const slots of this.#sets[this.#model.permits[client - 1]!]!) {
      if (!this.#hasQuorum(state, client, slots)) continue
      this.#from(state)[this.#layout.valueAt(client) + chosen] = slots
      this.#to("$client has $slots", client, 0, slots)
    }
  }

  /** Settles on any slots of which some node has given each. */
  #startToSettle(state: State, client: number): void {
    const at = this.#layout.valueAt(client)
    let given = 0
    for (let node = 0; node < nodes; node++) given |= slotsOf(state[this.#layout.voteAt(node, client) + votes]!)
    for (const slots of this.#sets[this.#model.permits[client - 1]!]!) {
      if ((slots & ~given) !== 0) continue
      const next = this.#from(state)
      next[at + chosen] = slots
      next[at + spent]! |= once.settle
      next[at + settleLease] = lifetime
      this.#forgetVotes(next, client)
      this.#send(next, client, message.settle)
      this.#to("$client settles on $slots", client, 0, slots)
    }
  }

  #acquire(state: State, client: number, node: number): void {
    const link = this.#layout.voteAt(node, client)
    const isFirst = !(state[this.#layout.valueAt(client) + spent]! & once.settle)
    const granted = isFirst ? this.#granted(state, client, acquireLease) : 0
    const has = state[link + held]!
    if (has !== 0) {
      this.#vote(this.#receive(state, client, node, message.acquire), client, node, has, granted)
      return this.#to("$client: has $slots on $node already", client, node, has)
    }
    const free = this.#free(state, node)
    const permits = this.#model.permits[client - 1]!
    if (state[this.#layout.nodeAt(node) + abstaining]! > 0 || sizeOf(free) < permits) {
      this.#receive(state, client, node, message.acquire)
      return this.#to("$client: refused by $node", client, node, 0)
    }
    for (const slots of this.#sets[permits]!) {
      if ((slots & ~free) !== 0) continue
      const next = this.#receive(state, client, node, message.acquire)
      this.#hold(next, client, node, slots, 1)
      this.#vote(next, client, node, slots, granted)
      this.#to("$client: given $slots by $node", client, node, slots)
    }
  }

  #settle(state: State, client: number, node: number): void {
    const { fault } = this.#model
    const link = this.#layout.voteAt(node, client)
    const next = this.#receive(state, client, node, message.settle)
    const granted = this.#granted(state, client, settleLease)
    const abstains = state[this.#layout.nodeAt(node) + abstaining]! > 0 && fault !== "a node that abstains settles"
    if (abstains) return this.#to("$client: $node abstains from settling", client, node, 0)
    const has = state[link + held]!
    const wanted = state[this.#layout.valueAt(client) + chosen]!
    if (state[link + round]! >= 2) {
      this.#vote(next, client, node, has, granted)
      return this.#to("$client: $node has settled already", client, node, has)
    }
    const looks = fault !== "a slot is settled on without looking who has it"
    const slots = looks ? wanted & (this.#free(state, node) | has) : wanted
    const expires = next[link + expiry]!
    this.#hold(next, client, node, slots, 2)
    if (fault === "a settlement does not renew the lease on the node" && has !== 0) next[link + expiry] = expires
    this.#vote(next, client, node, slots, granted)
    this.#to("$client: $node settles on $slots", client, node, slots)
  }

  #extend(state: State, client: number, node: number): void {
    const has = state[this.#layout.voteAt(node, client) + held]!
    const wanted = state[this.#layout.valueAt(client) + chosen]!
    const slots = wanted & (this.#free(state, node) | has)
    const confirmed = this.#model.fault === "what an extension took back is a vote" ? slots : wanted & has
    const next = this.#receive(state, client, node, message.extend)
    this.#hold(next, client, node, slots, 3)
    this.#vote(next, client, node, confirmed, this.#granted(state, client, extendLease))
    this.#to("$client: $slots extended on $node", client, node, confirmed)
  }

  /** A client that has ended is released on a node, by its value alone. */
  #release(state: State, client: number, node: number): void {
    if (this.#model.fault === "a slot is freed without comparing") {
      const slots = state[this.#layout.valueAt(client) + chosen]!
      const next = this.#from(state)
      for (let other = 1; other <= this.#layout.values; other++) {
        next[this.#layout.voteAt(node, other) + held]! &= ~slots
      }
      this.#to("$client: $slots freed on $node", client, node, slots)
    }
    const has = state[this.#layout.voteAt(node, client) + held]!
    if (has === 0) return
    this.#hold(this.#from(state), client, node, 0, 0)
    this.#to("$client: releases $slots on $node", client, node, has)
  }

  #restart(state: State, node: number): void {
    const next = this.#from(state)
    next[restarts]!--
    next[this.#layout.nodeAt(node) + abstaining] = this.#model.delayedRestart
    for (let client = 1; client <= this.#layout.values; client++) this.#hold(next, client, node, 0, 0)
    this.#to("$node restarts empty", 0, node, 0)
  }

  #free(state: State, node: number): number {
    let taken = 0
    for (let client = 1; client <= this.#layout.values; client++) {
      taken |= state[this.#layout.voteAt(node, client) + held]!
    }
    return ~taken & ((1 << this.#model.limit) - 1)
  }

  #holds(state: State, client: number): boolean {
    const slots = state[this.#layout.valueAt(client) + chosen]!
    return slots !== 0 && this.#hasQuorum(state, client, slots)
  }

  /** Whether a quorum has given each of the slots. */
  #hasQuorum(state: State, client: number, slots: number): boolean {
    const { fault, limit } = this.#model
    let some = 0
    const counts = Array.from({ length: limit }, () => 0)
    for (let node = 0; node < nodes; node++) {
      const given = slotsOf(state[this.#layout.voteAt(node, client) + votes]!)
      if (given !== 0) some++
      for (let slot = 0; slot < limit; slot++) if (given >> slot & 1) counts[slot]!++
    }
    if (fault === "a majority of nodes that gave any slots") return some >= quorum
    const ofSlots = counts.filter((_, slot) => slots >> slot & 1)
    const isEnough = (count: number) => count >= quorum
    return fault === "one slot with a quorum is enough" ? ofSlots.some(isEnough) : ofSlots.every(isEnough)
  }

  #hold(next: State, client: number, node: number, slots: number, inRound: number): void {
    const link = this.#layout.voteAt(node, client)
    next[link + held] = slots
    next[link + expiry] = slots === 0 ? 0 : lifetime
    next[link + round] = slots === 0 ? 0 : inRound
  }

  #granted(state: State, client: number, field: number): number {
    return state[this.#layout.valueAt(client) + field]! +
      (this.#model.fault === "the lease counts from the answer" ? 1 : 0)
  }

  #vote(next: State, client: number, node: number, slots: number, granted: number): void {
    if (next[this.#layout.valueAt(client) + inPhase] !== phase.live) return
    const at = this.#layout.voteAt(node, client) + votes
    for (let slot = 0; slot < this.#model.limit; slot++) {
      const had = lease(next[at]!, slot)
      if (slots >> slot & 1 && granted > had) next[at]! += granted - had << 2 * slot
    }
  }

  #forgetVotes(next: State, client: number): void {
    for (let node = 0; node < nodes; node++) next[this.#layout.voteAt(node, client) + votes] = 0
  }

  #send(next: State, client: number, sent: number): void {
    for (let node = 0; node < nodes; node++) next[this.#layout.voteAt(node, client) + underWay]! |= sent
  }

  #receive(state: State, client: number, node: number, received: number): State {
    const next = this.#from(state)
    next[this.#layout.voteAt(node, client) + underWay]! &= ~received
    return next
  }

  #from(state: State): State {
    this.#next.set(state)
    return this.#next
  }

  #to(action: string, client: number, node: number, slots: number): void {
    this.#forget()
    this.#visit(this.#next, action, client, node, slots)
  }

  /** Leaves out what can make no difference any more. */
  #forget(): void {
    const next = this.#next
    for (let client = 1; client <= this.#layout.values; client++) {
      let sent = 0
      for (let node = 0; node < nodes; node++) sent |= next[this.#layout.voteAt(node, client) + underWay]!
      const at = this.#layout.valueAt(client)
      const isOver = next[at + inPhase] === phase.over
      if (isOver || !(sent & message.acquire)) next[at + acquireLease] = 0
      if (isOver || !(sent & message.settle)) next[at + settleLease] = 0
      if (isOver || !(sent & message.extend)) next[at + extendLease] = 0
      if (isOver) next[at + spent] = once.settle | once.extend
      const isAsked = (sent & (message.settle | message.extend)) !== 0
      if (isOver && !isAsked && this.#model.fault !== "a slot is freed without comparing") next[at + chosen] = 0
    }
  }
}

const sizeOf = (slots: number): number => slots === 0 ? 0 : (slots & 1) + sizeOf(slots >> 1)

const lease = (votes: number, slot: number): number => votes >> 2 * slot & 3

const slotsOf = (votes: number): number =>
  (lease(votes, 0) > 0 ? 1 : 0) | (lease(votes, 1) > 0 ? 2 : 0) | (lease(votes, 2) > 0 ? 4 : 0) |
  (lease(votes, 3) > 0 ? 8 : 0)
