/**
 * Acquires a shared lock, with a single attempt or on a schedule.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { LockError, NodesUnavailable } from "../../LockError.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Claim, OwnClaim } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import { clockError } from "../claim/tokenAllocation.ts"
import { HeldLock } from "../hold/heldLock.ts"
import { markIfNested } from "../hold/nested.ts"
import { nodesUnavailable, type Tally, unavailable } from "../quorum/ballot.ts"
import type { Reader, ReaderQueues } from "../waiting/readerQueues.ts"
import { outcomeOf } from "./acquire.ts"
import { type AcquireContext, attempt, type RestoreInterruptibility } from "./attempt.ts"
import { closedError, failExplained, refusalError } from "./refusal.ts"
import { sleepUntilWoken } from "./sleepUntilWoken.ts"

/** What acquiring a shared lock needs from the service. */
export interface SharedContext extends AcquireContext {
  readonly readerQueues: ReaderQueues
  /** The claim of a reader that takes the place of a writer. */
  sharedClaim(writer: Claim): OwnClaim
}

/** The number of consecutive retries of a split vote before the schedule decides. */
const maxSplitRetries = 2

/** Makes one attempt that distinguishes a lock held by a writer from too few nodes. */
export const tryAcquireShared = (
  service: SharedContext,
  name: string,
  settings: LockSettings,
  restore: RestoreInterruptibility
): Effect.Effect<Option.Option<HeldLock>, NodesUnavailable> =>
  Effect.suspend(() => {
    const claim = { name, key: service.key(name) }
    const unusable = settings.isFenced ? clockError(service.quorum, claim) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const at = monotonicMillis(service.clock)
    const acquired = Effect.flatMap(attempt(service, name, settings, restore, true), (result) =>
      result instanceof HeldLock
        ? Effect.succeedSome(result)
        : unavailable(result)
        ? Effect.fail(nodesUnavailable(claim, result))
        : Effect.succeedNone)
    return Effect.onExitPrimitive(acquired, (exit) => {
      const isHeld = Exit.isSuccess(exit) && Option.isNone(exit.value)
      service.quorum.metrics.shared.acquisitionEnded(
        isHeld ? "held_by_another" : outcomeOf(exit),
        monotonicMillis(service.clock) - at
      )
      return undefined
    })
  })

/** Makes attempts until the lock is granted or the schedule ends. */
export const acquireShared = (
  service: SharedContext,
  name: string,
  settings: LockSettings,
  restore: RestoreInterruptibility
): Effect.Effect<HeldLock, LockError> =>
  Effect.suspend(() => {
    const { clock, readerQueues } = service
    const { shared: metrics } = service.quorum.metrics
    const key = service.key(name)
    const unusable = settings.isFenced ? clockError(service.quorum, { name, key }) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const startedAt = monotonicMillis(clock)
    const reader: Reader = { wakePending: false, isAlone: false, wake: undefined }
    metrics.waitersChanged(1)
    readerQueues.enter(key, reader)
    const acquired = Effect.flatMap(
      attempt(service, name, settings, restore),
      (result): Effect.Effect<HeldLock, LockError> =>
        result instanceof HeldLock
          ? Effect.succeed(result)
          : waitToShare(service, name, reader, settings, restore, startedAt, result)
    )
    return Effect.onExitPrimitive(acquired, (exit) => {
      readerQueues.leave(key, reader, Exit.isSuccess(exit))
      metrics.waitersChanged(-1)
      metrics.acquisitionEnded(outcomeOf(exit), monotonicMillis(clock) - startedAt)
      return undefined
    })
  })

/** Everything after the first attempt. */
const waitToShare = Effect.fnUntraced(function*(
  service: SharedContext,
  name: string,
  reader: Reader,
  settings: LockSettings,
  restore: RestoreInterruptibility,
  startedAt: number,
  first: Tally<boolean>
) {
  const { clock, readerQueues } = service
  const step = yield* Schedule.toStep(settings.retry)
  let last = first
  let splits = 0
  let splitAt = Number.POSITIVE_INFINITY
  yield* onRefused(monotonicMillis(clock) - startedAt)
  for (let attempts = 1;; attempts++) {
    // The schedule is given the monotonic time: setting the wall clock must not end or prolong a wait.
    const now = monotonicMillis(clock)
    const error = refusalError(name, service, last, attempts, now - startedAt)
    const delay = yield* restore(step(now, error)).pipe(
      Effect.map(([, delay]) => Option.some(Duration.toMillis(delay))),
      Pull.catchDone(() => Effect.succeedNone)
    )
    if (Option.isNone(delay)) {
      const failure = failExplained(service, settings, error, () => monotonicMillis(clock) - startedAt)
      return yield* restore(markIfNested(service, failure))
    }
    const dueAt = now + delay.value
    if (delay.value <= 0) yield* Effect.yieldNow
    // Whatever wakes a reader before it is due leads to an attempt that uses up no step.
    while (true) {
      if (readerQueues.closed) return yield* Effect.fail(closedError(error))
      const at = monotonicMillis(clock)
      const isDue = at >= dueAt
      if (isDue) splits = 0
      if (reader.wakePending || isDue || at >= splitAt) {
        reader.wakePending = false
        const result = yield* attempt(service, name, settings, restore)
        if (result instanceof HeldLock) return result
        last = result
        yield* onRefused(monotonicMillis(clock) - at)
      }
      if (isDue) break
      yield* restore(
        sleepUntilWoken(service, reader, Math.min(dueAt, splitAt), () => readerQueues.closed || reader.wakePending)
      )
    }
  }

  /** Asks again soon if the votes were split: writers and readers hold different nodes. */
  function* onRefused(tookMillis: number) {
    readerQueues.refused(service.key(name), reader)
    splitAt = Number.POSITIVE_INFINITY
    if (last.grants === 0 || last.refusals === 0 || splits >= maxSplitRetries) return
    const random = yield* Random.next
    splitAt = monotonicMillis(clock) + Math.ceil(random * 2 ** ++splits * Math.max(1, tookMillis))
  }
})
