// A pool of five licences for all instances: each worker has a licence that no other worker has at the same time.
import { Effect } from "effect"
import { Redsync, semaphore } from "effect-redsync"

const keys = ["AAAA-1", "BBBB-2", "CCCC-3", "DDDD-4", "EEEE-5"]
const licences = semaphore("licences", { limit: keys.length })

const inUse = new Set<string>()
const counted = { rendered: 0, usedTwice: 0 }
const render = (key: string) =>
  Effect.gen(function*() {
    if (inUse.has(key)) counted.usedTwice++
    inUse.add(key)
    yield* Effect.sleep("5 millis")
    inUse.delete(key)
    counted.rendered++
  })

// Permits are numbered, and no two holders have the same number.
const job = licences.withPermit(({ slot }) => render(keys[slot]!))

const jobs = Effect.all([job, job, job, job, job, job], { concurrency: "unbounded" })
const instance = jobs.pipe(Effect.provide(Redsync.layerEnv()))
await Effect.runPromise(Effect.all([instance, instance, instance], { concurrency: "unbounded" }))

console.log(counted)
// => { rendered: 18, usedTwice: 0 }
