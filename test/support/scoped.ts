/**
 * Scopes under the test clock.
 */
import { Effect, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"

/** Runs a test in a scope, and lets time pass while what is in it closes. */
export const scoped = <A, E, R>(
  body: Effect.Effect<A, E, R | Scope.Scope>
): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const exit = yield* Effect.exit(Scope.provide(body, scope))
    const closing = yield* Effect.forkChild(Scope.close(scope, exit))
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(closing)
    return yield* exit
  })
