/**
 * What is to happen in a history: the machines, what the processes do, and the
 * faults. It is all drawn from the seed before the history begins, so parts of it
 * can be left out to see whether the rest still fails.
 */
import { Chance } from "./chance.ts"
import type { LinkOptions } from "./link.ts"
import { type Fault, faults } from "./planFaults.ts"
import { type Op, ops } from "./planOps.ts"
import type { ProcessOptions } from "./process.ts"
import type { ServerOptions } from "./server.ts"

export type { Fault } from "./planFaults.ts"
export type { Op, Step, Verb } from "./planOps.ts"

/**
 * - `mixed`: anything goes
 * - `calm`: no faults but those of clients that are interrupted
 * - `minority`: a minority of the servers is dead or slow from the beginning to the end of the faults
 * - `wild`: the assumptions are broken: data is lost, clocks run off; judged by what holds all the same
 */
export type Kind = "mixed" | "calm" | "minority" | "wild"

/**
 * What a history is about: a little of everything; fencing tokens, with grants in quick succession, clocks far apart
 * and votes that are often missing; or the ends of leases, with waiters at the door when the holder does not extend.
 */
export type Theme = "everything" | "tokens" | "ends"

export interface ProcessPlan extends ProcessOptions {
  readonly startsAt: number
  /** The times at which it closes its service though it is busy, or stays until the network has healed, or just ends. */
  readonly closes: { readonly at: number } | "healed" | "done"
  /** What its fibers do, one after the other. */
  readonly workers: ReadonlyArray<ReadonlyArray<Op>>
}

export interface Plan {
  readonly seed: number
  readonly kind: Kind
  readonly theme: Theme
  readonly names: ReadonlyArray<string>
  readonly quorum: number
  readonly driftFactor: number
  readonly servers: ReadonlyArray<ServerOptions>
  /** Whether the nodes have waiting lists. */
  readonly hasLists: boolean
  /** For how long a server that was restarted abstains; 0 if it does not. */
  readonly delayedRestart: number
  readonly link: LinkOptions
  readonly processes: ReadonlyArray<ProcessPlan>
  readonly faults: ReadonlyArray<Fault>
  /** When all faults are over. */
  readonly healedAt: number
}

export const makePlan = (seed: number): Plan => {
  const chance = new Chance(seed)
  const roll = chance.double()
  const kind: Kind = roll < 0.55 ? "mixed" : roll < 0.7 ? "calm" : roll < 0.85 ? "minority" : "wild"
  const theme: Theme = kind === "minority" ? "everything" : chance.pick(["everything", "everything", "tokens", "ends"])
  const driftFactor = chance.pick(theme === "ends" ? [0.05, 0.1] : [0.01, 0.01, 0.05, 0.1])
  const servers = makeServers(chance, kind, driftFactor)
  const majority = Math.floor(servers.length / 2) + 1
  const quorum = kind !== "minority" && chance.in(0.1) ? chance.int(majority, servers.length) : majority
  const names = ["a", "b", "c"].slice(0, theme === "everything" ? chance.skewedInt(1, 3) : 1)
  const healedAt = chance.between(500, 4000)
  const processes = makeProcesses(chance, { kind, theme, driftFactor, names, healedAt })
  const longest = Math.max(...processes.flatMap(({ workers }) => workers.flat().map(({ options }) => options.expiry)))
  // Long enough for every lease that was granted before, on any two clocks.
  const delayedRestart = kind !== "minority" && chance.in(theme === "ends" ? 0.6 : 0.3)
    ? Math.ceil(longest * 1.25) + 50
    : 0
  return {
    seed,
    kind,
    theme,
    names,
    quorum,
    driftFactor,
    servers,
    hasLists: chance.in(0.8),
    delayedRestart,
    link: makeLink(chance, kind, theme),
    processes,
    faults: faults(chance, {
      kind,
      theme,
      healedAt,
      servers: servers.length,
      processes: processes.length,
      quorum,
      mayLose: kind === "wild" || delayedRestart > 0
    }),
    healedAt
  }
}

/** A clock within what the drift factor allows for between two machines; some at its very edge. */
const rateWithin = (chance: Chance, driftFactor: number): number => {
  const off = driftFactor / 2
  return chance.in(0.4) ? 1 + chance.pick([-off, off]) : 1 + chance.between(-off, off)
}

const makeServers = (chance: Chance, kind: Kind, driftFactor: number): Array<ServerOptions> => {
  const count = kind === "minority" ? chance.pick([3, 5, 7]) : chance.pick([1, 2, 3, 3, 3, 4, 5, 5, 6, 7])
  return Array.from({ length: count }, (_, index) => ({
    name: `n${index + 1}`,
    rate: kind === "wild" && chance.in(0.15) ? chance.pick([0.7, 1.5]) : rateWithin(chance, driftFactor)
  }))
}

const makeLink = (chance: Chance, kind: Kind, theme: Theme): LinkOptions => {
  const isFaulty = kind === "mixed" || kind === "wild"
  const max = chance.pick([0.5, 2, 10])
  const share = () => isFaulty && chance.in(0.5) ? chance.skewed(0, 0.2) : 0
  return {
    delay: [0.1, max],
    slow: { share: share(), millis: chance.between(max, 300) },
    loss: {
      request: isFaulty && theme === "tokens" ? chance.between(0.1, 0.3) : share(),
      reply: share(),
      notice: isFaulty ? chance.pick([0, 0.1, 0.5, 1]) : 0
    },
    resends: chance.in(0.25),
    crosses: isFaulty && chance.in(0.15)
  }
}

const makeProcesses = (
  chance: Chance,
  { driftFactor, healedAt, kind, names, theme }: Pick<Plan, "driftFactor" | "healedAt" | "kind" | "names" | "theme">
): Array<ProcessPlan> => {
  const count = kind === "minority" && chance.in(0.5) ? 1 : chance.skewedInt(theme === "everything" ? 1 : 2, 20)
  const wallApart = theme === "tokens" ? 5000 : 200
  // Enough to contend, and no more than a history of some milliseconds can do.
  const budget = chance.int(6, 24)
  return Array.from({ length: count }, (_, index) => ({
    name: `p${index + 1}`,
    rate: kind === "wild" && chance.in(0.1) ? chance.pick([0.6, 1.4]) : rateWithin(chance, driftFactor),
    wallAhead: chance.between(-wallApart, wallApart),
    startsAt: index === 0 ? 0 : chance.skewed(0, healedAt),
    closes: kind !== "minority" && chance.in(0.1)
      ? { at: chance.between(0, healedAt * 1.5) }
      : chance.in(0.6)
      ? "healed"
      : "done",
    workers: Array.from(
      { length: kind === "minority" ? 1 : chance.skewedInt(1, 4) },
      () =>
        ops(chance, { kind, theme, names }, Math.max(1, Math.round(chance.between(0.5, 1.5) * budget / count / 1.5)))
    )
  }))
}
