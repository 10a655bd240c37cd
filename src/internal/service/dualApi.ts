/**
 * Functions that take a name and a program, in both calling forms.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { LockOptions } from "../../LockOptions.ts"
import { passes } from "../base/arguments.ts"

/** `f(name, program, options)` that can also be called as `f(name, options)(program)`. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- inferred from the annotation of the result
export function dualWithOptions<F>(
  body: (
    name: never,
    program: never,
    options: LockOptions | undefined
  ) => Effect.Effect<unknown, unknown, unknown>
): F {
  const run = body as (name: unknown, program: unknown, options: unknown) => unknown
  return ((name: unknown, first?: unknown, options?: unknown) =>
    isProgram(first) || options !== undefined
      ? run(name, first, options)
      : (program: unknown) => run(name, program, first)) as F
}

export const isProgram = (u: unknown): boolean => passes(() => Effect.isEffect(u) || Predicate.isFunction(u))
