/**
 * What a service that waits for permits asks of the nodes, and what it still asks when nobody waits any more.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { LockError, type LockNode, MemoryNode, Redsync, retryPolicy } from "../../../src/index.ts"
import type { PermitLine } from "../../../src/LockNode.ts"
import * as TestNodes from "../../support/testNodes.ts"

const hourly = { limit: 1, retry: Schedule.spaced("1 hour") }

/** The same node with another line of permits. */
const withLine = (node: LockNode, change: (line: PermitLine) => Partial<PermitLine>): LockNode => ({
  ...node,
  waitingList: (...args) =>
    Effect.map(node.waitingList!(...args), (list) => ({
      ...list,
      permits: { ...list.permits!, ...change(list.permits!) }
    }))
})

describe("waiters for permits", () => {
  it.effect("ask once when they come, though a waiter before them has given up", () =>
    Effect.gen(function*() {
      const node = yield* TestNodes.make("node", { notices: "delivered" })
      const service = yield* Redsync.make({ nodes: [node], expiry: "8 seconds" })
      yield* service.permits("s", hourly)
      yield* Effect.exit(service.permits("s", { limit: 1, retry: retryPolicy({ tries: 1 }) }))
      // When the permits would have expired that it was refused for.
      yield* TestClock.adjust("9 seconds")
      const before = TestNodes.callsOf(node, "acquire").length
      yield* Effect.forkChild(service.permits("s", hourly))
      yield* TestClock.adjust(1)
      assert.strictEqual(TestNodes.callsOf(node, "acquire").length - before, 1)
    }).pipe(Effect.scoped))

  it.effect("keep their place, though the node then answers late that another of this service has none", () => {
    const memory = MemoryNode.make()
    return Effect.gen(function*() {
      const late = yield* Deferred.make<never, LockError.NodeError>()
      let joins = 0
      const node = withLine(memory, (line) => ({
        join: (...args) => ++joins === 1 ? Effect.uninterruptible(Deferred.await(late)) : line.join(...args)
      }))
      const service = yield* Redsync.make({ nodes: [node] })
      const held = yield* (yield* Redsync.make({ nodes: [memory] })).permits("s", hourly)
      const first = yield* Effect.forkChild(service.permits("s", hourly))
      yield* TestClock.adjust(1)
      const second = yield* Effect.forkChild(service.permits("s", hourly))
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust(1)
      assert.strictEqual(joins, 2)
      yield* Deferred.fail(
        late,
        new LockError.NodeError({ node: node.id, operation: "inspect", reason: "Disconnected" })
      )
      yield* TestClock.adjust(1)
      yield* held.release
      yield* TestClock.adjust(1)
      assert.isTrue(Exit.isSuccess(second.pollUnsafe()!), "woken by the release")
    }).pipe(Effect.scoped)
  })
})
