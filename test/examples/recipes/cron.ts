// A cron job that every instance schedules and one runs.
import { Console, Effect, Schedule } from "effect"
import { Redsync, withLockIfAvailable } from "effect-redsync"

const report = Console.log("the report is made")

// Held for longer than the clocks of the instances may differ: one that comes late must not find the lock free again.
const atLeast = "300 millis"
const once = withLockIfAvailable("report:nightly", Effect.all([report, Effect.sleep(atLeast)], { concurrency: 2 }))

// What an instance runs. An instance that finds the nodes unavailable says so and waits for the next night.
export const everyNight = once.pipe(
  Effect.catchTags({ NodesUnavailable: Effect.logError, LockLost: Effect.logError }),
  Effect.schedule(Schedule.cron("0 3 * * *"))
)

// Three instances at three o'clock.
const instance = once.pipe(Effect.provide(Redsync.layerEnv()))
await Effect.runPromise(Effect.all([instance, instance, instance], { concurrency: "unbounded" }))
// => the report is made
