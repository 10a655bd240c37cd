/** The models of shared locks and semaphores, within bounds that take seconds; `kinds.long.test.ts` has the rest. */
import { it } from "@effect/vitest"
import { checkRules } from "./check.ts"
import { permits, sharing } from "./kinds.ts"
import * as Permits from "./permits/models.ts"
import { rules as permitRules } from "./permits/rules.ts"
import * as Sharing from "./sharing/models.ts"
import { rules as sharingRules } from "./sharing/rules.ts"

sharing(Sharing.small, Sharing.faults)
permits(Permits.small, Permits.smallFaults)

it("every rule is kept by something, and broken on purpose in a model or it is said why not", () => {
  checkRules(sharingRules, Sharing.faults)
  checkRules(permitRules, [...Permits.smallFaults, ...Permits.fullFaults])
})
