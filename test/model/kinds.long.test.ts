/** The models of shared locks and semaphores within all bounds: a few minutes, and a gigabyte at most. */
import { permits, sharing } from "./kinds.ts"
import * as Permits from "./permits/models.ts"
import * as Sharing from "./sharing/models.ts"

sharing([...Sharing.small, ...Sharing.full], Sharing.faults)
permits([...Permits.small, ...Permits.full], [...Permits.smallFaults, ...Permits.fullFaults])
