/** A model against what is to be found in it, with a line of what was found. */
import { assert } from "@effect/vitest"
import type { Case, Seeded } from "./models.ts"
import { Protocol } from "./protocol.ts"
import { rules } from "./rules.ts"
import { search } from "./search.ts"

export const check = ({ byTransfer, model, name, states, violation }: Case): void => {
  const found = search(new Protocol(model))
  const outcome = found.violation === undefined
    ? "safe"
    : `${found.violation.what}: ${found.violation.trace.join("; ")}`
  console.log(`${name}: ${found.states} states, ${found.notable} of them held by a transfer alone, ${outcome}`)
  assert.deepStrictEqual(
    { states: found.states, byTransfer: found.notable, what: found.violation?.what },
    { states, byTransfer, what: violation }
  )
}

export const checkFault = ({ model, rule, states, steps }: Seeded): void => {
  const found = search(new Protocol(model))
  const trace = found.violation?.trace ?? []
  console.log(
    [
      `${rule} broken (${rules[rule].says}): ${model.fault}, found after ${found.states} states`,
      ...trace,
      found.violation?.what ?? "not found"
    ].join("\n  ")
  )
  assert.deepStrictEqual({ states: found.states, steps: trace.length }, { states, steps })
  assert.notInclude(trace, "", "each step of the trace is known")
}
