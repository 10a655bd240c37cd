/**
 * Callback-based effects that avoid forking a fiber.
 *
 * Our own nodes deliver their replies through a callback, and each lock needs two
 * replies from each node: a fiber per reply would dominate the cost of a lock. A
 * `CallbackEffect` is an ordinary effect that can also be started with a callback.
 * Any combinator other than `mapResult` falls back to a fiber.
 */
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Result from "effect/Result"
import type { NodeError } from "../../LockError.ts"
import { handled, passes, showValue } from "./arguments.ts"

/** A result, or an effect that continues and produces one. */
export type CallbackResult<A> = Result.Result<A, NodeError> | Effect.Effect<A, NodeError>

export type OnResult<A> = (answer: CallbackResult<A>) => void

/** An effect that can be started without a fiber. */
export abstract class CallbackEffect<A> extends Effectable.Class<A, NodeError> {
  /** Starts the operation, which cannot be interrupted. Calls `onResult` exactly once, possibly synchronously. */
  abstract start(onResult: OnResult<A>): void

  asEffect(): Effect.Effect<A, NodeError> {
    return Effect.callback((resume) => this.start((answer) => resume(toEffect(answer))))
  }
}

export const isCallbackEffect = <A>(effect: Effect.Effect<A, NodeError>): effect is CallbackEffect<A> =>
  effect instanceof CallbackEffect

/** Continues with the result, whether success or failure. */
export const mapResult = <A, B>(
  effect: Effect.Effect<A, NodeError>,
  f: (answer: Result.Result<A, NodeError>) => CallbackResult<B>
): Effect.Effect<B, NodeError> =>
  isCallbackEffect(effect)
    ? new MappedResult(effect, f)
    : Effect.flatMap(Effect.result(effectOf(effect)), (answer) => toEffect(f(answer)))

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

  /** Runs inside a callback of the client, where an exception would go uncaught. */
  #next(answer: Result.Result<A, NodeError>): CallbackResult<B> {
    try {
      return this.#f(answer)
    } catch (error) {
      return Effect.die(error)
    }
  }
}

export const toEffect = <A>(answer: CallbackResult<A>): Effect.Effect<A, NodeError> =>
  Result.isResult(answer) ? Effect.fromResult(answer) : effectOf(answer)

/** What a node returned: a function of a custom node may return anything, even as the result of its effect. */
export const effectOf = <A, E, R>(returned: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  passes(() => returned instanceof CallbackEffect)
    ? returned
    : passes(() => Effect.isEffect(returned))
    ? Effect.map(returned, handled)
    : Effect.die(new Error(`it returned ${showValue(handled(returned))} instead of an Effect`))
