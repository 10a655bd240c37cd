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

  it.effect("who is refused by split votes asks twice more, each time its schedule has it ask", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      for (const node of nodes.slice(1)) yield* node.acquire("a", "another's", 3_600_000)
      const service = yield* Redsync.make({ nodes })
      const waiting = yield* Effect.forkChild(
        service.withLock("a", Effect.void, { retry: Schedule.spaced("10 seconds") })
      )
      for (let asked = 1; asked <= 3; asked++) {
        yield* TestClock.adjust("9 seconds")
        assert.lengthOf(TestNodes.callsOf(nodes[0]!, "acquire"), 3 * asked)
        yield* TestClock.adjust("1 second")
      }
      yield* Fiber.interrupt(waiting)
    }).pipe(Effect.scoped))
})
