/**
 * A single attempt to acquire permits of a semaphore: one round of requests to every
 * node, and up to two more if the votes are split.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type { Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { type Instant, instantNow } from "../base/clock.ts"
import { quoted } from "../base/text.ts"
import { type OwnClaim, raiseCounterRequest } from "../claim/claim.ts"
import type { PermitAllocation, SlotOrder } from "../claim/permitAllocation.ts"
import { AcquirePermitsRequest, SettlePermitsRequest, type TakePermitsRequest } from "../claim/permits.ts"
import type { PermitLockSettings } from "../claim/settings.ts"
import { HeldPermits } from "../hold/heldPermits.ts"
import type { HoldContext } from "../hold/hold.ts"
import { leaseEndFrom, remainingMillis } from "../lease/lease.ts"
import { granted, rulesOutQuorum, type Tally } from "../quorum/ballot.ts"
import { attributes } from "../telemetry/attributes.ts"
import type { PermitQueues } from "../waiting/permitQueues.ts"
import { concludeVotes, mayHold, type RestoreInterruptibility } from "./attempt.ts"

/** What acquiring permits needs from the service. */
export interface PermitsContext extends HoldContext {
  readonly permitQueues: PermitQueues
  /** What a hold of permits needs. */
  readonly permitHolds: HoldContext
  key(name: string): string
  readonly values: { next(): string }
  /** A claim with a fresh value. */
  permitClaim(name: string, settings: PermitLockSettings, order: SlotOrder): OwnClaim
}

/** The votes of a failed attempt. */
export interface RefusedPermits {
  readonly tally: Tally<boolean>
  readonly votes: ReadonlyArray<Vote>
  /** Whether some nodes granted permits, but too few granted the same ones. */
  readonly isSplit: boolean
  /** Milliseconds until permits may expire on a node that has too few, `Infinity` if unknown. */
  readonly ttlMillis: number
}

/** The last round: if the vote is still split, the attempt has failed. */
const lastRound = 3

/** The outcome of the last round. */
interface Taken {
  readonly request: TakePermitsRequest
  readonly tally: Tally<boolean>
  readonly start: Instant
  readonly round: number
}

interface AttemptOptions {
  readonly conclusive?: boolean
  /** A slot that is free, as far as we know. */
  readonly freeSlot?: number | undefined
}

/** Makes one attempt. Returns the permits, or the votes of a failed attempt. */
export const attemptPermits = (
  service: PermitsContext,
  name: string,
  settings: PermitLockSettings,
  restore: RestoreInterruptibility,
  { conclusive = false, freeSlot }: AttemptOptions = {}
): Effect.Effect<HeldPermits | RefusedPermits> =>
  Effect.flatMap(Effect.all([Random.next, Random.next]), (random) => {
    const claim = service.permitClaim(name, settings, { random, first: freeSlot })
    const permits = claim.permits!
    return concludeVotes(
      service,
      [claim],
      takeRounds(service, claim, permits, conclusive),
      restore,
      (taken) => conclude(service, claim, permits, taken)
    )
  })

/** Asks for any free slots, and if too few nodes grant the same ones, for the slots with the most votes. */
const takeRounds = (
  service: PermitsContext,
  claim: OwnClaim,
  permits: PermitAllocation,
  conclusive: boolean
): Effect.Effect<Taken> => {
  const first = new AcquirePermitsRequest(claim, permits, conclusive)
  const ask = (request: TakePermitsRequest, round: number): Effect.Effect<Taken> =>
    Effect.suspend(() => {
      // Every round renews the expiry of the slots, so the lease counts from the last round.
      const start = instantNow(service.clock)
      return Effect.flatMap(service.quorum.request<boolean>(request), (tally) => {
        if (granted(tally)) {
          permits.slots = request.granted(tally)
          return Effect.map(settleTokens(service, claim, request, tally), (tally) => ({ request, tally, start, round }))
        }
        return isSplit(tally, round)
          ? ask(new SettlePermitsRequest(first, request.wanted(tally), round + 1), round + 1)
          : Effect.succeed({ request, tally, start, round })
      })
    })
  return ask(first, 1)
}

/** Whether another round may decide. A node that had too few free permits in the first round cannot help. */
const isSplit = (tally: Tally<boolean>, round: number): boolean =>
  round < lastRound && hasGivenAny(tally) && !rulesOutQuorum(tally, tally.failures + (round === 1 ? tally.refusals : 0))

const hasGivenAny = ({ byNode }: Tally<boolean>): boolean =>
  byNode.some((answer) => answer !== undefined && Result.isSuccess(answer) && answer.success)

/**
 * Chooses the tokens, if any are needed. The counters of a quorum must reach them before the permits are
 * handed out.
 */
const settleTokens = (
  service: PermitsContext,
  claim: OwnClaim,
  request: TakePermitsRequest,
  tally: Tally<boolean>
): Effect.Effect<Tally<boolean>> =>
  !claim.settings.isFenced || request.chooseTokens(tally)
    ? Effect.succeed(tally)
    : service.quorum.request(raiseCounterRequest(claim))

/** Turns the outcome of the last round into permits, or cleans up after a failed attempt. */
const conclude = (
  service: PermitsContext,
  claim: OwnClaim,
  permits: PermitAllocation,
  { request, round, start, tally }: Taken
): HeldPermits | RefusedPermits => {
  const { cleanUps, clock, nodes, quorum } = service
  const votes = request.errorVotes(tally)
  claim.settings.trace?.recordAttempt(votes)
  if (granted(tally) && remainingMillis(clock, leaseEndFrom(start, claim.settings.validityMillis)) > 0) {
    quorum.metrics.permits.roundsEnded(round)
    warnOfOtherLimit(service, claim, request)
    const held = new HeldPermits(service.permitHolds, claim, permits, start)
    const isOther = (node: LockNode) =>
      request.votes.of(node) !== undefined && !request.votes.isExact(node, permits.slots)
    held.topUp(permits, nodes.filter(isOther))
    request.onGrant = (node) => held.topUp(permits, [node].filter(isOther))
    return held
  }
  const isRefused = round === 1 && !granted(tally) && permits.slots.length === 0
  cleanUps.over(claim, isRefused ? mayHold(tally) : nodes)
  const isSplit = hasGivenAny(tally)
  if (isSplit) quorum.metrics.permits.roundsEnded("split")
  return { tally, votes, isSplit, ttlMillis: request.ttlMillis }
}

const warnOfOtherLimit = (
  { permitQueues, quorum }: PermitsContext,
  { key, name }: OwnClaim,
  { allocation, otherLimit }: TakePermitsRequest
): void => {
  if (otherLimit === undefined) return
  quorum.metrics.permits.limitDiffered()
  if (!permitQueues.isFirstWarning(key)) return
  const message =
    `Semaphore ${quoted(name)} is used with different limits, ${allocation.limit} here and ${otherLimit} ` +
    "elsewhere: at most the larger number of permits is held"
  quorum.log("Warn", message, { [attributes.lock]: name })
}
