/**
 * What the fibers of a process do: verbs with their options, and what they do
 * while they hold a lock.
 */
import type { Chance } from "../world/chance.ts"
import type { Kind, Plan } from "./plan.ts"

export type Verb =
  | "lock"
  | "tryLock"
  | "withLock"
  | "withLockIfAvailable"
  | "withLocks"
  | "withFencedLocks"
  | "withFencedLock"
  | "fencedLock"
  | "adopt"
  | "adoptFenced"
  | "unlock"
  | "inspect"
  | "forceUnlock"

/** One thing done while a lock is held. */
export type Step =
  | { readonly _tag: "Work"; readonly millis: number }
  | { readonly _tag: "Block"; readonly millis: number }
  | { readonly _tag: "Extend" | "IsHeld" | "Release" | "Detach" | "Abandon" | "Fail" | "Spin" | "AwaitEnd" }

export interface Op {
  readonly verb: Verb
  readonly names: ReadonlyArray<string>
  readonly options: {
    readonly expiry: number
    readonly autoExtend: boolean
    readonly nodeTimeout: number
  }
  readonly retry: { readonly tries: number; readonly delay: number }
  /** Milliseconds before it. */
  readonly think: number
  /** What is done while holding it, or for how many milliseconds it blocks as a single synchronous step. */
  readonly hold: ReadonlyArray<Step> | number
  /** Interrupted so many milliseconds after it began. */
  readonly interruptAfter: number | undefined
  /** Whether it looks at the value of its lock. */
  readonly readsValue: boolean
  /** For a scoped lock: whether what it does is guarded. */
  readonly guarded: boolean
  /** What another fiber does with the lock meanwhile, beyond its end if need be. */
  readonly beside: ReadonlyArray<Step>
  /** For how long the scope of a scoped lock stays open when all is done. */
  readonly lingers: number
}

const verbs: ReadonlyArray<Verb> = [
  ...Array.from({ length: 6 }, () => "withLock" as const),
  ...["lock", "lock", "lock", "tryLock", "tryLock", "withLocks", "withLocks"] as const,
  ...["withFencedLock", "withFencedLock", "withFencedLock", "fencedLock"] as const,
  ...["withLockIfAvailable", "withLockIfAvailable", "adopt", "unlock", "inspect"] as const
]

const fencedVerbs: ReadonlyArray<Verb> = ["withFencedLock", "withFencedLock", "fencedLock"]

const scopedVerbs: ReadonlyArray<Verb> = ["lock", "lock", "tryLock", "fencedLock"]

/** Those that leave room for what is done by hand. */
const handedVerbs: ReadonlyArray<Verb> = [
  "lock",
  "lock",
  "lock",
  "tryLock",
  "fencedLock",
  "adopt",
  "adoptFenced",
  "unlock"
]

type About = Pick<Plan, "kind" | "theme" | "names">

export const ops = (chance: Chance, about: About, count: number): Array<Op> => {
  const expiries = chance.pick(
    about.theme === "ends"
      ? [[100, 300], [300, 1000]]
      : about.theme === "silence" || about.theme === "hands"
      ? [[1000, 4000], [1000, 4000], [8000, 30_000]]
      : [[100, 300], [300, 1000], [1000, 4000], [8000, 30_000]]
  )
  return Array.from({ length: count }, () => op(chance, about, expiries as [number, number]))
}

const op = (chance: Chance, { kind, names, theme }: About, expiries: [number, number]): Op => {
  const expiry = chance.int(...expiries)
  const byHand = chance.in(theme === "hands" ? 0.3 : 0.02)
  const verb = kind !== "minority" && chance.in(theme === "hands" ? 0.05 : 0.01)
    ? "forceUnlock"
    : chance.pick(
      theme === "tokens" && chance.in(0.9)
        ? fencedVerbs
        : theme === "hands" && chance.in(0.5)
        ? handedVerbs
        : theme === "silence" && chance.in(0.4)
        ? scopedVerbs
        : verbs
    )
  const isLong = theme === "ends" && chance.in(0.5)
  const op: Op = {
    verb,
    names: verb === "withLocks" ? names.filter(() => chance.in(0.7)).concat(chance.pick(names)) : [chance.pick(names)],
    options: {
      expiry,
      autoExtend: kind === "minority" || chance.in(theme === "ends" ? 0.2 : 0.7),
      nodeTimeout: kind === "minority"
        ? chance.pick([50, 50, 300])
        : theme === "silence"
        ? chance.pick([50, 100, 400])
        : chance.pick([10, 30, 50, Math.min(1000, Math.max(50, expiry * 0.05))])
    },
    retry: {
      tries: chance.skewedInt(1, theme === "silence" ? 100 : 30),
      delay: chance.pick(theme === "ends" ? [0, 5, 50] : [0, 5, 50, 200])
    },
    think: chance.skewed(0, theme === "tokens" ? 20 : 200),
    hold: chance.in(0.03)
      ? expiry * chance.between(0, 2)
      : Array.from({ length: chance.int(1, 4) }, () =>
        theme === "tokens" && chance.in(0.8)
          ? { _tag: "Work", millis: chance.skewed(0, 5) }
          : isLong
          ? { _tag: "Work", millis: expiry * chance.between(0.5, 1.5) }
          : step(chance, kind, expiry)),
    interruptAfter: chance.in(0.15) ? chance.skewed(0, 300) : undefined,
    readsValue: false,
    guarded: chance.in(0.5),
    beside: byHand && kind !== "minority" ? Array.from({ length: chance.int(1, 6) }, () => besideStep(chance)) : [],
    lingers: theme === "silence" && chance.in(0.5)
      ? chance.between(0, 10_000)
      : chance.in(theme === "hands" ? 0.5 : 0.1)
      ? chance.between(0, 3000)
      : 0
  }
  // By what is drawn anyway, so that the plans of all seeds stay what they are.
  const becomesFenced = verb === "withLocks" || (verb === "withFencedLock" && theme === "tokens")
  return becomesFenced && op.retry.tries % 2 === 1 ? { ...op, verb: "withFencedLocks" } : op
}

const besideStep = (chance: Chance): Step => {
  const roll = chance.double()
  if (roll < 0.3) return { _tag: "Work", millis: chance.skewed(0, 200) }
  // So that the next step races the end.
  if (roll < 0.5) return { _tag: "AwaitEnd" }
  if (roll < 0.8) return { _tag: "Extend" }
  return { _tag: chance.pick(["IsHeld", "Release", "Detach", "Abandon", "Spin", "Spin"]) }
}

const step = (chance: Chance, kind: Kind, expiry: number): Step => {
  const roll = chance.double()
  const long = expiry * chance.between(0.5, 2)
  if (roll < 0.75) return { _tag: "Work", millis: chance.in(0.1) ? long : chance.skewed(0, 60) }
  if (roll < 0.8) return { _tag: "Block", millis: chance.in(0.3) ? long : chance.skewed(0, 60) }
  if (roll < 0.88) return { _tag: "Extend" }
  if (roll < 0.92) return { _tag: "IsHeld" }
  // What is given up by hand is in the way until it expires.
  if (roll < 0.95) return { _tag: kind === "minority" ? "Release" : chance.pick(["Release", "Detach", "Abandon"]) }
  return { _tag: chance.pick(["Fail", "Spin"]) }
}
