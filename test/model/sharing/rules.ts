/** The rules of shared locks, and what keeps them. One that the model has is broken in it at least once. */
import { downgrade } from "../../../src/internal/acquire/downgrade.ts"
import { HeldLock } from "../../../src/internal/hold/heldLock.ts"
import { validityMillis } from "../../../src/internal/lease/lease.ts"
import { granted } from "../../../src/internal/quorum/ballot.ts"
import type { sharedScripts } from "../../../src/internal/redis/sharedScripts.ts"
import { method, names, type Rule } from "../rules.ts"

/** What a node over Redis and one in memory do alike. */
const scripts = (...keepers: ReadonlyArray<keyof typeof sharedScripts>): ReadonlyArray<string> =>
  keepers.map((name) => `sharedScripts.${name}`)

export const rules = {
  R1: {
    says: "A node lets a reader in only where no writer has the key.",
    keptBy: scripts("acquire", "acquireFenced", "extend")
  },
  R2: {
    says: "A writer sets a key only where there is none: the marker of readers keeps it out, down to the last of them.",
    keptBy: ["SET with NX and PX"]
  },
  R3: { says: "Readers need a quorum, as writers do.", keptBy: names({ granted }) },
  R4: {
    says: "A key that is shared lives as long as the reader that stays longest.",
    keptBy: scripts("acquire", "extend", "release", "downgrade")
  },
  R5: { says: "The release of a reader deletes the key only if it was the last.", keptBy: scripts("release") },
  R6: {
    says: "A release, of whichever kind, changes a key only if it has exactly the releaser's value.",
    keptBy: scripts("release", "yieldToReaders", "yieldInLine")
  },
  R7: { says: "A lease counts from the question, and is shortened by the drift.", keptBy: names({ validityMillis }) },
  R8: {
    says: "Who downgrades is no writer any more before it is sent, and a reader once a quorum has confirmed it.",
    keptBy: [method(HeldLock, "endExclusive"), ...names({ downgrade })]
  },
  R9: {
    says: "Only a node that still had the writer's value confirms its downgrade.",
    keptBy: scripts("downgrade")
  },
  R10: { says: "A reader that an extension makes one again is no vote.", keptBy: scripts("extend") },
  R11: {
    says: "Whoever sets the marker deletes what is left of earlier readers.",
    keptBy: scripts("acquire"),
    notInModel: "it takes a key that is deleted by hand: the simulator has that, and the suite of all nodes"
  },
  R12: {
    says: "A reader has the largest token of a quorum, which is raised on a quorum before it enters.",
    keptBy: scripts("acquireFenced", "raise"),
    notInModel: "the simulator has tokens of readers, and the model of locks those of writers"
  }
} as const satisfies Record<string, Rule>
