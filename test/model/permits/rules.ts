/** The rules of semaphores, and what keeps them. One that the model has is broken in it at least once. */
import { SlotVotes } from "../../../src/internal/claim/permitAllocation.ts"
import { AcquirePermitsRequest, SettlePermitsRequest } from "../../../src/internal/claim/permits.ts"
import { PermitRenewalRequest } from "../../../src/internal/hold/renewal.ts"
import { validityMillis } from "../../../src/internal/lease/lease.ts"
import type { permitScripts } from "../../../src/internal/redis/permitScripts.ts"
import { method, names, type Rule } from "../rules.ts"

const scripts = (...keepers: ReadonlyArray<keyof typeof permitScripts>): ReadonlyArray<string> =>
  keepers.map((name) => `permitScripts.${name}`)

export const rules = {
  P1: {
    says: "A permit is a slot that a quorum of nodes has given to the same value, not a node that gave any.",
    keptBy: [method(AcquirePermitsRequest, "count")]
  },
  P2: {
    says: "Of several permits each needs a quorum.",
    keptBy: [method(AcquirePermitsRequest, "count"), method(SlotVotes, "countFor")]
  },
  P3: {
    says: "A node gives a slot only while no other has it, in every round.",
    keptBy: scripts("acquire", "settle", "extend")
  },
  P4: {
    says: "A later round renews the lease on the node, and the lease counts from it.",
    keptBy: [...scripts("settle"), method(SettlePermitsRequest, "count")]
  },
  P5: { says: "A value frees only slots that it has.", keptBy: scripts("release", "releaseAndWake", "settle") },
  P6: { says: "A lease counts from the question, and is shortened by the drift.", keptBy: names({ validityMillis }) },
  P7: { says: "A node that abstains gives no slots, in no round.", keptBy: scripts("acquire", "settle") },
  P8: {
    says: "Slots that an extension takes back are no votes.",
    keptBy: [...scripts("extend"), method(PermitRenewalRequest, "count")]
  },
  P9: {
    says: "An earlier round settles nothing after a later one.",
    keptBy: scripts("settle"),
    notInModel: "a client of the model settles once; the suite of all nodes has it"
  },
  P10: {
    says: "Whoever has expired is freed before a call does anything, whatever it goes on to do.",
    keptBy: scripts("acquire", "extend", "release"),
    notInModel: "in the model nobody outlives an expiry; the broken scripts have it"
  },
  P11: {
    says: "Each slot has a token of its own, the largest of a quorum, raised on a quorum before it is handed out.",
    keptBy: [method(AcquirePermitsRequest, "chooseTokens"), ...scripts("raise")],
    notInModel: "the simulator has tokens"
  }
} as const satisfies Record<string, Rule>
