/**
 * What every node with shared locks does, whatever it is made of.
 */
import { assert, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import type { NodeError } from "../../src/index.ts"
import { sharedMarker } from "../../src/internal/nodeContract.ts"
import { companionKey } from "../../src/internal/redis/keys.ts"
import { entryOf, waiterIdOf } from "./line.ts"
import { faultOfReaders } from "./randomOperations.ts"
import { assertNodeError, assertTtl, Backend, expiry, oddKeys, oldEnough, Subject } from "./subject.ts"

const shared = Effect.map(Subject, ({ node }) => node.shared!)

/** The readers of a key, in the order of their expiry. */
const readers = (key: string) =>
  Effect.flatMap(
    shared,
    (shared) => Effect.map(shared.inspect(key), ({ holders }) => holders.map(({ value }) => value))
  )

/** Asserts that readers hold the key, for that long. */
const assertShared = (key: string, values: ReadonlyArray<string>, ttlMillis: number) =>
  Effect.gen(function*() {
    const { node, slackMillis } = yield* Subject
    const state = yield* node.shared!.inspect(key)
    assert.deepStrictEqual(state.holders.map(({ value }) => value).sort(), [...values].sort())
    assert.strictEqual(state.readers, values.length)
    const found = Option.getOrThrow(yield* node.inspect(key))
    assert.strictEqual(found.value, sharedMarker)
    assertTtl(slackMillis, found.ttlMillis, ttlMillis)
  })

const assertFree = (key: string) =>
  Effect.gen(function*() {
    const { node } = yield* Subject
    assert.deepStrictEqual(yield* node.inspect(key), Option.none())
    assert.deepStrictEqual(yield* readers(key), [])
  })

export const sharedCases = <R>(it: Vitest.MethodsNonLive<R | Subject>): void => {
  it.effect.each(oddKeys)("shared: a key with %s has readers", ([_, name]) =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { acquire, release } = yield* shared
      const key = `shared ${name}`
      assert.isTrue(yield* acquire(key, "a", expiry))
      assert.isTrue(yield* acquire(key, "b", expiry))
      yield* assertShared(key, ["a", "b"], expiry)
      assert.isFalse(yield* node.acquire(key, "writer", expiry))
      assert.isTrue(yield* release(key, "a"))
      assert.isTrue(yield* release(key, "b"))
      yield* assertFree(key)
      assert.isTrue(yield* node.acquire(key, "writer", expiry))
    }))

  it.effect("shared: a writer keeps readers out, and readers keep writers out", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { acquire, extend, release } = yield* shared
      assert.isTrue(yield* node.acquire("excluded", "writer", expiry))
      assert.isFalse(yield* acquire("excluded", "reader", expiry))
      assert.isFalse(yield* extend("excluded", "reader", expiry))
      assert.isFalse(yield* release("excluded", "writer"))
      assert.isTrue(yield* node.release("excluded", "writer"))
      assert.isTrue(yield* acquire("excluded", "reader", expiry))
      assert.isFalse(yield* node.acquire("excluded", "writer", expiry))
      assert.isFalse(yield* node.extend("excluded", "writer", expiry))
      assert.isFalse(yield* node.release("excluded", "writer"))
      assert.isFalse(yield* node.release("excluded", "reader"))
      assert.isFalse(yield* node.replace!("excluded", "writer", "new", expiry))
      yield* assertShared("excluded", ["reader"], expiry)
    }))

  it.effect("shared: a reader is granted again what it has", () =>
    Effect.gen(function*() {
      const { acquire } = yield* shared
      assert.isTrue(yield* acquire("again", "a", expiry))
      assert.isTrue(yield* acquire("again", "a", expiry * 2))
      yield* assertShared("again", ["a"], expiry * 2)
    }))

  it.effect("shared: the key lives as long as the reader that stays longest, in any order", () =>
    Effect.gen(function*() {
      const { acquire, extend, release } = yield* shared
      yield* acquire("longest", "long", expiry * 3)
      yield* acquire("longest", "short", expiry)
      yield* assertShared("longest", ["long", "short"], expiry * 3)
      assert.isTrue(yield* extend("longest", "short", expiry * 2))
      yield* assertShared("longest", ["long", "short"], expiry * 3)
      assert.isTrue(yield* release("longest", "long"))
      yield* assertShared("longest", ["short"], expiry * 2)
      assert.isTrue(yield* extend("longest", "short", expiry))
      yield* assertShared("longest", ["short"], expiry)
      assert.isFalse(yield* release("longest", "long"))
      assert.isTrue(yield* release("longest", "short"))
      yield* assertFree("longest")
    }))

  it.effect("shared: each reader expires for itself, and its late extension is no vote", () =>
    Effect.gen(function*() {
      const { elapse, node } = yield* Subject
      const { acquire, extend, release } = yield* shared
      yield* acquire("expiring readers", "long", expiry)
      yield* acquire("expiring readers", "short", 30)
      yield* elapse(30)
      assert.deepStrictEqual(yield* readers("expiring readers"), ["long"])
      assert.isFalse(yield* release("expiring readers", "short"))
      assert.isFalse(yield* extend("expiring readers", "short", expiry, true))
      assert.deepStrictEqual(yield* readers("expiring readers"), ["long"])
      assert.isFalse(yield* extend("expiring readers", "short", expiry))
      assert.isTrue(yield* extend("expiring readers", "short", 30))
      assert.isTrue(yield* release("expiring readers", "long"))
      yield* elapse(30)
      yield* assertFree("expiring readers")
      assert.isTrue(yield* node.acquire("expiring readers", "writer", expiry))
    }))

  it.effect("shared: a reader whose key is gone comes back without a vote", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { acquire, extend } = yield* shared
      yield* acquire("gone readers", "a", expiry)
      yield* node.remove("gone readers")
      assert.isFalse(yield* extend("gone readers", "a", expiry, true))
      yield* assertFree("gone readers")
      yield* extend("gone readers", "b", expiry, true)
      assert.isFalse(yield* extend("gone readers", "a", expiry))
      yield* assertShared("gone readers", ["a"], expiry)
      assert.isTrue(yield* extend("gone readers", "a", expiry))
    }))

  it.effect("shared: readers of a key that was removed do not come back with the next one", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { acquire, extend, release } = yield* shared
      yield* acquire("stale", "old", expiry)
      yield* node.remove("stale")
      yield* node.acquire("stale", "writer", expiry)
      assert.isFalse(yield* extend("stale", "old", expiry))
      assert.isFalse(yield* release("stale", "old"))
      assert.deepStrictEqual(yield* readers("stale"), [])
      yield* node.release("stale", "writer")
      assert.isTrue(yield* acquire("stale", "new", expiry))
      yield* assertShared("stale", ["new"], expiry)
      assert.isFalse(yield* release("stale", "old"))
      assert.isTrue(yield* release("stale", "new"))
      yield* assertFree("stale")
    }))

  it.effect("shared: a writer becomes a reader, with a vote only where it was the writer", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { acquire, downgrade } = yield* shared
      yield* node.acquire("downgraded", "writer", expiry)
      assert.isFalse(yield* downgrade("downgraded", "other", "reader", expiry))
      assert.isTrue(yield* downgrade("downgraded", "writer", "reader", expiry * 2))
      yield* assertShared("downgraded", ["reader"], expiry * 2)
      assert.isFalse(yield* node.extend("downgraded", "writer", expiry))
      assert.isTrue(yield* acquire("downgraded", "another", expiry))
      assert.isFalse(yield* downgrade("downgraded", "writer", "late", expiry))
      yield* assertShared("downgraded", ["reader", "another", "late"], expiry * 2)
      assert.isFalse(yield* downgrade("downgraded free", "writer", "reader", expiry))
      yield* assertShared("downgraded free", ["reader"], expiry)
    }))

  it.effect("shared: no readers come in while a writer waits, and those inside stay", () =>
    Effect.gen(function*() {
      const { elapse } = yield* Subject
      const { acquire, announce, extend, inspect } = yield* shared
      yield* acquire("announced", "inside", expiry)
      assert.isTrue(yield* announce("announced", expiry))
      assert.isTrue((yield* inspect("announced")).isWriterWaiting)
      assert.isFalse(yield* acquire("announced", "late", expiry))
      assert.isTrue(yield* extend("announced", "inside", expiry))
      assert.isTrue(yield* announce("announced", 0))
      assert.isFalse((yield* inspect("announced")).isWriterWaiting)
      assert.isTrue(yield* acquire("announced", "late", expiry))
      assert.isTrue(yield* announce("announced", 30))
      yield* elapse(30)
      assert.isTrue(yield* acquire("announced", "later", expiry))
    }))

  it.effect("shared: a writer that leaves keeps the key for readers that wait, and for nobody else", () =>
    Effect.gen(function*() {
      const { elapse, node } = yield* Subject
      const { acquire, announce, release, yieldToReaders } = yield* shared
      yield* node.acquire("yielded", "writer", expiry)
      assert.isFalse(yield* acquire("yielded", "a", expiry, expiry))
      yield* announce("yielded", expiry)
      assert.isFalse(yield* yieldToReaders("yielded", "other", expiry))
      assert.isTrue(yield* yieldToReaders("yielded", "writer", expiry))
      assert.isFalse(yield* node.acquire("yielded", "next", expiry))
      assert.deepStrictEqual(yield* readers("yielded"), [])
      assert.isTrue(yield* acquire("yielded", "a", expiry * 2))
      assert.isTrue(yield* acquire("yielded", "b", expiry))
      yield* assertShared("yielded", ["a", "b"], expiry * 2)
      yield* release("yielded", "a")
      yield* release("yielded", "b")
      assert.isFalse(yield* node.acquire("yielded", "next", expiry), "until the time for readers is over")
      yield* node.remove("yielded")
      yield* node.acquire("yielded", "writer", expiry)
      assert.isTrue(yield* yieldToReaders("yielded", "writer", expiry), "no reader waits any more")
      yield* assertFree("yielded")

      yield* node.acquire("yielded for a time", "writer", expiry)
      yield* acquire("yielded for a time", "a", expiry, expiry)
      yield* yieldToReaders("yielded for a time", "writer", 30)
      yield* elapse(30)
      assert.isTrue(yield* node.acquire("yielded for a time", "next", expiry))
    }))

  it.effect("shared: whoever leaves after it was woken tells the next in line, which watches the readers", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      if (node.waitingList === undefined) return
      const told: Array<string> = []
      const inLine = (name: string) =>
        Effect.map(
          node.waitingList!(waiterIdOf(name), ({ _tag }) => told.push(`${name} ${_tag}`)),
          (list) => ({ list, entry: entryOf(name) })
        )
      const [woken, next] = [yield* inLine("woken"), yield* inLine("next")]
      yield* node.acquire("turn left", "writer", expiry)
      yield* woken.list.join("turn left", woken.entry, "back")
      yield* next.list.join("turn left", next.entry, "back")
      yield* woken.list.release("turn left", "writer", undefined)
      assert.isTrue(yield* (yield* shared).acquire("turn left", "reader", expiry))
      yield* woken.list.leave("turn left", woken.entry)
      yield* Effect.repeat(Effect.promise(() => new Promise((resolve) => setImmediate(resolve))), {
        until: () => told.includes("next First")
      })
    }).pipe(Effect.scoped))

  it.effect("shared: a reader that does not wait, or no longer, delays no writer", () =>
    Effect.gen(function*() {
      const { elapse, node } = yield* Subject
      const { acquire, yieldToReaders } = yield* shared
      yield* node.acquire("not waiting", "writer", expiry)
      yield* acquire("not waiting", "a", expiry)
      yield* yieldToReaders("not waiting", "writer", expiry)
      yield* assertFree("not waiting")
      yield* node.acquire("not waiting", "writer", expiry)
      yield* acquire("not waiting", "a", expiry, 30)
      yield* elapse(30)
      yield* yieldToReaders("not waiting", "writer", expiry)
      yield* assertFree("not waiting")
    }))

  it.effect("shared: shows one reader, or a hundred of many", () =>
    Effect.gen(function*() {
      const { acquire, inspect } = yield* shared
      assert.deepStrictEqual(yield* inspect("many"), { readers: 0, holders: [], isWriterWaiting: false })
      const values = Array.from({ length: 120 }, (_, index) => `reader-${index}`)
      yield* Effect.forEach(values, (value) => acquire("many", value, expiry), { concurrency: "unbounded" })
      const all = yield* inspect("many")
      assert.deepStrictEqual([all.readers, all.holders.length], [120, 100])
      const one = yield* inspect("many", "reader-7")
      assert.deepStrictEqual([one.readers, one.holders.map(({ value }) => value)], [120, ["reader-7"]])
      assert.deepStrictEqual((yield* inspect("many", "nobody")).holders, [])
    }))

  it.effect("shared: readers have the token of the last writer, and the next writer a larger one", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { fencing, release } = yield* shared
      assert.deepStrictEqual(yield* node.fencing!.acquire("fenced readers", "writer", expiry, 500), Option.some(500))
      assert.deepStrictEqual(yield* fencing!.acquire("fenced readers", "a", expiry, 900), Option.none())
      yield* node.release("fenced readers", "writer")
      assert.deepStrictEqual(yield* fencing!.acquire("fenced readers", "a", expiry, 900), Option.some(500))
      assert.deepStrictEqual(yield* fencing!.acquire("fenced readers", "b", expiry, 0), Option.some(500))
      assert.isFalse(yield* fencing!.raise("fenced readers", "writer", 600))
      assert.isTrue(yield* fencing!.raise("fenced readers", "a", 600))
      assert.isTrue(yield* fencing!.raise("fenced readers", "b", 10))
      assert.deepStrictEqual(yield* fencing!.acquire("fenced readers", "c", expiry, 0), Option.some(600))
      yield* Effect.forEach(["a", "b", "c"], (value) => release("fenced readers", value))
      assert.deepStrictEqual(yield* node.fencing!.acquire("fenced readers", "next", expiry, 1), Option.some(601))
      assert.deepStrictEqual(yield* fencing!.acquire("never written", "a", expiry, 7), Option.some(7))
      assert.deepStrictEqual(yield* fencing!.acquire("never written", "b", expiry, 9), Option.some(7))
    }))

  it.effect("shared: no token comes of a proposal that cannot be one", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { fencing } = yield* shared
      const error = yield* Effect.flip(fencing!.acquire("no token", "a", expiry, Number.MAX_SAFE_INTEGER))
      assert.deepStrictEqual([error.node, error.reason], [node.id, "Rejected"])
      yield* assertFree("no token")
    }))

  it.effect("shared: after any operations a reader is inside only while the key is, and with no writer", () =>
    Effect.gen(function*() {
      const { elapse, node } = yield* Subject
      assert.isUndefined(yield* faultOfReaders(node, elapse))
    }))
}

