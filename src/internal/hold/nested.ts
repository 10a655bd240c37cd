/**
 * Explains nested acquisitions. Locks are not re-entrant: a fiber that waits for a
 * lock held by its own program or scope waits in vain, unless it outlives that
 * lock. The error says so.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Struct from "effect/Struct"
import { ErrFailed, type LockError } from "../../LockError.ts"
import { holdsAround } from "../lease/guard.ts"
import { HeldLock } from "./heldLock.ts"
import { HeldLocks } from "./heldLocks.ts"
import type { HoldContext } from "./hold.ts"

/** The locks of each scope: the latest of each key. */
const locksOfScopes = new WeakMap<Scope.Scope, Map<string, HeldLock>>()

/** Records that the lock is released when the scope closes. Permits are no lock, whatever their name. */
export const addToScope = (scope: Scope.Scope, lock: HeldLock): void => {
  if (lock.permits !== undefined) return
  const locks = locksOfScopes.get(scope)
  if (locks === undefined) locksOfScopes.set(scope, new Map([[lock.key, lock]]))
  else locks.set(lock.key, lock)
}

/** Marks the error as nested if the calling program or scope itself holds the lock. */
export const markIfNested = <A>(
  service: Pick<HoldContext, "quorum">,
  effect: Effect.Effect<A, LockError>
): Effect.Effect<A, LockError> =>
  Effect.withFiber((fiber) =>
    Effect.mapError(effect, (error) => {
      if (error._tag !== "ErrFailed") return error
      const key = (error.prefix ?? "") + error.lock
      const isNested = heldAround(fiber, key).some((held) => held.isHeldIn(service))
      const fields = Struct.pick(error, ["lock", "prefix", "attempts", "waited", "votes"])
      return isNested ? new ErrFailed({ ...fields, isNested }) : error
    })
  )

/** The locks of that key which the fiber's scope and guarding programs hold. */
const heldAround = (fiber: Fiber.Fiber<unknown, unknown>, key: string): ReadonlyArray<HeldLock> => {
  const scope = Context.getOption(fiber.context as Context.Context<Scope.Scope>, Scope.Scope)
  const ofScope = Option.isNone(scope) ? undefined : locksOfScopes.get(scope.value)?.get(key)
  const ofPrograms = [...holdsAround(fiber)].flatMap((hold) =>
    hold instanceof HeldLocks ? hold.locks : hold instanceof HeldLock ? [hold] : []
  )
  const isSame = (lock: HeldLock) => lock.key === key && lock.permits === undefined
  return [...ofScope === undefined ? [] : [ofScope], ...ofPrograms.filter(isSame)]
}
