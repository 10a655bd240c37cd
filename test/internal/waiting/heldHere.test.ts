/** A service that holds a lock while a fiber of it waits for the same. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { lock, retryPolicy, tryLock } from "../../../src/index.ts"
import { layerTest, TestNodes } from "../../../src/testing.ts"

describe("a service that holds the lock", () => {
  it.effect("does not stand in line for a fiber of its own that was refused when the lock was granted", () =>
    Effect.gen(function*() {
      const { all, nodes } = yield* TestNodes
      yield* all("silent")
      const held = yield* Effect.forkChild(tryLock("a"), { startImmediately: true })
      const refused = yield* Effect.forkChild(Effect.flip(lock("a", { retry: retryPolicy({ tries: 2 }) })), {
        startImmediately: true
      })
      yield* all("up")
      assert.isTrue(Option.isSome(yield* Fiber.join(held)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(refused))._tag, "ErrFailed")
      const operations = new Set(nodes.flatMap(({ calls }) => calls.map(({ operation }) => operation)))
      assert.isTrue(operations.has("acquire"))
      assert.isFalse(operations.has("join"))
    }).pipe(Effect.scoped, Effect.provide(layerTest({ count: 3 }))))
})
