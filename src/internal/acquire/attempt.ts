/**
 * A single attempt: one request to every node, and its outcome.
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
import type { WaitQueues } from "../waiting/waitQueues.ts"
import type { AcquireWaiter } from "./acquireWaiter.ts"
import type { PlaceClaim } from "./placeClaim.ts"

/** What acquiring needs from the service. */
export interface AcquireContext extends HoldContext, AdminContext {
  readonly waitQueues: WaitQueues<Tally<boolean>, PlaceClaim, AcquireWaiter>
  /** What holds of shared locks need. */
  readonly sharedHolds: HoldContext
  readonly logsDebug: boolean
  /** A claim with a fresh value. */
  claim(name: string, settings: LockSettings): OwnClaim
}

/** The `restore` of `Effect.uninterruptibleMask`. */
export type RestoreInterruptibility = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Makes one attempt. Returns the lock, or the tally of a failed attempt. */
export const attempt = (
  service: AcquireContext,
  name: string,
  settings: LockSettings,
  restore: RestoreInterruptibility,
  conclusive = false
): Effect.Effect<HeldLock | Tally<boolean>> =>
  Effect.suspend(() => {
    const claim = service.claim(name, settings)
    const start = instantNow(service.clock)
    const asked = service.quorum.request(new AcquireRequest(claim, conclusive))
    const agreed = claim.tokenAllocation === undefined
      ? asked
      : Effect.flatMap(asked, (tally) => settleToken(service, claim, claim.tokenAllocation!, tally))
    return concludeVotes(service, [claim], agreed, restore, (tally) => concludeAttempt(service, claim, start, tally))
  })

/** Makes one attempt for each name, all in one round trip. */
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
    const agreed = settings.isFenced
      ? Effect.flatMap(asked, (all) =>
        Effect.forEach(
          all,
          (tally, index) => settleToken(service, claims[index]!, claims[index]!.tokenAllocation!, tally),
          { concurrency: "unbounded" }
        ))
      : asked
    return concludeVotes(
      service,
      claims,
      agreed,
      restore,
      (all) => all.map((tally, index) => concludeAttempt(service, claims[index]!, start, tally))
    )
  })

/**
 * Waits for the votes on the claims and concludes from them, or cleans up after an interruption.
 * Registered as a task at once, so that closing the service also waits for the clean-up.
 */
export const concludeVotes = <A, B>(
  { cleanUps, nodes, quorum }: Pick<AcquireContext, "cleanUps" | "nodes" | "quorum">,
  claims: ReadonlyArray<OwnClaim>,
  votes: Effect.Effect<A>,
  restore: RestoreInterruptibility,
  conclude: (votes: A) => B
): Effect.Effect<B> => {
  quorum.taskStarted()
  // Outside `restore`, so that it also handles an interruption that arrives after the votes.
  const voted = Effect.onExitPrimitive(restore(votes), (exit) => {
    if (Exit.isFailure(exit)) {
      for (const claim of claims) cleanUps.over(claim, nodes)
      quorum.taskEnded()
    }
    return undefined
  })
  return Effect.map(voted, (votes) => {
    const concluded = conclude(votes)
    quorum.taskEnded()
    return concluded
  })
}

/** Chooses the fencing token. The counters of a quorum must reach it before the lock is handed out. */
export const settleToken = (
  service: AcquireContext,
  claim: Claim,
  allocation: TokenAllocation,
  tally: Tally<boolean>
): Effect.Effect<Tally<boolean>> =>
  !granted(tally) || allocation.chooseToken(tally)
    ? Effect.succeed(tally)
    : Effect.map(service.quorum.request(raiseCounterRequest(claim)), (raised) => {
      if (!granted(raised)) forgetRefusals(raised)
      return raised
    })

/**
 * A node that lost our key before its counter was raised, as by eviction, does not refuse the lock: what it has instead
 * is not known.
 */
const forgetRefusals = ({ byNode }: Tally<boolean>): void =>
  byNode.forEach((answer, index) => {
    if (answer !== undefined && Result.isSuccess(answer) && !answer.success) byNode[index] = undefined
  })

/** Turns the votes on a claim, requested at `start`, into a lock, or cleans up after a failed attempt. */
const concludeAttempt = (service: AcquireContext, claim: OwnClaim, start: Instant, tally: Tally<boolean>) => {
  claim.settings.trace?.recordAttempt(toVotes(tally))
  if (granted(tally) && remainingMillis(service.clock, leaseEndFrom(start, claim.settings.validityMillis)) > 0) {
    return new HeldLock(claim.settings.isShared ? service.sharedHolds : service, claim, start)
  }
  service.cleanUps.over(claim, mayHold(tally))
  return tally
}

/** Nodes that may store our value: all except those that provably refused it. */
export const mayHold = (tally: Tally<boolean>) =>
  tally.nodes.filter((node, index) => {
    const answer = tally.byNode[index]
    return node.resends === true || answer === undefined || Result.isFailure(answer) || answer.success
  })
