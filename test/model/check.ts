/** A model against what is to be found in it, with a line of what was found. */
import { assert } from "@effect/vitest"
import type { Case, Seeded } from "./models.ts"
import { Protocol } from "./protocol.ts"
import { type Rule, rules } from "./rules.ts"
import { search, type Steps } from "./search.ts"

export interface Expected {
  readonly name: string
  /** All states that can be reached; those before the violation, if there is one. */
  readonly states: number
  /** How many of them are notable, and what for. */
  readonly notable: number
  readonly as: string
  readonly violation?: string | undefined
}

export const checkSteps = (steps: Steps, { as, name, notable, states, violation }: Expected): void => {
  const found = search(steps)
  const outcome = found.violation === undefined
    ? "safe"
    : `${found.violation.what}: ${found.violation.trace.join("; ")}`
  console.log(`${name}: ${found.states} states, ${found.notable} of them ${as}, ${outcome}`)
  assert.deepStrictEqual(
    { states: found.states, notable: found.notable, what: found.violation?.what },
    { states, notable, what: violation }
  )
}

/** A rule that is broken, what it says, and how. */
export interface Broken {
  readonly rule: string
  readonly says: string
  readonly fault: string
  readonly states: number
  /** The shortest way to a violation. */
  readonly steps: number
}

export const checkBroken = (model: Steps, { fault, rule, says, states, steps }: Broken): void => {
  const found = search(model)
  const trace = found.violation?.trace ?? []
  console.log(
    [
      `${rule} broken (${says}): ${fault}, found after ${found.states} states`,
      ...trace,
      found.violation?.what ?? "not found"
    ].join("\n  ")
  )
  assert.deepStrictEqual({ states: found.states, steps: trace.length }, { states, steps })
  assert.notInclude(trace, "", "each step of the trace is known")
}

export const check = ({ byTransfer, model, ...expected }: Case): void =>
  checkSteps(new Protocol(model), { ...expected, notable: byTransfer, as: "held by a transfer alone" })

export const checkFault = ({ model, rule, ...expected }: Seeded): void =>
  checkBroken(new Protocol(model), { ...expected, rule, says: rules[rule].says, fault: model.fault })

/** Each rule is kept by something, and broken on purpose in a model, or it is said why not. */
export const checkRules = (rules: Readonly<Record<string, Rule>>, faults: ReadonlyArray<{ readonly rule: string }>) => {
  const broken = new Set(faults.map(({ rule }) => rule))
  for (const [name, rule] of Object.entries(rules)) {
    assert.strictEqual(broken.has(name), rule.notInModel === undefined, name)
    assert.isNotEmpty(rule.keptBy, name)
  }
}
