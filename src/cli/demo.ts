/**
 * `redsync demo`: a lock being fought over, to look at.
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
    // Only loaded when it is wanted.
    const { demo } = yield* Effect.promise(() => import("./demo/story.ts"))
    // The library logs that a node fails, once a worker. The demo shows it in its own way.
    yield* demo(nodes).pipe(wrongOptionsAreUsage, Effect.provide(noLog))
  })
).pipe(
  Cli.withDescription(
    "Eight workers take turns with one lock for ten seconds, while a node fails and comes back: on five nodes in this " +
      "process, or on your servers, where it removes what it wrote."
  ),
  Cli.withShortDescription("Demonstrates contention for a lock."),
  Cli.withExamples([
    { command: "redsync demo", description: "Needs nothing" },
    { command: "redsync demo --node redis://a --node redis://b --node redis://c", description: "On your servers" }
  ])
)
