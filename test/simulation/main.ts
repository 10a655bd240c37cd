/**
 * Runs the library in simulated worlds: `npm run simulate -- --seeds 1000`.
 *
 * - `--seeds 1000`: so many histories of each kind, from `--from 1` on, with a summary of what they contained. Failures
 *   of locks are shrunk, and all are printed, `--failures 3` of a kind at most, and the exit code is 1.
 *   `--brief` prints a line for each and shrinks none.
 * - `--acquisitions 500000`: instead, as many histories of each kind as it takes.
 * - `--only permits,shared`: these kinds of `locks`, `permits` and `shared`.
 * - `--seed 42`: one history, as a timeline, of locks or of the kind in `--only`. `--without p3,f1` leaves parts of
 *   it out.
 *
 * One seed is one history of a kind, on any machine, as long as neither the simulator nor the library changes.
 */
import { parseFlags } from "../support/flags.ts"
import { type Kind, kinds } from "./kinds.ts"
import { Summary } from "./report.ts"

const { values: flags } = parseFlags(import.meta.url, {
  options: {
    seeds: { type: "string", default: "1000" },
    acquisitions: { type: "string" },
    from: { type: "string", default: "1" },
    failures: { type: "string", default: "3" },
    only: { type: "string" },
    seed: { type: "string" },
    brief: { type: "boolean", default: false },
    without: { type: "string", default: "" }
  }
})

const only = flags.only?.split(",") ?? Object.keys(kinds)
const unknown = only.filter((name) => !Object.hasOwn(kinds, name))
if (unknown.length > 0) {
  console.error(`--only takes ${Object.keys(kinds).join(", ")}, not ${unknown.join(", ")}`)
  process.exit(2)
}

// Nobody reads where an error was made, and finding out is slow.
Error.stackTraceLimit = 0

const mostFailures = Number(flags.failures)
const from = Number(flags.from)

const many = (name: string, kind: Kind): void => {
  const startedAt = performance.now()
  const summary = new Summary()
  const rate = () => {
    const seconds = (performance.now() - startedAt) / 1000
    return `${name}: ${summary.histories} histories with ${kind.acquisitions(summary).toLocaleString("en")} ` +
      `acquisitions in ${seconds.toFixed(0)} s, ${(seconds * 1000 / summary.histories).toFixed(1)} ms each, ` +
      `${summary.failed.length} failed`
  }
  const isDone = flags.acquisitions === undefined
    ? () => summary.histories >= Number(flags.seeds)
    : () => kind.acquisitions(summary) >= Number(flags.acquisitions)
  let toldAt = startedAt
  for (let seed = from; !isDone() && summary.failed.length < mostFailures; seed++) {
    const failure = kind.add(summary, seed, flags.brief)
    if (failure !== undefined) console.log(failure.join("\n"))
    if (performance.now() - toldAt > 10_000) {
      toldAt = performance.now()
      console.log(rate())
    }
  }
  console.log([...summary.lines(), rate()].join("\n"))
  if (summary.failed.length > 0) process.exitCode = 1
}

if (flags.seed === undefined) {
  for (const name of only) many(name, kinds[name]!)
} else {
  console.log(kinds[only[0]!]!.story(Number(flags.seed), flags.without.split(",")).join("\n"))
}
