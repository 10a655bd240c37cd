/**
 * Acquires a lock, with a single attempt or on a schedule.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { LockError, NodesUnavailable } from "../../LockError.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { LockSettings } from "../claim/settings.ts"
import { clockError } from "../claim/tokenAllocation.ts"
import { HeldLock } from "../hold/heldLock.ts"
import { nodesUnavailable, type Tally, unavailable } from "../quorum/ballot.ts"
import type { AcquireOutcome } from "../telemetry/metrics.ts"
import { AcquireWaiter } from "./acquireWaiter.ts"
import { type AcquireContext, attempt, type RestoreInterruptibility } from "./attempt.ts"
import { waitForTurn } from "./waitForTurn.ts"

/** Makes one attempt that distinguishes a lock held by another from too few nodes. */
export const tryAcquire = (
  service: AcquireContext,
  name: string,
  settings: LockSettings,
  restore: RestoreInterruptibility
): Effect.Effect<Option.Option<HeldLock>, NodesUnavailable> =>
  Effect.suspend(() => {
    const unusable = settings.isFenced ? clockError(service.quorum, { name, key: service.key(name) }) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const at = monotonicMillis(service.clock)
    // A lock held by this service is known without asking the nodes.
    const tried = service.waitQueues.isHeldHere(service.key(name))
      ? Effect.succeed(undefined)
      : attempt(service, name, settings, restore, true)
    const acquired = Effect.flatMap(tried, (result) =>
      result instanceof HeldLock
        ? Effect.succeedSome(result)
        : result !== undefined && unavailable(result)
        ? Effect.fail(nodesUnavailable({ name, key: service.key(name) }, result))
        : Effect.succeedNone)
    return Effect.onExitPrimitive(acquired, (exit) => {
      const isHeld = Exit.isSuccess(exit) && Option.isNone(exit.value)
      service.quorum.metrics.acquisitionEnded(
        isHeld ? "held_by_another" : outcomeOf(exit),
        monotonicMillis(service.clock) - at
      )
      return undefined
    })
  })

/** A first attempt that has already failed, and when it was sent. */
interface RefusedAttempt {
  readonly tally: Tally<boolean>
  readonly at: number
}

/** Makes attempts until the lock is granted or the schedule ends. */
export const acquire = (
  service: AcquireContext,
  name: string,
  settings: LockSettings,
  restore: RestoreInterruptibility,
  before?: RefusedAttempt
): Effect.Effect<HeldLock, LockError> =>
  Effect.suspend(() => {
    const unusable = settings.isFenced ? clockError(service.quorum, { name, key: service.key(name) }) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const waiter = new AcquireWaiter(service, name, settings)
    const queue = service.waitQueues.enter(service.key(name), waiter)
    const startedAt = before?.at ?? monotonicMillis(service.clock)
    const isHead = queue.isHead(waiter)
    const attempts = isHead && before === undefined && !queue.joinsFirst
    if (isHead && (attempts || before !== undefined)) queue.lastAttemptAt = startedAt
    const first = attempts
      ? attempt(service, name, settings, restore)
      : Effect.succeed(isHead ? before?.tally : undefined)
    const acquired = Effect.flatMap(first, (result): Effect.Effect<HeldLock, LockError> =>
      result instanceof HeldLock
        ? Effect.succeed(result)
        : waitForTurn(service, name, queue, waiter, settings, restore, startedAt, result))
    return Effect.onExitPrimitive(acquired, (exit) => {
      service.waitQueues.leave(queue, waiter)
      waiter.leave()
      service.quorum.metrics.acquisitionEnded(outcomeOf(exit), monotonicMillis(service.clock) - startedAt)
      return undefined
    })
  })

/** The outcome of an acquisition, for the metrics. */
export const outcomeOf = (exit: Exit.Exit<unknown, LockError>): AcquireOutcome => {
  if (Exit.isSuccess(exit)) return "granted"
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isNone(error)) return "interrupted"
  return error.value._tag === "ErrFailed" ? "held_by_another" : "nodes_unavailable"
}
