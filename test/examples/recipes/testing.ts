// Testing code that locks: no Redis, no waiting.
import { Console, Effect, Fiber } from "effect"
import { inspect, Redsync, withLock } from "effect-redsync"
import { TestClock } from "effect/testing"

// The code under test requires Redsync, and does not depend on where it comes from.
const chargeOnce = withLock("invoices:42", Console.log("charged"), { expiry: "1 minute" })

const test = Effect.gen(function*() {
  yield* Effect.forkChild(withLock("invoices:42", Effect.sleep("5 seconds")))
  yield* Effect.yieldNow
  const fiber = yield* Effect.forkChild(chargeOnce)

  yield* TestClock.adjust("4 seconds")
  yield* Console.log((yield* inspect("invoices:42")).nodes.map((node) => node._tag))
  // => [ 'Held' ]

  yield* TestClock.adjust("2 seconds")
  yield* Fiber.join(fiber)
  // => charged
})

// it.effect of @effect/vitest provides the test clock.
await Effect.runPromise(
  Effect.scoped(test).pipe(Effect.provide(Redsync.layerMemory()), Effect.provide(TestClock.layer()))
)
