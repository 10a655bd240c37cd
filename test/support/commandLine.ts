/**
 * The command line as a user starts it: built, and a process of its own.
 */
import { Effect } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { buildCommandLine } from "../../esbuild.config.ts"

const directory = mkdtempSync(join(tmpdir(), "redsync-cli-"))
process.on("exit", () => rmSync(directory, { recursive: true, force: true }))
writeFileSync(join(directory, "package.json"), `{ "type": "module" }`)
await buildCommandLine(directory)

/** The program, for a shell as well as for Node. */
export const program = join(directory, "bin.js")

/** The Node that runs the tests is the one that runs the program, which finds its own where shells find theirs. */
export const path = `${dirname(process.execPath)}${delimiter}${process.env["PATH"]}`

/**
 * Nodes have time to answer: on a busy machine one that is late would be reported on standard error, between what the
 * command prints. Tests of nodes that do not answer set their own.
 */
export const patient = { REDSYNC_NODE_TIMEOUT: "10s" }

export interface Ended {
  /** The exit code, or the signal that ended it. */
  readonly code: number | NodeJS.Signals
  readonly output: string
  readonly errors: string
}

export interface Running {
  readonly pid: number
  /** Waits until so much has been printed on standard output, and returns all of it. */
  readonly printed: (text: string) => Effect.Effect<string>
  /** The same on standard error. */
  readonly said: (text: string) => Effect.Effect<string>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
}

export interface Options {
  readonly nodes?: ReadonlyArray<string>
  readonly input?: string
  readonly env?: Record<string, string>
  /** A file for standard output, which is a pipe to us otherwise. */
  readonly outputTo?: string
  /** A command and its arguments that runs it. */
  readonly under?: ReadonlyArray<string>
}

/** Starts `redsync` with these arguments; killed when the scope closes. */
export const start = (args: ReadonlyArray<string>, options: Options = {}) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => launch(args, options)),
      ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
    ),
    ({ running }) => running
  )

/** Runs it to its end. */
export const redsync = (args: ReadonlyArray<string>, options?: Options): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(start(args, options), ({ ended }) => ended))

const launch = (args: ReadonlyArray<string>, { env, input, nodes, outputTo, under = [] }: Options) => {
  const { REDSYNC_NODES: _, ...inherited } = process.env
  const output = outputTo === undefined ? undefined : openSync(outputTo, "w")
  const [file, ...rest] = [...under, program, ...args]
  const child = spawn(file!, rest, {
    env: {
      ...inherited,
      ...patient,
      PATH: path,
      NO_COLOR: "1",
      ...nodes !== undefined && { REDSYNC_NODES: nodes.join(",") },
      ...env
    },
    stdio: ["pipe", output ?? "pipe", "pipe"],
    // Without the terminal of whoever runs the tests.
    detached: true
  })
  if (output !== undefined) closeSync(output)
  child.stdin!.on("error", () => {})
  child.stdin!.end(input ?? "")
  return { child, running: observe(child) }
}

const observe = (child: ChildProcess): Running => {
  let output = ""
  let errors = ""
  const listeners = new Set<() => void>()
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output += text
    for (const listener of listeners) listener()
  })
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    errors += text
    for (const listener of listeners) listener()
  })
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code, signal) => resolve({ code: code ?? signal!, output, errors }))
  })
  const seen = (text: string, where: () => string) =>
    Effect.callback<string>((resume) => {
      const look = () => {
        if (!where().includes(text)) return
        listeners.delete(look)
        resume(Effect.succeed(where()))
      }
      listeners.add(look)
      look()
      void ended.then(({ errors }) => resume(Effect.die(new Error(`It never printed ${text}:\n${output}${errors}`))))
    })
  return {
    pid: child.pid!,
    printed: (text) => seen(text, () => output),
    said: (text) => seen(text, () => errors),
    signal: (signal) => Effect.sync(() => child.kill(signal)),
    ended: Effect.promise(() => ended)
  }
}
