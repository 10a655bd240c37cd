import { suite } from "../suite.ts"
import { run } from "./history.ts"
import { mutations } from "./mutations.ts"

suite("the simulator of semaphores", {
  run,
  seeds: 300,
  // A holder that stood still from its grant until its lease had ended.
  shown: [12_721],
  contained: {
    "grants": 3000,
    "faults": 300,
    "servers that lost data": 20,
    "outcome: ErrFailed": 50,
    "outcome: LockLost": 5,
    "outcome: NodesUnavailable": 1
  },
  mutations,
  program: new URL("mutations.ts", import.meta.url)
})
