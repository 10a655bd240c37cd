// A script that cron starts at the same time on every machine: one makes the report of the day, and the others find that
// it has been made. REDSYNC_NODES names the servers for locks, REPORTS the directory. Within a service use Leader.cron instead.
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Config, Console, DateTime, Effect, FileSystem, Path } from "effect"
import { Lock, lock, Redsync, retryPolicy } from "effect-redsync"

const report = Effect.fn("report")(function*(day: string) {
  const file = (yield* Path.Path).join(yield* Config.String("REPORTS"), `${day}.txt`)
  yield* (yield* FileSystem.FileSystem).writeFileString(file, `The report of ${day}\n`)
  yield* Console.log(`made ${file}`)
})

const once = Effect.gen(function*() {
  const day = yield* Config.withDefault(Config.String("DAY"), DateTime.formatIsoDateUtc(yield* DateTime.now))
  const held = yield* lock(`report:${day}`, {
    // How far the clocks of the machines may differ, and how long no other machine retries the report after a crash. While
    // the report is being made, the lock is extended.
    expiry: "1 hour",
    // All machines try at once, so at first none may get a majority of the votes.
    retry: retryPolicy({ delay: "100 millis", within: "2 seconds" })
  })
  yield* Lock.guard(held, report(day))
  // The lock is left to expire, so that late machines find it. If the report fails, it is released, and the next start tries again.
  yield* held.abandon
})

once.pipe(
  Effect.scoped,
  Effect.catchTag("ErrFailed", () => Console.log("another machine is making the report, or has made it")),
  Effect.provide(Redsync.layerEnv()),
  Effect.provide(NodeServices.layer),
  // The exit code is 1 if the report failed, too few servers respond, or the lock was lost: cron sends a mail.
  NodeRuntime.runMain
)
