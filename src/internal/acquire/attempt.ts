/**
 * One attempt: every node is asked once, and what the answers mean.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type { AdminContext } from "../admin/unlock.ts"
import { type Instant, now } from "../base/clock.ts"
import { Acquire, type Claim, type OwnClaim, raiseQuestion } from "../claim/claim.ts"
import type { Settings } from "../claim/settings.ts"
import type { Fence } from "../claim/tokenAllocation.ts"
import { HeldLock } from "../hold/heldLock.ts"
import type { HoldContext } from "../hold/hold.ts"
import { end, remainingMillis } from "../lease/lease.ts"
import { type Answers, granted, votes } from "../quorum/ballot.ts"
import type { Rooms } from "../waiting/waitQueues.ts"

/** What acquiring needs of the service. */
export interface AcquireContext extends HoldContext, AdminContext {
  readonly rooms: Rooms<Answers<boolean>>
  /** Whether what is said at debug level is heard. */
  readonly logsDebug: boolean
  /** A claim of our own, which nobody has heard of yet. */
  claim(name: string, settings: Settings): OwnClaim
}

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** One attempt: the lock, or the answers that refused it. */
export const attempt = (
  service: AcquireContext,
  name: string,
  settings: Settings,
  restore: Restore,
  conclusive = false
): Effect.Effect<HeldLock | Answers<boolean>> =>
  Effect.suspend(() => {
    const { quorum } = service
    const claim = service.claim(name, settings)
    const start = now(service.clock)
    // Whoever closes the service waits for what the attempt leaves behind, too.
    quorum.begin()
    const asked = quorum.ask(new Acquire(claim, conclusive))
    const agreed = claim.fence === undefined
      ? asked
      : Effect.flatMap(asked, (answers) => agree(service, claim, claim.fence!, answers))
    // Outside `restore`, so that it sees an interruption that comes after the votes were in.
    const voted = Effect.onExitPrimitive(restore(agreed), (exit) => {
      if (Exit.isFailure(exit)) {
        service.cleanUps.over(claim, service.nodes)
        quorum.end()
      }
      return undefined
    })
    return Effect.map(voted, (answers) => {
      const concluded = conclude(service, claim, start, answers)
      quorum.end()
      return concluded
    })
  })

/** One attempt under each name, all in one round trip. */
export const attemptAll = (
  service: AcquireContext,
  names: ReadonlyArray<string>,
  settings: Settings,
  restore: Restore
): Effect.Effect<Array<HeldLock | Answers<boolean>>> =>
  Effect.suspend(() => {
    const { quorum } = service
    const claims = names.map((name) => service.claim(name, settings))
    const start = now(service.clock)
    quorum.begin()
    const asked = Effect.callback<Array<Answers<boolean>>>((resume) => {
      const all: Array<Answers<boolean>> = []
      let open = claims.length
      claims.forEach((claim, index) =>
        quorum.start(new Acquire(claim, false), (answers) => {
          all[index] = answers
          if (--open === 0) resume(Effect.succeed(all))
        })
      )
    })
    const voted = Effect.onExitPrimitive(restore(asked), (exit) => {
      if (Exit.isFailure(exit)) {
        for (const claim of claims) service.cleanUps.over(claim, service.nodes)
        quorum.end()
      }
      return undefined
    })
    return Effect.map(voted, (all) => {
      const concluded = all.map((answers, index) => conclude(service, claims[index]!, start, answers))
      quorum.end()
      return concluded
    })
  })

/** Before a fenced lock is handed out, a quorum has to count as far as its token. */
export const agree = (
  service: AcquireContext,
  claim: Claim,
  fence: Fence,
  answers: Answers<boolean>
): Effect.Effect<Answers<boolean>> =>
  !granted(answers) || fence.settle(answers)
    ? Effect.succeed(answers)
    : service.quorum.ask(raiseQuestion(claim))

/** What the votes on a claim that was made at `start` mean. */
const conclude = (service: AcquireContext, claim: OwnClaim, start: Instant, answers: Answers<boolean>) => {
  claim.settings.trace?.attempted(votes(answers))
  if (granted(answers) && remainingMillis(service.clock, end(start, claim.settings.validityMillis)) > 0) {
    return new HeldLock(service, claim, start)
  }
  service.cleanUps.over(claim, possiblyGranted(answers))
  return answers
}

/** Those that may have our value: all but the ones whose no is a proof that they do not. */
const possiblyGranted = (answers: Answers<boolean>) =>
  answers.nodes.filter((node, index) => {
    const answer = answers.byNode[index]
    return node.resends === true || answer === undefined || Result.isFailure(answer) || answer.success
  })
