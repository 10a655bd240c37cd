/**
 * `redsync unlock`: forcibly releases a lock, or the permits of a semaphore.
 */
import * as Argument from "effect/cli/Argument"
import * as Cli from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { isatty } from "node:tty"
import { untrusted } from "../internal/base/text.ts"
import type { NodesUnavailable } from "../LockError.ts"
import * as Redsync from "../Redsync.ts"
import { forceReleasePermits, inspectPermits } from "../Semaphore.ts"
import { fail, fromLockError, nodesUnavailable, wrongOptionsAreUsage, wrongUsage } from "./failure.ts"
import { describe, look, type View } from "./holder.ts"
import { connected, OpenNodes } from "./nodes.ts"
import { noLog, type Paint, paint } from "./output.ts"
import { describePermits } from "./permits.ts"
import { switchFlag } from "./switch.ts"

/** Whether too few nodes answer to determine the holder. */
const isOutOfReach = ({ nodes, quorum }: View) =>
  nodes.filter(({ state }) => state === "failed").length > nodes.length - quorum

const valuesOn = (node: View["nodes"][number]): ReadonlyArray<string> =>
  node.state === "held" ? [node.value] : node.state === "shared" ? node.holders.map(({ value }) => value) : []

const valuesOf = ({ nodes }: View) => new Set(nodes.flatMap(valuesOn))

