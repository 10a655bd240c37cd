// A cron job that every instance schedules and one runs, even if their clocks differ.
import { Console, Cron, Effect, Layer } from "effect"
import { Leader, Redsync } from "effect-redsync"

// What every instance builds. A run is skipped while an earlier run is still in progress.
export const nightly = Leader.cron({
  name: "report:nightly",
  cron: Cron.parseUnsafe("0 3 * * *", "Europe/Berlin"),
  execute: Console.log("the report is made"),
  clockSkew: "30 seconds"
}).pipe(Layer.provide(Redsync.layerEnv()))

// It waits in the background of a program, until the next night.
await Effect.runPromise(Effect.provide(Effect.void, nightly))
