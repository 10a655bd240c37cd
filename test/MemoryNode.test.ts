import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { MemoryNode } from "../src/index.ts"
import { Subject, suite } from "./support/conformance.ts"
import { entryOf, waiterIdOf } from "./support/line.ts"

suite(
  "MemoryNode",
  Layer.sync(Subject, () => ({ node: MemoryNode.make(), elapse: TestClock.adjust, slackMillis: 0 }))
)

describe("MemoryNode on the test clock", () => {
  it.effect("a key is there until the last millisecond of its expiry, and gone with it", () =>
    Effect.gen(function*() {
      const node = MemoryNode.make()
      yield* node.acquire("key", "mine", 100)
      yield* TestClock.adjust(99)
      assert.deepStrictEqual(yield* node.inspect("key"), Option.some({ value: "mine", ttlMillis: 1 }))
      assert.isFalse(yield* node.acquire("key", "other", 100))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* node.inspect("key"), Option.none())
      assert.isFalse(yield* node.release("key", "mine"))
      assert.isFalse(yield* node.remove("key"))
      assert.isTrue(yield* node.acquire("key", "other", 100))
    }))

  it.effect("an extension counts from when it is made", () =>
    Effect.gen(function*() {
      const node = MemoryNode.make()
      yield* node.acquire("key", "mine", 100)
      yield* TestClock.adjust(60)
      assert.isTrue(yield* node.extend("key", "mine", 100))
      yield* TestClock.adjust(99)
      assert.isTrue(Option.isSome(yield* node.inspect("key")))
      yield* TestClock.adjust(1)
      assert.isTrue(Option.isNone(yield* node.inspect("key")))
    }))

  it.effect("ten thousand keys of different expiries expire each at its own time", () =>
    Effect.gen(function*() {
      const node = MemoryNode.make()
      const keys = Array.from({ length: 10_000 }, (_, index) => index)
      for (const index of keys) yield* node.acquire(`key-${index}`, "mine", 1 + index % 100)
      yield* TestClock.adjust(50)
      const left = yield* Effect.filter(keys, (index) => Effect.map(node.inspect(`key-${index}`), Option.isSome))
      assert.strictEqual(left.length, 5000)
      assert.isTrue(left.every((index) => index % 100 >= 50))
    }))

  it.effect("a waiter that is gone stands in none of its lists, and joins none", () =>
    Effect.gen(function*() {
      const node = MemoryNode.make()
      const open = (waiter: string) => node.waitingList!(waiterIdOf(waiter), () => {})
      const scope = yield* Scope.make()
      const gone = yield* Scope.provide(open("gone"), scope)
      const keys = ["a", "b", "c"]
      for (const key of keys) yield* gone.join(key, entryOf("gone"), "back")
      yield* Scope.close(scope, Exit.void)
      const next = yield* open("next")
      for (const key of keys) {
        yield* gone.join(key, entryOf("gone"), "front")
        assert.strictEqual((yield* next.join(key, entryOf("next"), "back")).ahead, 0)
      }
    }).pipe(Effect.scoped))

  it.effect("a limit is forgotten with the last holder that expires, and keeps nobody in line for more", () =>
    Effect.gen(function*() {
      const node = MemoryNode.make()
      const told: Array<string> = []
      const list = yield* node.waitingList!(waiterIdOf("ours"), ({ _tag }) => told.push(_tag))
      yield* node.permits!.acquire("s", "holder", { expiryMillis: 100, limit: 2, permits: 2, start: 0, step: 1 })
      assert.isFalse(yield* list.permits!.join("s", { value: entryOf("ours").value, permits: 5 }, 5, "back"))
      yield* TestClock.adjust(100)
      assert.isFalse(yield* list.permits!.release("s", "holder"))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(told, ["PermitsFree"])
    }).pipe(Effect.scoped))

  it("has a name of its own unless given one", () => {
    assert.strictEqual(MemoryNode.make().id, "memory")
    assert.strictEqual(MemoryNode.make("here").id, "here")
    for (let again = 0; again < 2; again++) {
      assert.deepStrictEqual(MemoryNode.makeMany(2).map(({ id }) => id), ["memory-1", "memory-2"])
    }
  })
})
