/**
 * Taking over a lock that was taken elsewhere.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { LockLost, type NodesUnavailable } from "../../LockError.ts"
import { holdersOf } from "../admin/unlock.ts"
import { now } from "../base/clock.ts"
import { Replace } from "../claim/claim.ts"
import type { Settings } from "../claim/settings.ts"
import { clockError } from "../claim/tokenAllocation.ts"
import { HeldLock } from "../hold/heldLock.ts"
import { type Answers, denied, granted, lockOf, nodesUnavailable, notGrantedNodes, votes } from "../quorum/ballot.ts"
import { type AcquireContext, agree, type Restore } from "./attempt.ts"

/** Puts a value of our own in the place of the given one, which opens nothing from then on. */
export const adopt = (
  service: AcquireContext,
  name: string,
  value: string,
  settings: Settings,
  restore: Restore
): Effect.Effect<HeldLock, LockLost | NodesUnavailable> =>
  Effect.suspend(() => {
    const claim = service.claim(name, settings)
    const unusable = settings.isFenced ? clockError(service.quorum, claim) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const { quorum } = service
    const start = now(service.clock)
    // Whoever closes the service waits for what the adoption leaves behind, too.
    quorum.begin()
    const replaced = Effect.flatMap(quorum.ask(new Replace(claim, value)), (answers) =>
      claim.fence === undefined ? Effect.succeed(answers) : agree(service, claim, claim.fence, answers))
    const voted = Effect.onExitPrimitive(restore(replaced), (exit) => {
      if (Exit.isFailure(exit)) {
        service.cleanUps.over(claim, service.nodes)
        quorum.end()
      }
      return undefined
    })
    return Effect.flatMap(voted, (answers): Effect.Effect<HeldLock, LockLost | NodesUnavailable> => {
      const adopted = conclude(answers)
      quorum.end()
      return adopted
    })

    function conclude(answers: Answers<boolean>): Effect.Effect<HeldLock, LockLost | NodesUnavailable> {
      if (granted(answers)) {
        // Ours is what counts now: where the other value is left it must not be extended any more.
        for (const held of holdersOf(service, claim.key, value)) {
          held.lose("Taken", votes(answers))
        }
        const { key } = claim
        service.cleanUps.over(
          { name, key, value, settings, untouched: undefined, madeAt: -Infinity },
          notGrantedNodes(answers)
        )
        const lock = new HeldLock(service, claim, start)
        const lost = lock.check()
        return lost === undefined ? Effect.succeed(lock) : Effect.fail(lost)
      }
      service.cleanUps.over(claim, service.nodes)
      return Effect.fail(
        denied(answers)
          ? new LockLost({ ...lockOf(claim), reason: "Taken", votes: votes(answers) })
          : nodesUnavailable(claim, answers)
      )
    }
  })
