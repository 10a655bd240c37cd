/** What can be simulated: locks, semaphores, shared locks. */
import type * as Contention from "./contention.ts"
import { run } from "./history.ts"
import { without } from "./parts.ts"
import * as Permits from "./permits/history.ts"
import { makePlan } from "./plan/plan.ts"
import { brief, failure, story, type Summary } from "./report.ts"
import * as Shared from "./shared/history.ts"

export interface Kind {
  /** Runs a history. Returns what is said of it if it broke a promise. */
  readonly add: (summary: Summary, seed: number, isBrief: boolean) => ReadonlyArray<string> | undefined
  /** The acquisitions of all histories so far. */
  readonly acquisitions: (summary: Summary) => number
  /** A history to read, without some of its parts. */
  readonly story: (seed: number, parts: ReadonlyArray<string>) => ReadonlyArray<string>
}

const contention = (
  name: string,
  run: (seed: number, record?: boolean) => Contention.History,
  granted: ReadonlyArray<string>
): Kind => {
  const broken = ({ violation }: Contention.History, seed: number) =>
    violation && `Seed ${seed} violates a promise: ${violation.promise}: ${violation.how}`
  const story = (seed: number) => {
    const history = run(seed, true)
    return [...history.timeline, broken(history, seed) ?? "No promise is violated."]
  }
  return {
    add: (summary, seed, isBrief) => {
      const history = run(seed)
      summary.addContention(seed, history)
      const what = broken(history, seed)
      if (what === undefined) return undefined
      const again = `Replay it with: npm run simulate -- --only ${name} --seed ${seed}`
      return isBrief ? [what] : [what, again, ...story(seed)]
    },
    acquisitions: (summary) => granted.reduce((sum, what) => sum + summary.count(what), 0),
    story
  }
}

export const kinds: Readonly<Record<string, Kind>> = {
  locks: {
    add: (summary, seed, isBrief) => {
      const plan = makePlan(seed)
      const history = run(plan)
      summary.add(plan, history)
      if (history.violations.length === 0) return undefined
      return isBrief ? brief(history, seed) : failure(seed)
    },
    acquisitions: (summary) => summary.count("locks handed out"),
    story: (seed, parts) => story(without(makePlan(seed), parts))
  },
  permits: contention("permits", Permits.run, ["grants"]),
  shared: contention("shared", Shared.run, ["shared", "exclusive"])
}
