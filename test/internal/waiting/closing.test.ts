/** Many fibers of a service stop waiting at once: none of them wakes the next. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { lock, permits, sharedLock } from "../../../src/index.ts"
import * as Opened from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"
import * as TestNodes from "../../support/testNodes.ts"

const hourly = { retry: Schedule.spaced("1 hour") }
const kinds = {
  "a lock": lock("a", hourly),
  "a shared lock": sharedLock("a", hourly),
  permits: permits("a", { ...hourly, limit: 1 })
}

const each = it.effect.each(Object.keys(kinds) as Array<keyof typeof kinds>)

/** Fibers of one service that wait for what another one has. */
const waiting = (kind: keyof typeof kinds, count: number) =>
  Effect.gen(function*() {
    const nodes = yield* TestNodes.makeMany(1, { notices: "delivered" })
    const other = yield* Opened.open({ nodes })
    yield* other.run(kind === "permits" ? kinds.permits : kinds["a lock"])
    const { close, run } = yield* Opened.open({ nodes })
    const fibers = yield* Effect.replicateEffect(Effect.forkScoped(Effect.flip(run(kinds[kind]))), count)
    yield* TestClock.adjust(10)
    return { close, fibers, calls: nodes[0]!.calls }
  })

each("a service closes while 3,000 fibers wait for %s, and all of them fail", (kind) =>
  Effect.gen(function*() {
    const { close, fibers } = yield* waiting(kind, 3000)
    yield* close
    const errors = yield* Effect.forEach(fibers, Fiber.join)
    assert.deepStrictEqual([...new Set(errors.map(({ _tag }) => _tag))], ["ErrFailed"])
  }).pipe(scoped))

each("100 fibers that wait for %s are interrupted, and make no more attempts", (kind) =>
  Effect.gen(function*() {
    const { calls, fibers } = yield* waiting(kind, 100)
    const before = calls.length
    yield* Fiber.interruptAll(fibers)
    yield* TestClock.adjust(10)
    assert.notInclude(calls.slice(before).map(({ operation }) => operation), "acquire")
  }).pipe(scoped))
