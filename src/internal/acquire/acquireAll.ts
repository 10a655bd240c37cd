/**
 * Acquires several locks, all or none.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LockError, LockLost } from "../../LockError.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { LockSettings } from "../claim/settings.ts"
import { clockError } from "../claim/tokenAllocation.ts"
import { HeldLock } from "../hold/heldLock.ts"
import { HeldLocks } from "../hold/heldLocks.ts"
import { guardInterruptible } from "../lease/guard.ts"
import type { Tally } from "../quorum/ballot.ts"
import { acquire } from "./acquire.ts"
import { type AcquireContext, attemptAll, type RestoreInterruptibility } from "./attempt.ts"

/**
 * Acquires the locks of all names, or none. All names before the first one that is held
 * or awaited in this service are attempted at once. If a lock is refused, those
 * whose names sort before it are kept while it is awaited: everyone waits in sorted
 * order, so no wait cycle can form. Losing a kept lock ends the wait.
 */
export const acquireAll = (
  service: AcquireContext,
  names: Iterable<string>,
  settings: LockSettings,
  restore: RestoreInterruptibility
): Effect.Effect<Array<HeldLock>, LockError | LockLost> =>
  Effect.suspend(() => {
    const inOrder = [...new Set(names)].sort()
    const [name = ""] = inOrder
    const unusable = settings.isFenced ? clockError(service.quorum, { name, key: service.key(name) }) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const held: Array<HeldLock> = []
    const next = (names: ReadonlyArray<string>): Effect.Effect<Array<HeldLock>, LockError | LockLost> => {
      const at = monotonicMillis(service.clock)
      const busy = names.findIndex((name) => service.waitQueues.hasQueue(service.key(name)))
      const tried = busy === -1 ? names : names.slice(0, busy)
      const attempts = tried.length === 0 ? Effect.succeed([]) : attemptAll(service, tried, settings, restore)
      return Effect.flatMap(attempts, (results: Array<HeldLock | Tally<boolean>>) => {
        const locks = results.filter((result) => result instanceof HeldLock)
        const refused = results.findIndex((result) => !(result instanceof HeldLock))
        const millis = monotonicMillis(service.clock) - at
        for (const _ of locks) service.quorum.metrics.acquisitionEnded("granted", millis)
        locks.forEach((lock, index) => {
          if (refused === -1 || index < refused) held.push(lock)
          else lock.beginRelease()
        })
        const waitedFor = names[refused === -1 ? tried.length : refused]
        if (waitedFor === undefined) return Effect.succeed(held)
        const before = refused === -1 ? undefined : { tally: results[refused] as Tally<boolean>, at }
        // Added to `held` uninterruptibly: if a kept lock is lost at the same moment, this lock is released
        // with the rest.
        const waiting = Effect.uninterruptibleMask((restore) =>
          Effect.map(acquire(service, waitedFor, settings, restore, before), (lock) => held.push(lock))
        )
        return Effect.flatMap(
          restore(guardInterruptible(new HeldLocks([...held]), waiting)),
          () => next(names.slice(names.indexOf(waitedFor) + 1))
        )
      })
    }
    return Effect.onExitPrimitive(next(inOrder), (exit) => {
      if (Exit.isFailure(exit)) { for (const lock of held) lock.beginRelease() }
      return undefined
    })
  })
