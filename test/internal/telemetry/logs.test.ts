/**
 * What is logged, and as what.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import { Redsync, withLock } from "../../../src/index.ts"
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
})
