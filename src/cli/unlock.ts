/**
 * `redsync unlock`: takes a lock away from whoever holds it.
 */
import * as Argument from "effect/cli/Argument"
import * as Cli from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { isatty } from "node:tty"
import type { NodesUnavailable } from "../LockError.ts"
import type { Inspection } from "../Redsync.ts"
import * as Redsync from "../Redsync.ts"
import { fail, fromLockError, nodesUnavailable, wrongOptionsAreUsage, wrongUsage } from "./failure.ts"
import { describe, isUnknown } from "./holder.ts"
import { connected } from "./nodes.ts"
import { noLog, paint } from "./output.ts"
import { endWithReader } from "./signals.ts"

const isEmpty = ({ nodes }: Inspection) => nodes.every(({ _tag }) => _tag === "Free" || _tag === "Failed")

const ask = (question: string) =>
  Effect.acquireUseRelease(
    // Only loaded when it is wanted.
    Effect.map(
      Effect.promise(() => import("node:readline/promises")),
      ({ createInterface }) => createInterface({ input: process.stdin, output: process.stdout })
    ),
    (readline) =>
      Effect.callback<boolean>((resume) => {
        const abort = new AbortController()
        // Ctrl-C and the end of the input both mean no.
        readline.once("SIGINT", () => readline.close())
        readline.once("close", () => resume(Effect.succeed(false)))
        void readline.question(question, { signal: abort.signal }).then(
          (answer) => resume(Effect.succeed(/^y(es)?$/i.test(answer.trim()))),
          () => {}
        )
        return Effect.sync(() => abort.abort())
      }),
    (readline) => Effect.sync(() => readline.close())
  )

/** Deletes what was shown and nothing that has come since, save where it is no lock of anybody. */
const remove = (inspection: Inspection): Effect.Effect<unknown, NodesUnavailable, Redsync.Redsync> => {
  const { name, nodes } = inspection
  const values = new Set(nodes.flatMap((view) => view._tag === "Held" ? [view.value] : []))
  return nodes.some(({ _tag }) => _tag === "NotALock")
    ? Redsync.forceUnlock(name)
    : Effect.forEach(values, (value) => Redsync.unlock(name, value))
}

export const unlock = Cli.make(
  "unlock",
  {
    name: Argument.String("name").pipe(Argument.withDescription("The lock to take away")),
    yes: Flag.Boolean("yes").pipe(
      Flag.withAlias("y"),
      Flag.withDescription("Do not ask"),
      Flag.withDefault(false)
    )
  },
  Effect.fn(function*({ name, yes }) {
    yield* endWithReader
    yield* Effect.gen(function*() {
      const colours = yield* paint
      const before = yield* Redsync.inspect(name)
      yield* Console.log(describe(before, colours).join("\n"))
      if (isUnknown(before)) return yield* fail(nodesUnavailable, "too few nodes answer to take the lock away")
      const data = before.nodes.find((view) => view._tag === "NotALock" && !view.found.startsWith("a string"))
      if (data !== undefined) return yield* fail(1, "left alone: it is somebody's data, not a lock")
      if (isEmpty(before)) return yield* Console.log("There is nothing to delete.")
      if (!yes) {
        if (!isatty(0)) return yield* fail(wrongUsage, "not deleted without --yes, as nobody can be asked")
        const sure = yield* ask("The holder notices only when it next extends the lock. Delete it? [y/N] ")
        if (!sure) return yield* fail(1, "left alone")
      }
      yield* Effect.mapError(remove(before), fromLockError)
      const after = yield* Redsync.inspect(name)
      if (isEmpty(after)) return yield* Console.log("Deleted.")
      yield* Console.log(["Deleted. Now it is:", ...describe(after, colours)].join("\n"))
    }).pipe(
      Effect.provide(connected()),
      wrongOptionsAreUsage,
      Effect.provide(noLog)
    )
  })
).pipe(
  Cli.withDescription("Takes a lock away from whoever holds it, after showing who that is."),
  Cli.withExamples([
    { command: "redsync unlock nightly-billing", description: "Shows the holder and asks" },
    { command: "redsync unlock --yes nightly-billing", description: "For scripts" }
  ])
)
