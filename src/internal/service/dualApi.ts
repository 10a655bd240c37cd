/**
 * Verbs that take a name and a program, in both calling forms.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Lock } from "../../Lock.ts"
import type { LockOptions } from "../../LockOptions.ts"
import { dieWithIllegalArgument, invalidOption } from "../base/arguments.ts"

export type Program<Given extends ReadonlyArray<unknown>> = (
  ...given: Given
) => Effect.Effect<unknown, unknown, unknown>

/** `f(name, program, options)` that can also be called as `f(name, options)(program)`. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- inferred from the annotation of the result
export function dualWithOptions<F, Name = string, Given extends ReadonlyArray<unknown> = [Lock]>(
  body: (
    name: Name,
    program: Program<Given>,
    options: LockOptions | undefined
  ) => Effect.Effect<unknown, unknown, unknown>
): F {
  const run = (name: Name, program: unknown, options: LockOptions | undefined) =>
    isProgram(program)
      ? body(name, toFunction(program), options)
      : dieWithIllegalArgument(invalidOption("program", program, allowed))
  return ((name: Name, first?: unknown, options?: LockOptions) =>
    isProgram(first) || options !== undefined
      ? run(name, first, options)
      : (program: unknown) => run(name, program, first as LockOptions | undefined)) as F
}

const isProgram = (u: unknown): boolean => {
  try {
    return Effect.isEffect(u) || Predicate.isFunction(u)
  } catch {
    // A proxy that cannot be asked.
    return false
  }
}

const allowed = "it must be an Effect, or a function that returns one"

/** An effect is run, even one that could be called: the class of a service is both. */
const toFunction = <Given extends ReadonlyArray<unknown>>(program: unknown): Program<Given> =>
  Predicate.isFunction(program) && !Effect.isEffect(program)
    ? (...given) => Effect.suspend(() => returned(program(...given)))
    : () => program as ReturnType<Program<Given>>

const returned = (program: unknown): ReturnType<Program<ReadonlyArray<unknown>>> =>
  Effect.isEffect(program) ? program : dieWithIllegalArgument(invalidOption("program", program, allowed))