export const sharedRedisCases = (it: Vitest.MethodsNonLive<Subject | Backend>): void => {
  it.effect("shared: keeps its keys no longer than it needs them", () =>
    Effect.gen(function*() {
      const { node, slackMillis } = yield* Subject
      const { onKey } = yield* Backend
      const { acquire, announce, extend, release } = yield* shared
      const [set, turns] = [companionKey("readers", "{tidy}"), companionKey("turns", "{tidy}")]
      yield* acquire("{tidy}", "a", expiry)
      assertTtl(slackMillis, yield* onKey<number>("PTTL", set), expiry)
      yield* extend("{tidy}", "a", expiry * 2)
      assertTtl(slackMillis, yield* onKey<number>("PTTL", set), expiry * 2)
      yield* announce("{tidy}", 30_000)
      assertTtl(slackMillis, yield* onKey<number>("PTTL", turns), 30_000)
      yield* announce("{tidy}", 0)
      yield* release("{tidy}", "a")
      for (const key of ["{tidy}", set, turns]) assert.strictEqual(yield* onKey<number>("EXISTS", key), 0, key)
      yield* node.acquire("{tidy}", "writer", expiry)
      assert.strictEqual(yield* onKey<number>("EXISTS", set), 0)
    }))

  it.effect("shared: a server that is too young abstains from new readers, and does all else", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const young = node.delayedRestart!(3_600_000).shared!
      const words = /^up for only \d+ s, votes after \d+ s$/
      const abstained: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
        young.acquire("young readers", "a", expiry),
        young.fencing!.acquire("young readers", "a", expiry, 1)
      ]
      for (const acquire of abstained) {
        assertNodeError(yield* Effect.flip(acquire), node, "acquire", "Abstained", words)
        yield* assertFree("young readers")
      }
      yield* node.shared!.acquire("young readers", "a", expiry)
      assert.isTrue(yield* young.extend("young readers", "a", expiry * 2))
      assert.isTrue(yield* young.release("young readers", "a"))
      const old = (yield* oldEnough("old readers")).shared!
      assert.isTrue(yield* old.acquire("old readers", "a", expiry))
    }))

  it.effect("shared: what is sent again for want of its script makes no reader after the release", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { flushScripts } = yield* Backend
      const { acquire, downgrade, extend, fencing, release } = yield* shared
      const planting: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
        acquire("sent late", "a", expiry),
        fencing!.acquire("sent late", "a", expiry, 1),
        extend("sent late", "a", expiry),
        downgrade("sent late", "writer", "a", expiry)
      ]
      for (const plant of planting) {
        yield* flushScripts
        // The server has the script of the release again, which then goes through at once.
        yield* release("sent late", "a")
        yield* Effect.all([plant, release("sent late", "a")], { concurrency: "unbounded" })
        yield* assertFree("sent late")
      }
      yield* flushScripts
      assert.isTrue(yield* acquire("sent late", "a", expiry))
      yield* flushScripts
      assert.isTrue(yield* extend("sent late", "a", expiry))
      yield* node.remove("sent late")
    }))

  it.effect("shared: readers that are no sorted set are an error that names the key", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      const { acquire, extend, release } = yield* shared
      const set = companionKey("readers", "no set")
      yield* onKey("SET", "no set", sharedMarker, "PX", "60000")
      yield* onKey("SET", set, "a string")
      const asked: ReadonlyArray<readonly [NodeError["operation"], Effect.Effect<unknown, NodeError>]> = [
        ["acquire", acquire("no set", "a", expiry)],
        ["extend", extend("no set", "a", expiry)],
        ["release", release("no set", "a")]
      ]
      for (const [operation, ask] of asked) {
        const named = /^ERR the key "redsync:1:readers:\{no set\}" or .* does not hold what it should: WRONGTYPE/
        assertNodeError(yield* Effect.flip(ask), node, operation, "Rejected", named)
      }
      assert.strictEqual(yield* onKey("GET", set), "a string")
    }))

  it.effect("shared: a list is not a lock: refused, and left alone", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      const { acquire, extend, release } = yield* shared
      yield* onKey("RPUSH", "shared list", "mine")
      assert.isFalse(yield* acquire("shared list", "a", expiry))
      assert.isFalse(yield* extend("shared list", "a", expiry))
      assert.isFalse(yield* release("shared list", "a"))
      assert.deepStrictEqual(yield* onKey("LRANGE", "shared list", "0", "-1"), ["mine"])
      yield* node.remove("shared list")
    }))
}
