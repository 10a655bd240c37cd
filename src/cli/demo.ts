/**
 * `redsync demo`: contention for a lock, shown live.
 */
import * as Cli from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { wrongOptionsAreUsage } from "./failure.ts"
import { givenNodes } from "./nodes.ts"
import { noLog } from "./output.ts"

export const demo = Cli.make(
  "demo",
  {},
  Effect.fn(function*() {
    const nodes = yield* givenNodes
    // Loaded only when it is needed.
    const { demo } = yield* Effect.promise(() => import("./demo/story.ts"))
    // The library logs a failing node once per worker. The demo shows it in its own way.
    yield* demo(nodes).pipe(wrongOptionsAreUsage, Effect.provide(noLog))
  })
).pipe(
  Cli.withDescription(
    "Eight workers take turns with one lock for nine seconds, while a node fails and recovers. Runs on five nodes in this " +
      "process, or on your servers, from which it removes what it wrote."
  ),
  Cli.withShortDescription("Demonstrates contention for a lock."),
  Cli.withExamples([
    { command: "redsync demo", description: "Needs no server" },
    { command: "redsync demo --node redis://a --node redis://b --node redis://c", description: "On your servers" }
  ])
)
