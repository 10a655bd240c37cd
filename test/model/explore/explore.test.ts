/** Histories of the library itself within bounds that take seconds; `explore.long.test.ts` has more. */
import { assert, describe, it } from "@effect/vitest"
import { breaksNothing, scenarios } from "./check.ts"
import { type Bounds, explore } from "./explore.ts"

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
