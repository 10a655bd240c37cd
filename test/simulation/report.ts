/**
 * What many histories contained, and what one that failed looked like.
 */
import type * as Contention from "./contention.ts"
import type { History } from "./history.ts"
import { run } from "./history.ts"
import { shrink, without } from "./parts.ts"
import { makePlan, type Plan } from "./plan/plan.ts"

export class Summary {
  histories = 0
  events = 0
  /** Simulated time. */
  millis = 0
  readonly counts = new Map<string, number>()
  readonly failed: Array<number> = []

  add(plan: Plan, history: History): void {
    this.#count(`histories: ${plan.kind}`, 1)
    this.#add(plan.seed, history, history.violations.length > 0)
  }

  addContention(seed: number, history: Contention.History): void {
    this.#add(seed, history, history.violation !== undefined)
  }

  #add(seed: number, { counts, events, millis }: Omit<History, "violations">, isBroken: boolean) {
    this.histories++
    this.events += events
    this.millis += millis
    for (const [what, count] of counts) {
      // Of maxima the largest counts.
      if (what.startsWith("most ")) this.counts.set(what, Math.max(this.count(what), count))
      else this.#count(what, count)
    }
    if (isBroken) this.failed.push(seed)
  }

  count(what: string): number {
    return this.counts.get(what) ?? 0
  }

  /** The counts as a table, in the order of their names. */
  lines(): Array<string> {
    const rows: Array<readonly [string, number]> = [
      ["histories", this.histories],
      ["hours of simulated time", Math.round(this.millis / 3_600_000)],
      ["events", this.events],
      ...[...this.counts].sort(([a], [b]) => a < b ? -1 : 1)
    ]
    return rows.map(([what, count]) => `${count.toLocaleString("en").padStart(14)}  ${what}`)
  }

  #count(what: string, by: number) {
    this.counts.set(what, (this.counts.get(what) ?? 0) + by)
  }
}

/** The same in a line for each promise. */
export const brief = ({ violations }: History, seed: number): Array<string> =>
  violations.map(({ promise, what }) => `Seed ${seed} violates a promise: ${promise}: ${what}`)

/** A history that failed: what was violated, how to see it again, and what is left when all that can be is left out. */
export const failure = (seed: number): Array<string> => {
  const plan = makePlan(seed)
  const [first] = run(plan).violations
  if (first === undefined) return [`Seed ${seed} violates nothing.`]
  const parts = shrink(plan, first.promise)
  return [
    `Seed ${seed} violates a promise: ${first.promise}: ${first.what}`,
    `Replay it with: npm run simulate -- --seed ${seed}`,
    ...parts.length === 0
      ? []
      : [`Without what does not matter: npm run simulate -- --seed ${seed} --without ${parts.join(",")}`],
    ...story(without(plan, parts))
  ]
}

/** A history to read. */
export const story = (plan: Plan): Array<string> => {
  const { timeline, violations } = run(plan, true)
  const { delayedRestart, driftFactor, kind, link, names, quorum, servers } = plan
  return [
    `A history of kind ${kind}: ${servers.length} servers, a quorum of ${quorum}, names ${names.join(", ")}, ` +
    `drift factor ${driftFactor}, ${delayedRestart > 0 ? `restarts delayed by ${delayedRestart} ms, ` : ""}` +
    `${link.resends ? "commands sent again after a break, " : ""}healed at ${plan.healedAt.toFixed(0)} ms`,
    ...timeline,
    ...violations.length === 0 ?
      ["No promise is violated."] :
      violations.map(({ at, promise, what }) => `At ${at.toFixed(3)}: ${promise}: ${what}`)
  ]
}
