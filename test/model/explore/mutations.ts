/**
 * The explorer put to the test: wrong algorithms, of those of the simulator, that a
 * single deviation shows. `node test/model/explore/mutations.ts` prints a line of JSON
 * for each; names as arguments choose others.
 */
import { fileURLToPath } from "node:url"
import { mutations } from "../../simulation/mutations.ts"
import { loadMutated } from "../../support/mutated.ts"
import type * as Explore from "./explore.ts"
import { scenarios } from "./scenario.ts"

export const found: ReadonlyArray<string> = [
  "a straggler's late SET unreleased",
  "no clean-up after an interruption",
  "a late extension after the release",
  "clean-ups that are tried once",
  "a release that has failed is not tried again",
  "clean-ups that delete whatever is there",
  "success after the lease has ended"
]

export interface Verdict {
  readonly name: string
  /** What went wrong, in which scenario, and after how many histories of it; none if nothing did. */
  readonly violation: string | undefined
}

const attempt = async (name: string): Promise<Verdict> => {
  const mutation = mutations.find((mutation) => mutation.name === name)
  if (mutation === undefined) throw new Error(`no mutation is called ${name}`)
  const [{ explore }] = await loadMutated(mutation.edits, [new URL("explore.ts", import.meta.url)]) as [typeof Explore]
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
