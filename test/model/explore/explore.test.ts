/** Histories of the library itself within bounds that take seconds; `explore.long.test.ts` has more. */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { breaksNothing } from "./check.ts"
import { type Bounds, explore } from "./explore.ts"
import { found, type Verdict } from "./mutations.ts"
import { scenarios } from "./scenario.ts"

describe("whatever happens once", () => {
  const once: Bounds = { deviations: 1, faults: 1 }
  for (const [name, scenario] of Object.entries(scenarios)) it(name, () => breaksNothing(name, scenario, once))
})

it("two messages that overtake others", () =>
  breaksNothing("one turn each", scenarios["one turn each"], { deviations: 2, faults: 0 }))

it("the same bounds have the same histories", () => {
  const { histories, states } = explore(scenarios["one turn each"], { deviations: 1, faults: 1 })
  const again = explore(scenarios["one turn each"], { deviations: 1, faults: 1 })
  assert.deepStrictEqual({ histories, states }, { histories: again.histories, states: again.states })
})

// In a process of its own, whose modules are loaded by Node itself, so that they can be changed on the way.
it("finds out wrong algorithms", { timeout: 300_000 }, async () => {
  const script = fileURLToPath(new URL("mutations.ts", import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [script])
  const verdicts = stdout.trim().split("\n").map((line) => JSON.parse(line) as Verdict)
  assert.deepStrictEqual(verdicts.map(({ name }) => name), found)
  for (const { name, violation } of verdicts) assert.isDefined(violation, name)
})
