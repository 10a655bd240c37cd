/**
 * Locks are not re-entrant. Who waits for a lock that it holds itself waits in
 * vain, unless it is a fiber that outlives the lock: the error says so.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { ErrFailed, type LockError } from "../../LockError.ts"
import { holdsAround } from "../lease/guard.ts"
import { HeldLock } from "./heldLock.ts"
import { HeldLocks } from "./heldLocks.ts"

/** The last lock of each name. */
const locksOfScopes = new WeakMap<Scope.Scope, Map<string, HeldLock>>()

/** The lock is released when the scope closes. */
export const addToScope = (scope: Scope.Scope, lock: HeldLock): void => {
  const locks = locksOfScopes.get(scope)
  if (locks === undefined) locksOfScopes.set(scope, new Map([[lock.name, lock]]))
  else locks.set(lock.name, lock)
}

/** Says so where it was refused a lock that its own program or scope holds. */
export const sayIfNested = <A>(service: object, effect: Effect.Effect<A, LockError>): Effect.Effect<A, LockError> =>
  Effect.withFiber((fiber) =>
    Effect.mapError(effect, (error) => {
      if (error._tag !== "ErrFailed") return error
      const { attempts, lock, prefix, votes, waited } = error
      const isNested = heldAround(fiber, lock).some((held) => held.isHeldIn(service))
      if (!isNested) return error
      return new ErrFailed({ lock, ...(prefix !== undefined && { prefix }), attempts, waited, votes, isNested })
    })
  )

/** The locks of that name that the fiber's scope and programs have taken. */
const heldAround = (fiber: Fiber.Fiber<unknown, unknown>, name: string): ReadonlyArray<HeldLock> => {
  const scope = Context.getOption(fiber.context as Context.Context<Scope.Scope>, Scope.Scope)
  const ofScope = Option.isNone(scope) ? undefined : locksOfScopes.get(scope.value)?.get(name)
  const ofPrograms = [...holdsAround(fiber)].flatMap((hold) =>
    hold instanceof HeldLocks ? hold.locks : hold instanceof HeldLock ? [hold] : []
  )
  return [...ofScope === undefined ? [] : [ofScope], ...ofPrograms.filter((lock) => lock.name === name)]
}
