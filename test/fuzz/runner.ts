/**
 * Runs many seeds in processes of their own, so that what nobody catches, or what
 * never ends, is a finding like any other.
 */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Upstream } from "./hostile.ts"
import { makePlan } from "./plan.ts"
import type { Outcome, Violation } from "./run.ts"
import type { Order, Report } from "./worker.ts"

const worker = fileURLToPath(new URL("worker.ts", import.meta.url))

/** For a seed, of which none takes more than some seconds on a machine that does nothing else. */
const stuckMillis = 180_000

/** How many megabytes a process may hold more after hundreds of seeds than after its first ones. */
const mostGrowth = 30
const warmUp = 30

export interface Finding extends Violation {
  readonly seed: number
}

type Result = Omit<Outcome, "exchange">

export class Summary {
  seeds = 0
  readonly counts = new Map<string, number>()
  readonly peaks = new Map<string, number>()
  readonly findings: Array<Finding> = []
  /** By how many megabytes the heap of a process has grown, at most. */
  growth = 0

  add({ counts, peaks, seed, violations }: Result): void {
    this.seeds++
    for (const [what, count] of Object.entries(peaks)) {
      this.peaks.set(what, Math.max(this.peaks.get(what) ?? 0, count))
    }
    for (const [what, count] of Object.entries(counts)) this.counts.set(what, (this.counts.get(what) ?? 0) + count)
    for (const violation of violations) this.findings.push({ ...violation, seed })
  }

  /** The counts as a table, in the order of their names. */
  lines(): Array<string> {
    const rows: Array<readonly [string, string]> = [
      ["seeds", String(this.seeds)],
      ...[...this.peaks].map(([what, count]) => [`${what}, at most`, String(count)] as const),
      ["megabytes by which a process has grown at most", this.growth.toFixed(1)],
      ...[...this.counts].sort(([a], [b]) => a < b ? -1 : 1).map(([what, count]) => [what, String(count)] as const)
    ]
    return rows.map(([what, count]) => `${count.padStart(10)}  ${what}`)
  }

  /** What was found, each kind once, with the seeds that lead to it. */
  kinds(): Array<{ readonly first: Finding; readonly seeds: ReadonlyArray<number> }> {
    const kinds = new Map<string, { readonly first: Finding; readonly seeds: Array<number> }>()
    for (const finding of this.findings) {
      const kind = kindOf(finding)
      const known = kinds.get(kind)
      if (known === undefined) kinds.set(kind, { first: finding, seeds: [finding.seed] })
      else if (!known.seeds.includes(finding.seed)) known.seeds.push(finding.seed)
    }
    return [...kinds.values()].sort((a, b) => b.seeds.length - a.seeds.length)
  }
}

/** The promise, and where in the code it was broken; the words differ from seed to seed. */
const kindOf = ({ promise, what }: Violation): string => {
  const frames = what.split("\n").filter((line) => /^\s+at /.test(line)).slice(0, 3)
  return [promise, ...frames.length === 0 ? [] : [what.split("\n")[0], ...frames]].join("|")
}

/**
 * What ioredis throws by itself where nobody can catch it. Connections of our own are kept from that; a client of the
 * caller's is not ours to change.
 */
const isOfIoredis = (stack: string) => /^.*\n\s+at DataHandler\.\w+ .*\bDataHandler\.js/.test(stack)

/** Runs the seeds that `next` gives, until there are none. */
export const runSeeds = async (
  next: () => number | undefined,
  servers: ReadonlyArray<Upstream>,
  workers: number,
  heard: (summary: Summary, outcome: Result) => void = () => {}
): Promise<Summary> => {
  const summary = new Summary()
  await Promise.all(Array.from({ length: workers }, async () => {
    let child: Child | undefined
    for (let seed = next(); seed !== undefined; seed = next()) {
      child ??= new Child()
      const outcome = await child.run({ seed, servers })
      summary.add(outcome)
      summary.growth = Math.max(summary.growth, child.growth)
      heard(summary, outcome)
      if (!child.isAlive) child = undefined
    }
    child?.end()
  }))
  if (summary.growth > mostGrowth) {
    const what = `the heap of a process has grown by ${summary.growth.toFixed(0)} MB`
    summary.findings.push({ seed: 0, promise: "memory does not grow", what })
  }
  return summary
}

class Child {
  readonly #process: ChildProcess
  readonly #heaps: Array<number> = []
  isAlive = true

  constructor() {
    this.#process = fork(worker, { execArgv: ["--expose-gc"], stdio: ["ignore", "inherit", "inherit", "ipc"] })
  }

  get growth(): number {
    const base = this.#heaps.slice(warmUp, warmUp + 20)
    if (this.#heaps.length < 2 * warmUp + 40) return 0
    // The least of the last ones: what a seed leaves for a moment is no growth.
    return (Math.min(...this.#heaps.slice(-20)) - Math.max(...base)) / 2 ** 20
  }

  run(order: Order): Promise<Result> {
    const { seed } = order
    return new Promise((resolve) => {
      const ended = (promise: string, what: string) => {
        this.isAlive = false
        this.#process.kill("SIGKILL")
        done({ seed, counts: {}, peaks: {}, violations: [{ promise, what }] })
      }
      const lost = () => {
        this.isAlive = false
        done({ seed, counts: { "ended by ioredis itself, on a caller's client": 1 }, peaks: {}, violations: [] })
      }
      const stuck = setTimeout(() => ended("no endless loop", `nothing was heard for ${stuckMillis} ms`), stuckMillis)
      const done = (outcome: Result) => {
        clearTimeout(stuck)
        this.#process.removeAllListeners()
        resolve(outcome)
      }
      this.#process.once("message", (report: Report) => {
        if (report._tag === "Uncaught") {
          const isTheirs = makePlan(seed).input === "client" && isOfIoredis(report.what)
          return isTheirs ? lost() : ended("nothing is left to be caught", report.what)
        }
        this.#heaps.push(report.heap)
        // What was not ended may still be running: the next seed must not suffer from it.
        if (report.outcome.violations.length > 0) this.end()
        return done(report.outcome)
      })
      this.#process.once("exit", (code, signal) => ended("a process goes on", `it ended with ${code ?? signal}`))
      this.#process.send(order)
    })
  }

  end() {
    this.isAlive = false
    this.#process.kill("SIGKILL")
  }
}
