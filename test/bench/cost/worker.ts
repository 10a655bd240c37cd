/** The process in which one contender is measured, alone. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { serve } from "../serve.ts"
import { quantile } from "../statistics.ts"
import { type Client, type ContenderName, contenders } from "./contenders.ts"

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

let client: Client | undefined

export interface Round {
  readonly operations: number
  readonly millis: number
  /** User and system time of this process for the whole round, background work included. */
  readonly cpuMicros: number
  readonly p50: number
  readonly p99: number
}

const latencies = new Float64Array(1_000_000)

/** Locks and unlocks for so long, so many at once. */
const round = async (
  { inFlight, millis }: { readonly inFlight: number; readonly millis: number }
): Promise<Round> => {
  // What others left to be collected is not this round's.
  collectGarbage()
  let operations = 0
  const cpu = process.cpuUsage()
  const start = performance.now()
  const end = start + millis
  await client!.repeat(inFlight, (latency) => {
    latencies[operations++] = latency
    return performance.now() > end
  })
  const elapsed = performance.now() - start
  await settled()
  const { system, user } = process.cpuUsage(cpu)
  const sorted = latencies.subarray(0, operations)
  return {
    operations,
    millis: elapsed,
    cpuMicros: system + user,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99)
  }
}

/** Time for answers that nobody waited for. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 5))

let leave = () => {}
let held: Promise<void> = Promise.resolve()

const jobs = {
  open: async ({ contender, urls }: { readonly contender: ContenderName; readonly urls: ReadonlyArray<string> }) => {
    client = await contenders[contender](urls)
  },
  round,
  /** Takes the lock, and answers once it has it. It is kept until `leave`. */
  take: (name: string): Promise<void> =>
    new Promise((resolve, reject) => {
      held = client!.hold(name, () => {
        resolve()
        return new Promise((left) => {
          leave = left
        })
      })
      held.catch(reject)
    }),
  leave: async () => {
    leave()
    await held
  }
}

export type CostJobs = typeof jobs

serve(jobs)
