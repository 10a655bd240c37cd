/**
 * Turns that come for a lock that was left to expire.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { type LockNode, MemoryNode, Redsync } from "../../../src/index.ts"

describe("a turn for a value that was abandoned", () => {
  it.effect("changes nothing while the lock may live, and goes to the next in line after that", () =>
    Effect.gen(function*() {
      const memory = MemoryNode.make()
      let hear: Parameters<NonNullable<LockNode["waitingList"]>>[1] = () => {}
      const left: Array<string> = []
      const node: LockNode = {
        ...memory,
        waitingList: (waiterId, onNotice) => {
          hear = onNotice
          return Effect.map(memory.waitingList!(waiterId, onNotice), (list) => ({
            ...list,
            leave: (key, entry) =>
              Effect.suspend(() => {
                left.push(entry.value)
                return list.leave(key, entry)
              })
          }))
        }
      }
      const service = yield* Redsync.make({ nodes: [node], expiry: "20 seconds" })
      const held = yield* service.lock("a")
      const { value } = held
      yield* held.abandon
      const turn = Effect.suspend(() => {
        hear({ _tag: "WakeUp", key: "a", value, next: undefined })
        return TestClock.adjust(1)
      })
      yield* turn
      yield* TestClock.adjust("19 seconds")
      yield* turn
      assert.deepStrictEqual(left, [])
      yield* TestClock.adjust("1 second")
      yield* turn
      assert.deepStrictEqual(left, [value])
    }).pipe(Effect.scoped))
})
