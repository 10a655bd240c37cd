/**
 * Simulators put to the test: wrong algorithms, and after how many histories each is found out.
 */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import type { Edit } from "../support/mutated.ts"

export interface Mutation {
  readonly name: string
  readonly edits: ReadonlyArray<Edit>
  /** It is to be found within so many histories. */
  readonly within: number
  /** A history that finds it, unless the simulator or the library has changed since; tried first where time is short. */
  readonly seed: number
}

export const edit = (file: string, piece: string, instead: string): Edit => ({ file, piece, instead })

export interface Verdict {
  readonly name: string
  /** The number of histories until the first that broke a promise, none if there was none within the bound. */
  readonly histories: number | undefined
  readonly within: number
  readonly promise: string | undefined
}

/** The promise that the history of a seed breaks first. */
export type Simulate = (seed: number) => string | undefined

const judge = (mutation: Mutation, simulate: Simulate, isQuick: boolean): Verdict => {
  const { name, within } = mutation
  const known = isQuick ? simulate(mutation.seed) : undefined
  if (known !== undefined) return { name, histories: 1, within, promise: known }
  for (let seed = 1; seed <= within; seed++) {
    const promise = simulate(seed)
    if (promise !== undefined) return { name, histories: seed, within, promise }
  }
  return { name, histories: undefined, within, promise: undefined }
}

/**
 * Tries them all and prints a line of JSON for each; names as arguments choose some. With `--quick`
 * each is first tried on the history that found it last. Only where the module is the program that runs.
 */
export const main = async (
  module: string,
  mutations: ReadonlyArray<Mutation>,
  load: (mutation: Mutation) => Promise<Simulate>
): Promise<void> => {
  if (process.argv[1] !== fileURLToPath(module)) return
  Error.stackTraceLimit = 0
  const args = process.argv.slice(2)
  const chosen = args.filter((arg) => arg !== "--quick")
  for (const mutation of mutations) {
    if (chosen.length > 0 && !chosen.includes(mutation.name)) continue
    console.log(JSON.stringify(judge(mutation, await load(mutation), args.includes("--quick"))))
  }
}

/** The verdicts of such a program, whose modules are loaded by Node itself, so that they can be changed on the way. */
export const verdicts = async (program: URL): Promise<ReadonlyArray<Verdict>> => {
  const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(program), "--quick"])
  return stdout.trim().split("\n").map((line) => JSON.parse(line) as Verdict)
}
