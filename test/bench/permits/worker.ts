/** A process that acquires and releases, and counts its CPU. */
import { Effect, Scope } from "effect"
import { Redsync, type Redsync as Service } from "../../../src/index.ts"
import { serve } from "../serve.ts"

const scope = Scope.makeUnsafe()
let service: Service | undefined

const kinds = {
  lock: (redsync: Service, index: number) => redsync.withLock(`lock ${index}`, Effect.void),
  permit: (redsync: Service, index: number) => redsync.withPermits(`permit ${index}`, Effect.void, { limit: 5 }),
  "permit of one semaphore": (redsync: Service) => redsync.withPermits("one", Effect.void, { limit: 200 })
}

const jobs = {
  open: async ({ urls }: { readonly urls: ReadonlyArray<string> }): Promise<void> => {
    const made = Redsync.make({ nodes: urls, nodeTimeout: "5 seconds" })
    service = await Effect.runPromise(Scope.provide(made, scope))
  },

  /** Microseconds of CPU for each. */
  round: async ({ inFlight, kind, millis }: {
    readonly kind: keyof typeof kinds
    readonly inFlight: number
    readonly millis: number
  }): Promise<number> => {
    const until = performance.now() + millis
    const before = process.cpuUsage()
    let done = 0
    const one = (index: number) =>
      Effect.whileLoop({
        while: () => performance.now() < until,
        body: () => kinds[kind](service!, index),
        step: () => {
          done++
        }
      })
    await Effect.runPromise(
      Effect.forEach(Array.from({ length: inFlight }, (_, index) => index), one, {
        concurrency: "unbounded",
        discard: true
      })
    )
    const { system, user } = process.cpuUsage(before)
    return (system + user) / done
  }
}

export type PermitJobs = typeof jobs

serve(jobs)
