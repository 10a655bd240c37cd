/** The models, within bounds that take seconds; `model.long.test.ts` has the rest. */
import { assert, describe, it } from "@effect/vitest"
import { check, checkFault } from "./check.ts"
import { fullFaults, small, smallFaults } from "./models.ts"
import { type Rule, rules } from "./rules.ts"

describe("the model", () => {
  for (const model of small) it(model.name, () => check(model))
})

describe("a broken rule is found", () => {
  for (const fault of smallFaults) it(`${fault.rule}: ${fault.model.fault}`, () => checkFault(fault))
})

it("every rule is kept by something, and broken on purpose in a model or it is said why not", () => {
  const broken = new Set([...smallFaults, ...fullFaults].map(({ rule }) => rule))
  for (const [name, rule] of Object.entries<Rule>(rules)) {
    assert.strictEqual(broken.has(name as keyof typeof rules), rule.notInModel === undefined, name)
    assert.isNotEmpty(rule.keptBy, name)
  }
})
