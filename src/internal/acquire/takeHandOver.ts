/**
 * Enters with a lock that was handed over.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { instantNow } from "../base/clock.ts"
import { raiseCounterRequest } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import { HeldLock } from "../hold/heldLock.ts"
import { remainingMillis } from "../lease/lease.ts"
import { granted } from "../quorum/ballot.ts"
import type { Taken } from "../waiting/placeInLine.ts"
import type { AcquireContext, RestoreInterruptibility } from "./attempt.ts"
import type { PlaceClaim } from "./placeClaim.ts"

/**
 * Returns the lock, with its token if it is fenced. If too few counters can be raised to the token,
 * or that takes too long, the lock is given up and the result is `undefined`.
 */
export const takeHandOver = (
  service: AcquireContext,
  settings: LockSettings,
  { claim: place, end, votes }: Taken<PlaceClaim>,
  restore: RestoreInterruptibility
): Effect.Effect<HeldLock | undefined> =>
  Effect.suspend(() => {
    const start = instantNow(service.clock)
    const claim = place.claim.heldWith(settings)
    settings.trace?.recordHandOver(votes.nodes)
    const { tokenAllocation } = claim
    if (tokenAllocation === undefined || tokenAllocation.chooseAmong(votes.nodes)) {
      return Effect.succeed(new HeldLock(service, claim, start, end))
    }
    const giveUp = () => {
      service.waitQueues.forget(claim)
      place.giveUp(service.nodes, true)
    }
    const { quorum } = service
    quorum.taskStarted()
    const raised = Effect.onExitPrimitive(restore(quorum.request(raiseCounterRequest(claim))), (exit) => {
      if (Exit.isFailure(exit)) {
        giveUp()
        quorum.taskEnded()
      }
      return undefined
    })
    return Effect.map(raised, (tally) => {
      const isHeld = granted(tally) && remainingMillis(service.clock, end) > 0
      const lock = isHeld ? new HeldLock(service, claim, start, end) : undefined
      if (lock === undefined) giveUp()
      quorum.taskEnded()
      return lock
    })
  })
