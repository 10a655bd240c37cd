/**
 * What is searched of shared locks: models that keep the rules, one that cannot, and models that break one rule
 * each, with what the search is to find.
 */
import type { Fault, Model } from "./protocol.ts"
import type { rules } from "./rules.ts"

export interface Case {
  readonly name: string
  readonly model: Model
  readonly states: number
  /** In how many of them there are two readers, or one that was a writer. */
  readonly shared: number
  readonly violation?: string
}

export interface Seeded {
  readonly rule: keyof typeof rules
  readonly model: Model & { readonly fault: Fault }
  readonly states: number
  readonly steps: number
}

const clients = (letters: string): Model["clients"] =>
  Array.from(letters, (letter) => letter === "r" ? "reader" : letter === "w" ? "writer" : "downgrader")

const rw = clients("rw")
const rrw = clients("rrw")

/** A node that comes back empty, and abstains for as long as anything lives. */
const restart = { restarts: 1, delayedRestart: 2 }

/** Together a few seconds. */
export const small: ReadonlyArray<Case> = [
  { name: "a reader and a writer", model: { clients: rw, expiries: [2, 1] }, states: 1799, shared: 0 },
  {
    name: "a reader and a writer that extend and plant",
    model: { clients: rw, expiries: [2, 1], extending: [1, 2] },
    states: 63_592,
    shared: 0
  },
  {
    name: "a reader, and a writer that becomes one or leaves the lock to readers",
    model: { clients: clients("rd"), expiries: [2, 1], yields: true },
    states: 27_037,
    shared: 371
  },
  { name: "two readers and a writer", model: { clients: rrw, expiries: [1, 2, 1] }, states: 84_223, shared: 772 },
  {
    name: "a reader and two writers that leave the lock to readers",
    model: { clients: clients("rww"), expiries: [2, 1, 1], yields: true },
    states: 111_302,
    shared: 0
  },
  {
    name: "two writers, one of which becomes a reader, and a node that restarts empty and abstains",
    model: { clients: clients("wd"), expiries: [2, 2], ...restart },
    states: 164_119,
    shared: 12_419
  },
  {
    name: "a reader, a writer and a node that restarts empty and does not abstain",
    model: { clients: rw, expiries: [2, 2], restarts: 1 },
    states: 1340,
    shared: 0,
    violation: "a reader beside a writer"
  }
]

/** Together a minute or two. */
export const full: ReadonlyArray<Case> = [
  {
    name: "two readers, one of which extends and plants, and a writer",
    model: { clients: rrw, expiries: [1, 2, 1], extending: [1] },
    states: 481_712,
    shared: 6767
  },
  {
    name: "a reader, a writer and another one that becomes a reader",
    model: { clients: clients("rwd"), expiries: [1, 1, 2] },
    states: 780_391,
    shared: 89_841
  },
  {
    name: "two readers, a writer and a node that restarts empty and abstains",
    model: { clients: rrw, expiries: [1, 2, 2], ...restart },
    states: 680_112,
    shared: 5614
  },
  {
    name: "a reader and a writer that extend, plant and leave, and a node that restarts empty and abstains",
    model: { clients: rw, expiries: [2, 2], yields: true, extending: [1, 2], ...restart },
    states: 1_373_454,
    shared: 0
  },
  {
    name: "a reader that extends, a writer that becomes one, and a node that restarts empty and abstains",
    model: { clients: clients("rd"), expiries: [2, 2], yields: true, extending: [1], ...restart },
    states: 2_990_115,
    shared: 245_784
  }
]

export const faults: ReadonlyArray<Seeded> = [
  {
    rule: "R1",
    model: { clients: rw, expiries: [2, 1], fault: "a reader comes in beside a writer" },
    states: 298,
    steps: 6
  },
  {
    rule: "R2",
    model: { clients: rw, expiries: [2, 1], fault: "a writer comes in beside a single reader" },
    states: 292,
    steps: 6
  },
  {
    rule: "R3",
    model: { clients: rw, expiries: [2, 1], fault: "one node is enough for a reader" },
    states: 127,
    steps: 5
  },
  {
    rule: "R4",
    model: { clients: rrw, expiries: [2, 1, 1], fault: "the key lives as long as the reader that came last" },
    states: 14_347,
    steps: 9
  },
  {
    rule: "R5",
    model: { clients: rrw, expiries: [2, 1, 1], fault: "the release of a reader deletes the key" },
    states: 21_332,
    steps: 10
  },
  {
    rule: "R6",
    model: { clients: clients("wwr"), expiries: [1, 2, 2], fault: "a release does not compare" },
    states: 14_183,
    steps: 9
  },
  {
    rule: "R6",
    model: {
      clients: clients("wwr"),
      expiries: [2, 1, 1],
      yields: true,
      fault: "a lock is left to readers without comparing"
    },
    states: 13_015,
    steps: 9
  },
  {
    rule: "R7",
    model: { clients: rw, expiries: [2, 1], fault: "the lease counts from the answer" },
    states: 760,
    steps: 7
  },
  {
    rule: "R8",
    model: { clients: clients("rd"), expiries: [2, 2], fault: "a writer until it is a reader" },
    states: 2094,
    steps: 8
  },
  {
    rule: "R9",
    model: {
      clients: clients("wd"),
      expiries: [2, 2],
      ...restart,
      fault: "a node that had not the writer confirms its downgrade"
    },
    states: 76_912,
    steps: 12
  },
  {
    rule: "R10",
    model: { clients: rw, expiries: [2, 2], extending: [1], ...restart, fault: "what an extension planted is a vote" },
    states: 55_040,
    steps: 12
  }
]
