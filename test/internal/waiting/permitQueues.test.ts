/**
 * What a service that waits for permits asks of the nodes, and what it still asks when nobody waits any more.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { type LockNode, MemoryNode, NodeError, Redsync, retryPolicy } from "../../../src/index.ts"
import type { PermitLine } from "../../../src/LockNode.ts"
import { open } from "../../support/opened.ts"
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
      const late = yield* Deferred.make<never, NodeError>()
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
        new NodeError({ node: node.id, operation: "inspect", reason: "Disconnected" })
      )
      yield* TestClock.adjust(1)
      yield* held.release
      yield* TestClock.adjust(1)
      assert.isTrue(Exit.isSuccess(second.pollUnsafe()!), "woken by the release")
    }).pipe(Effect.scoped)
  })

  it.effect("are woken only once their permits are free on all nodes: the one with the line is released last", () => {
    const order: Array<string> = []
    const tells = (node: LockNode): LockNode => ({
      ...withLine(node, (line) => ({
        release: (...args) =>
          Effect.suspend(() => {
            order.push("line")
            return line.release(...args)
          })
      })),
      permits: {
        ...node.permits!,
        release: (...args) =>
          Effect.suspend(() => {
            order.push("permits")
            return node.permits!.release(...args)
          })
      }
    })
    return Effect.gen(function*() {
      const service = yield* Redsync.make({ nodes: MemoryNode.makeMany(5).map(tells) })
      for (const name of ["a", "b", "c", "d", "e", "f"]) {
        yield* service.withPermits(name, Effect.void, hourly)
        assert.deepStrictEqual(order.splice(0), ["permits", "permits", "permits", "permits", "line"])
      }
    }).pipe(Effect.scoped)
  })

  it.effect("get them though the node refuses to release with its line", () => {
    const memory = MemoryNode.make()
    const node = withLine(memory, () => ({
      release: () => Effect.fail(new NodeError({ node: memory.id, operation: "release", reason: "Rejected" }))
    }))
    return Effect.gen(function*() {
      const service = yield* Redsync.make({ nodes: [node] })
      const held = yield* service.permits("s", hourly)
      assert.isTrue(yield* held.release)
      assert.deepStrictEqual((yield* memory.permits!.inspect("s")).holders, [])
    }).pipe(Effect.scoped)
  })

  it.effect("look again when notifications of the node with their line may have been lost, not those of another", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3, { notices: "delivered" })
      const service = yield* Redsync.make({ nodes })
      yield* service.permits("s", hourly)
      yield* Effect.forkChild(service.permits("s", hourly))
      yield* TestClock.adjust(1)
      const isListed = (node: TestNodes.TestNode) => TestNodes.callsOf(node, "join").length > 0
      const attempts = () => TestNodes.callsOf(nodes[0]!, "acquire").length
      const reconnect = (node: TestNodes.TestNode) => {
        node.state = "down"
        node.state = "up"
        return TestClock.adjust(1)
      }
      const before = attempts()
      yield* Effect.forEach(nodes.filter((node) => !isListed(node)), reconnect)
      assert.strictEqual(attempts(), before)
      yield* Effect.forEach(nodes.filter(isListed), reconnect)
      assert.strictEqual(attempts(), before + 1)
    }).pipe(Effect.scoped))

  it.effect("are told of another limit once for each semaphore, of which a thousand are remembered", () =>
    Effect.gen(function*() {
      const { service } = yield* open({ nodes: [MemoryNode.make()] })
      const first = (name: string) => service.permitQueues.isFirstWarning(name)
      assert.deepStrictEqual(["a", "a", "b", "a"].map(first), [true, false, true, false])
      for (let index = 0; index < 1000; index++) first(`${index}`)
      assert.isTrue(first("a"))
    }).pipe(Effect.scoped))

  it.effect("ask a few times more where votes are split, each time their schedule has them ask", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const taken = { expiryMillis: 3_600_000, limit: 1, permits: 1, start: 0, step: 1 }
      for (const node of nodes.slice(1)) yield* node.permits!.acquire("s", "another's", taken)
      const service = yield* Redsync.make({ nodes })
      const attempts = () => TestNodes.callsOf(nodes[0]!, "acquire").length
      yield* Effect.forkChild(service.permits("s", { limit: 1, retry: Schedule.spaced("10 seconds") }))
      for (let asked = 1; asked <= 3; asked++) {
        yield* TestClock.adjust("9 seconds")
        assert.strictEqual(attempts(), 5 * asked)
        yield* TestClock.adjust("1 second")
      }
    }).pipe(Effect.scoped))
})
