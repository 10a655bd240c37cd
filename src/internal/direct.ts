/**
 * Effects that can do without a fiber.
 *
 * What our own nodes answer is one callback away, and a lock takes two answers of
 * each: a fiber for every one would be most of its cost. A direct effect is an
 * ordinary one that can also be started with a callback. What other combinators
 * than `andThen` make of it needs a fiber again.
 */
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Result from "effect/Result"
import type { NodeError } from "../LockError.ts"

/** An answer, or an effect to go on with. */
export type Answer<A> = Result.Result<A, NodeError> | Effect.Effect<A, NodeError>

/** Starts what cannot be interrupted, and calls `done` once, possibly at once. */
export type Start<A> = (done: (answer: Answer<A>) => void) => void

class Direct<A> extends Effectable.Class<A, NodeError> {
  readonly start: Start<A>

  constructor(start: Start<A>) {
    super()
    this.start = start
  }

  asEffect(): Effect.Effect<A, NodeError> {
    return Effect.callback((resume) => this.start((answer) => resume(toEffect(answer))))
  }
}

export const make = <A>(start: Start<A>): Effect.Effect<A, NodeError> => new Direct(start)

/** How to start the effect without a fiber, if that is possible. */
export const startOf = <A>(effect: Effect.Effect<A, NodeError>): Start<A> | undefined =>
  effect instanceof Direct ? (effect as Direct<A>).start : undefined

/** Goes on with the answer, good or bad. */
export const andThen = <A, B>(
  effect: Effect.Effect<A, NodeError>,
  f: (answer: Result.Result<A, NodeError>) => Answer<B>
): Effect.Effect<B, NodeError> => {
  const begin = startOf(effect)
  return begin === undefined
    ? Effect.flatMap(Effect.result(effect), (answer) => toEffect(f(answer)))
    : make((done) => begin((answer) => done(Result.isResult(answer) ? f(answer) : andThen(answer, f))))
}

const toEffect = <A>(answer: Answer<A>): Effect.Effect<A, NodeError> =>
  Result.isResult(answer) ? Effect.fromResult(answer) : answer
