/**
 * What is to happen in a history: the machines, what the processes do, and the
 * faults. It is all drawn from the seed before the history begins, so parts of it
 * can be left out to see whether the rest still fails.
 */
import { Chance } from "../world/chance.ts"
import type { LinkOptions } from "../world/link.ts"
import type { ProcessOptions } from "../world/process.ts"
import type { ServerOptions } from "../world/server.ts"
import { type Fault, faults } from "./planFaults.ts"
import { type Op, ops, type Step, type Verb } from "./planOps.ts"

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
 * What a history is about:
 *
 * - `everything`: a little of all
 * - `tokens`: fencing tokens, with grants in quick succession, clocks far apart and votes that are often missing
 * - `ends`: the ends of leases, with waiters at the door when the holder does not extend
 * - `silence`: servers that say nothing for long and execute late, long leases, many attempts
 * - `hands`: locks extended, released, passed on and deleted by hand at any moment, and services that close
 * - `failover`: replicas that lag behind and take over
 */
export type Theme = "everything" | "tokens" | "ends" | "silence" | "hands" | "failover"

export interface ProcessPlan extends ProcessOptions {
  readonly startsAt: number
  /** Whether its nodes hand locks over. */
  readonly handsOver: boolean
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
  /** Whether a yes counts only once the node's replica has it. */
  readonly replicas: boolean
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
  const theme: Theme = kind === "minority"
    ? chance.pick(["everything", "silence"])
    : chance.pick(["everything", "everything", "tokens", "ends", "silence", "hands", "failover"])
  const driftFactor = chance.pick(theme === "ends" ? [0.05, 0.1] : [0.01, 0.01, 0.05, 0.1])
  const servers = makeServers(chance, kind, theme, driftFactor)
  const majority = Math.floor(servers.length / 2) + 1
  const quorum = kind !== "minority" && chance.in(0.1) ? chance.int(majority, servers.length) : majority
  const isWide = theme === "everything" || theme === "silence" || theme === "hands"
  const names = ["a", "b", "c"].slice(0, isWide ? chance.skewedInt(1, 3) : 1)
  const healedAt = theme === "silence" ? chance.between(2000, 10_000) : chance.between(500, 4000)
  const processes = alike(
    new Chance(seed, 4),
    makeProcesses(chance, { seed, kind, theme, driftFactor, names, healedAt })
  )
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
    replicas: theme === "failover" && chance.in(0.8),
    link: makeLink(chance, kind, theme),
    processes,
    faults: faults(chance, {
      kind,
      theme,
      healedAt,
      servers: servers.length,
      processes: processes.length,
      quorum,
      names,
      mayLose: kind === "wild" || delayedRestart > 0
    }),
    healedAt
  }
}

const unfenced: Partial<Record<Verb, Verb>> = {
  withFencedLock: "withLock",
  withFencedLocks: "withLocks",
  fencedLock: "lock"
}

/** In some histories the fibers of a process want the same lock, for a short time and with the same options, so that they pass it on. */
const alike = (chance: Chance, processes: Array<ProcessPlan>): Array<ProcessPlan> => {
  if (chance.in(0.6)) return processes
  const isFenced = chance.in(0.3)
  const shorter = (step: Step): Step => step._tag === "Work" ? { ...step, millis: step.millis * 0.1 } : step
  return processes.map((process) => {
    const first = process.workers[0]?.[0]
    if (first === undefined) return process
    const { expiry } = first.options
    const alike = (op: Op): Op => ({
      ...op,
      names: op.names.length === 1 ? first.names.slice(0, 1) : op.names,
      verb: isFenced ? op.verb : unfenced[op.verb] ?? op.verb,
      options: { ...op.options, expiry, autoExtend: true },
      hold: typeof op.hold === "number" ? op.hold : op.hold.map(shorter),
      think: op.think * 0.1,
      readsValue: chance.in(0.3)
    })
    return { ...process, workers: process.workers.map((ops) => ops.map(alike)) }
  })
}

/** A clock within what the drift factor allows for between two machines; some at its very edge. */
const rateWithin = (chance: Chance, driftFactor: number): number => {
  const off = driftFactor / 2
  return chance.in(0.4) ? 1 + chance.pick([-off, off]) : 1 + chance.between(-off, off)
}

const makeServers = (chance: Chance, kind: Kind, theme: Theme, driftFactor: number): Array<ServerOptions> => {
  const count = kind === "minority"
    ? chance.pick([3, 5, 7])
    : theme === "failover"
    ? chance.pick([1, 1, 2, 3, 4])
    : chance.pick([1, 2, 3, 3, 3, 4, 5, 5, 6, 7])
  return Array.from({ length: count }, (_, index) => ({
    name: `n${index + 1}`,
    rate: kind === "wild" && chance.in(0.15) ? chance.pick([0.7, 1.5]) : rateWithin(chance, driftFactor),
    replicaLag: theme === "failover" ? chance.between(5, 120) : 0
  }))
}

const makeLink = (chance: Chance, kind: Kind, theme: Theme): LinkOptions => {
  const isFaulty = kind === "mixed" || kind === "wild"
  const max = chance.pick([0.5, 2, 10])
  // A network that loses nothing, so that what is left behind can be told from what could not be cleaned up.
  const isLossless = theme === "silence" || theme === "hands" ? chance.in(0.8) : chance.in(0.3)
  const share = () => isFaulty && !isLossless && chance.in(0.5) ? chance.skewed(0, 0.2) : 0
  return {
    delay: [0.1, max],
    slow: { share: share(), millis: chance.between(max, 300) },
    loss: {
      request: isFaulty && theme === "tokens" ? chance.between(0.1, 0.3) : share(),
      reply: share(),
      notice: isFaulty ? chance.pick([0, 0.1, 0.5, 1]) : 0
    },
    resends: chance.in(0.25),
    late: {
      share: !isFaulty ? 0 : theme === "silence" ? 1 : chance.pick([0, 0.5, 1]),
      millis: theme === "silence" ? 900 : 20
    },
    kills: chance.in(theme === "silence" ? 0.3 : 0.6),
    fails: isFaulty && chance.in(0.1),
    reconnects: chance.in(0.7)
  }
}

const makeProcesses = (
  chance: Chance,
  { driftFactor, healedAt, kind, names, seed, theme }: Pick<
    Plan,
    "driftFactor" | "healedAt" | "kind" | "names" | "seed" | "theme"
  >
): Array<ProcessPlan> => {
  const count = kind === "minority" && chance.in(0.5)
    ? 1
    : chance.skewedInt(theme === "tokens" || theme === "ends" ? 2 : 1, 20)
  const wallApart = theme === "tokens" ? 5000 : 200
  // Enough to contend, and no more than a history of some milliseconds can do.
  const budget = chance.int(6, 24)
  // Those of an older version, or with fewer rights, are among the others.
  const isOld = new Chance(seed, 3)
  return Array.from({ length: count }, (_, index) => ({
    name: `p${index + 1}`,
    rate: kind === "wild" && chance.in(0.1) ? chance.pick([0.6, 1.4]) : rateWithin(chance, driftFactor),
    wallAhead: chance.between(-wallApart, wallApart),
    yields: chance.in(theme === "hands" ? 0.6 : 0.15) ? chance.pick([0.02, 0.1, 0.4]) : 0,
    handsOver: !isOld.in(0.2),
    startsAt: index === 0 ? 0 : chance.skewed(0, healedAt),
    closes: kind !== "minority" && chance.in(theme === "hands" || theme === "silence" ? 0.4 : 0.1)
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
