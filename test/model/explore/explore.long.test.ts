/** Histories of the library itself, with two deviations: a quarter of an hour. */
import { describe, it } from "@effect/vitest"
import { breaksNothing } from "./check.ts"
import { scenarios } from "./scenario.ts"

describe("whatever happens twice", () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    it(
      name,
      { timeout: 1_800_000 },
      () => breaksNothing(name, scenario, { deviations: 2, faults: name === "one turn each" ? 2 : 1 })
    )
  }
})
