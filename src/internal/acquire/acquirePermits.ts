/**
 * Acquires permits of a semaphore, with a single attempt or on a schedule.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { ErrFailed, type LockError, NodesUnavailable, type Vote } from "../../LockError.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { PermitLockSettings } from "../claim/settings.ts"
import { clockError } from "../claim/tokenAllocation.ts"
import { HeldPermits } from "../hold/heldPermits.ts"
import { lockOf, unavailable } from "../quorum/ballot.ts"
import { isHeadTooSlow } from "../waiting/pace.ts"
import type { PermitQueue, PermitWaiter } from "../waiting/permitQueues.ts"
import { outcomeOf } from "./acquire.ts"
import type { RestoreInterruptibility } from "./attempt.ts"
import { attemptPermits, type PermitsContext, type RefusedPermits } from "./attemptPermits.ts"
import { closedError } from "./refusal.ts"
import { sleepUntilWoken } from "./sleepUntilWoken.ts"

/** The number of consecutive retries of a split vote before the schedule decides. */
const maxSplitRetries = 4

/** Makes one attempt that distinguishes too few permits from too few nodes. */
export const tryAcquirePermits = (
  service: PermitsContext,
  name: string,
  settings: PermitLockSettings,
  restore: RestoreInterruptibility
): Effect.Effect<Option.Option<HeldPermits>, NodesUnavailable> =>
  Effect.suspend(() => {
    const claim = { name, key: service.key(name), permits: settings }
    const unusable = settings.isFenced ? clockError(service.quorum, claim) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const at = monotonicMillis(service.clock)
    const acquired = Effect.flatMap(
      attemptAndLeave(service, name, settings, restore, { conclusive: true }),
      (result) => {
        if (result instanceof HeldPermits) return Effect.succeedSome(result)
        return unavailable(result.tally)
          ? Effect.fail(new NodesUnavailable({ ...lockOf(claim), quorum: service.quorum.size, votes: result.votes }))
          : Effect.succeedNone
      }
    )
    return Effect.onExitPrimitive(acquired, (exit) => {
      const isRefused = Exit.isSuccess(exit) && Option.isNone(exit.value)
      service.quorum.metrics.permits.acquisitionEnded(
        isRefused ? "held_by_another" : outcomeOf(exit),
        monotonicMillis(service.clock) - at
      )
      return undefined
    })
  })

/** Makes attempts until the permits are granted or the schedule ends. */
export const acquirePermits = (
  service: PermitsContext,
  name: string,
  settings: PermitLockSettings,
  restore: RestoreInterruptibility
): Effect.Effect<HeldPermits, LockError> =>
  Effect.suspend(() => {
    const { clock, permitQueues } = service
    const { permits: metrics } = service.quorum.metrics
    const key = service.key(name)
    const unusable = settings.isFenced ? clockError(service.quorum, { name, key, permits: settings }) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const startedAt = monotonicMillis(clock)
    const { limit, permits } = settings
    const waiter: PermitWaiter = { limit, permits, dueAt: Number.POSITIVE_INFINITY, wake: undefined }
    metrics.waitersChanged(1)
    const wait = (queue: PermitQueue, first?: RefusedPermits) =>
      Effect.onExitPrimitive(
        waitForPermits(service, name, queue, waiter, settings, restore, startedAt, first),
        (exit) => {
          permitQueues.leave(queue, waiter, Exit.isSuccess(exit))
          return undefined
        }
      )
    const acquired = permitQueues.isAwaited(key)
      ? Effect.suspend(() => wait(permitQueues.enter(key, waiter)))
      : Effect.flatMap(
        attemptAndLeave(service, name, settings, restore),
        (result): Effect.Effect<HeldPermits, LockError> =>
          result instanceof HeldPermits ? Effect.succeed(result) : wait(permitQueues.enter(key, waiter), result)
      )
    return Effect.onExitPrimitive(acquired, (exit) => {
      metrics.waitersChanged(-1)
      metrics.acquisitionEnded(outcomeOf(exit), monotonicMillis(clock) - startedAt)
      return undefined
    })
  })

