/**
 * Requests that wait for a connection, to be started in order of arrival.
 */
import * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import { type CallbackEffect, type OnResult, toEffect } from "../base/callbackEffect.ts"

export class Entrance {
  readonly #waiting = new Set<() => void>()

  /** The returned function gives up waiting. */
  wait(enter: () => void): () => void {
    this.#waiting.add(enter)
    return () => this.#waiting.delete(enter)
  }

  /** Starts a request once the entrance is open. A request that is interrupted before that is never sent. */
  start<A>(request: CallbackEffect<A>, done: OnResult<A>): void {
    let answer: Effect.Effect<A, NodeError> | undefined
    let resume = (given: Effect.Effect<A, NodeError>) => {
      answer = given
    }
    const leave = this.wait(() => {
      try {
        request.start((given) => resume(toEffect(given)))
      } catch (error) {
        resume(Effect.die(error))
      }
    })
    done(Effect.callback((resumed) => {
      if (answer !== undefined) return resumed(answer)
      resume = resumed
      return Effect.sync(leave)
    }))
  }

  open(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const enter of waiting) enter()
  }
}

/** Succeeds once there is nothing to wait for any more, with whether the connection can be used. */
export const readiness = (entrance: () => Entrance | undefined, isOpen: () => boolean): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const enter = () => resume(Effect.sync(isOpen))
    const waiting = entrance()
    if (waiting === undefined) return enter()
    return Effect.sync(waiting.wait(enter))
  })
