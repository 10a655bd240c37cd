/**
 * Waiting: when the next attempt is made, and when to give up.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { LockError } from "../../LockError.ts"
import { inspect } from "../admin/inspect.ts"
import { monotonicMillis } from "../base/clock.ts"
import { readsInput } from "../base/schedules.ts"
import { quoted, untrusted } from "../base/text.ts"
import type { LockSettings } from "../claim/settings.ts"
import { HeldLock } from "../hold/heldLock.ts"
import { markIfNested } from "../hold/nested.ts"
import type { Tally } from "../quorum/ballot.ts"
import { attributes } from "../telemetry/attributes.ts"
import { isHeadTooSlow } from "../waiting/pace.ts"
import type { WaitQueue } from "../waiting/waitQueue.ts"
import type { AcquireWaiter } from "./acquireWaiter.ts"
import { type AcquireContext, attempt, type RestoreInterruptibility } from "./attempt.ts"
import type { PlaceClaim } from "./placeClaim.ts"
import { closedError, failExplained, refusalError } from "./refusal.ts"
import { sleepUntilWoken } from "./sleepUntilWoken.ts"
import { takeHandOver } from "./takeHandOver.ts"

/** The number of consecutive retries of a split vote before the schedule decides. */
const maxSplitRetries = 2

/** Everything after the first attempt, or instead of it if others wait or the name is contended. */
export const waitForTurn = Effect.fnUntraced(function*(
  service: AcquireContext,
  name: string,
  queue: WaitQueue<Tally<boolean>, PlaceClaim, AcquireWaiter>,
  waiter: AcquireWaiter,
  settings: LockSettings,
  restore: RestoreInterruptibility,
  startedAt: number,
  first: Tally<boolean> | undefined
) {
  const { clock, waitQueues } = service
  const step = yield* Schedule.toStep(settings.retry)
  const seesErrors = readsInput(settings.retry)
  let splits = 0
  let hasAttempted = first !== undefined
  if (first !== undefined) yield* onRefused(first)
  else if (queue.isHead(waiter) && queue.joinsFirst) queue.place.join()
  if (service.logsDebug) service.quorum.background(logWaiting(service, name, settings))
  for (let attempts = 1;; attempts++) {
    // The schedule decides when the next attempt is due, and is given the monotonic time: setting the wall clock must
    // not end or prolong a wait.
    const now = monotonicMillis(clock)
    const error = () => refusalError(name, service, queue.lastRefusal, attempts, monotonicMillis(clock) - startedAt)
    const input = seesErrors ? error() : undefined
    const delay = yield* restore(step(now, input as LockError)).pipe(
      Effect.map(([, delay]) => Option.some(Duration.toMillis(delay))),
      Pull.catchDone(() => Effect.succeedNone)
    )
    if (Option.isNone(delay)) {
      const given = waiter.take()
      if (given !== undefined) return given
      if (!hasAttempted && queue.isHead(waiter) && !queue.place.isVoted) {
        const lock = yield* attemptOrWait()
        if (lock !== undefined) return lock
      }
      const refused = error()
      // The next in line need not wait for the inspection that explains our failure.
      waitQueues.leave(queue, waiter)
      waiter.leave()
      const failure = failExplained(service, settings, refused, () => monotonicMillis(clock) - startedAt)
      return yield* restore(markIfNested(service, failure))
    }
    const dueAt = waiter.dueAt = now + delay.value
    // Yields, because a schedule without pauses behind other waiters would otherwise never suspend.
    if (delay.value <= 0) yield* Effect.yieldNow
    // Whatever wakes the head before it is due leads to an attempt that uses up no step.
    while (true) {
      const given = waiter.take()
      if (given !== undefined) return given
      if (waitQueues.closed) return yield* Effect.fail(closedError(error()))
      const at = monotonicMillis(clock)
      const isDue = at >= dueAt
      if (queue.isHead(waiter)) {
        if (isDue) splits = 0
        const taken = queue.take(settings)
        if (taken !== undefined) {
          const lock = yield* takeHandOver(service, settings, taken, restore)
          if (lock !== undefined) return lock
          if (queue.isHead(waiter)) queue.place.join()
        } else if (queue.wakePending || isDue) {
          // While some nodes have handed the lock over, an attempt would contend with the hand-over.
          if (queue.place.isVoted) queue.wakePending = false
          else {
            const lock = yield* attemptOrWait()
            if (lock !== undefined) return lock
          }
        } else if (queue.joinsFirst) queue.place.join()
      } else if (isDue && isHeadTooSlow(queue, now, at)) {
        queue.wake()
      }
      if (isDue) break
      yield* restore(
        sleepUntilWoken(service, waiter, dueAt, () => waitQueues.closed || waiter.hasLock || queue.hasNewsFor(waiter))
      )
    }
  }

  /** Makes an attempt; without success, waits for the next. */
  function* attemptOrWait() {
    hasAttempted = true
    queue.wakePending = false
    queue.lastAttemptAt = monotonicMillis(clock)
    const result = yield* attempt(service, name, settings, restore)
    if (result instanceof HeldLock) return result
    yield* onRefused(result)
    return undefined
  }

  /** Stands in line, or tries again soon if the votes were split. */
  function* onRefused(tally: Tally<boolean>) {
    const took = monotonicMillis(clock) - queue.lastAttemptAt
    queue.lastRefusal = tally
    // A split vote: contenders hold different nodes, and possibly nobody has a quorum.
    if (tally.grants > 0 && tally.refusals > 0 && splits < maxSplitRetries) {
      const random = yield* Random.next
      queue.wakeAfter(random * 2 ** ++splits * Math.max(1, took))
    } else {
      queue.refused(tally.refusals > 0)
    }
  }
})

/** At debug level, logs that it waits, and how much of the holder's lease is left. */
const logWaiting = (service: AcquireContext, name: string, settings: LockSettings) =>
  Effect.flatMap(inspect(service, name, settings), ({ holder }) => {
    const held = Option.match(holder, {
      onNone: () => "",
      onSome: ({ ttlMillis }) => `, held by another for about ${(ttlMillis / 1000).toFixed(1)} s more`
    })
    return Effect.annotateLogs(Effect.logDebug(`Waiting for lock ${quoted(name)}${held}`), {
      [attributes.lock]: untrusted(name)
    })
  })
