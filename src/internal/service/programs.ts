/**
 * Running programs while something is held.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import type { Program } from "../../RedsyncService.ts"
import { dieWithIllegalArgument, invalidOption, invalidResult } from "../base/arguments.ts"
import { checkName } from "../claim/settings.ts"
import type { HeldLock } from "../hold/heldLock.ts"
import type { Hold } from "../hold/hold.ts"
import { addToScope } from "../hold/nested.ts"
import { holdSpan, inSpan } from "../telemetry/tracing.ts"
import { isProgram } from "./dualApi.ts"

/** A program as a function of what is held. */
export type Run<Held extends ReadonlyArray<unknown>, A, E, R> = (...held: Held) => Effect.Effect<A, E, R>

/** Uses a name after checking it. */
export const withName = <A, E, R>(
  service: { readonly prefix: string },
  name: string,
  f: () => Effect.Effect<A, E, R>
) =>
  Effect.suspend(() => {
    const problem = checkName(name, service.prefix)
    return problem === undefined ? f() : dieWithIllegalArgument(problem)
  })

const allowed = "it must be an Effect, or a function that returns one"

/** An effect is run as such, even if it can also be called, as the class of a service can. */
export const ifProgram = <Held extends ReadonlyArray<unknown>, A, E, R, A2, E2, R2>(
  program: Program<Held, A, E, R>,
  f: (run: Run<Held, A, E, R>) => Effect.Effect<A2, E2, R2>
): Effect.Effect<A2, E2, R2> => {
  if (!isProgram(program)) return dieWithIllegalArgument(invalidOption("program", program, allowed))
  return f(
    Predicate.isFunction(program) && !Effect.isEffect(program)
      ? (...held) => Effect.suspend(() => returned(program(...held)))
      : () => program as Effect.Effect<A, E, R>
  )
}

const returned = <A, E, R>(program: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.isEffect(program) ? program : dieWithIllegalArgument(invalidResult(program))

/** Runs the program, and then releases what is held; if that was lost, without waiting for the release. */
export const use = <A, E, R>(hold: Hold, program: Effect.Effect<A, E, R>) =>
  Effect.onExitPrimitive(inSpan("Redsync.hold", hold, program), () => {
    const isLost = hold.checkLease() !== undefined
    hold.beginRelease()
    return isLost ? undefined : Effect.asVoid(inSpan("Redsync.release", hold, hold.release))
  })

/** Releases the lock when the scope closes. */
export const releaseWithScope = (lock: HeldLock) =>
  Effect.flatMap(Effect.scope, (scope) => {
    addToScope(scope, lock)
    return Effect.andThen(
      Scope.addFinalizer(scope, inSpan("Redsync.release", lock, lock.releaseInFinalizer)),
      holdSpan(lock)
    )
  })
