/**
 * How to recognise a lock that can become a shared one.
 */
import type * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { LockLost, NodesUnavailable } from "../../LockError.ts"
import { passes } from "../base/arguments.ts"

/** The property of a held lock that turns it into a shared one. */
export const downgrade: unique symbol = Symbol.for("effect-redsync/downgrade")

interface Downgradable {
  readonly [downgrade]: Effect.Effect<unknown, LockLost | NodesUnavailable, Scope.Scope> | undefined
}

/** The effect that turns an exclusive lock into a shared one; `undefined` for anything else. */
export const downgradeOf = (lock: unknown): Downgradable[typeof downgrade] =>
  passes(() => Predicate.hasProperty(lock, downgrade)) ? (lock as Downgradable)[downgrade] : undefined
