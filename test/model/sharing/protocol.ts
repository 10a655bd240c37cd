/**
 * Shared locks, as a model: what may happen next in a state.
 *
 * Readers and writers ask three nodes. Messages arrive in any order or never,
 * whoever asks or holds may end at any moment and is then released on each node at
 * any time, or never. Who waits for whom is not in the model: whoever may be refused
 * may also never be heard.
 */
import type { Steps, Visit } from "../search.ts"
import { Layout, phase, type State } from "../state.ts"

/** A rule that the model breaks on purpose. */
export type Fault =
  | "a reader comes in beside a writer"
  | "a writer comes in beside a single reader"
  | "one node is enough for a reader"
  | "the key lives as long as the reader that came last"
  | "the release of a reader deletes the key"
  | "a release does not compare"
  | "a lock is left to readers without comparing"
  | "the lease counts from the answer"
  | "a writer until it is a reader"
  | "a node that had not the writer confirms its downgrade"
  | "what an extension planted is a vote"

export interface Model {
  /** A downgrader is a writer that becomes a reader. */
  readonly clients: ReadonlyArray<"reader" | "writer" | "downgrader">
  /** How many ticks a key lives, or a reader, for each client. */
  readonly expiries: ReadonlyArray<number>
  /** Those that extend, once, planting the key where it is gone. */
  readonly extending?: ReadonlyArray<number>
  /** Whether a writer that ends may leave the key to readers, for a tick. */
  readonly yields?: boolean
  /** How many nodes may restart empty, and for how many ticks each abstains then. */
  readonly restarts?: number
  readonly delayedRestart?: number
  readonly fault?: Fault
}

const nodes = 3
const quorum = 2

/** Fields of the state itself. */
const restarts = 0

/** Fields of a client. */
const inPhase = 0
/** How long the lease still lasts that a grant gives, counted from the question; the same of the extension or downgrade. */
const attemptLease = 1
const secondLease = 2
/** Whether it has extended or downgraded. */
const second = 3

/** Fields of a node: what the key is, whose, how long it lives, for how long it is kept for readers, and how long the node abstains. */
const kind = 0
const owner = 1
const expiry = 2
const grace = 3
const abstaining = 4

/** Fields of a client on a node: what is under way, how long it is a reader, and what is left of the leases it was granted. */
const underWay = 0
const member = 1
const vote = 2
const readerVote = 3

const free = 0
const written = 1
const shared = 2

const message = { acquire: 1, second: 2 } as const

export class Sharing implements Steps {
  readonly bytes: number
  readonly initial: State
  readonly #model: Required<Omit<Model, "fault">> & Pick<Model, "fault">
  readonly #layout: Layout
  readonly #next: State
  #visit: Visit = () => {}

  constructor(model: Model) {
    this.#model = { extending: [], yields: false, restarts: 0, delayedRestart: 0, ...model }
    this.#layout = new Layout(nodes, model.clients.length, { head: 1, value: 4, node: 5, vote: 4 })
    this.bytes = this.#layout.bytes
    this.#next = new Uint8Array(this.bytes)
    this.#next[restarts] = this.#model.restarts
    this.initial = this.#next.slice()
  }

  canonize(state: State): void {
    this.#layout.sortNodes(state)
  }

