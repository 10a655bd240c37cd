/**
 * For how long `redsync run` waits for the lock, in virtual time.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Option } from "effect"
import { TestClock } from "effect/testing"
import { patience } from "../../../src/cli/run.ts"
import { withLock } from "../../../src/index.ts"
import { layerTest, TestNodes } from "../../../src/testing.ts"

const wait = (millis?: number) =>
  Effect.forkChild(
    withLock("a", Effect.void, {
      retry: patience(Option.map(Option.fromUndefinedOr(millis), (given) => Duration.millis(given)))
    })
  )

const failure = (exit: Exit.Exit<unknown, { readonly _tag: string }> | undefined) =>
  exit !== undefined && Exit.isFailure(exit) ? Option.getOrUndefined(Exit.findErrorOption(exit))?._tag : exit

describe("redsync run waits", () => {
  it.effect("for its holder as long as it takes, unless told otherwise", () =>
    Effect.gen(function*() {
      const { occupy } = yield* TestNodes
      yield* occupy("a", "5 minutes")
      const [always, aMinute, not] = [yield* wait(), yield* wait(60_000), yield* wait(0)]
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(aMinute.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(failure(aMinute.pollUnsafe()), "ErrFailed")
      assert.strictEqual(failure(not.pollUnsafe()), "ErrFailed")
      yield* TestClock.adjust("3 minutes")
      assert.isUndefined(always.pollUnsafe())
      yield* TestClock.adjust("1 minute")
      assert.isTrue(Exit.isSuccess(always.pollUnsafe()!))
    }).pipe(Effect.provide(layerTest({ count: 3 }))))

  it.effect("for ten seconds while too few nodes answer, however long it is to wait", () =>
    Effect.gen(function*() {
      const { all, occupy } = yield* TestNodes
      yield* all("down")
      const waiting = [yield* wait(), yield* wait(3_600_000)]
      yield* TestClock.adjust("9 seconds")
      for (const each of waiting) assert.isUndefined(each.pollUnsafe())
      yield* TestClock.adjust("3 seconds")
      for (const each of waiting) assert.strictEqual(failure(each.pollUnsafe()), "NodesUnavailable")
      yield* all("up")
      yield* occupy("a", "1 hour")
      const again = yield* wait()
      for (let times = 0; times < 5; times++) {
        yield* TestClock.adjust("1 minute")
        yield* all("down")
        yield* TestClock.adjust("8 seconds")
        yield* all("up")
      }
      assert.isUndefined(again.pollUnsafe(), "counted anew each time")
    }).pipe(Effect.provide(layerTest({ count: 3 }))))
})
