/**
 * When readers ask again.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { lock, retryPolicy, withSharedLock } from "../../../src/index.ts"
import { open } from "../../support/opened.ts"
import * as TestNodes from "../../support/testNodes.ts"

describe("a reader that is refused", () => {
  it.effect("does not ask without a pause where its own attempt changes the key on a node that was told of no writer", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3, { notices: "delivered" })
      const retry = retryPolicy({ within: "1 minute", delay: "1 second" })
      const [readers, writers] = yield* Effect.all([open({ nodes }), open({ nodes })])
      // A node that has restarted knows of no writer until it is told again.
      const restarted = readers.service.waitQueues.lists.firstInRank("b")!.node
      Object.assign(restarted.shared!, { announce: () => Effect.succeed(true) })
      const first = yield* Effect.forkChild(readers.run(withSharedLock("b", Effect.sleep("700 millis"), { retry })))
      const writer = yield* Effect.forkChild(writers.run(Effect.scoped(lock("b", { retry }))))
      const before = TestNodes.callsOf(nodes[2]!, "acquire").length
      const second = yield* Effect.forkChild(readers.run(withSharedLock("b", Effect.void, { retry })))
      for (let millis = 0; millis < 700; millis += 5) yield* TestClock.adjust(5)
      assert.isAtMost(TestNodes.callsOf(nodes[2]!, "acquire").length - before, 40)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.joinAll([first, writer, second])
    }).pipe(Effect.scoped))
})
