/** Histories of the library itself, with two deviations or three: minutes. */
import { describe, it } from "@effect/vitest"
import { breaksNothing } from "./check.ts"
import { scenarios } from "./scenario.ts"

const timeout = 1_800_000

describe("messages that overtake others, twice", () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    it(name, { timeout }, () => breaksNothing(name, scenario, { deviations: 2, faults: 0 }))
  }
})

describe("one turn each", () => {
  const once = scenarios["one turn each"]
  it("whatever happens twice", { timeout }, () => breaksNothing("one turn each", once, { deviations: 2, faults: 2 }))
  it(
    "messages that overtake others, three times",
    { timeout },
    () => breaksNothing("one turn each", once, { deviations: 3, faults: 0 })
  )
})
