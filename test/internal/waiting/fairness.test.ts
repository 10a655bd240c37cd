/**
 * Who goes first where several could.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { MemoryNode, Redsync } from "../../../src/index.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import * as TestNodes from "../../support/testNodes.ts"

const hourly = { retry: Schedule.spaced("1 hour") }

describe("in line", () => {
  it.effect("who is second leaves a free key for a moment to the first, who may be about to ask", () =>
    Effect.gen(function*() {
      const memory = MemoryNode.make()
      const node = yield* TestNodes.view(memory)
      yield* memory.acquire("a", "another's", 1000)
      const list = yield* memory.waitingList!(waiterIdOf("first"), () => {})
      yield* list.join("a", entryOf("first"), "back")
      const service = yield* Redsync.make({ nodes: [node] })
      const waiting = yield* Effect.forkChild(service.withLock("a", Effect.void, hourly))
      yield* TestClock.adjust(1)
      const asked = () => TestNodes.callsOf(node, "acquire").filter(({ at }) => at >= 1000).map(({ at }) => at)
      yield* TestClock.adjust(1049)
      assert.deepStrictEqual(asked(), [])
      yield* TestClock.adjust(20)
      assert.lengthOf(asked(), 1)
      yield* Fiber.join(waiting)
    }).pipe(Effect.scoped))
})
