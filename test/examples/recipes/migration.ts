// A migration at start-up: one instance migrates, the others wait for it and find it done.
import { Console, Effect } from "effect"
import { Redsync, retryPolicy, withLock } from "effect-redsync"

let version = 1 // in your database
const migrate = Effect.gen(function*() {
  if (version >= 2) return yield* Console.log("nothing to migrate")
  yield* Effect.sleep("50 millis")
  version = 2
  yield* Console.log("migrated")
})

const migrated = withLock("migration", migrate, {
  // The lease is extended while the migration runs, however long that takes: the expiry only says how soon a crash is noticed.
  expiry: "10 seconds",
  retry: retryPolicy({ delay: "1 second", within: "10 minutes" })
})

const start = Effect.andThen(migrated, Effect.void).pipe(Effect.provide(Redsync.layerEnv()))
await Effect.runPromise(Effect.all([start, start], { concurrency: "unbounded" }))
// => migrated
// => nothing to migrate