/**
 * An attempt outside of the queue. If it had permits that it gives up again, it may have kept them from the first in
 * line, who was woken in vain.
 */
const attemptAndLeave = (...[service, name, ...rest]: Parameters<typeof attemptPermits>) =>
  Effect.onExitPrimitive(attemptPermits(service, name, ...rest), (exit) => {
    const hasGivenUp = Exit.isFailure(exit) || (!(exit.value instanceof HeldPermits) && exit.value.isSplit)
    if (hasGivenUp) service.permitQueues.wakeFirst(service.key(name))
    return undefined
  })

/** Everything after the first attempt, or after finding others waiting. */
const waitForPermits = Effect.fnUntraced(function*(
  service: PermitsContext,
  name: string,
  queue: PermitQueue,
  waiter: PermitWaiter,
  settings: PermitLockSettings,
  restore: RestoreInterruptibility,
  startedAt: number,
  first: RefusedPermits | undefined
) {
  const { clock, permitQueues } = service
  const step = yield* Schedule.toStep(settings.retry)
  let last = first
  let splits = 0
  if (first !== undefined) yield* onRefused(first, monotonicMillis(clock) - startedAt)
  for (let attempts = 1;; attempts++) {
    // The schedule is given the monotonic time: setting the wall clock must not end or prolong a wait.
    const now = monotonicMillis(clock)
    const error = refusalError(service, name, settings, last, attempts, now - startedAt)
    const delay = yield* restore(step(now, error)).pipe(
      Effect.map(([, delay]) => Option.some(Duration.toMillis(delay))),
      Pull.catchDone(() => Effect.succeedNone)
    )
    if (Option.isNone(delay)) return yield* Effect.fail(error)
    const dueAt = waiter.dueAt = now + delay.value
    // Yields, because a schedule without pauses behind other waiters would otherwise never suspend.
    if (delay.value <= 0) yield* Effect.yieldNow
    // Whatever wakes the head before it is due leads to an attempt that uses up no step.
    while (true) {
      if (permitQueues.closed) return yield* Effect.fail(closedError(error))
      const at = monotonicMillis(clock)
      const isDue = at >= dueAt
      if (queue.head === waiter) {
        if (isDue) splits = 0
        if (queue.wakePending || isDue) {
          queue.wakePending = false
          queue.lastAttemptAt = at
          const { freeSlot } = queue
          queue.freeSlot = undefined
          const result = yield* attemptPermits(service, name, settings, restore, { freeSlot })
          if (result instanceof HeldPermits) return result
          last = result
          yield* onRefused(result, monotonicMillis(clock) - at)
        }
      } else if (isDue && isHeadTooSlow(queue, now, at)) {
        queue.wake()
      }
      if (isDue) break
      yield* restore(
        sleepUntilWoken(
          service,
          waiter,
          dueAt,
          () => permitQueues.closed || (queue.wakePending && queue.head === waiter)
        )
      )
    }
  }

  /** Stands in line, and tries again when permits may have expired, or soon if the votes were split. */
  function* onRefused({ isSplit, ttlMillis }: RefusedPermits, tookMillis: number) {
    if (isSplit && splits < maxSplitRetries) {
      const random = yield* Random.next
      queue.wakeWithin(random * 2 ** ++splits * Math.max(1, tookMillis))
    } else {
      queue.wakeWithin(ttlMillis + 1)
      if (queue.head === waiter) permitQueues.standInLine(queue, waiter, () => service.values.next())
    }
  }
})

const refusalError = (
  service: PermitsContext,
  name: string,
  permits: PermitLockSettings,
  last: RefusedPermits | undefined,
  attempts: number,
  waitedMillis: number
): LockError => {
  const about = lockOf({ name, key: service.key(name), permits })
  if (last !== undefined && unavailable(last.tally)) {
    return new NodesUnavailable({ ...about, quorum: service.quorum.size, votes: last.votes })
  }
  const votes = last?.votes ?? service.nodes.map(({ id: node }): Vote => ({ _tag: "Pending", node }))
  return new ErrFailed({ ...about, attempts, waited: Duration.millis(waitedMillis), votes })
}
