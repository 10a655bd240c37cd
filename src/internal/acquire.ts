/**
 * Acquiring: one attempt, and attempts on a schedule.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { ErrFailed, type LockError, type NodeError, NodesUnavailable, type Vote } from "../LockError.ts"
import type { KeyState } from "../LockNode.ts"
import { HeldLock } from "./held.ts"
import { end, monotonicMillis, now, remainingMillis } from "./lease.ts"
import type { Settings } from "./options.ts"
import { acquireQuestion, type Answers, type Claim, granted, nodesUnavailable, unavailable, votes } from "./quorum.ts"
import type { Service } from "./service.ts"

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** One attempt: the lock, or the answers that refused it. */
export const attempt = (
  service: Service,
  name: string,
  settings: Settings,
  restore: Restore
): Effect.Effect<HeldLock | Answers<boolean>> =>
  Effect.suspend(() => {
    const claim: Claim = { name, value: service.randomValue(), settings }
    const start = now(service.clock)
    // Outside `restore`, so that it sees an interruption that comes after the votes were in.
    return Effect.onExitPrimitive(restore(service.quorum.ask(acquireQuestion(claim))), (exit) => {
      if (Exit.isFailure(exit)) service.cleanUp(claim, service.nodes)
      return undefined
    }).pipe(Effect.map((answers) => {
      if (granted(answers) && remainingMillis(service.clock, end(start, settings.validityMillis)) > 0) {
        return new HeldLock(service, claim, start)
      }
      service.cleanUp(claim, possiblyGranted(answers))
      return answers
    }))
  })

/** Those that may have our value: all but the ones whose no is a proof that they do not. */
const possiblyGranted = (answers: Answers<boolean>) =>
  answers.nodes.filter((node, index) => {
    const answer = answers.byNode[index]
    return node.resends === true || answer === undefined || Result.isFailure(answer) || answer.success
  })

/** Attempts until the lock is granted or the schedule is used up. */
export const acquire = (
  service: Service,
  name: string,
  settings: Settings,
  restore: Restore
): Effect.Effect<HeldLock, LockError> =>
  Effect.suspend(() => {
    const startedAt = monotonicMillis(service.clock)
    return Effect.flatMap(attempt(service, name, settings, restore), (result) =>
      result instanceof HeldLock
        ? Effect.succeed(result)
        : retry(service, name, settings, restore, startedAt, result))
  })

/** All attempts after the first. */
const retry = Effect.fnUntraced(function*(
  service: Service,
  name: string,
  settings: Settings,
  restore: Restore,
  startedAt: number,
  first: Answers<boolean>
) {
  const step = yield* Schedule.toStep(settings.retry)
  const waited = () => monotonicMillis(service.clock) - startedAt
  let answers = first
  for (let attempts = 1;; attempts++) {
    const error = refusal(name, answers, attempts, waited())
    // The schedule is told the monotonic time: setting the wall clock must not end or prolong a wait.
    const pause = yield* step(monotonicMillis(service.clock), error).pipe(
      Effect.map(([, delay]) => Option.some(delay)),
      Pull.catchDone(() => Effect.succeedNone)
    )
    if (Option.isNone(pause)) return yield* restore(explained(service, settings, error, waited))
    const open = yield* restore(service.quorum.pause(Duration.toMillis(pause.value)))
    if (!open) return yield* Effect.fail(error)
    const result = yield* attempt(service, name, settings, restore)
    if (result instanceof HeldLock) return result
    answers = result
  }
})

const refusal = (name: string, answers: Answers<boolean>, attempts: number, waitedMillis: number): LockError =>
  unavailable(answers)
    ? nodesUnavailable(name, answers)
    : new ErrFailed({ name, attempts, waited: Duration.millis(waitedMillis), votes: votes(answers) })

/** Fails with the error after one look at what is in the way: how long the key still has, who does not answer. */
const explained = (
  service: Service,
  settings: Settings,
  error: LockError,
  waited: () => number
): Effect.Effect<never, LockError> => {
  // Votes stand in the order of the nodes.
  const nodes = service.nodes.filter((_, index) => isOpen(error.votes[index]))
  if (nodes.length === 0) return Effect.fail(error)
  const look = service.quorum.ask({
    operation: "inspect",
    timeoutMillis: settings.nodeTimeoutMillis,
    ask: (node) => node.inspect(error.name),
    isYes: Option.isSome,
    all: true,
    nodes
  })
  return Effect.flatMap(look, ({ byNode }) => {
    const votes = error.votes.map((vote) => {
      const answer = isOpen(vote) ? byNode[nodes.findIndex(({ id }) => id === vote.node)] : undefined
      if (answer === undefined) return vote
      if (Result.isSuccess(answer)) {
        return Option.isSome(answer.success) ? refusedBy(vote.node, answer.success.value) : vote
      }
      return vote._tag === "Pending" ? failed(vote.node, answer.failure) : vote
    })
    return Effect.fail(
      error._tag === "ErrFailed"
        ? new ErrFailed({ name: error.name, attempts: error.attempts, waited: Duration.millis(waited()), votes })
        : new NodesUnavailable({ name: error.name, quorum: error.quorum, votes })
    )
  })
}

/** Whether a look can tell more than the vote does. */
const isOpen = (vote: Vote | undefined) => vote?._tag === "Refused" || vote?._tag === "Pending"

const failed = (node: string, error: NodeError): Vote => ({ _tag: "Failed", node, error })

const refusedBy = (node: string, state: KeyState): Vote => {
  const notALock = notALockReason(state)
  return notALock === undefined
    ? { _tag: "Refused", node, ttlMillis: state.ttlMillis }
    : { _tag: "Refused", node, notALock }
}

/** What a key is instead of a lock, if it is none. */
export const notALockReason = ({ ttlMillis, type = "string" }: KeyState): string | undefined =>
  type !== "string" ? `a ${type}` : ttlMillis === Number.POSITIVE_INFINITY ? "a string without expiry" : undefined
