/**
 * Effects that can do without a fiber.
 *
 * What our own nodes answer is one callback away, and a lock takes two answers of
 * each: a fiber for every one would be most of its cost. A direct effect is an
 * ordinary one that can also be started with a callback. What other combinators
 * than `andThen` make of it needs a fiber again.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { NodeError } from "../LockError.ts"

/** An answer, or an effect to go on with. */
export type Answer<A> = Result.Result<A, NodeError> | Effect.Effect<A, NodeError>

/** Starts what cannot be interrupted, and calls `done` once, possibly at once. */
export type Start<A> = (done: (answer: Answer<A>) => void) => void

const start = Symbol("effect-redsync/start")

interface Direct<A> extends Effect.Effect<A, NodeError> {
  [start]?: Start<A>
}

export const make = <A>(begin: Start<A>): Effect.Effect<A, NodeError> => {
  const effect: Direct<A> = Effect.callback((resume) => begin((answer) => resume(toEffect(answer))))
  effect[start] = begin
  return effect
}

/** How to start the effect without a fiber, if that is possible. */
export const startOf = <A>(effect: Effect.Effect<A, NodeError>): Start<A> | undefined => (effect as Direct<A>)[start]

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
