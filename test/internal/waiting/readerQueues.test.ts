/**
 * When readers ask again.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { lock, MemoryNode, retryPolicy, withLock, withSharedLock } from "../../../src/index.ts"
import { open } from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"
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
      assert.isAtMost(TestNodes.callsOf(nodes[2]!, "acquire").length - before, 100)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.joinAll([first, writer, second])
    }).pipe(Effect.scoped))

  it.effect("gets its turn among writers that hold the lock for a moment, after one that has extended it many times", () =>
    Effect.gen(function*() {
      const memories = MemoryNode.makeMany(3)
      const retry = Schedule.spaced("1 minute")
      const distant = TestNodes.views(memories, { notices: "delivered", distances: [1, 1, 1] })
      const [readers, ...writers] = yield* Effect.replicateEffect(
        Effect.flatMap(distant, (nodes) => open({ nodes })),
        4
      )
      const order: Array<string> = []
      const extending = lock("a", { retry }).pipe(
        Effect.flatMap(({ extend }) => Effect.repeat(extend, { times: 5, schedule: Schedule.spaced("150 millis") })),
        Effect.scoped
      )
      yield* Effect.forkScoped(writers[0]!.run(extending))
      yield* TestClock.adjust(10)
      const read = withSharedLock("a", Effect.sync(() => order.push("read")), { retry })
      yield* Effect.forkScoped(readers!.run(read))
      const write = withLock("a", Effect.andThen(Effect.sync(() => order.push("write")), Effect.sleep(5)), { retry })
      for (const { run } of writers) yield* Effect.forkScoped(Effect.forever(run(write)))
      for (let millis = 0; millis < 1500; millis++) yield* TestClock.adjust(1)
      assert.include(order.slice(0, 4), "read")
    }).pipe(scoped))

  it.effect("and interrupted together with a hundred others wakes none of them", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.views(MemoryNode.makeMany(1), { notices: "delivered", distances: [1] })
      const retry = Schedule.spaced("1 hour")
      const [readers, writers] = yield* Effect.all([open({ nodes }), open({ nodes })])
      yield* Effect.forkScoped(writers.run(lock("a")))
      yield* TestClock.adjust(10)
      const reading = Effect.forkScoped(readers.run(withSharedLock("a", Effect.void, { retry })))
      const fibers = yield* Effect.replicateEffect(reading, 100)
      yield* TestClock.adjust(10)
      const before = TestNodes.callsOf(nodes[0]!, "acquire").length
      readers.service.readerQueues.changed("a")
      yield* Fiber.interruptAll(fibers)
      yield* TestClock.adjust(10)
      assert.strictEqual(TestNodes.callsOf(nodes[0]!, "acquire").length - before, 1)
    }).pipe(scoped))
})
