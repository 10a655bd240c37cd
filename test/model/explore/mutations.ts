/**
 * The explorer put to the test: wrong algorithms that a single deviation shows, of the
 * simulator's and of its own, about handing over. `node test/model/explore/mutations.ts` prints a line of JSON
 * for each; names as arguments choose others.
 */
import { fileURLToPath } from "node:url"
import { mutations } from "../../simulation/mutations.ts"
import { type Edit, loadMutated } from "../../support/mutated.ts"
import type * as Explore from "./explore.ts"
import { scenarios } from "./scenario.ts"

const edit = (file: string, piece: string, instead: string): Edit => ({ file, piece, instead })

/** Each breaks the rule that it begins with. */
const own: Readonly<Record<string, ReadonlyArray<Edit>>> = {
  "S4: a lease that is longer than the key lives": [edit(
    "src/internal/waiting/stopwatch.ts",
    "return { sentAt: reading.sentAt, elapsedMillis, millis: ttlMillis }",
    "return { sentAt: reading.sentAt, elapsedMillis, millis: ttlMillis + 50 }"
  )],
  "S5: what is handed over to a dead value": [edit(
    "src/internal/waiting/placeInLine.ts",
    "return state._tag !== \"Turn\" && state.claim?.value === value",
    "return state._tag !== \"Turn\""
  )],
  "S11: what is handed over to a dead value is left": [edit(
    "src/internal/waiting/waitQueues.ts",
    "return this.#onDead(node, notice.key, notice.value)",
    "return"
  )],
  "L4: nodes that have not handed the lock over are not asked": [edit(
    "src/internal/waiting/placeInLine.ts",
    "this.#after(millis, () => this.#topUp(state))",
    "void millis"
  )],
  "L4: a place whose votes do not suffice is kept": [edit(
    "src/internal/waiting/placeInLine.ts",
    "if (this.#end(state, terms) === undefined) this.#startAnew(state)",
    ""
  )],
  "L8: votes of a wait that is over are kept": [edit(
    "src/internal/waiting/placeInLine.ts",
    "state.claim.giveUp(state.wasToppedUp ? this.#context.nodes : state.votes.nodes, isHandedOn)",
    ""
  )]
}

/** Those that are tried: of the simulator's these, and all of its own. */
export const found: ReadonlyArray<string> = [
  "a straggler's late SET unreleased",
  "no clean-up after an interruption",
  "a late extension after the release",
  "clean-ups that are tried once",
  "a release that has failed is not tried again",
  "clean-ups that delete whatever is there",
  "success after the lease has ended",
  ...Object.keys(own)
]

export interface Verdict {
  readonly name: string
  /** What went wrong, in which scenario, and after how many histories of it; none if nothing did. */
  readonly violation: string | undefined
}

const attempt = async (name: string): Promise<Verdict> => {
  const edits = own[name] ?? mutations.find((mutation) => mutation.name === name)?.edits
  if (edits === undefined) throw new Error(`no mutation is called ${name}`)
  const [{ explore }] = await loadMutated(edits, [new URL("explore.ts", import.meta.url)]) as [typeof Explore]
  for (const [title, scenario] of Object.entries(scenarios)) {
    const { histories, violation } = explore(scenario, { deviations: 1, faults: 1 })
    const what = violation?.find((line) => line.includes("!!!"))
    if (what !== undefined) return { name, violation: `${title}, after ${histories} histories: ${what.trim()}` }
  }
  return { name, violation: undefined }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  Error.stackTraceLimit = 0
  const chosen = process.argv.slice(2)
  for (const name of chosen.length > 0 ? chosen : found) console.log(JSON.stringify(await attempt(name)))
}
