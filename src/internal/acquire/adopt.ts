/**
 * Adopts a lock that was acquired elsewhere.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { LockLost, type NodesUnavailable } from "../../LockError.ts"
import { holdersOf } from "../admin/unlock.ts"
import { instantNow } from "../base/clock.ts"
import { ReplaceRequest } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import { clockError } from "../claim/tokenAllocation.ts"
import { HeldLock } from "../hold/heldLock.ts"
import { denied, granted, lockOf, nodesUnavailable, notGrantedNodes, type Tally, toVotes } from "../quorum/ballot.ts"
import { type AcquireContext, type RestoreInterruptibility, settleToken } from "./attempt.ts"

/** Replaces the given value with a fresh one. The old value no longer extends or releases the lock. */
export const adopt = (
  service: AcquireContext,
  name: string,
  value: string,
  settings: LockSettings,
  restore: RestoreInterruptibility
): Effect.Effect<HeldLock, LockLost | NodesUnavailable> =>
  Effect.suspend(() => {
    const claim = service.claim(name, settings)
    const unusable = settings.isFenced ? clockError(service.quorum, claim) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const { quorum } = service
    const start = instantNow(service.clock)
    // Registered as a task, so that closing the service also waits for the clean-up of this adoption.
    quorum.taskStarted()
    const replaced = Effect.flatMap(quorum.request(new ReplaceRequest(claim, value)), (tally) =>
      claim.tokenAllocation === undefined
        ? Effect.succeed(tally)
        : settleToken(service, claim, claim.tokenAllocation, tally))
    const voted = Effect.onExitPrimitive(restore(replaced), (exit) => {
      if (Exit.isFailure(exit)) {
        service.cleanUps.over(claim, service.nodes)
        quorum.taskEnded()
      }
      return undefined
    })
    return Effect.flatMap(voted, (tally): Effect.Effect<HeldLock, LockLost | NodesUnavailable> => {
      const adopted = concludeAdoption(tally)
      quorum.taskEnded()
      return adopted
    })

    function concludeAdoption(tally: Tally<boolean>): Effect.Effect<HeldLock, LockLost | NodesUnavailable> {
      if (granted(tally)) {
        // The hold with the old value ends, so that it is not extended on nodes that still store it.
        for (const held of holdersOf(service, claim.key, value)) {
          held.markLost("Taken", toVotes(tally))
        }
        const { key } = claim
        service.cleanUps.over(
          { name, key, value, settings, untouched: undefined, madeAt: -Infinity },
          notGrantedNodes(tally)
        )
        const lock = new HeldLock(service, claim, start)
        const lost = lock.checkLease()
        return lost === undefined ? Effect.succeed(lock) : Effect.fail(lost)
      }
      service.cleanUps.over(claim, service.nodes)
      return Effect.fail(
        denied(tally)
          ? new LockLost({ ...lockOf(claim), reason: "Taken", votes: toVotes(tally) })
          : nodesUnavailable(claim, tally)
      )
    }
  })
