/**
 * Places where commands of `redsync run` work, so that it can be seen which of
 * them lives, and who worked when.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { find } from "../../src/cli/run/processes.ts"
import { type Options, path, start } from "./commandLine.ts"
import { until } from "./faults.ts"

/** Writes its number into `pids`, then a line into `log` again and again. */
export const worker = `echo $$ >> "$DIRECTORY/pids"; while :; do echo at work >> "$DIRECTORY/log"; sleep 0.02; done`

/** The same, and nothing but SIGKILL ends it. */
const deaf = `trap '' TERM INT HUP; ${worker}`

export interface Place {
  readonly env: Record<string, string>
  readonly run: (args: ReadonlyArray<string>, options?: Options) => ReturnType<typeof start>
  readonly log: () => ReadonlyArray<string>
  /** What stands in another file there, a space instead of every line's end. */
  readonly read: (name: string) => string
  /** The workers that have been started. */
  readonly pids: () => ReadonlyArray<number>
  /** Waits until there are so many workers, all at work. */
  readonly atWork: (count: number) => Effect.Effect<void>
  /** Waits until none of them is left. */
  readonly gone: Effect.Effect<void>
}

export const isAlive = (pid: number): boolean => find(pid) !== undefined

const linesOf = (file: string): ReadonlyArray<string> =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : []

/** A directory with the workers as programs in it. None of them is left when the scope closes. */
export const place = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "redsync-tree-"))),
    (directory) =>
      Effect.sync(() => {
        for (const pid of linesOf(join(directory, "pids")).map(Number).filter(isAlive)) process.kill(pid, "SIGKILL")
        rmSync(directory, { recursive: true })
      })
  ),
  (directory): Place => {
    writeFileSync(join(directory, "worker"), `#!/bin/sh\n${worker}\n`, { mode: 0o755 })
    writeFileSync(join(directory, "deaf"), `#!/bin/sh\n${deaf}\n`, { mode: 0o755 })
    const lines = (name: string) => linesOf(join(directory, name))
    const env = { DIRECTORY: directory, PATH: `${directory}:${path}` }
    const pids = () => lines("pids").map(Number)
    return {
      env,
      run: (args, options) => start(["run", ...args], { ...options, env: { ...env, ...options?.env } }),
      log: () => lines("log"),
      read: (name) => lines(name).join(" "),
      pids,
      atWork: (count) =>
        until(
          `${count} workers at work`,
          Effect.sync(() => pids().length >= count && lines("log").length > count)
        ),
      gone: until("no worker is left", Effect.sync(() => !pids().some(isAlive)))
    }
  }
)

/**
 * Whether a terminal or somebody else has stopped it. A shell that has just forked
 * by vfork waits for a child that was stopped before it became another program.
 */
export const isStopped = (pid: number): boolean => {
  const stateOf = (pid: number) => /\) (\w) /.exec(readFileSync(`/proc/${pid}/stat`, "latin1"))?.[1]
  const state = stateOf(pid)
  if (state !== "D") return state === "T"
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ").filter(Boolean).map(Number)
  return children.some((child) => stateOf(child) === "T")
}

/** None of its workers lives. */
export const assertNoneAlive = ({ pids }: Place) => assert.deepStrictEqual(pids().filter(isAlive), [])
