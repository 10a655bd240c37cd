/**
 * The labels of holders, on nodes in memory and in virtual time.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { labelled, labelOf } from "../../src/cli/label.ts"
import { OpenNodes } from "../../src/cli/nodes.ts"
import { forceUnlock, type Lock, MemoryNode, Redsync, withLock } from "../../src/index.ts"
import { companionKey } from "../../src/internal/redis/keys.ts"

const expiry = Duration.seconds(6)

/** Holds a label while the command runs, as `redsync run` does. */
const run = (program: Effect.Effect<void>) =>
  Effect.forkChild(withLock("a", (lock) => labelled([lock], "words", expiry, program)))

const onNodes = <A, E>(
  test: (exist: Effect.Effect<ReadonlyArray<boolean>>) => Effect.Effect<A, E, Redsync | OpenNodes>
) => {
  const nodes = MemoryNode.makeMany(3)
  const exist = Effect.forEach(
    nodes,
    (node) => Effect.map(Effect.orDie(node.inspect(companionKey("label", "a"))), Option.isSome)
  )
  return test(exist).pipe(
    Effect.provide(Layer.merge(Redsync.layer({ nodes, expiry }), Layer.succeed(OpenNodes, nodes)))
  )
}

const there = [true, true, true]
const gone = [false, false, false]

describe("a label", () => {
  it.effect("is there for as long as the lock, and no longer", () =>
    onNodes((exist) =>
      Effect.gen(function*() {
        const running = yield* run(Effect.sleep("30 seconds"))
        for (let seconds = 0; seconds < 30; seconds++) {
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(yield* exist, there, `after ${seconds} s`)
          yield* TestClock.adjust(999)
        }
        yield* Fiber.join(running)
        assert.deepStrictEqual(yield* exist, gone)
      })
    ))

  it.effect("is not extended once the lock is lost, though the command has yet to end", () =>
    onNodes((exist) =>
      Effect.gen(function*() {
        const running = yield* run(Effect.uninterruptible(Effect.sleep("1 minute")))
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* exist, there)
        yield* forceUnlock("a")
        yield* TestClock.adjust("7 seconds")
        assert.deepStrictEqual(yield* exist, gone)
        yield* TestClock.adjust("1 minute")
        yield* Effect.exit(Fiber.join(running))
      })
    ))

  it.effect("is that of the holder with this value", () =>
    onNodes(() =>
      Effect.gen(function*() {
        let holder: Lock | undefined
        const running = yield* Effect.forkChild(
          withLock("a", (lock) => {
            holder = lock
            return labelled([lock], "some words", expiry, Effect.never)
          })
        )
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* labelOf(holder!))?.label, "some words")
        assert.isUndefined(yield* labelOf({ name: "a", mode: "exclusive", value: "another's" }))
        yield* Fiber.interrupt(running)
      })
    ))
})
