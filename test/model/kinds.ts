/** The models of shared locks and of semaphores, each with its rules, as tests. */
import { describe, it } from "@effect/vitest"
import { checkBroken, checkSteps } from "./check.ts"
import type * as PermitModels from "./permits/models.ts"
import { Permits } from "./permits/protocol.ts"
import { rules as permitRules } from "./permits/rules.ts"
import type * as SharingModels from "./sharing/models.ts"
import { Sharing } from "./sharing/protocol.ts"
import { rules as sharingRules } from "./sharing/rules.ts"

const timeout = 600_000

export const sharing = (cases: ReadonlyArray<SharingModels.Case>, faults: ReadonlyArray<SharingModels.Seeded>) =>
  describe("the model of shared locks", () => {
    for (const { model, shared, ...expected } of cases) {
      it(
        expected.name,
        { timeout },
        () => checkSteps(new Sharing(model), { ...expected, notable: shared, as: "shared, or downgraded" })
      )
    }
    for (const { model, rule, ...expected } of faults) {
      it(
        `finds ${rule} broken: ${model.fault}`,
        { timeout },
        () => checkBroken(new Sharing(model), { ...expected, rule, says: sharingRules[rule].says, fault: model.fault })
      )
    }
  })

export const permits = (cases: ReadonlyArray<PermitModels.Case>, faults: ReadonlyArray<PermitModels.Seeded>) =>
  describe("the model of semaphores", () => {
    for (const { model, settled, ...expected } of cases) {
      it(
        expected.name,
        { timeout },
        () => checkSteps(new Permits(model), { ...expected, notable: settled, as: "held by a second round" })
      )
    }
    for (const { model, rule, ...expected } of faults) {
      it(
        `finds ${rule} broken: ${model.fault}`,
        { timeout },
        () => checkBroken(new Permits(model), { ...expected, rule, says: permitRules[rule].says, fault: model.fault })
      )
    }
  })
