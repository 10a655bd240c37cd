/** What is explored, and that it breaks no promise. */
import { assert } from "@effect/vitest"
import { type Bounds, explore } from "./explore.ts"
import type { Scenario } from "./scenario.ts"

export const breaksNothing = (name: string, scenario: Scenario, bounds: Bounds): void => {
  // Nobody reads where an error was made, and finding out is slow.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    const { histories, states, steps, violation } = explore(scenario, bounds)
    console.log(
      `${name}, ${bounds.deviations} deviations, ${bounds.faults} of them faults: ` +
        `${histories} histories, ${steps} steps, ${states} states`
    )
    if (violation !== undefined) assert.fail(violation.join("\n"))
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
