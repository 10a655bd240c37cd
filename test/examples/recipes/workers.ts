// A pool of workers over many names: each takes a name that is free, and no name is worked on twice at once.
import { Effect, Option } from "effect"
import { Redsync, withLockIfAvailable } from "effect-redsync"

const accounts = Array.from({ length: 20 }, (_, index) => `accounts:${index}`)
const settled: Array<string> = []
const settle = (account: string) =>
  Effect.gen(function*() {
    if (settled.includes(account)) return
    yield* Effect.sleep("5 millis")
    settled.push(account)
  })

// One pass over all names, four at a time; names that another worker holds are skipped.
const pass = Effect.forEach(accounts, (account) => withLockIfAvailable(account, settle(account)), { concurrency: 4 })

const worker = pass.pipe(
  Effect.repeat({ until: (results) => results.every(Option.isSome) }),
  Effect.provide(Redsync.layerEnv())
)
await Effect.runPromise(Effect.all([worker, worker, worker], { concurrency: "unbounded" }))

console.log(settled.length, new Set(settled).size)
// => 20 20
