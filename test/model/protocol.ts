/**
 * Redlock with transfer, as a model: what may happen next in a state.
 *
 * Messages arrive in any order or never, a value may come to its end at any
 * moment, also with votes in or after its lease, and is then released or
 * transferred to any place that ever stood in line, dead ones included. Who is
 * first in line is not in the model: it is a hint, and any successor is allowed.
 */
import type { Steps, Visit } from "./search.ts"
import { Layout, type State } from "./state.ts"
import * as parts from "./state.ts"

/** As constants of this module, which are read millions of times. */
const { abstaining, attemptLease, chosenToken, counter, expiry, extensionLease, flag, flags, hasEntered } = parts
const { inPhase, latestToken, lease, once, owner, phase, restarts, spent, staleToken, successor, token } = parts

/** A rule that the model breaks on purpose. */
export type Fault =
  | "the leaver goes on holding after its transfer"
  | "the lease counts from the answer"
  | "transfers without comparing"
  | "a place's value is cleaned up while it stands in line"
  | "drift is not subtracted"
  | "what an extension planted is a vote"
  | "transfers while abstaining"
  | "a notice counts for a dead place"
  | "the token is not raised"
  | "a token outlives the lease it came with"

export interface Model {
  /** For each value: an attempt, or a place in line. The first attempts at once. */
  readonly values: ReadonlyArray<"attempt" | "place">
  /** How many ticks a key lives that an attempt has set. */
  readonly expiry?: number
  /** The same of a transfer. */
  readonly transferExpiry?: number
  /** How many ticks earlier a key may be gone, which leases take into account. */
  readonly drift?: number
  /** How many nodes may restart empty, and for how many ticks each abstains then. */
  readonly restarts?: number
  readonly delayedRestart?: number
  /** Whether places claim with their own value, once, as the top-up of a transfer does. */
  readonly claims?: boolean
  /** The values that extend, once, planting the key where it is gone. */
  readonly extending?: ReadonlyArray<number>
  /** Whether everybody needs a fencing token to enter. */
  readonly fenced?: boolean
  /** How far the nodes have counted before. */
  readonly counters?: ReadonlyArray<number>
  readonly fault?: Fault
}

const nodes = 3
const quorum = 2

export class Protocol implements Steps {
  readonly bytes: number
  readonly initial: State
  readonly #model: Required<Omit<Model, "fault">> & Pick<Model, "fault">
  readonly #layout: Layout
  readonly #next: State
  #visit: Visit = () => {}

