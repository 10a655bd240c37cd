/**
 * What a seed stands for: which nodes are broken, how, and what is done with the
 * locks meanwhile.
 */
import { Chance } from "../simulation/world/chance.ts"
import type { Deed, Style, Trait } from "./hostile.ts"
import { type Kind, kindNames } from "./nonsense.ts"

/** What is done with locks, one after the other. */
export type Step =
  /** Locks of all kinds whose names are free. */
  | "free"
  /** Names that others hold on so many nodes that nothing may be granted, adopted or released. */
  | "taken"
  /** A lock that is held, and then deleted on so many nodes that nothing may confirm it. */
  | "deleted"
  /** Several fibers of two services want one lock. */
  | "contended"
  /** A name that is free, and has to be granted in the end if only a minority is broken. */
  | "alive"
  /** A lock of one service is adopted by the other. */
  | "adopted"
  | "looked at"
  | "removed"
  | "interrupted"
  /** A lock that has to be extended several times. */
  | "held long"

export interface Plan {
  readonly seed: number
  readonly theme: string
  readonly style: Style
  /** Which of the nodes are broken. */
  readonly broken: ReadonlyArray<boolean>
  /** In which form the broken ones are given. */
  readonly input: "url" | "options" | "client"
  readonly delayedRestart: boolean
  readonly replicas: boolean
  readonly steps: ReadonlyArray<Step>
  /** Whether the services are closed in the middle of the last step. */
  readonly closesEarly: boolean
}

const all: ReadonlyArray<Deed> = [
  "replace",
  "replace",
  "pretend",
  "garble",
  "extra",
  "drop",
  "repeat",
  "delay",
  "split",
  "mute",
  "deaf",
  "close"
]

const traits: ReadonlyArray<Trait> = [
  "ended at once",
  "greeting",
  "mute",
  "only errors",
  "no scripts",
  "talks unasked",
  "endless string",
  "closes soon"
]

interface Theme {
  readonly deeds: ReadonlyArray<Deed>
  readonly kinds: ReadonlyArray<Kind>
  readonly traits: ReadonlyArray<Trait>
}

const themes: Record<string, Theme> = {
  everything: { deeds: all, kinds: kindNames, traits },
  types: {
    deeds: ["replace", "pretend"],
    kinds: ["number", "string", "nothing", "resp3", "list", "keyState", "place"],
    traits: []
  },
  errors: { deeds: ["replace", "pretend"], kinds: ["error"], traits: ["only errors", "no scripts"] },
  bytes: { deeds: ["replace", "garble"], kinds: ["bytes", "punctuation", "lengths", "http"], traits: ["greeting"] },
  shapes: { deeds: ["replace", "extra"], kinds: ["nested", "list", "lengths", "resp3"], traits: ["greeting"] },
  counts: { deeds: ["extra", "drop", "repeat"], kinds: kindNames, traits: ["greeting", "talks unasked"] },
  notices: { deeds: ["extra", "replace"], kinds: ["message"], traits: ["talks unasked", "talks unasked", "greeting"] },
  timing: { deeds: ["delay", "split", "mute", "deaf"], kinds: kindNames, traits: ["mute", "endless string"] },
  closing: { deeds: ["close"], kinds: kindNames, traits: ["ended at once", "closes soon"] }
}

const steps: ReadonlyArray<Step> = [
  "free",
  "free",
  "taken",
  "taken",
  "deleted",
  "contended",
  "contended",
  "alive",
  "adopted",
  "looked at",
  "removed",
  "interrupted",
  "held long"
]

export const makePlan = (seed: number): Plan => {
  const chance = new Chance(seed)
  const theme = chance.in(0.3) ? "everything" : chance.pick(Object.keys(themes))
  const nodes = chance.pick([1, 3, 3, 3, 3, 3])
  const count = Math.min(nodes, chance.pick([1, 1, 1, 2, 3]))
  const first = chance.int(0, nodes - 1)
  return {
    seed,
    theme,
    style: {
      ...themes[theme]!,
      hostility: chance.pick([0.1, 0.3, 0.6, 1]),
      odd: chance.pick([0, 0.3, 0.7]),
      polite: chance.pick([1, 0.8, 0.8, 0]),
      resp2: chance.in(0.3),
      lies: chance.in(0.3)
    },
    broken: Array.from({ length: nodes }, (_, index) => (index + first) % nodes < count),
    input: chance.pick(["url", "url", "url", "url", "options", "client"]),
    delayedRestart: chance.in(0.15),
    replicas: chance.in(0.08),
    steps: Array.from({ length: chance.int(3, 6) }, () => chance.pick(steps)),
    closesEarly: chance.in(0.2)
  }
}

/** One line that says it all. */
export const describePlan = (
  { broken, closesEarly, delayedRestart, input, replicas, seed, steps, style, theme }: Plan
) =>
  `seed ${seed}: ${broken.filter(Boolean).length} of ${broken.length} broken (${
    broken.map((is) => is ? "x" : "o").join("")
  }), ` +
  `${theme}, ${style.hostility * 100} % of commands, ${style.odd * 100} % odd connections, ` +
  `${style.polite * 100} % polite, ${style.resp2 ? "RESP2, " : ""}${style.lies ? "lies, " : ""}by ${input}, ` +
  `${delayedRestart ? "delayed restarts, " : ""}${replicas ? "replicas, " : ""}` +
  `${steps.join(", ")}${closesEarly ? ", closed early" : ""}`
