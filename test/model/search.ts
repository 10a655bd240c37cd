/**
 * Visits every state that can be reached, breadth first, so that the first way
 * found to a violation is a shortest one.
 */
import type { State } from "./state.ts"

/** Called with each state that a step leads to; the array is used again. */
export type Visit = (next: State, action: string, value: number, node: number, other: number) => void

/** What can be searched. */
export interface Steps {
  /** How many bytes a state has, a multiple of four. */
  readonly bytes: number
  readonly initial: State
  forEachStep(state: State, visit: Visit): void
  /** Makes states the same that differ only in names. */
  canonize(state: State): void
  /** What is wrong with the state, if anything. */
  violation(state: State): string | undefined
  /** Whether the state is one of those that are counted beside all. */
  isNotable(state: State): boolean
  describe(action: string, value: number, node: number, other: number): string
}

export interface Found {
  readonly states: number
  readonly notable: number
  readonly violation: { readonly what: string; readonly trace: ReadonlyArray<string> } | undefined
}

/** The states, or those until the first violation. */
export const search = (steps: Steps): Found => {
  const { bytes } = steps
  const seen = new States(bytes)
  const canonical = new Uint8Array(bytes)
  const words = new Uint32Array(canonical.buffer)
  const state = new Uint8Array(bytes)
  const enter = (next: State, from: number) => {
    canonical.set(next)
    steps.canonize(canonical)
    seen.add(words, from)
  }
  enter(steps.initial, -1)
  let notable = 0
  for (let index = 0; index < seen.size; index++) {
    seen.read(index, state)
    if (steps.isNotable(state)) notable++
    const what = steps.violation(state)
    if (what !== undefined) return { states: index, notable, violation: { what, trace: trace(steps, seen, index) } }
    steps.forEachStep(state, (next) => enter(next, index))
  }
  return { states: seen.size, notable, violation: undefined }
}

/** How to get to a state, step by step, with each node by one name throughout. */
const trace = (steps: Steps, seen: States, index: number): ReadonlyArray<string> => {
  const path: Array<State> = []
  for (let at = index; at > 0; at = seen.parent(at)) {
    const state = new Uint8Array(steps.bytes)
    seen.read(at, state)
    path.unshift(state)
  }
  let now = steps.initial
  return path.map((wanted) => {
    let line = ""
    let reached = now
    steps.forEachStep(now, (next, action, value, node, other) => {
      if (line !== "") return
      const canonical = next.slice()
      steps.canonize(canonical)
      if (canonical.some((byte, at) => byte !== wanted[at])) return
      line = steps.describe(action, value, node, other)
      reached = next.slice()
    })
    now = reached
    return line
  })
}

/** A set of states of one size, numbered in the order in which they came, with open addressing. */
class States {
  size = 0
  readonly #words: number
  #states = new Uint32Array(1 << 16)
  #parents = new Int32Array(1 << 12)
  /** Numbers of states, plus one. */
  #table = new Int32Array(1 << 13)

  constructor(bytes: number) {
    this.#words = bytes / 4
  }

  add(words: Uint32Array, parent: number): void {
    const mask = this.#table.length - 1
    let slot = hash(words, 0, this.#words) & mask
    for (let number = this.#table[slot]!; number !== 0; number = this.#table[slot]!) {
      if (this.#equals(number - 1, words)) return
      slot = (slot + 1) & mask
    }
    const from = this.size * this.#words
    if (from + this.#words > this.#states.length) this.#states = grown(this.#states, Uint32Array)
    if (this.size === this.#parents.length) this.#parents = grown(this.#parents, Int32Array)
    this.#states.set(words, from)
    this.#parents[this.size] = parent
    this.#table[slot] = ++this.size
    if (this.size * 2 > this.#table.length) this.#rehash()
  }

  read(index: number, into: State): void {
    const from = index * this.#words * 4
    into.set(new Uint8Array(this.#states.buffer, from, this.#words * 4))
  }

  parent(index: number): number {
    return this.#parents[index]!
  }

  #equals(index: number, words: Uint32Array): boolean {
    const from = index * this.#words
    for (let at = 0; at < this.#words; at++) if (this.#states[from + at] !== words[at]) return false
    return true
  }

  #rehash(): void {
    this.#table = new Int32Array(this.#table.length * 2)
    const mask = this.#table.length - 1
    for (let index = 0; index < this.size; index++) {
      let slot = hash(this.#states, index * this.#words, this.#words) & mask
      while (this.#table[slot] !== 0) slot = (slot + 1) & mask
      this.#table[slot] = index + 1
    }
  }
}

const hash = (words: Uint32Array, from: number, count: number): number => {
  let hash = 0
  for (let at = from; at < from + count; at++) {
    hash = Math.imul(hash ^ words[at]!, 0x9e3779b1)
    hash ^= hash >>> 15
  }
  return hash >>> 1
}

const grown = <A extends Uint32Array | Int32Array>(array: A, Kind: new(length: number) => A): A => {
  const larger = new Kind(array.length * 2)
  larger.set(array)
  return larger
}
