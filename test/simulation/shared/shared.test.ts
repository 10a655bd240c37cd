import { suite } from "../suite.ts"
import { run } from "./history.ts"
import { mutations } from "./mutations.ts"

suite("the simulator of shared locks", {
  run,
  seeds: 98,
  contained: {
    "shared": 1000,
    "exclusive": 500,
    "faults": 150,
    "servers that lost data": 5,
    "outcome: LockLost": 5,
    "outcome: NodesUnavailable": 1
  },
  mutations,
  program: new URL("mutations.ts", import.meta.url)
})