const ask = (question: string) =>
  Effect.acquireUseRelease(
    // Loaded only when it is needed.
    Effect.map(
      Effect.promise(() => import("node:readline/promises")),
      ({ createInterface }) => createInterface({ input: process.stdin, output: process.stdout })
    ),
    (readline) =>
      Effect.callback<boolean>((resume) => {
        const abort = new AbortController()
        // Ctrl-C and the end of the input both count as no.
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

/** Deletes the values that were shown, and nothing written since. */
const remove = (view: View): Effect.Effect<unknown, NodesUnavailable, Redsync.Redsync | OpenNodes> =>
  Effect.forEach(valuesOf(view), (value) => value === "" ? removeEmpty(view.name) : Redsync.unlock(view.name, value))

/** No lock of the library has an empty value, so only the nodes themselves can release one. */
const removeEmpty = (name: string) =>
  Effect.gen(function*() {
    const { prefix } = yield* (yield* Redsync.Redsync).topology
    yield* Effect.forEach(
      yield* OpenNodes,
      (node) => Effect.timeoutOption(Effect.ignore(node.release(prefix + name, "")), "3 seconds"),
      { concurrency: "unbounded", discard: true }
    )
  })

/** Reports the outcome; fails if any of what was shown is left. */
const conclude = (before: View, after: View, colours: Paint) =>
  Effect.gen(function*() {
    const failed = after.nodes.filter(({ state }) => state === "failed").map(({ node }) => untrusted(node))
    const isGone = after.nodes.every(({ state }) => state === "free" || state === "failed")
    if (isGone && failed.length === 0) return yield* Console.log("Deleted.")
    if (isGone) {
      return yield* Console.log(
        `Deleted, except on nodes that did not answer: ${failed.join(", ")} may have it until it expires.`
      )
    }
    const shown = valuesOf(before)
    const isLeft = after.nodes.some((node) =>
      node.state === "not a lock" || valuesOn(node).some((value) => shown.has(value))
    )
    yield* Console.log(
      [isLeft ? "Not deleted. Current state:" : "Deleted. Current state:", ...describe(after, colours)].join("\n")
    )
    if (!isLeft) return
    const isUnreadable = [...valuesOf(after)].some((value) => shown.has(value) && value.includes("\uFFFD"))
    return yield* fail(
      1,
      isUnreadable
        ? `its value is not text, and cannot be compared; ${forceIsFor}`
        : "it is still there, or there again"
    )
  })

/** Asks for confirmation, unless `--yes` was given. */
const confirm = Effect.fnUntraced(function*(yes: boolean, question: string) {
  if (yes) return
  if (!isatty(0)) return yield* fail(wrongUsage, "not deleted: standard input is not a terminal, so --yes is needed")
  if (!(yield* ask(`${question} [y/N] `))) return yield* fail(1, "left alone")
})

/** Releases the permits of all holders. */
const takePermits = ({ name, permits }: View, yes: boolean, colours: Paint) =>
  Effect.gen(function*() {
    if (permits === null) {
      const { nodes } = yield* inspectPermits(name)
      const refused = nodes.find((view) => view._tag === "Failed" && view.error.reason === "Rejected")
      return refused?._tag === "Failed"
        ? yield* fail(1, `cannot tell whether there are permits: ${refused.error.message}`)
        : yield* Console.log("There is nothing to delete.")
    }
    yield* confirm(yes, "The holders notice only when they next extend their permits. Release all of them?")
    yield* Effect.mapError(forceReleasePermits(name), fromLockError)
    const after = yield* look(name)
    const failed = after.nodes.filter(({ state }) => state === "failed").map(({ node }) => untrusted(node))
    if (after.permits !== null) {
      const lines = describePermits(name, after.quorum, after.permits, colours)
      return yield* Console.log(["Deleted. Current state:", ...lines].join("\n"))
    }
    yield* Console.log(
      failed.length === 0
        ? "Deleted."
        : `Deleted, except on nodes that did not answer: ${failed.join(", ")} may have some until they expire.`
    )
  })

const forceIsFor = "--force deletes the key, whatever it is"

export const unlock = Cli.make(
  "unlock",
  {
    name: Argument.String("name").pipe(
      Argument.withDescription("The lock to release, or with --permits the semaphore")
    ),
    yes: switchFlag("yes", "Do not ask for confirmation").pipe(Flag.withAlias("y")),
    force: switchFlag("force", "Delete the key even if it is not a lock: one that never expires, or someone's data"),
    permits: switchFlag(
      "permits",
      "Release all permits of the semaphore of that name; a lock of that name is left alone"
    )
  },
  Effect.fn(function*({ force, name, permits, yes }) {
    yield* Effect.gen(function*() {
      const colours = yield* paint
      const before = yield* look(name)
      yield* Console.log(describe(before, colours).join("\n"))
      if (isOutOfReach(before)) {
        return yield* fail(nodesUnavailable, `too few nodes answer to release the ${permits ? "permits" : "lock"}`)
      }
      if (permits) return yield* takePermits(before, yes, colours)
      if (before.state === "permits") {
        return yield* fail(
          1,
          "left alone: there is a semaphore of that name, but no lock; --permits releases its permits"
        )
      }
      if (!force && before.nodes.some(({ state }) => state === "not a lock")) {
        return yield* fail(1, `left alone: a key that is not a lock may be someone's data; ${forceIsFor}`)
      }
      if (before.nodes.every(({ state }) => state === "free" || state === "failed")) {
        return yield* Console.log("There is nothing to delete.")
      }
      yield* confirm(yes, "The holder notices only when it next extends the lock. Delete the lock?")
      yield* Effect.mapError(force ? Redsync.forceUnlock(name) : remove(before), fromLockError)
      yield* conclude(before, yield* look(name), colours)
    }).pipe(
      Effect.provide(connected),
      wrongOptionsAreUsage,
      Effect.provide(noLog)
    )
  })
).pipe(
  Cli.withDescription(
    "Forcibly releases a lock, or with --permits all permits of a semaphore, after showing the holders and asking for confirmation. " +
      "Exits with 1 if any of what was shown remains, for instance because it is not a lock or the answer was no."
  ),
  Cli.withShortDescription("Forcibly releases a lock."),
  Cli.withExamples([
    { command: "redsync unlock nightly-billing", description: "Shows the holder and asks for confirmation" },
    { command: "redsync unlock --yes nightly-billing", description: "For scripts" },
    { command: "redsync unlock --permits browsers", description: "Shows who holds permits and asks for confirmation" }
  ])
)