  violation(state: State): string | undefined {
    let [readers, writers] = [0, 0]
    for (let client = 1; client <= this.#layout.values; client++) {
      if (this.#writes(state, client)) writers++
      else if (this.#reads(state, client)) readers++
    }
    return writers > 1 ? "two writers" : writers === 1 && readers > 0 ? "a reader beside a writer" : undefined
  }

  /** Two readers, or one that was a writer. */
  isNotable(state: State): boolean {
    let readers = 0
    for (let client = 1; client <= this.#layout.values; client++) {
      if (this.#reads(state, client)) readers += this.#model.clients[client - 1] === "reader" ? 1 : 2
    }
    return readers > 1
  }

  describe(action: string, client: number, node: number): string {
    const name = `${this.#model.clients[client - 1]} ${client}`
    return action.replace("$client", name).replace("$node", `n${node + 1}`)
  }

  forEachStep(state: State, visit: Visit): void {
    this.#visit = visit
    this.#tick(state)
    for (let client = 1; client <= this.#layout.values; client++) {
      this.#ofClient(state, client)
      for (let node = 0; node < nodes; node++) {
        const sent = state[this.#layout.voteAt(node, client) + underWay]!
        if (sent & message.acquire) this.#acquire(state, client, node)
        if (sent & message.second) this.#second(state, client, node)
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
      const at = this.#layout.nodeAt(node)
      for (const field of [expiry, grace, abstaining]) pass(at + field)
      for (let client = 1; client <= this.#layout.values; client++) {
        const link = this.#layout.voteAt(node, client)
        for (const field of [member, vote, readerVote]) pass(link + field)
      }
      if (next[at + expiry] === 0) this.#clear(next, node)
    }
    for (let client = 1; client <= this.#layout.values; client++) {
      pass(this.#layout.valueAt(client) + attemptLease)
      pass(this.#layout.valueAt(client) + secondLease)
    }
    this.#to("time goes by", 0, 0)
  }

  /** What the client does. */
  #ofClient(state: State, client: number): void {
    const at = this.#layout.valueAt(client)
    const next = this.#from(state)
    if (state[at + inPhase] === phase.unborn) {
      next[at + inPhase] = phase.live
      next[at + attemptLease] = this.#expiry(client)
      this.#send(next, client, message.acquire)
      return this.#to("$client asks", client, 0)
    }
    if (state[at + inPhase] !== phase.live) return
    next[at + inPhase] = phase.over
    for (let node = 0; node < nodes; node++) {
      next[this.#layout.voteAt(node, client) + vote] = next[this.#layout.voteAt(node, client) + readerVote] = 0
    }
    this.#to("$client ends", client, 0)
    const isDowngrading = this.#model.clients[client - 1] === "downgrader"
    if (state[at + second] === 1 || !(isDowngrading || this.#model.extending.includes(client))) return
    if (!this.#holds(state, client)) return
    this.#from(state)
    next[at + second] = 1
    next[at + secondLease] = this.#expiry(client)
    this.#send(next, client, message.second)
    this.#to(isDowngrading ? "$client downgrades" : "$client extends", client, 0)
  }

  #acquire(state: State, client: number, node: number): void {
    const { fault } = this.#model
    const at = this.#layout.nodeAt(node)
    const next = this.#receive(state, client, node, message.acquire)
    const granted = state[this.#layout.valueAt(client) + attemptLease]!
    const isReader = this.#model.clients[client - 1] === "reader"
    const isFree = isReader
      ? state[at + kind] !== written || fault === "a reader comes in beside a writer"
      : state[at + kind] === free ||
        (fault === "a writer comes in beside a single reader" && this.#members(state, node) === 1)
    if (state[at + abstaining]! > 0 || !isFree) return this.#to("$client: refused by $node", client, node)
    if (isReader) this.#join(next, client, node)
    else this.#write(next, client, node)
    this.#vote(next, client, node, vote, granted + (fault === "the lease counts from the answer" ? 1 : 0))
    this.#to("$client: granted by $node", client, node)
  }

  /** Extends, or downgrades. */
  #second(state: State, client: number, node: number): void {
    const { fault } = this.#model
    const at = this.#layout.nodeAt(node)
    const next = this.#receive(state, client, node, message.second)
    const isWriting = state[at + kind] === written && state[at + owner] === client
    const isOthers = state[at + kind] === written && !isWriting
    const granted = state[this.#layout.valueAt(client) + secondLease]!
    if (this.#model.clients[client - 1] === "downgrader") {
      if (isOthers) return this.#to("$client: downgrade refused by $node", client, node)
      if (isWriting) this.#clear(next, node)
      this.#join(next, client, node)
      if (isWriting || fault === "a node that had not the writer confirms its downgrade") {
        this.#vote(next, client, node, readerVote, granted)
      }
      return this.#to("$client: a reader on $node", client, node)
    }
    const isReader = this.#model.clients[client - 1] === "reader"
    const isThere = isReader
      ? state[at + kind] === shared && state[this.#layout.voteAt(node, client) + member]! > 0
      : isWriting
    if (isReader ? isOthers : !isWriting && state[at + kind] !== free) {
      return this.#to("$client: extension refused by $node", client, node)
    }
    if (isReader) this.#join(next, client, node)
    else this.#write(next, client, node)
    if (isThere || fault === "what an extension planted is a vote") this.#vote(next, client, node, vote, granted)
    this.#to(isThere ? "$client: extended on $node" : "$client: planted again on $node", client, node)
  }

  /** A client that has ended is removed from a node, or leaves the key to readers. */
  #release(state: State, client: number, node: number): void {
    const { fault, yields } = this.#model
    const at = this.#layout.nodeAt(node)
    const isWriting = state[at + kind] === written && state[at + owner] === client
    const isWriter = this.#model.clients[client - 1] !== "reader"
    if (isWriting || (state[at + kind] === written && fault === "a release does not compare")) {
      this.#clear(this.#from(state), node)
      this.#to("$client: released on $node", client, node)
    }
    const compares = fault !== "a lock is left to readers without comparing"
    if (yields && isWriter && (isWriting || (!compares && state[at + kind] === written))) {
      const next = this.#from(state)
      this.#clear(next, node)
      next[at + kind] = shared
      next[at + grace] = next[at + expiry] = 1
      this.#to("$client: left to readers on $node", client, node)
    }
    const link = this.#layout.voteAt(node, client)
    if (state[at + kind] !== shared || state[link + member] === 0) return
    const next = this.#from(state)
    next[link + member] = 0
    if (fault === "the release of a reader deletes the key") this.#clear(next, node)
    else this.#expire(next, node)
    this.#to("$client: no reader on $node any more", client, node)
  }

  #restart(state: State, node: number): void {
    const next = this.#from(state)
    next[restarts]!--
    this.#clear(next, node)
    next[this.#layout.nodeAt(node) + abstaining] = this.#model.delayedRestart
    this.#to("$node restarts empty", 0, node)
  }

  #holds(state: State, client: number): boolean {
    return this.#writes(state, client) || this.#reads(state, client)
  }

  #writes(state: State, client: number): boolean {
    if (this.#model.clients[client - 1] === "reader" || !this.#hasQuorum(state, client, vote)) return false
    const hasDowngraded = this.#model.clients[client - 1] === "downgrader" &&
      state[this.#layout.valueAt(client) + second] === 1
    return !hasDowngraded ||
      (this.#model.fault === "a writer until it is a reader" && !this.#hasQuorum(state, client, readerVote))
  }

  #reads(state: State, client: number): boolean {
    return this.#hasQuorum(state, client, this.#model.clients[client - 1] === "reader" ? vote : readerVote)
  }

  #hasQuorum(state: State, client: number, field: number): boolean {
    let votes = 0
    for (let node = 0; node < nodes; node++) {
      if (state[this.#layout.voteAt(node, client) + field]! > 0) votes++
    }
    const isReader = this.#model.clients[client - 1] === "reader"
    return votes >= (isReader && this.#model.fault === "one node is enough for a reader" ? 1 : quorum)
  }

  #members(state: State, node: number): number {
    let count = 0
    for (let client = 1; client <= this.#layout.values; client++) {
      if (state[this.#layout.voteAt(node, client) + member]! > 0) count++
    }
    return count
  }

  #join(next: State, client: number, node: number): void {
    const at = this.#layout.nodeAt(node)
    if (next[at + kind] !== shared) this.#clear(next, node)
    next[at + kind] = shared
    next[at + owner] = 0
    next[this.#layout.voteAt(node, client) + member] = this.#expiry(client)
    this.#expire(next, node)
    if (this.#model.fault === "the key lives as long as the reader that came last") {
      next[at + expiry] = this.#expiry(client)
    }
  }

  #write(next: State, client: number, node: number): void {
    const at = this.#layout.nodeAt(node)
    next[at + kind] = written
    next[at + owner] = client
    next[at + expiry] = this.#expiry(client)
    next[at + grace] = 0
  }

  /** A key that is shared lives as long as its last reader. */
  #expire(next: State, node: number): void {
    const at = this.#layout.nodeAt(node)
    let last = next[at + grace]!
    for (let client = 1; client <= this.#layout.values; client++) {
      last = Math.max(last, next[this.#layout.voteAt(node, client) + member]!)
    }
    if (last === 0) this.#clear(next, node)
    else next[at + expiry] = last
  }

  /** The key is gone, and all that is beside it. */
  #clear(next: State, node: number): void {
    const at = this.#layout.nodeAt(node)
    next[at + kind] =
      next[at + owner] =
      next[at + expiry] =
      next[at + grace] =
        0
    for (let client = 1; client <= this.#layout.values; client++) {
      next[this.#layout.voteAt(node, client) + member] = 0
    }
  }

  #vote(next: State, client: number, node: number, field: number, granted: number): void {
    if (next[this.#layout.valueAt(client) + inPhase] !== phase.live) return
    const at = this.#layout.voteAt(node, client) + field
    next[at] = Math.max(next[at]!, granted)
  }

  #expiry(client: number): number {
    return this.#model.expiries[client - 1]!
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

  #to(action: string, client: number, node: number): void {
    this.#forget()
    this.#visit(this.#next, action, client, node, 0)
  }

  /** Leaves out what can make no difference any more. */
  #forget(): void {
    const next = this.#next
    for (let client = 1; client <= this.#layout.values; client++) {
      let sent = 0
      for (let node = 0; node < nodes; node++) sent |= next[this.#layout.voteAt(node, client) + underWay]!
      const at = this.#layout.valueAt(client)
      const isOver = next[at + inPhase] === phase.over
      if (isOver || !(sent & message.acquire)) next[at + attemptLease] = 0
      if (isOver || !(sent & message.second)) next[at + secondLease] = 0
      if (isOver) next[at + second] = 1
    }
  }
}
