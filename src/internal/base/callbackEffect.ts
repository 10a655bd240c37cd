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
import type { NodeError } from "../../LockError.ts"

/** An answer, or an effect to go on with. */
export type CallbackResult<A> = Result.Result<A, NodeError> | Effect.Effect<A, NodeError>

export type OnResult<A> = (answer: CallbackResult<A>) => void

/** An effect that can be started without a fiber. */
export abstract class CallbackEffect<A> extends Effectable.Class<A, NodeError> {
  /** Starts what cannot be interrupted, and calls `done` once, possibly at once. */
  abstract start(onResult: OnResult<A>): void

  asEffect(): Effect.Effect<A, NodeError> {
    return Effect.callback((resume) => this.start((answer) => resume(toEffect(answer))))
  }
}

export const isCallbackEffect = <A>(effect: Effect.Effect<A, NodeError>): effect is CallbackEffect<A> =>
  effect instanceof CallbackEffect

/** Goes on with the answer, good or bad. */
export const mapResult = <A, B>(
  effect: Effect.Effect<A, NodeError>,
  f: (answer: Result.Result<A, NodeError>) => CallbackResult<B>
): Effect.Effect<B, NodeError> =>
  isCallbackEffect(effect)
    ? new MappedResult(effect, f)
    : Effect.flatMap(Effect.result(effect), (answer) => toEffect(f(answer)))

class MappedResult<A, B> extends CallbackEffect<B> {
  readonly #first: CallbackEffect<A>
  readonly #f: (answer: Result.Result<A, NodeError>) => CallbackResult<B>

  constructor(first: CallbackEffect<A>, f: (answer: Result.Result<A, NodeError>) => CallbackResult<B>) {
    super()
    this.#first = first
    this.#f = f
  }

  start(onResult: OnResult<B>): void {
    this.#first.start((answer) => onResult(Result.isResult(answer) ? this.#next(answer) : mapResult(answer, this.#f)))
  }

  /** Runs in a callback of the client's, where nobody would catch a throw. */
  #next(answer: Result.Result<A, NodeError>): CallbackResult<B> {
    try {
      return this.#f(answer)
    } catch (error) {
      return Effect.die(error)
    }
  }
}

export const toEffect = <A>(answer: CallbackResult<A>): Effect.Effect<A, NodeError> =>
  Result.isResult(answer) ? Effect.fromResult(answer) : answer
