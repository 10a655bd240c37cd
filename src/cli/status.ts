/**
 * `redsync status`: who holds a lock, or permits of a semaphore, on which nodes.
 */
import * as Argument from "effect/cli/Argument"
import * as Cli from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { isatty } from "node:tty"
import { untrusted } from "../internal/base/text.ts"
import { fail, nodesUnavailable, wrongOptionsAreUsage } from "./failure.ts"
import { describe, look } from "./holder.ts"
import { connected } from "./nodes.ts"
import { fitted, json, noLog, paint } from "./output.ts"
import { switchFlag } from "./switch.ts"

/** Reads all names once. */
const lookAtAll = (names: ReadonlyArray<string>, asJson: boolean) =>
  Effect.gen(function*() {
    const views = yield* Effect.forEach(names, look, { concurrency: "unbounded" })
    const colours = yield* paint
    const lines = asJson ? [json(views)] : views.flatMap((view) => describe(view, colours))
    return { lines, unknown: views.filter(({ state }) => state === "unknown").map(({ name }) => untrusted(name)) }
  })

/** Repeats it: redrawn in place on a terminal, one below the other elsewhere. */
const watch = (names: ReadonlyArray<string>, asJson: boolean) =>
  Effect.suspend(() => {
    const inPlace = isatty(1) && !asJson
    let height = 0
    const draw = Effect.flatMap(lookAtAll(names, asJson), ({ lines }) => {
      if (!inPlace) return Console.log(lines.join("\n"))
      const back = height === 0 ? "" : `\x1b[${height}A`
      const rows = fitted(lines, process.stdout)
      height = rows.length
      // Overwritten without clearing first, so that it does not flicker; surplus lines are cleared last.
      return Console.log(`${back}${rows.map((row) => `${row}\x1b[K`).join("\n")}\x1b[J`)
    })
    return Effect.repeat(draw, Schedule.spaced("1 second"))
  })

export const status = Cli.make(
  "status",
  {
    names: Argument.String("name").pipe(
      Argument.withDescription("The locks and semaphores to show"),
      Argument.variadic({ min: 1 })
    ),
    json: switchFlag("json", "Print a JSON array; with --watch, one per line"),
    watch: switchFlag("watch", "Refresh every second until interrupted")
  },
  Effect.fn(function*({ json: asJson, names, watch: again }) {
    yield* Effect.gen(function*() {
      if (again) yield* watch(names, asJson)
      const { lines, unknown } = yield* lookAtAll(names, asJson)
      yield* Console.log(lines.join("\n"))
      if (unknown.length > 0) {
        return yield* fail(nodesUnavailable, `too few nodes answer to determine who holds ${unknown.join(", ")}`)
      }
    }).pipe(
      Effect.provide(connected),
      wrongOptionsAreUsage,
      Effect.provide(noLog)
    )
  })
).pipe(
  Cli.withDescription(
    "Shows who holds a lock, on which nodes, for how long, and whether those form a quorum; for a semaphore, who holds which " +
      "permits. With --json, the state of a name is held, shared (by readers), permits (there is no lock, but a " +
      "semaphore), free, contested (values on some nodes, none on a quorum), foreign (keys of that name that are not locks) " +
      "or unknown (too few nodes answer). Exits with 69 if any state is unknown."
  ),
  Cli.withShortDescription("Shows who holds a lock or permits, on which nodes."),
  Cli.withExamples([
    { command: "redsync status nightly-billing report", description: "Two locks at once" },
    { command: "redsync status --watch nightly-billing", description: "Redraws every second" },
    { command: "redsync status --json report | jq '.[0].holder'", description: "The holder, or null" },
    { command: "redsync status --json browsers | jq '.[0].permits.taken'", description: "How many permits are taken" }
  ])
)
