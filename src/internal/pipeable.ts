/**
 * Verbs that take a name and a program, in both calling forms.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Lock } from "../Lock.ts"
import type { LockOptions } from "../Redsync.ts"

export type Program<Given extends ReadonlyArray<unknown>> = (
  ...given: Given
) => Effect.Effect<unknown, unknown, unknown>

/** `f(name, program, options)` that can also be called as `f(name, options)(program)`. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- inferred from the annotation of the result
export function pipeable<F, Name = string, Given extends ReadonlyArray<unknown> = [Lock]>(
  body: (
    name: Name,
    program: Program<Given>,
    options: LockOptions | undefined
  ) => Effect.Effect<unknown, unknown, unknown>
): F {
  return ((name: Name, first?: unknown, options?: LockOptions) =>
    isProgram(first)
      ? body(name, toFunction(first), options)
      : (program: unknown) => body(name, toFunction(program), first as LockOptions | undefined)) as F
}

const isProgram = (u: unknown) => Effect.isEffect(u) || Predicate.isFunction(u)

const toFunction = <Given extends ReadonlyArray<unknown>>(program: unknown): Program<Given> =>
  Predicate.isFunction(program)
    ? (...given) => Effect.suspend(() => program(...given) as ReturnType<Program<Given>>)
    : () => program as ReturnType<Program<Given>>
