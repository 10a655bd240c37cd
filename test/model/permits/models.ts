/**
 * What is searched of semaphores: models that keep the rules, one that cannot, and models that break one rule each,
 * with what the search is to find.
 */
import type { Fault, Model } from "./protocol.ts"
import type { rules } from "./rules.ts"

export interface Case {
  readonly name: string
  readonly model: Model
  readonly states: number
  /** In how many of them somebody holds by a second round. */
  readonly settled: number
  readonly violation?: string
}

export interface Seeded {
  readonly rule: keyof typeof rules
  readonly model: Model & { readonly fault: Fault }
  readonly states: number
  readonly steps: number
}

/** A node that comes back empty, and abstains for as long as a holder lives. */
const restart = { restarts: 1, delayedRestart: 2 }

/** Together a few seconds. */
export const small: ReadonlyArray<Case> = [
  { name: "two for the only permit", model: { permits: [1, 1], limit: 1 }, states: 5602, settled: 0 },
  { name: "two for two permits", model: { permits: [1, 1], limit: 2 }, states: 52_044, settled: 0 },
  { name: "two for two of three permits each", model: { permits: [2, 2], limit: 3 }, states: 79_252, settled: 0 },
  {
    name: "two for the only permit, and a node that restarts empty and abstains",
    model: { permits: [1, 1], limit: 1, extending: [1], ...restart },
    states: 195_676,
    settled: 0
  },
  {
    name: "two for the only permit, and a node that restarts empty and does not abstain",
    model: { permits: [1, 1], limit: 1, restarts: 1 },
    states: 6763,
    settled: 0,
    violation: "a slot is held twice"
  }
]

/** Together a few minutes. */
export const full: ReadonlyArray<Case> = [
  {
    name: "two that extend and take back the only permit",
    model: { permits: [1, 1], limit: 1, extending: [1, 2] },
    states: 189_003,
    settled: 0
  },
  {
    name: "one that settles on both of two permits, and one for one of them",
    model: { permits: [2, 1], limit: 2, settling: [1] },
    states: 278_832,
    settled: 10_981
  },
  { name: "three for the only permit", model: { permits: [1, 1, 1], limit: 1 }, states: 392_970, settled: 0 },
  {
    name: "two for two permits, one of whom settles",
    model: { permits: [1, 1], limit: 2, settling: [1] },
    states: 908_668,
    settled: 67_706
  },
  {
    name: "two for two of four permits each",
    model: { permits: [2, 2], limit: 4 },
    states: 1_170_350,
    settled: 0
  }
]

export const smallFaults: ReadonlyArray<Seeded> = [
  {
    rule: "P2",
    model: { permits: [2, 2], limit: 4, fault: "one slot with a quorum is enough" },
    states: 151_474,
    steps: 8
  },
  {
    rule: "P3",
    model: { permits: [1, 1], limit: 2, settling: [1], fault: "a slot is settled on without looking who has it" },
    states: 33_839,
    steps: 9
  },
  {
    rule: "P4",
    model: { permits: [1, 1], limit: 2, settling: [1], fault: "a settlement does not renew the lease on the node" },
    states: 165_170,
    steps: 11
  },
  {
    rule: "P6",
    model: { permits: [1, 1], limit: 1, fault: "the lease counts from the answer" },
    states: 7170,
    steps: 10
  },
  {
    rule: "P7",
    model: { permits: [1, 1], limit: 2, settling: [1], ...restart, fault: "a node that abstains settles" },
    states: 214_614,
    steps: 10
  },
  {
    rule: "P8",
    model: {
      permits: [1, 1],
      limit: 1,
      extending: [1],
      ...restart,
      fault: "what an extension took back is a vote"
    },
    states: 95_362,
    steps: 14
  }
]

export const fullFaults: ReadonlyArray<Seeded> = [
  {
    rule: "P1",
    model: { permits: [1, 1, 1], limit: 2, fault: "a majority of nodes that gave any slots" },
    states: 3_028_543,
    steps: 12
  },
  {
    rule: "P5",
    model: { permits: [1, 1, 1], limit: 1, fault: "a slot is freed without comparing" },
    states: 2_094_667,
    steps: 16
  }
]
