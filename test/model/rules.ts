/**
 * The rules of waiting and handing over: what each says, and the functions that
 * keep it. `S` are about exclusion and tokens, `L` about nobody waiting in vain.
 *
 * A rule that the model has is broken in it at least once (`models.ts`); for each of
 * the others it is said why the model has it not.
 */
import { settleToken } from "../../src/internal/acquire/attempt.ts"
import { PlaceClaim } from "../../src/internal/acquire/placeClaim.ts"
import { takeHandOver } from "../../src/internal/acquire/takeHandOver.ts"
import { TopUpRequest } from "../../src/internal/claim/claim.ts"
import { Values } from "../../src/internal/claim/values.ts"
import { HeldLock } from "../../src/internal/hold/heldLock.ts"
import { replaceClaim } from "../../src/internal/hold/passing.ts"
import { remainingMillis, validityMillis } from "../../src/internal/lease/lease.ts"
import { extend, leave, releaseAndWake, transfer, transferFenced } from "../../src/internal/redis/scripts.ts"
import { waitingList } from "../../src/internal/redis/waitingList.ts"
import { LockService } from "../../src/internal/service/service.ts"
import { NodeWaitingLists } from "../../src/internal/waiting/nodeWaitingLists.ts"
import { PlaceInLine } from "../../src/internal/waiting/placeInLine.ts"
import { HandOverVotes, Stopwatches } from "../../src/internal/waiting/stopwatch.ts"
import { WaitQueue } from "../../src/internal/waiting/waitQueue.ts"

export interface Rule {
  readonly says: string
  /** Functions, scripts and classes in `src/`. */
  readonly keptBy: ReadonlyArray<string>
  readonly notInModel?: string
}

/** Their names, which the compiler knows. */
export const names = (named: Readonly<Record<string, unknown>>): ReadonlyArray<string> => Object.keys(named)

export const method = <A>(Class: { readonly name: string; readonly prototype: A }, name: keyof A & string): string =>
  `${Class.name}.${name}`

const clocks = "the model has one time for all, and drift as keys that are gone a tick early"
const notifications = "in the model a successor may always fail to be told, and the order is any order"
const liveness = "the model has what may happen, not what must: any message may stay under way for ever"

export const rules = {
  S1: {
    says: "The leaver's lease is over, and no extension may start, before the first transfer is sent.",
    keptBy: [method(HeldLock, "beginRelease")]
  },
  S2: {
    says: "A transfer changes a key only if it has exactly the leaver's value.",
    keptBy: names({ transfer, transferFenced })
  },
  S3: {
    says: "Each attempt and each place has a value of its own, and nothing deletes a value that may still win.",
    keptBy: [method(Values, "next"), method(PlaceClaim, "giveUp")]
  },
  S4: {
    says: "The lease of a successor counts from a request that it sent, and is shortened by the drift.",
    keptBy: [method(HandOverVotes, "end"), ...names({ validityMillis })]
  },
  S5: {
    says: "A notification of a transfer counts for the value that it names, while that value stands in line.",
    keptBy: [method(PlaceInLine, "handedOver")]
  },
  S6: { says: "A server that abstains does not transfer, it deletes.", keptBy: names({ transfer, transferFenced }) },
  S7: { says: "A key that an extension has planted again is no vote for it.", keptBy: names({ extend }) },
  S8: {
    says: "A reading of a server's clock counts only if as much time has gone by there as here.",
    keptBy: [method(Stopwatches, "vote")],
    notInModel: clocks
  },
  S9: {
    says: "A lease is over as soon as the monotonic or the wall clock says so.",
    keptBy: names({ remainingMillis }),
    notInModel: clocks
  },
  S10: {
    says: "With replicas there is no transfer: it would be told before a replica has it.",
    keptBy: names({ waitingList }),
    notInModel: "nothing is transferred then"
  },
  S11: {
    says: "What is transferred to a dead value is deleted as soon as the notification arrives.",
    keptBy: [`${LockService.name}.${"make" satisfies keyof typeof LockService}`],
    notInModel: "in the model it may be deleted at any moment, or never: exclusion does not depend on it"
  },
  S12: {
    says: "A successor takes the largest token of its live votes, and raises it on a quorum before it enters.",
    keptBy: names({ takeHandOver, settleToken })
  },
  S13: {
    says:
      "Before a lock passes to the next inside a service, the hold before it is over, and nothing of it is under way.",
    keptBy: [method(HeldLock, "beginRelease"), ...names({ replaceClaim })],
    notInModel:
      "in the model a place stands for all fibers of its service; a replaced value is an attempt that needs the old one"
  },
  L1: {
    says: "If the successor does not receive the transfer, the key is deleted and the next in line is woken.",
    keptBy: names({ transfer, transferFenced }),
    notInModel: notifications
  },
  L2: {
    says: "Who becomes first in line is told.",
    keptBy: names({ transfer, transferFenced, leave }),
    notInModel: notifications
  },
  L3: {
    says: "A place joins again, keeping its position, when the key may have expired, and long before the list does.",
    keptBy: [method(PlaceInLine, "join"), method(PlaceInLine, "first")],
    notInModel: liveness
  },
  L4: {
    says: "A successor with too few votes claims the key on the other nodes.",
    keptBy: names({ TopUpRequest }),
    notInModel: liveness
  },
  L5: {
    says: "On a node that rejects a transfer the lock is released, and the next in line woken.",
    keptBy: [method(NodeWaitingLists, "transfer"), ...names({ releaseAndWake })],
    notInModel: liveness
  },
  L6: {
    says: "After so many hand-overs or so long the lock is released instead, so that others get a chance.",
    keptBy: [method(WaitQueue, "releasing")],
    notInModel: liveness
  },
  L7: {
    says: "A lock is transferred only if a quorum of the nodes can.",
    keptBy: [method(NodeWaitingLists, "canHandOver")],
    notInModel: liveness
  },
  L8: {
    says: "A place ends with the wait: what has been transferred to it by then is handed on.",
    keptBy: [method(PlaceInLine, "leave")],
    notInModel: liveness
  },
  L9: {
    says: "A service passes a lock on inside only so often, and for so long, before others have their turn.",
    keptBy: [method(WaitQueue, "heir"), method(WaitQueue, "wakeHead")],
    notInModel: liveness
  }
} as const satisfies Record<string, Rule>