  constructor(model: Model) {
    this.#model = {
      expiry: 2,
      transferExpiry: 1,
      drift: 0,
      restarts: 0,
      delayedRestart: 0,
      claims: false,
      extending: [],
      fenced: false,
      counters: [],
      ...model
    }
    this.#layout = new Layout(nodes, model.values.length)
    this.bytes = this.#layout.bytes
    this.#next = new Uint8Array(this.bytes)
    this.#next[restarts] = this.#model.restarts
    this.#model.counters.forEach((count, node) => {
      this.#next[this.#layout.nodeAt(node) + counter] = count
    })
    this.#attempt(1)
    this.initial = this.#next.slice()
  }

  canonize(state: State): void {
    this.#layout.sortNodes(state)
  }

  violation(state: State): string | undefined {
    if (state[staleToken] === 1) return "a token that is not larger than the one before it"
    let holders = 0
    for (let value = 1; value <= this.#layout.values; value++) if (this.#holds(state, value)) holders++
    return holders > 1 ? "two hold the lock" : undefined
  }

  /** A place holds that has attempted nothing: by a transfer alone. */
  isNotable(state: State): boolean {
    for (let value = 1; value <= this.#layout.values; value++) {
      const claimed = (state[this.#layout.valueAt(value) + spent]! & once.claim) !== 0
      if (this.#isPlace(value) && !claimed && this.#holds(state, value)) return true
    }
    return false
  }

  describe(action: string, value: number, node: number, other: number): string {
    const name = (value: number) => String.fromCharCode(64 + value)
    return action.replace("$value", name(value)).replace("$node", `n${node + 1}`).replace("$other", name(other))
  }

  forEachStep(state: State, visit: Visit): void {
    this.#visit = visit
    this.#tick(state)
    for (let value = 1; value <= this.#layout.values; value++) {
      this.#ofValue(state, value)
      for (let node = 0; node < nodes; node++) {
        const sent = state[this.#layout.voteAt(node, value) + flags]!
        if (sent & flag.set) this.#set(state, value, node)
        if (sent & flag.extend) this.#extend(state, value, node)
        if (sent & flag.transfer) this.#transfer(state, value, node)
        if (sent & flag.raise) this.#raise(state, value, node)
        this.#release(state, value, node)
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
      pass(this.#layout.nodeAt(node) + expiry)
      pass(this.#layout.nodeAt(node) + abstaining)
      for (let value = 1; value <= this.#layout.values; value++) pass(this.#layout.voteAt(node, value) + lease)
    }
    for (let value = 1; value <= this.#layout.values; value++) {
      pass(this.#layout.valueAt(value) + attemptLease)
      pass(this.#layout.valueAt(value) + extensionLease)
    }
    this.#to("time goes by", 0)
  }

  /** What whoever has the value does. */
  #ofValue(state: State, value: number): void {
    const at = this.#layout.valueAt(value)
    const { claims, extending, fenced, values } = this.#model
    if (state[at + inPhase] === phase.unborn) {
      const next = this.#from(state)
      if (this.#isPlace(value)) next[at + inPhase] = phase.live
      else this.#attempt(value)
      return this.#to(this.#isPlace(value) ? "$value stands in line" : "$value attempts", value)
    }
    if (state[at + inPhase] !== phase.live) return
    if (claims && this.#isPlace(value) && !(state[at + spent]! & once.claim)) {
      this.#from(state)[at + spent]! |= once.claim
      this.#attempt(value)
      this.#to("$value claims the key with the value of its place", value)
    }
    if (extending.includes(value) && !(state[at + spent]! & once.extend) && this.#holds(state, value)) {
      const next = this.#from(state)
      next[at + spent]! |= once.extend
      next[at + extensionLease] = this.#model.expiry - this.#model.drift
      this.#send(next, value, flag.extend)
      this.#to("$value extends", value)
    }
    if (fenced && state[at + hasEntered] === 0) this.#enter(state, value)
    const next = this.#from(state)
    this.#over(next, value)
    this.#to("$value ends, and releases", value)
    for (let other = 1; other <= values.length; other++) {
      const isBorn = state[this.#layout.valueAt(other) + inPhase] !== phase.unborn
      if (other !== value && this.#isPlace(other) && isBorn) this.#endByTransfer(state, value, other)
    }
  }

  #endByTransfer(state: State, value: number, other: number): void {
    const at = this.#layout.valueAt(value)
    const next = this.#from(state)
    next[at + successor] = other
    this.#send(next, value, flag.transfer)
    if (this.#model.fault !== "the leaver goes on holding after its transfer") this.#over(next, value)
    else if (state[at + spent]! & once.transfer) return
    else next[at + spent]! |= once.transfer
    this.#to("$value ends, and transfers to $other", value, 0, other)
  }

  /** Who has the votes takes the largest token, and enters once a quorum has counted that far. */
  #enter(state: State, value: number): void {
    if (!this.#holds(state, value)) return
    const at = this.#layout.valueAt(value)
    if (state[at + chosenToken] === 0) {
      const next = this.#from(state)
      const vote = (node: number) => this.#layout.voteAt(node, value)
      let largest = 0
      for (let node = 0; node < nodes; node++) {
        if (next[vote(node) + lease]! > 0) largest = Math.max(largest, next[vote(node) + token]!)
      }
      next[at + chosenToken] = largest
      for (let node = 0; node < nodes; node++) {
        next[vote(node) + flags]! |= next[vote(node) + token] === largest ? flag.raised : flag.raise
      }
      this.#to("$value chooses the largest token it was given", value)
    } else if (this.#mayEnter(state, value)) {
      const next = this.#from(state)
      const chosen = next[at + chosenToken]!
      next[at + hasEntered] = 1
      if (chosen <= next[latestToken]!) next[staleToken] = 1
      next[latestToken] = Math.max(next[latestToken]!, chosen)
      this.#to("$value enters with its token", value)
    }
  }

  #mayEnter(state: State, value: number): boolean {
    if (this.#model.fault === "the token is not raised") return true
    let raised = 0
    for (let node = 0; node < nodes; node++) {
      const vote = this.#layout.voteAt(node, value)
      if ((state[vote + flags]! & flag.raised) !== 0 && this.#isLive(state, vote)) raised++
    }
    return raised >= quorum
  }

  /** Whether what the node has counted is still good: as long as the lease that came with it. */
  #isLive(state: State, vote: number): boolean {
    return state[vote + lease]! > 0 || this.#model.fault === "a token outlives the lease it came with"
  }

  /** SET NX, or the claim of a value that has the key already. */
  #set(state: State, value: number, node: number): void {
    const { drift, expiry: millis, fault } = this.#model
    const at = this.#layout.nodeAt(node)
    const vote = this.#layout.voteAt(node, value)
    const granted = state[this.#layout.valueAt(value) + attemptLease]!
    const isMine = state[at + owner] === value
    if (state[at + owner] !== 0 && !isMine) {
      return this.#received(state, flag.set, "$value: SET refused by $node", value, node)
    }
    const abstains = state[at + abstaining]! > 0
    if (abstains && !isMine) return this.#received(state, flag.set, "$value: $node abstains", value, node)
    for (let lives = isMine ? millis : millis - drift; lives <= millis; lives++) {
      const next = this.#from(state)
      next[vote + flags]! &= ~flag.set
      next[at + owner] = value
      next[at + expiry] = lives
      if (!isMine) this.#count(next, value, node)
      if (!(abstains && fault !== "transfers while abstaining")) {
        this.#vote(next, value, node, granted + (fault === "drift is not subtracted" && !isMine ? drift : 0))
      }
      this.#to("$value: SET granted by $node", value, node)
    }
  }

  #extend(state: State, value: number, node: number): void {
    const at = this.#layout.nodeAt(node)
    const holds = state[at + owner] === value
    if (state[at + owner] !== 0 && !holds) {
      return this.#received(state, flag.extend, "$value: extension refused by $node", value, node)
    }
    const next = this.#from(state)
    next[this.#layout.voteAt(node, value) + flags]! &= ~flag.extend
    next[at + owner] = value
    next[at + expiry] = this.#model.expiry
    if (holds || this.#model.fault === "what an extension planted is a vote") {
      this.#vote(next, value, node, state[this.#layout.valueAt(value) + extensionLease]!)
    }
    this.#to(holds ? "$value: extended on $node" : "$value: planted again on $node, which is no vote", value, node)
  }

  #transfer(state: State, value: number, node: number): void {
    const { drift, fault, transferExpiry } = this.#model
    const at = this.#layout.nodeAt(node)
    const other = state[this.#layout.valueAt(value) + successor]!
    if (state[at + owner] !== value && fault !== "transfers without comparing") {
      return this.#received(state, flag.transfer, "$value: nothing to transfer on $node", value, node)
    }
    const deletes = (action: string) => {
      const next = this.#from(state)
      next[this.#layout.voteAt(node, value) + flags]! &= ~flag.transfer
      next[at + owner] = 0
      this.#to(action, value, node, other)
    }
    if (state[at + abstaining]! > 0 && fault !== "transfers while abstaining") {
      return deletes("$value: $node is too young to transfer, and deletes")
    }
    const granted = transferExpiry - drift + (fault === "the lease counts from the answer" ? 1 : 0) +
      (fault === "drift is not subtracted" ? drift : 0)
    for (let lives = transferExpiry - drift; lives <= transferExpiry; lives++) {
      const next = this.#from(state)
      next[this.#layout.voteAt(node, value) + flags]! &= ~flag.transfer
      next[at + owner] = other
      next[at + expiry] = lives
      this.#count(next, other, node)
      this.#vote(next, other, node, granted)
      this.#to("$value: transferred to $other on $node", value, node, other)
    }
    deletes("$value: nobody hears of the transfer to $other on $node, which deletes")
  }

  #raise(state: State, value: number, node: number): void {
    if (state[this.#layout.nodeAt(node) + owner] !== value) {
      return this.#received(state, flag.raise, "$value: token not raised by $node", value, node)
    }
    const next = this.#from(state)
    const vote = this.#layout.voteAt(node, value)
    const at = this.#layout.nodeAt(node) + counter
    next[vote + flags] = next[vote + flags]! & ~flag.raise | flag.raised
    next[at] = Math.max(next[at]!, next[this.#layout.valueAt(value) + chosenToken]!)
    this.#to("$value: token raised by $node", value, node)
  }

  #release(state: State, value: number, node: number): void {
    const at = this.#layout.valueAt(value)
    if (state[this.#layout.nodeAt(node) + owner] !== value) return
    const isCleanedUp = state[at + inPhase] === phase.over ||
      this.#model.fault === "a place's value is cleaned up while it stands in line" && this.#isPlace(value) &&
        (state[at + spent]! & once.claim) !== 0
    if (!isCleanedUp) return
    this.#from(state)[this.#layout.nodeAt(node) + owner] = 0
    this.#to("$value: released on $node", value, node)
  }

  #restart(state: State, node: number): void {
    const next = this.#from(state)
    next[restarts]!--
    next[this.#layout.nodeAt(node) + owner] = 0
    next[this.#layout.nodeAt(node) + abstaining] = this.#model.delayedRestart
    this.#to("$node restarts empty", 0, node)
  }

  #isPlace(value: number): boolean {
    return this.#model.values[value - 1] === "place"
  }

  #holds(state: State, value: number): boolean {
    const isDead = state[this.#layout.valueAt(value) + inPhase] !== phase.live
    if (isDead && this.#model.fault !== "a notice counts for a dead place") return false
    let votes = 0
    for (let node = 0; node < nodes; node++) if (state[this.#layout.voteAt(node, value) + lease]! > 0) votes++
    return votes >= quorum
  }

  #attempt(value: number): void {
    const at = this.#layout.valueAt(value)
    this.#next[at + inPhase] = phase.live
    this.#next[at + attemptLease] = this.#model.expiry - this.#model.drift
    this.#send(this.#next, value, flag.set)
  }

  #over(next: State, value: number): void {
    next[this.#layout.valueAt(value) + inPhase] = phase.over
    for (let node = 0; node < nodes; node++) next[this.#layout.voteAt(node, value) + lease] = 0
  }

  #send(next: State, value: number, message: number): void {
    for (let node = 0; node < nodes; node++) next[this.#layout.voteAt(node, value) + flags]! |= message
  }

  /** The node's counter goes up, and the value is given what it says then. */
  #count(next: State, value: number, node: number): void {
    if (!this.#model.fenced) return
    const counted = ++next[this.#layout.nodeAt(node) + counter]!
    next[this.#layout.voteAt(node, value) + token] = counted
    const chosen = this.#layout.valueAt(value) + chosenToken
    if (counted <= next[chosen]! || this.#model.fault === "a token outlives the lease it came with") return
    next[chosen] = 0
    for (let node = 0; node < nodes; node++) {
      next[this.#layout.voteAt(node, value) + flags]! &= ~(flag.raise | flag.raised)
    }
  }

  #vote(next: State, value: number, node: number, granted: number): void {
    const at = this.#layout.voteAt(node, value) + lease
    const counts = next[this.#layout.valueAt(value) + inPhase] === phase.live ||
      this.#model.fault === "a notice counts for a dead place"
    if (counts) next[at] = Math.max(next[at]!, granted)
  }

  /** A message has come to nothing. */
  #received(state: State, message: number, action: string, value: number, node: number): void {
    this.#from(state)[this.#layout.voteAt(node, value) + flags]! &= ~message
    this.#to(action, value, node)
  }

  #from(state: State): State {
    this.#next.set(state)
    return this.#next
  }

  #to(action: string, value: number, node = 0, other = 0): void {
    this.#forget()
    this.#visit(this.#next, action, value, node, other)
  }

  /** Leaves out what can make no difference any more. */
  #forget(): void {
    const next = this.#next
    for (let node = 0; node < nodes; node++) {
      const at = this.#layout.nodeAt(node)
      if (next[at + owner] === 0 || next[at + expiry] === 0) next[at + owner] = next[at + expiry] = 0
    }
    for (let value = 1; value <= this.#layout.values; value++) this.#forgetOf(value)
    if (this.#model.fault !== "transfers without comparing") this.#forgetTransfers()
  }

  #forgetOf(value: number): void {
    const next = this.#next
    const at = this.#layout.valueAt(value)
    const isOver = next[at + inPhase] === phase.over
    let sent = 0
    for (let node = 0; node < nodes; node++) {
      const vote = this.#layout.voteAt(node, value)
      if (isOver || next[at + hasEntered] === 1 || !this.#isLive(next, vote)) {
        next[vote + token] = 0
        next[vote + flags]! &= ~flag.raised
      }
      sent |= next[vote + flags]!
    }
    if (!(sent & flag.set)) next[at + attemptLease] = 0
    if (!(sent & flag.extend)) next[at + extensionLease] = 0
    if (!(sent & flag.transfer)) next[at + successor] = 0
    if (!isOver) return
    next[at + attemptLease] = next[at + extensionLease] = next[at + hasEntered] = 0
    next[at + spent] = once.claim | once.extend
    if (!(sent & flag.raise)) next[at + chosenToken] = 0
  }

  /** A transfer on a node that neither has the value nor can get it will find nothing. */
  #forgetTransfers(): void {
    const next = this.#next
    for (let value = 1; value <= this.#layout.values; value++) {
      if (next[this.#layout.valueAt(value) + inPhase] !== phase.over) continue
      let sent = 0
      for (let node = 0; node < nodes; node++) {
        const at = this.#layout.voteAt(node, value) + flags
        const isThere = next[this.#layout.nodeAt(node) + owner] === value
        const comes = (next[at]! & (flag.set | flag.extend)) !== 0 || this.#mayBeTransferredTo(value, node)
        if (!isThere && !comes) next[at]! &= ~flag.transfer
        sent |= next[at]!
      }
      if (!(sent & flag.transfer)) next[this.#layout.valueAt(value) + successor] = 0
    }
  }

  #mayBeTransferredTo(value: number, node: number): boolean {
    const next = this.#next
    for (let other = 1; other <= this.#layout.values; other++) {
      if (other === value) continue
      const at = this.#layout.valueAt(other)
      if (this.#isPlace(value) && next[at + inPhase] !== phase.over) return true
      const sent = next[this.#layout.voteAt(node, other) + flags]! & flag.transfer
      if (next[at + successor] === value && sent !== 0) return true
    }
    return false
  }
}
