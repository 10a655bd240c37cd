/**
 * Verbs that take a name and a program, in both calling forms.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Lock } from "../Lock.ts"
import type { LockOptions } from "../Redsync.ts"

export type Program<Given> = (given: Given) => Effect.Effect<unknown, unknown, unknown>

/** `f(name, program, options)` that can also be called as `program.pipe(f(name, options))`. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- inferred from the annotation of the result
export function pipeable<F, Name = string, Given = Lock>(
  body: (
    name: Name,
    program: Program<Given>,
    options: LockOptions | undefined
  ) => Effect.Effect<unknown, unknown, unknown>
): F {
  return ((name: Name, first?: unknown, options?: LockOptions) => {
    if (Effect.isEffect(first)) return body(name, () => first, options)
    if (Predicate.isFunction(first)) return body(name, (given) => Effect.suspend(() => first(given) as never), options)
    return (program: ReturnType<Program<Given>>) => body(name, () => program, first as LockOptions | undefined)
  }) as F
}
