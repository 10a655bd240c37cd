/** The models, within bounds that take seconds; `model.long.test.ts` has the rest. */
import { describe, it } from "@effect/vitest"
import { check, checkFault, checkRules } from "./check.ts"
import { fullFaults, small, smallFaults } from "./models.ts"
import { rules } from "./rules.ts"

describe("the model", () => {
  for (const model of small) it(model.name, () => check(model))
})

describe("a broken rule is found", () => {
  for (const fault of smallFaults) it(`${fault.rule}: ${fault.model.fault}`, () => checkFault(fault))
})

it("every rule is kept by something, and broken on purpose in a model or it is said why not", () => {
  checkRules(rules, [...smallFaults, ...fullFaults])
})
