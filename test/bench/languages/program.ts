/** A program of another language, which answers each line with a line. */
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import type { Command } from "./build.ts"

export interface Program {
  /** Its language and library with their versions. */
  readonly runsOn: string
  readonly ask: (line: string) => Effect.Effect<string>
}

/** Starts a program, which ends with the scope. */
export const start = (
  [program, ...args]: Command,
  addresses: ReadonlyArray<string>
): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(program, [...args, ...addresses])),
      (child) =>
        Effect.promise(async () => {
          if (child.exitCode === null && child.signalCode === null && child.kill()) await once(child, "exit")
        })
    )
    // That it has ended is seen from its output.
    child.on("error", () => {})
    child.stdin.on("error", () => {})
    let errors = ""
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text
    })
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const read = Effect.promise(async () => {
      const { done, value } = await lines.next()
      if (done) throw new Error(`${program} has ended: ${errors}`)
      return value
    })
    return {
      runsOn: yield* read,
      ask: (line) => Effect.andThen(Effect.sync(() => child.stdin.write(`${line}\n`)), read)
    }
  })
