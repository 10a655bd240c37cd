/**
 * The error of a failed acquisition.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Struct from "effect/Struct"
import { ErrFailed, type LockError, type NodeError, NodesUnavailable, type Vote } from "../../LockError.ts"
import type { KeyState } from "../../LockNode.ts"
import { monotonicMillis } from "../base/clock.ts"
import { inspectKey } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import { notALockReason, partOf, sharedMarker } from "../nodeContract.ts"
import { lockOf, nodesUnavailable, type Tally, toVotes, unavailable } from "../quorum/ballot.ts"
import type { AcquireContext } from "./attempt.ts"

export const refusalError = (
  name: string,
  service: AcquireContext,
  tally: Tally<boolean> | undefined,
  attempts: number,
  waitedMillis: number
): LockError => {
  const claim = { name, key: service.key(name) }
  if (tally !== undefined && unavailable(tally)) return nodesUnavailable(claim, tally)
  const pending = () => service.nodes.map(({ id: node }): Vote => ({ _tag: "Pending", node }))
  return new ErrFailed({
    ...lockOf(claim),
    attempts,
    waited: Duration.millis(waitedMillis),
    votes: tally === undefined ? pending() : toVotes(tally)
  })
}

/** The error of a wait that ends because the service was closed. */
export const closedError = (error: LockError): LockError =>
  error._tag === "ErrFailed"
    ? new ErrFailed({
      ...Struct.pick(error, ["lock", "prefix", "attempts", "waited", "votes", "permits", "limit"]),
      isClosed: true
    })
    : error

/** The time limit for the inspection that explains an error. */
const explanationMillis = 250

/** Enriches the error with a final inspection (remaining TTLs, unreachable nodes), then fails with it. */
export const failExplained = (
  service: AcquireContext,
  settings: LockSettings,
  error: LockError,
  waited: () => number
): Effect.Effect<never, LockError> => {
  const key = service.key(error.lock)
  const about = lockOf({ name: error.lock, key })
  const { health, size: quorum } = service.quorum
  const tell = (votes: ReadonlyArray<Vote>) => {
    // The inspection may show that too few nodes respond, whether or not the lock is held.
    const failures = votes.filter((vote) => vote._tag === "Failed").length
    return Effect.fail(
      error._tag === "NodesUnavailable" || failures > votes.length - quorum
        ? new NodesUnavailable({ ...about, quorum, votes })
        : new ErrFailed({
          ...about,
          attempts: error.attempts,
          waited: Duration.millis(waited()),
          votes,
          ...retryAfter(votes, quorum)
        })
    )
  }
  // The votes are in the order of the nodes. Inspecting a node that was just unreachable would only take time.
  const known = error.votes.map((vote, index): Vote => {
    const failure = vote._tag === "Pending" ? health.unreachableError(partOf(service.nodes[index]!, key)) : undefined
    return failure === undefined ? vote : failedVote(vote.node, failure)
  })
  const nodes = service.nodes.filter((node, index) =>
    canBeRefined(known[index]) && !health.isUnreachable(partOf(node, key))
  )
  if (nodes.length === 0) return tell(known)
  const startedAt = monotonicMillis(service.clock) - waited()
  const looked = service.quorum.request({
    operation: "inspect",
    key,
    timeoutMillis: Math.min(settings.nodeTimeoutMillis, explanationMillis),
    sendTo: (node) => inspectKey(node, key),
    isGranted: Option.isSome,
    awaitAll: true,
    nodes
  })
  return Effect.flatMap(looked, ({ byNode }) =>
    tell(known.map((vote): Vote => {
      const answer = canBeRefined(vote) ? byNode[nodes.findIndex(({ id }) => id === vote.node)] : undefined
      if (answer === undefined) return vote
      if (Result.isSuccess(answer)) {
        if (Option.isSome(answer.success)) return refusedVote(vote.node, answer.success.value)
        // It may have been rejected since the votes were counted, or before.
        const part = partOf(service.nodes.find(({ id }) => id === vote.node)!, key)
        const isPending = vote._tag === "Pending"
        const rejection = isPending ? health.acquireError(part) : health.rejectionSince(part, key, startedAt)
        if (rejection !== undefined) return failedVote(vote.node, rejection)
        return isPending ? { _tag: "Free", node: vote.node } : vote
      }
      return vote._tag === "Pending" ? failedVote(vote.node, answer.failure) : vote
    })))
}

/** The time until enough of the blocking keys have expired for a quorum to grant the lock. */
const retryAfter = (votes: ReadonlyArray<Vote>, quorum: number): { readonly retryAfter?: Duration.Duration } => {
  const free = votes.filter((vote) => vote._tag === "Granted" || vote._tag === "Free").length
  const ttls = votes.flatMap((vote) => vote._tag === "Refused" && vote.ttlMillis !== undefined ? [vote.ttlMillis] : [])
  const millis = ttls.sort((a, b) => a - b)[quorum - free - 1]
  return millis === undefined ? {} : { retryAfter: Duration.millis(millis) }
}

/** Whether an inspection can add anything to the vote. */
const canBeRefined = (vote: Vote | undefined) => vote?._tag === "Refused" || vote?._tag === "Pending"

const failedVote = (node: string, error: NodeError): Vote => ({ _tag: "Failed", node, error })

const refusedVote = (node: string, state: KeyState): Vote => {
  const notALock = notALockReason(state)
  if (notALock !== undefined) return { _tag: "Refused", node, notALock }
  return {
    _tag: "Refused",
    node,
    ...Number.isFinite(state.ttlMillis) && { ttlMillis: state.ttlMillis },
    ...state.value === sharedMarker && { isShared: true }
  }
}
