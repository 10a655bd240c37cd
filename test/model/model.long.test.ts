/** The models within all bounds: a minute or two, and two gigabytes at most. */
import { describe, it } from "@effect/vitest"
import { check, checkFault } from "./check.ts"
import { full, fullFaults, small, smallFaults } from "./models.ts"

describe("the model", () => {
  for (const model of [...small, ...full]) it(model.name, { timeout: 600_000 }, () => check(model))
})

describe("a broken rule is found", () => {
  for (const fault of [...smallFaults, ...fullFaults]) {
    it(`${fault.rule}: ${fault.model.fault}`, { timeout: 600_000 }, () => checkFault(fault))
  }
})
