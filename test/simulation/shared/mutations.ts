/**
 * The simulator of shared locks put to the test: wrong algorithms, and after how many
 * histories each is found out. `node test/simulation/shared/mutations.ts` tries them all,
 * with `--quick` each first on the history that found it last.
 */
import { fileURLToPath } from "node:url"
import { type Edit, loadMutated } from "../../support/mutated.ts"
import type * as History from "./history.ts"

export interface Mutation {
  readonly name: string
  readonly edits: ReadonlyArray<Edit>
  /** It is to be found within so many histories. */
  readonly within: number
  /** A history that finds it, unless the simulator or the library has changed since; tried first where time is short. */
  readonly seed: number
}

const edit = (file: string, piece: string, instead: string): Edit => ({ file, piece, instead })

const table = "src/internal/memory/readerTable.ts"
const attempt = "src/internal/acquire/attempt.ts"
const held = "src/internal/hold/heldLock.ts"

export const mutations: ReadonlyArray<Mutation> = [
  {
    name: "the key lives as long as the reader that came last",
    edits: [
      edit(
        table,
        "this.#keys.set(key, { value: sharedMarker, expiresAt })",
        "this.#keys.set(key, { value: sharedMarker, expiresAt: [...readers.values()].at(-1)! })"
      )
    ],
    within: 1000,
    seed: 18
  },
  {
    name: "the release of a reader deletes the key",
    edits: [
      edit(
        table,
        "if (table.readers.delete(value)) this.#expire(key, table, now)",
        "if (table.readers.delete(value)) this.#keys.delete(key)"
      )
    ],
    within: 1000,
    seed: 1
  },
  {
    name: "a reader comes in beside a writer",
    edits: [edit(table, "(held !== undefined && held !== sharedMarker) || (table", "(table")],
    within: 100,
    seed: 1
  },
  {
    name: "one node is enough for a reader",
    edits: [
      edit(
        attempt,
        "if (granted(tally) && remainingMillis",
        "if ((granted(tally) || (claim.settings.isShared && tally.grants > 0)) && remainingMillis"
      )
    ],
    within: 1000,
    seed: 2
  },
  {
    name: "a writer believes to be one until it is a reader",
    edits: [
      edit(
        held,
        "this.#context.waitQueues.releasing(this)\n    this.#recordEnd(\"released\")\n    this.#listeners.clear()\n    this.#released =",
        "this.#released ="
      ),
      edit(
        held,
        "  exclusiveEnded(isGranted: boolean): void {\n",
        "  exclusiveEnded(isGranted: boolean): void {\n    if (this.#isHeld) this.#recordEnd(\"released\")\n"
      )
    ],
    within: 1000,
    seed: 51
  }
]

export interface Verdict {
  readonly name: string
  /** The number of histories until the first that broke a promise, none if there was none within the bound. */
  readonly histories: number | undefined
  readonly within: number
  readonly promise: string | undefined
}

const judge = async ({ edits, name, seed: known, within }: Mutation, isQuick: boolean): Promise<Verdict> => {
  const [{ run }] = await loadMutated(edits, [new URL("history.ts", import.meta.url)]) as [typeof History]
  const broken = isQuick ? run(known).violation?.promise : undefined
  if (broken !== undefined) return { name, histories: 1, within, promise: broken }
  for (let seed = 1; seed <= within; seed++) {
    const { violation } = run(seed)
    if (violation !== undefined) return { name, histories: seed, within, promise: violation.promise }
  }
  return { name, histories: undefined, within, promise: undefined }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  Error.stackTraceLimit = 0
  const args = process.argv.slice(2)
  const chosen = args.filter((arg) => arg !== "--quick")
  for (const mutation of mutations) {
    if (chosen.length > 0 && !chosen.includes(mutation.name)) continue
    console.log(JSON.stringify(await judge(mutation, args.includes("--quick"))))
  }
}
