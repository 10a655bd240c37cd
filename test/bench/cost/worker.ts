/** The process in which one contender is measured, alone. */
import { PerformanceObserver } from "node:perf_hooks"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { serve } from "../serve.ts"
import { quantile } from "../statistics.ts"
import { type ContenderName, contenders } from "./contenders.ts"
import { type Client, freshName, type Work } from "./work.ts"

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

let client: Client | undefined

// -----------------------------------------------------------------------------
// time
// -----------------------------------------------------------------------------

export interface RoundOptions {
  readonly work: Work
  readonly inFlight: number
  readonly millis: number
  /** Give up on those that have not come back so long after the round should have ended. */
  readonly patienceMillis?: number
}

export interface Round {
  readonly operations: number
  readonly millis: number
  /** User and system time of this process for the whole round, background work included. */
  readonly cpuMicros: number
  readonly p50: number
  readonly p99: number
  /** Whether some did not come back. */
  readonly isStuck: boolean
}

const latencies = new Float64Array(1_000_000)
let repeating: Promise<void> = Promise.resolve()

/**
 * Does the work for so long, so many at once. Nothing is collected by force before
 * it: that throws away compiled code too, and whoever has most of it pays for that.
 */
const round = async ({ inFlight, millis, patienceMillis, work }: RoundOptions): Promise<Round> => {
  let operations = 0
  const cpu = process.cpuUsage()
  const start = performance.now()
  const end = start + millis
  repeating = client!.repeat(work, inFlight, (latency) => {
    latencies[operations++] = latency
    return performance.now() > end
  })
  const isStuck = patienceMillis === undefined
    ? await repeating.then(() => false)
    : await Promise.race([repeating.then(() => false), sleep(millis + patienceMillis).then(() => true)])
  const elapsed = performance.now() - start
  // Time for answers that nobody waited for.
  await sleep(5)
  const { system, user } = process.cpuUsage(cpu)
  const sample = latencies.slice(0, operations)
  return {
    operations,
    millis: elapsed,
    cpuMicros: system + user,
    p50: quantile(sample, 0.5),
    p99: quantile(sample, 0.99),
    isStuck
  }
}

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

// -----------------------------------------------------------------------------
// memory
// -----------------------------------------------------------------------------

const heapUsed = () => {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

let leave = () => {}
let held: Promise<unknown> = Promise.resolve()

/** Takes so many locks, which are kept until `leave`, and says how many bytes of the heap each of them takes. */
const hold = async ({ locks }: { readonly locks: number }): Promise<number> => {
  const before = heapUsed()
  const left = new Promise<void>((resolve) => {
    leave = resolve
  })
  const arrived: Array<Promise<void>> = []
  const all: Array<Promise<void>> = []
  for (let index = 0; index < locks; index++) {
    const name = freshName()
    arrived.push(
      new Promise((resolve, reject) => {
        const body = () => {
          resolve()
          return left
        }
        const holding = client!.hold(name, body)
        holding.catch(reject)
        all.push(holding)
      })
    )
    // No more at once than the nodes can answer in time.
    if (arrived.length % 64 === 0) await Promise.all(arrived.splice(0))
  }
  await Promise.all(arrived.splice(0))
  held = Promise.all(all)
  // Time for answers that nobody waited for.
  await sleep(50)
  return (heapUsed() - before) / locks
}

/**
 * How many bytes of the heap one operation allocates. For a process whose young
 * generation has room for all of it: it is an error if any is collected meanwhile.
 */
const garbage = async (
  { inFlight, operations, work }: { readonly work: Work; readonly inFlight: number; readonly operations: number }
): Promise<number> => {
  const before = heapUsed()
  let collections = 0
  const observer = new PerformanceObserver((list) => {
    collections += list.getEntries().length
  })
  // The entry of the collection just done is delivered late.
  await sleep(50)
  observer.observe({ entryTypes: ["gc"] })
  let done = 0
  await client!.repeat(work, inFlight, () => ++done >= operations)
  const after = process.memoryUsage().heapUsed
  await sleep(50)
  observer.disconnect()
  if (collections > 0) throw new Error(`${collections} collections during ${done} operations`)
  return (after - before) / done
}

// -----------------------------------------------------------------------------
// the parent's wishes
// -----------------------------------------------------------------------------

const jobs = {
  open: async ({ contender, urls }: { readonly contender: ContenderName; readonly urls: ReadonlyArray<string> }) => {
    client = await contenders[contender](urls)
  },
  round,
  /** Waits for those that a round has given up on. */
  settle: () => repeating,
  hold,
  leave: async () => {
    leave()
    await held
  },
  garbage
}

export type CostJobs = typeof jobs

serve(jobs)
