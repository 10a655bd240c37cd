/**
 * What is logged, and as what.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import { type LockNode, NodeError, Redsync, retryPolicy, withLock } from "../../../src/index.ts"
import { runIds } from "../../../src/internal/nodeContract.ts"
import * as TestNodes from "../../support/testNodes.ts"

describe("logs", () => {
  it.effect("one structured line for each change of a node's state and for each lost lock, and no other", () =>
    Effect.gen(function*() {
      const lines: Array<readonly [level: string, message: string, about: object]> = []
      const logger = Logger.make(({ fiber, logLevel, message }) => {
        lines.push([logLevel, [message].flat().join(" "), fiber.getRef(References.CurrentLogAnnotations)])
      })
      const nodes = yield* TestNodes.makeMany(3)
      yield* Effect.gen(function*() {
        yield* withLock("a", Effect.void)
        assert.deepStrictEqual(lines, [])
        nodes[0]!.state = { rejects: "OOM is near" }
        for (let round = 0; round < 3; round++) yield* withLock("a", Effect.void)
        nodes[0]!.state = "up"
        for (let round = 0; round < 3; round++) yield* withLock("a", Effect.void)
        yield* TestClock.adjust("1 second")
        yield* Effect.exit(withLock("b", TestClock.adjust("1 minute"), { autoExtend: false }))
      }).pipe(Effect.provide(Layer.provide(Redsync.layer({ nodes }), Logger.layer([logger]))))
      assert.deepStrictEqual(lines, [
        ["Warn", "Lock node node-1 answered with an error: OOM is near", {
          "redsync.node": "node-1",
          "redsync.reason": "Rejected"
        }],
        ["Info", "Lock node node-1 answers again", { "redsync.node": "node-1" }],
        [
          "Warn",
          "Lock \"b\" was lost: its lease ended, never extended",
          { "redsync.lock": "b", "redsync.reason": "Expired" }
        ]
      ])
    }))

  it.effect("an id of a node, and what its server says, stay on one line of bounded length", () =>
    Effect.gen(function*() {
      const lines: Array<readonly [message: string, node: string]> = []
      const logger = Logger.make(({ fiber, message }) => {
        const { "redsync.node": node } = fiber.getRef(References.CurrentLogAnnotations)
        lines.push([[message].flat().join(" "), String(node)])
      })
      const node = yield* TestNodes.make(`first\nsecond\u202e${"x".repeat(5000)}`)
      node.state = { rejects: "OOM\nis near" }
      yield* Effect.exit(withLock("a", Effect.void, { retry: retryPolicy({ tries: 1 }) })).pipe(
        Effect.provide(Layer.provide(Redsync.layer({ nodes: [node] }), Logger.layer([logger])))
      )
      assert.strictEqual(lines.length, 1)
      const [message, about] = lines[0]!
      assert.match(message, /^Lock node first\\nsecond\\u202exx+…$/)
      assert.strictEqual(message.length, 2001)
      assert.match(about, /^first\\nsecond\\u202exx+…$/)
    }))

  it.effect("a node that refuses, and then abstains, says so too", () =>
    Effect.gen(function*() {
      const { layer, lines } = logged()
      const node = yield* TestNodes.make("node")
      let error: ConstructorParameters<typeof NodeError>[0] | undefined
      const failing: LockNode = {
        ...node,
        acquire: (...args) => error === undefined ? node.acquire(...args) : Effect.fail(new NodeError(error))
      }
      const once = { retry: retryPolicy({ tries: 1 }) }
      yield* Effect.gen(function*() {
        for (const [reason, cause] of [["Rejected", "OOM is near"], ["Abstained", "up for only 1 s"]] as const) {
          error = { node: node.id, operation: "acquire", reason, cause: new Error(cause) }
          for (const _ of [1, 2]) yield* Effect.exit(withLock("a", Effect.void, once))
        }
        error = undefined
        yield* withLock("a", Effect.void, once)
      }).pipe(Effect.provide(Layer.provide(Redsync.layer({ nodes: [failing] }), layer)))
      assert.deepStrictEqual(lines, [
        "Warn: Lock node node answered with an error: OOM is near",
        "Warn: Lock node node abstains: up for only 1 s",
        "Info: Lock node node answers again"
      ])
    }))

  it.effect("nodes that turn out to be one server are named once, however often they are lost", () =>
    Effect.gen(function*() {
      const { layer, lines } = logged()
      const nodes = yield* TestNodes.makeMany(3)
      for (const node of nodes.slice(1)) runIds.set(node, () => "one")
      yield* Effect.gen(function*() {
        for (let round = 0; round < 3; round++) {
          nodes[2]!.state = { rejects: "OOM is near" }
          yield* withLock("a", Effect.void)
          nodes[2]!.state = "up"
          yield* withLock("a", Effect.void)
        }
      }).pipe(Effect.provide(Layer.provide(Redsync.layer({ nodes }), layer)))
      assert.deepStrictEqual(lines.filter((line) => line.includes("same server")), [
        "Warn: Lock nodes node-2 and node-3 are the same server, which has 2 votes"
      ])
    }))
})

const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${[message].flat().join(" ")}`))
  return { lines, layer: Logger.layer([logger]) }
}
