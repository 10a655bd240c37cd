/**
 * Runs the library in simulated worlds: `npm run simulate -- --seeds 1000`.
 *
 * - `--seeds 1000`: so many histories, from `--from 1` on, with a summary of what they contained. Failures are
 *   shrunk and printed, `--failures 3` of them at most, and the exit code is 1.
 *   `--brief` prints a line for each and shrinks none.
 * - `--seed 42`: one history, as a timeline. `--without p3,f1` leaves parts of it out.
 *
 * One seed is one history, on any machine, as long as neither the simulator nor the library changes.
 */
import { parseArgs } from "node:util"
import { run } from "./history.ts"
import { without } from "./parts.ts"
import { makePlan } from "./plan/plan.ts"
import { brief, failure, story, Summary } from "./report.ts"

const { values: flags } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    failures: { type: "string", default: "3" },
    seed: { type: "string" },
    brief: { type: "boolean", default: false },
    without: { type: "string", default: "" }
  }
})

// Nobody reads where an error was made, and finding out is slow.
Error.stackTraceLimit = 0

const many = (from: number, count: number, mostFailures: number): void => {
  const startedAt = performance.now()
  const summary = new Summary()
  const rate = () => {
    const seconds = (performance.now() - startedAt) / 1000
    return `${summary.histories} histories in ${seconds.toFixed(0)} s, ${
      (seconds * 1000 / summary.histories).toFixed(1)
    } ms each, ${summary.failed.length} failed`
  }
  let toldAt = startedAt
  for (let seed = from; seed < from + count && summary.failed.length < mostFailures; seed++) {
    const plan = makePlan(seed)
    const history = run(plan)
    summary.add(plan, history)
    if (history.violations.length > 0) console.log((flags.brief ? brief(history, seed) : failure(seed)).join("\n"))
    if (performance.now() - toldAt > 10_000) {
      toldAt = performance.now()
      console.log(rate())
    }
  }
  console.log([...summary.lines(), rate()].join("\n"))
  if (summary.failed.length > 0) process.exitCode = 1
}

if (flags.seed === undefined) {
  many(Number(flags.from), Number(flags.seeds), Number(flags.failures))
} else {
  console.log(story(without(makePlan(Number(flags.seed)), flags.without.split(","))).join("\n"))
}
