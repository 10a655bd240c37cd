/**
 * One attempt: every node is asked once, and what the answers mean.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type { AdminContext } from "../admin/unlock.ts"
import { type Instant, instantNow } from "../base/clock.ts"
import { AcquireRequest, type Claim, type OwnClaim, raiseCounterRequest } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import type { TokenAllocation } from "../claim/tokenAllocation.ts"
import { HeldLock } from "../hold/heldLock.ts"
import type { HoldContext } from "../hold/hold.ts"
import { leaseEndFrom, remainingMillis } from "../lease/lease.ts"
import { granted, type Tally, toVotes } from "../quorum/ballot.ts"
import type { Rooms } from "../waiting/waitQueues.ts"

/** What acquiring needs of the service. */
export interface AcquireContext extends HoldContext, AdminContext {
  readonly rooms: Rooms<Tally<boolean>>
  /** Whether what is said at debug level is heard. */
  readonly logsDebug: boolean
  /** A claim of our own, which nobody has heard of yet. */
  claim(name: string, settings: LockSettings): OwnClaim
}

export type RestoreInterruptibility = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** One attempt: the lock, or the answers that refused it. */
export const attempt = (
  service: AcquireContext,
  name: string,
  settings: LockSettings,
  restore: RestoreInterruptibility,
  conclusive = false
): Effect.Effect<HeldLock | Tally<boolean>> =>
  Effect.suspend(() => {
    const { quorum } = service
    const claim = service.claim(name, settings)
    const start = instantNow(service.clock)
    // Whoever closes the service waits for what the attempt leaves behind, too.
    quorum.taskStarted()
    const asked = quorum.request(new AcquireRequest(claim, conclusive))
    const agreed = claim.tokenAllocation === undefined
      ? asked
      : Effect.flatMap(asked, (tally) => settleToken(service, claim, claim.tokenAllocation!, tally))
    // Outside `restore`, so that it sees an interruption that comes after the votes were in.
    const voted = Effect.onExitPrimitive(restore(agreed), (exit) => {
      if (Exit.isFailure(exit)) {
        service.cleanUps.over(claim, service.nodes)
        quorum.taskEnded()
      }
      return undefined
    })
    return Effect.map(voted, (tally) => {
      const concluded = concludeAttempt(service, claim, start, tally)
      quorum.taskEnded()
      return concluded
    })
  })

/** One attempt under each name, all in one round trip. */
export const attemptAll = (
  service: AcquireContext,
  names: ReadonlyArray<string>,
  settings: LockSettings,
  restore: RestoreInterruptibility
): Effect.Effect<Array<HeldLock | Tally<boolean>>> =>
  Effect.suspend(() => {
    const { quorum } = service
    const claims = names.map((name) => service.claim(name, settings))
    const start = instantNow(service.clock)
    quorum.taskStarted()
    const asked = Effect.callback<Array<Tally<boolean>>>((resume) => {
      const all: Array<Tally<boolean>> = []
      let open = claims.length
      claims.forEach((claim, index) =>
        quorum.send(new AcquireRequest(claim, false), (tally) => {
          all[index] = tally
          if (--open === 0) resume(Effect.succeed(all))
        })
      )
    })
    const voted = Effect.onExitPrimitive(restore(asked), (exit) => {
      if (Exit.isFailure(exit)) {
        for (const claim of claims) service.cleanUps.over(claim, service.nodes)
        quorum.taskEnded()
      }
      return undefined
    })
    return Effect.map(voted, (all) => {
      const concluded = all.map((tally, index) => concludeAttempt(service, claims[index]!, start, tally))
      quorum.taskEnded()
      return concluded
    })
  })

/** Before a fenced lock is handed out, a quorum has to count as far as its token. */
export const settleToken = (
  service: AcquireContext,
  claim: Claim,
  allocation: TokenAllocation,
  tally: Tally<boolean>
): Effect.Effect<Tally<boolean>> =>
  !granted(tally) || allocation.chooseToken(tally)
    ? Effect.succeed(tally)
    : service.quorum.request(raiseCounterRequest(claim))

/** What the votes on a claim that was made at `start` mean. */
const concludeAttempt = (service: AcquireContext, claim: OwnClaim, start: Instant, tally: Tally<boolean>) => {
  claim.settings.trace?.recordAttempt(toVotes(tally))
  if (granted(tally) && remainingMillis(service.clock, leaseEndFrom(start, claim.settings.validityMillis)) > 0) {
    return new HeldLock(service, claim, start)
  }
  service.cleanUps.over(claim, mayHold(tally))
  return tally
}

/** Those that may have our value: all but the ones whose no is a proof that they do not. */
const mayHold = (tally: Tally<boolean>) =>
  tally.nodes.filter((node, index) => {
    const answer = tally.byNode[index]
    return node.resends === true || answer === undefined || Result.isFailure(answer) || answer.success
  })
