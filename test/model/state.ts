/**
 * A state of the model, as bytes: what stands on the nodes, what is still under
 * way to them, and what each value knows.
 *
 * Times are what is left of them, so that time itself is unbounded. All that
 * concerns a node stands in one block, so that states that differ only in which
 * node is which become the same by sorting the blocks.
 */

export type State = Uint8Array

/** What a value is doing. A value is used once: it is dead for ever when it is over. */
export const phase = { unborn: 0, live: 1, over: 2 } as const

/** Fields of the state itself. */
export const restarts = 0
/** The largest fencing token that anybody has entered with. */
export const latestToken = 1
/** Somebody has entered with a token that was not larger than the latest. */
export const staleToken = 2
const headBytes = 3

/** Fields of a value, from `valueAt` on. */
export const inPhase = 0
/** How long the lease still lasts that a grant of its attempt gives, counted from the question. */
export const attemptLease = 1
/** The same of its extension. */
export const extensionLease = 2
/** To whom its transfer goes. */
export const successor = 3
/** What it does only once, `once`. */
export const spent = 4
/** The token that it has chosen, and whether it has entered with it. */
export const chosenToken = 5
export const hasEntered = 6
const valueBytes = 7

export const once = { claim: 1, extend: 2, transfer: 4 } as const

/** Fields of a node, from `nodeAt` on. */
export const owner = 0
/** How long the key still lives. */
export const expiry = 1
/** How long the node still abstains, after a restart. */
export const abstaining = 2
/** The fencing counter. */
export const counter = 3
const nodeBytes = 4

/** Fields of a value on a node, from `voteAt` on. */
export const lease = 0
/** What is under way to the node, and whether its counter is known to have reached the chosen token. */
export const flags = 1
/** The token that the node has counted for the value. */
export const token = 2
const voteBytes = 3

export const flag = { set: 1, extend: 2, transfer: 4, raise: 8, raised: 16 } as const

/** How many fields the state itself has, each value, each node, and each value on a node. */
export interface Sizes {
  readonly head: number
  readonly value: number
  readonly node: number
  readonly vote: number
}

const ofLocks: Sizes = { head: headBytes, value: valueBytes, node: nodeBytes, vote: voteBytes }

/** Where the fields are, for a number of nodes and values. Values are numbered from 1, nodes from 0. */
export class Layout {
  readonly nodes: number
  readonly values: number
  /** A multiple of four. */
  readonly bytes: number
  readonly #sizes: Sizes
  readonly #nodesFrom: number
  readonly #blockBytes: number

  constructor(nodes: number, values: number, sizes = ofLocks) {
    this.nodes = nodes
    this.values = values
    this.#sizes = sizes
    this.#nodesFrom = sizes.head + values * sizes.value
    this.#blockBytes = sizes.node + values * sizes.vote
    this.bytes = Math.ceil((this.#nodesFrom + nodes * this.#blockBytes) / 4) * 4
  }

  valueAt(value: number): number {
    return this.#sizes.head + (value - 1) * this.#sizes.value
  }

  nodeAt(node: number): number {
    return this.#nodesFrom + node * this.#blockBytes
  }

  voteAt(node: number, value: number): number {
    return this.nodeAt(node) + this.#sizes.node + (value - 1) * this.#sizes.vote
  }

  /** Puts the nodes in order: nothing but their names tells them apart. */
  sortNodes(state: State): void {
    for (let end = this.nodes - 1; end > 0; end--) {
      for (let node = 0; node < end; node++) this.#sortTwo(state, this.nodeAt(node), this.nodeAt(node + 1))
    }
  }

  #sortTwo(state: State, first: number, second: number): void {
    const bytes = this.#blockBytes
    let index = 0
    while (index < bytes && state[first + index] === state[second + index]) index++
    if (index === bytes || state[first + index]! < state[second + index]!) return
    for (; index < bytes; index++) {
      const byte = state[first + index]!
      state[first + index] = state[second + index]!
      state[second + index] = byte
    }
  }
}
