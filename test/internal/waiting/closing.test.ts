/** A service that closes ends all waiting, however many wait: none of them wakes the next. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { lock, MemoryNode, permits, sharedLock } from "../../../src/index.ts"
import * as Opened from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"

const hourly = { retry: Schedule.spaced("1 hour") }
const kinds = {
  "a lock": lock("a", hourly),
  "a shared lock": sharedLock("a", hourly),
  permits: permits("a", { ...hourly, limit: 1 })
}

it.effect.each(Object.keys(kinds) as Array<keyof typeof kinds>)(
  "3,000 fibers that wait for %s",
  (kind) =>
    Effect.gen(function*() {
      const nodes = MemoryNode.makeMany(1)
      const other = yield* Opened.open({ nodes })
      yield* other.run(kind === "permits" ? kinds.permits : kinds["a lock"])
      const { close, run } = yield* Opened.open({ nodes })
      const fibers = yield* Effect.replicateEffect(Effect.forkScoped(Effect.flip(run(kinds[kind]))), 3000)
      yield* TestClock.adjust(10)
      yield* close
      const errors = yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual([...new Set(errors.map(({ _tag }) => _tag))], ["ErrFailed"])
    }).pipe(scoped)
)
