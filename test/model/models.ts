/**
 * What is searched: models that keep the rules, one that cannot, and models that
 * break one rule each, with what the search is to find.
 *
 * The search has no randomness and no clock, so the numbers of states are exact: a
 * change of one is a change of the model.
 */
import type { Fault, Model } from "./protocol.ts"
import type { rules } from "./rules.ts"

export interface Case {
  readonly name: string
  readonly model: Model
  /** All states that can be reached; those before the violation, if there is one. */
  readonly states: number
  /** In how many of them a place holds the lock by a transfer alone. */
  readonly byTransfer: number
  readonly violation?: string
}

export interface Seeded {
  /** The rule that is broken. */
  readonly rule: keyof typeof rules
  readonly model: Model & { readonly fault: Fault }
  readonly states: number
  /** The shortest way to a violation. */
  readonly steps: number
}

const values = (letters: string): Model["values"] =>
  Array.from(letters, (letter) => letter === "a" ? "attempt" : "place")

/** A place between two attempts: those that release or transfer, and a newcomer. */
const apa = values("apa")

/** Together a few seconds. */
export const small: ReadonlyArray<Case> = [
  { name: "an attempt and a place", model: { values: values("ap") }, states: 362, byTransfer: 8 },
  { name: "two attempts", model: { values: values("aa") }, states: 2963, byTransfer: 0 },
  { name: "an attempt, a place and a newcomer", model: { values: apa }, states: 41_819, byTransfer: 846 },
  {
    name: "the same with drift",
    model: { values: apa, drift: 1, transferExpiry: 2 },
    states: 58_204,
    byTransfer: 3197
  },
  {
    name: "the same with drift and a longer lease",
    model: { values: apa, drift: 1, expiry: 3, transferExpiry: 2 },
    states: 134_528,
    byTransfer: 4561
  },
  {
    name: "the same with a node that restarts empty and abstains",
    model: { values: apa, restarts: 1, delayedRestart: 2 },
    states: 158_443,
    byTransfer: 3448
  },
  {
    name: "two attempts and a node that restarts empty and does not abstain",
    model: { values: values("aa"), restarts: 1 },
    states: 1123,
    byTransfer: 0,
    violation: "two hold the lock"
  },
  {
    name: "a fenced attempt and a fenced place",
    model: { values: values("ap"), fenced: true, counters: [2, 1, 0] },
    states: 13_824,
    byTransfer: 1349
  },
  { name: "two fenced attempts", model: { values: values("aa"), fenced: true }, states: 52_821, byTransfer: 0 }
]

/** Together a minute or two. */
export const full: ReadonlyArray<Case> = [
  {
    name: "an attempt, a place that claims for want of votes, and a newcomer",
    model: { values: apa, claims: true },
    states: 964_421,
    byTransfer: 846
  },
  {
    name: "an attempt that extends and plants, a place and a newcomer",
    model: { values: apa, extending: [1] },
    states: 333_543,
    byTransfer: 7109
  },
  {
    name: "an attempt, a place that extends and plants, and a newcomer",
    model: { values: apa, extending: [2] },
    states: 214_518,
    byTransfer: 13_633
  },
  {
    name: "an attempt that extends and plants, a place, a newcomer, and a node that restarts empty and abstains",
    model: { values: apa, extending: [1], restarts: 1, delayedRestart: 2 },
    states: 1_665_399,
    byTransfer: 39_776
  },
  {
    name: "a fenced attempt, a fenced place and a fenced newcomer",
    model: { values: apa, fenced: true },
    states: 3_152_902,
    byTransfer: 230_192
  }
]

export const smallFaults: ReadonlyArray<Seeded> = [
  {
    rule: "S1",
    model: { values: apa, fault: "the leaver goes on holding after its transfer" },
    states: 1357,
    steps: 6
  },
  { rule: "S2", model: { values: apa, fault: "transfers without comparing" }, states: 3358, steps: 7 },
  {
    rule: "S3",
    model: { values: apa, claims: true, fault: "a place's value is cleaned up while it stands in line" },
    states: 5557,
    steps: 7
  },
  { rule: "S4", model: { values: apa, fault: "the lease counts from the answer" }, states: 20_350, steps: 10 },
  {
    rule: "S4",
    model: { values: apa, drift: 1, transferExpiry: 2, fault: "drift is not subtracted" },
    states: 1999,
    steps: 6
  },
  { rule: "S5", model: { values: apa, fault: "a notice counts for a dead place" }, states: 30_746, steps: 11 },
  {
    rule: "S6",
    model: {
      values: apa,
      extending: [1],
      restarts: 1,
      delayedRestart: 2,
      fault: "transfers while abstaining"
    },
    states: 662_011,
    steps: 13
  },
  {
    rule: "S7",
    model: {
      values: apa,
      extending: [1],
      restarts: 1,
      delayedRestart: 2,
      fault: "what an extension planted is a vote"
    },
    states: 153_056,
    steps: 11
  },
  {
    rule: "S12",
    model: { values: values("ap"), fenced: true, counters: [1, 0, 0], fault: "the token is not raised" },
    states: 5052,
    steps: 11
  }
]

export const fullFaults: ReadonlyArray<Seeded> = [
  {
    rule: "S12",
    model: { values: apa, fenced: true, fault: "a token outlives the lease it came with" },
    states: 1_309_179,
    steps: 17
  }
]
