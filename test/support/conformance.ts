/**
 * What every `LockNode` does, whatever it is made of: `suite` holds for all
 * nodes, `redisSuite` adds what a real server shows of it.
 */
import { assert, layer, type Vitest } from "@effect/vitest"
import { Effect, type Layer, Option } from "effect"
import type { LockNode, NodeError } from "../../src/index.ts"
import { entryOf, waiterIdOf } from "./line.ts"
import { permitCases, permitLineCases, permitRedisCases } from "./permitConformance.ts"
import { sharedCases, sharedRedisCases } from "./sharedConformance.ts"
import { assertNodeError, assertTtl, Backend, expiry, oddKeys, oldEnough, Subject } from "./subject.ts"

export { assertNodeError, Backend, realTime, Subject } from "./subject.ts"

/** The cases of `suite`, on a layer of fakes under the test clock or of real servers in real time. */
export const suite = (name: string, subject: Layer.Layer<Subject>): void =>
  layer(subject, { timeout: "60 seconds" })(name, (it) => {
    nodeCases(it)
    permitCases(it)
    permitLineCases(it)
    sharedCases(it)
  })

/** The cases of `suite`, and those that look at the server. */
export const redisSuite = (name: string, subject: Layer.Layer<Subject | Backend>): void =>
  layer(subject, { timeout: "60 seconds", excludeTestServices: true })(name, (it) => {
    nodeCases(it)
    permitCases(it)
    permitLineCases(it)
    sharedCases(it)
    redisCases(it)
    permitRedisCases(it)
    sharedRedisCases(it)
  })

/** Asserts that the node has the value, to expire in so many milliseconds. */
const assertHeld = (key: string, value: string, expected: number) =>
  Effect.gen(function*() {
    const { node, slackMillis } = yield* Subject
    const state = Option.getOrThrow(yield* node.inspect(key))
    assert.strictEqual(state.value, value)
    assert.strictEqual(state.type ?? "string", "string")
    assertTtl(slackMillis, state.ttlMillis, expected)
  })

const assertFree = (key: string) =>
  Effect.gen(function*() {
    const { node } = yield* Subject
    assert.deepStrictEqual(yield* node.inspect(key), Option.none())
  })

const nodeCases = <R>(it: Vitest.MethodsNonLive<R | Subject>): void => {
  it.effect("acquires a free key", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* assertFree("free")
      assert.isTrue(yield* node.acquire("free", "mine", expiry))
      yield* assertHeld("free", "mine", expiry)
    }))

  it.effect("refuses a taken key, to its owner too, and leaves it as it is", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* node.acquire("taken", "theirs", expiry)
      assert.isFalse(yield* node.acquire("taken", "mine", expiry * 2))
      assert.isFalse(yield* node.acquire("taken", "theirs", expiry * 2))
      yield* assertHeld("taken", "theirs", expiry)
    }))

  it.effect("acquires a key again once it has expired", () =>
    Effect.gen(function*() {
      const { elapse, node } = yield* Subject
      yield* node.acquire("expiring", "theirs", 30)
      yield* elapse(30)
      yield* assertFree("expiring")
      assert.isFalse(yield* node.release("expiring", "theirs"))
      assert.isTrue(yield* node.acquire("expiring", "mine", expiry))
      yield* assertHeld("expiring", "mine", expiry)
    }))

  it.effect("grants a key to one of many who ask at once", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const values = Array.from({ length: 50 }, (_, index) => `value-${index}`)
      const granted = yield* Effect.filter(values, (value) => node.acquire("contended", value, expiry), {
        concurrency: "unbounded"
      })
      assert.strictEqual(granted.length, 1)
      yield* assertHeld("contended", granted[0]!, expiry)
    }))

  it.effect("extends for the owner, either way", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* node.acquire("extended", "mine", expiry)
      assert.isTrue(yield* node.extend("extended", "mine", expiry * 3))
      yield* assertHeld("extended", "mine", expiry * 3)
      assert.isTrue(yield* node.extend("extended", "mine", expiry / 2))
      yield* assertHeld("extended", "mine", expiry / 2)
    }))

  it.effect("does not extend for anybody else", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* node.acquire("not extended", "theirs", expiry)
      assert.isFalse(yield* node.extend("not extended", "mine", expiry * 3))
      assert.isFalse(yield* node.extend("not extended", "", expiry * 3))
      yield* assertHeld("not extended", "theirs", expiry)
    }))

  it.effect("releases for the owner, once", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* node.acquire("released", "mine", expiry)
      assert.isTrue(yield* node.release("released", "mine"))
      yield* assertFree("released")
      assert.isFalse(yield* node.release("released", "mine"))
    }))

  it.effect("does not release for anybody else", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* node.acquire("not released", "theirs", expiry)
      assert.isFalse(yield* node.release("not released", "mine"))
      assert.isFalse(yield* node.release("not released", ""))
      yield* assertHeld("not released", "theirs", expiry)
    }))

  it.effect("an extension sets a key again that is gone, without saying yes", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      // The first call to a server that does not know the script yet would only extend.
      yield* node.extend("gone", "mine", expiry)
      yield* node.remove("gone")
      assert.isFalse(yield* node.extend("gone", "mine", expiry))
      yield* assertHeld("gone", "mine", expiry)
      assert.isTrue(yield* node.extend("gone", "mine", expiry))
    }))

  it.effect("neither releases nor removes what is not there", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      assert.isFalse(yield* node.release("absent", "mine"))
      assert.isFalse(yield* node.remove("absent"))
      yield* assertFree("absent")
    }))

  it.effect("removes a key, whoever holds it", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* node.acquire("removed", "theirs", expiry)
      assert.isTrue(yield* node.remove("removed"))
      yield* assertFree("removed")
    }))

  it.effect("replaces the owner's value, which then opens nothing any more", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* node.acquire("replaced", "old", expiry)
      assert.isTrue(yield* node.replace!("replaced", "old", "new", expiry * 2))
      yield* assertHeld("replaced", "new", expiry * 2)
      assert.isFalse(yield* node.replace!("replaced", "old", "newer", expiry))
      assert.isFalse(yield* node.extend("replaced", "old", expiry))
      assert.isFalse(yield* node.release("replaced", "old"))
      yield* assertHeld("replaced", "new", expiry * 2)
      assert.isTrue(yield* node.release("replaced", "new"))
    }))

  it.effect("replaces no other value, and sets no key that is not there", () =>
    Effect.gen(function*() {
      const { elapse, node } = yield* Subject
      assert.isFalse(yield* node.replace!("not replaced", "old", "new", expiry))
      yield* assertFree("not replaced")
      yield* node.acquire("not replaced", "theirs", expiry)
      assert.isFalse(yield* node.replace!("not replaced", "old", "new", expiry * 2))
      assert.isFalse(yield* node.replace!("not replaced", "", "new", expiry * 2))
      yield* assertHeld("not replaced", "theirs", expiry)
      yield* node.release("not replaced", "theirs")
      yield* node.acquire("not replaced", "old", 30)
      yield* elapse(30)
      assert.isFalse(yield* node.replace!("not replaced", "old", "new", expiry))
      yield* assertFree("not replaced")
    }))

  it.effect("lets one of many replace a value", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const values = Array.from({ length: 50 }, (_, index) => `value-${index}`)
      yield* node.acquire("adopted", "old", expiry)
      const replaced = yield* Effect.filter(values, (value) => node.replace!("adopted", "old", value, expiry), {
        concurrency: "unbounded"
      })
      assert.strictEqual(replaced.length, 1)
      yield* assertHeld("adopted", replaced[0]!, expiry)
    }))

  it.effect("a release started after a replacement undoes it, even if nobody waits for the replacement", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      yield* node.acquire("replacement undone", "old", expiry)
      const replace = node.replace!("replacement undone", "old", "new", expiry)
      const answers = yield* Effect.all([replace, node.release("replacement undone", "new")], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(answers, [true, true])
      yield* assertFree("replacement undone")
    }))

  it.effect("a release started after an acquire undoes it, even if nobody waits for the acquire", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const answers = yield* Effect.all([node.acquire("undone", "mine", expiry), node.release("undone", "mine")], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(answers, [true, true])
      yield* assertFree("undone")
    }))

  it.effect("counts up with each grant, to the proposal if that is more", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const counted: Array<number> = []
      for (const proposal of [100, 50, 101, 200, 1]) {
        counted.push(Option.getOrThrow(yield* node.fencing!.acquire("counted", "mine", expiry, proposal)))
        yield* assertHeld("counted", "mine", expiry)
        yield* node.release("counted", "mine")
      }
      assert.deepStrictEqual(counted, [100, 101, 102, 200, 201])
    }))

  it.effect("does not count where it refuses, and keeps counters apart", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const fencing = node.fencing!
      yield* node.acquire("not counted", "theirs", expiry)
      assert.deepStrictEqual(yield* fencing.acquire("not counted", "mine", expiry, 1000), Option.none())
      yield* assertHeld("not counted", "theirs", expiry)
      yield* node.release("not counted", "theirs")
      assert.deepStrictEqual(yield* fencing.acquire("not counted", "mine", expiry, 1), Option.some(1))
      assert.deepStrictEqual(yield* fencing.acquire("not counted either", "mine", expiry, 7), Option.some(7))
    }))

  it.effect("a counter is raised for the owner only, and never lowered", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const fencing = node.fencing!
      yield* fencing.acquire("raised", "mine", expiry, 1)
      assert.isFalse(yield* fencing.raise("raised", "theirs", 1000))
      assert.isTrue(yield* fencing.raise("raised", "mine", 500))
      assert.isTrue(yield* fencing.raise("raised", "mine", 2))
      yield* node.release("raised", "mine")
      assert.isFalse(yield* fencing.raise("raised", "mine", 1000))
      assert.deepStrictEqual(yield* fencing.acquire("raised", "mine", expiry, 1), Option.some(501))
    }))

  it.effect("counts up where it replaces a value, and only there", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const fencing = node.fencing!
      yield* fencing.acquire("replaced and counted", "old", expiry, 100)
      const replace = (value: string, newValue: string, proposal: number) =>
        fencing.replace!("replaced and counted", value, newValue, expiry * 2, proposal)
      assert.deepStrictEqual(yield* replace("other", "new", 1000), Option.none())
      yield* assertHeld("replaced and counted", "old", expiry)
      assert.deepStrictEqual(yield* replace("old", "new", 1), Option.some(101))
      yield* assertHeld("replaced and counted", "new", expiry * 2)
      assert.deepStrictEqual(yield* replace("old", "newer", 1000), Option.none())
      assert.deepStrictEqual(yield* replace("new", "newer", 500), Option.some(500))
      yield* node.release("replaced and counted", "newer")
      assert.deepStrictEqual(yield* replace("newer", "newest", 1000), Option.none())
      yield* assertFree("replaced and counted")
      assert.deepStrictEqual(yield* fencing.acquire("replaced and counted", "mine", expiry, 1), Option.some(501))
    }))

  it.effect.each([-1, 1.5, 2 ** 53, 1e21, Infinity, NaN])(
    "counts nothing from %d, which is no token",
    (proposal) =>
      Effect.gen(function*() {
        const { node } = yield* Subject
        const fencing = node.fencing!
        const key = `proposed ${proposal}`
        const isRefused = (answer: Effect.Effect<unknown, NodeError>) =>
          Effect.map(Effect.flip(answer), (error) => assertNodeError(error, node, "acquire", "Rejected", /./))
        yield* isRefused(fencing.acquire(key, "mine", expiry, proposal))
        yield* assertFree(key)
        assert.deepStrictEqual(yield* fencing.acquire(key, "mine", expiry, 0), Option.some(1))
        yield* isRefused(fencing.raise(key, "mine", proposal))
        yield* isRefused(fencing.replace!(key, "mine", "other", expiry * 2, proposal))
        yield* assertHeld(key, "mine", expiry)
        yield* node.release(key, "mine")
        assert.deepStrictEqual(yield* fencing.acquire(key, "mine", expiry, 1), Option.some(2))
      })
  )

  it.effect("counts up to the largest token and no further", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const fencing = node.fencing!
      // Clients misread the very last numbers that would still be exact.
      const largest = 9_007_199_254_740_900
      const acquired = yield* fencing.acquire("largest", "mine", expiry, largest - 1)
      assert.deepStrictEqual(acquired, Option.some(largest - 1))
      assert.deepStrictEqual(yield* fencing.replace!("largest", "mine", "new", expiry, 1), Option.some(largest))
      yield* Effect.flip(fencing.replace!("largest", "new", "newer", expiry * 2, 1))
      yield* assertHeld("largest", "new", expiry)
      yield* node.release("largest", "new")
      yield* Effect.flip(fencing.acquire("largest", "mine", expiry, 1))
      yield* assertFree("largest")
    }))

  it.effect("counts tokens as large as the clock makes them", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const year2250 = 8_835_000_000_000_123
      yield* node.fencing!.acquire("large", "mine", expiry, year2250)
      yield* node.release("large", "mine")
      assert.deepStrictEqual(yield* node.fencing!.acquire("large", "mine", expiry, 1), Option.some(year2250 + 1))
    }))

  it.effect.each(oddKeys)("counts beside a key with %s", ([_, key]) =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      assert.deepStrictEqual(yield* node.fencing!.acquire(key, "mine", expiry, 5), Option.some(5))
      assert.isTrue(yield* node.fencing!.raise(key, "mine", 6))
      assert.isTrue(yield* node.release(key, "mine"))
    }))

  it.effect.each(oddKeys)("a key with %s", ([_, key]) =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      assert.isTrue(yield* node.acquire(key, "mine", expiry))
      yield* assertFree(key.slice(0, -1))
      assert.isTrue(yield* node.extend(key, "mine", expiry * 2))
      yield* assertHeld(key, "mine", expiry * 2)
      assert.isTrue(yield* node.release(key, "mine"))
      yield* assertFree(key)
    }))
}

const redisCases = (it: Vitest.MethodsNonLive<Subject | Backend>): void => {
  it.effect.each(oddKeys)(
    "stores the value and the expiry under the very name: a key with %s",
    ([_, key]) =>
      Effect.gen(function*() {
        const { node, slackMillis } = yield* Subject
        const { onKey } = yield* Backend
        const value = "ünü+/=="
        yield* node.acquire(key, value, expiry)
        assert.strictEqual(yield* onKey("GET", key), value)
        assertTtl(slackMillis, yield* onKey<number>("PTTL", key), expiry)
        yield* node.extend(key, value, expiry * 2)
        assertTtl(slackMillis, yield* onKey<number>("PTTL", key), expiry * 2)
        yield* node.release(key, value)
        assert.strictEqual(yield* onKey("EXISTS", key), 0)
      })
  )

  it.effect("a counter that is no number grants nothing", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      const counter = "redsync:1:fencing:{by hand}"
      for (const rubbish of ["many", "-1", "9007199254740991"]) {
        yield* onKey("SET", counter, rubbish)
        const error = yield* Effect.flip(node.fencing!.acquire("by hand", "mine", expiry, 1))
        assertNodeError(
          error,
          node,
          "acquire",
          "Rejected",
          /^ERR the fencing counter redsync:1:fencing:\{by hand\} is no/
        )
        yield* assertFree("by hand")
      }
      yield* onKey("DEL", counter)
      yield* onKey("RPUSH", counter, "a list")
      const error = yield* Effect.flip(node.fencing!.acquire("by hand", "mine", expiry, 1))
      assertNodeError(error, node, "acquire", "Rejected", /WRONGTYPE/)
      yield* assertFree("by hand")
    }))

  it.effect("a counter lives for an hour after it was last written", () =>
    Effect.gen(function*() {
      const { node, slackMillis } = yield* Subject
      const { onKey } = yield* Backend
      const counter = "redsync:1:fencing:{an hour}"
      yield* node.fencing!.acquire("an hour", "mine", expiry, 1)
      assertTtl(slackMillis, yield* onKey<number>("PTTL", counter), 3_600_000)
      yield* onKey("PEXPIRE", counter, "60000")
      yield* node.fencing!.raise("an hour", "mine", 1)
      assertTtl(slackMillis, yield* onKey<number>("PTTL", counter), 3_600_000)
    }))

  it.effect("so does one that was written by another script, and a waiting list for a minute", () =>
    Effect.gen(function*() {
      const { node, slackMillis } = yield* Subject
      const { onKey } = yield* Backend
      const lives = Effect.fnUntraced(function*<A>(key: string, write: Effect.Effect<A, NodeError>, expected: number) {
        yield* onKey("PEXPIRE", key, "10000")
        yield* write
        assertTtl(slackMillis, yield* onKey<number>("PTTL", key), expected)
      })
      const counter = "redsync:1:fencing:{beside}"
      yield* node.fencing!.acquire("beside", "one", expiry, 1)
      yield* lives(counter, node.fencing!.replace!("beside", "one", "two", expiry, 1), 3_600_000)
      yield* node.permits!.acquire("beside", "one", {
        expiryMillis: expiry,
        limit: 1,
        permits: 1,
        start: 0,
        step: 1,
        proposal: 1
      })
      yield* lives("redsync:1:permit-fencing:{beside}", node.permits!.raise("beside", "one", [0], [1]), 3_600_000)
      const list = yield* node.waitingList?.(waiterIdOf("ours"), () => {}) ?? Effect.undefined
      if (list === undefined) return
      const entry = entryOf("ours", { fenced: true })
      yield* list.join("beside", entry, "back")
      yield* lives("redsync:1:line:{beside}", list.join("beside", entry, "back"), 60_000)
      const terms = { expiryMillis: expiry, proposal: 1, chain: { length: 1, millis: 0 } }
      if (list.handOver !== undefined) {
        yield* lives(counter, list.handOver.transfer("beside", "two", entry, terms), 3_600_000)
      }
    }).pipe(Effect.scoped))

  it.effect("a server that is too young abstains from new locks, writes nothing, and does all else", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const young = node.delayedRestart!(3_600_000)
      const words = /^up for only \d+ s, votes after \d+ s$/
      const abstained: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
        young.acquire("young", "mine", expiry),
        young.fencing!.acquire("young", "mine", expiry, 1)
      ]
      for (const acquire of abstained) {
        assertNodeError(yield* Effect.flip(acquire), node, "acquire", "Abstained", words)
        yield* assertFree("young")
      }
      assert.match(Option.getOrThrow(yield* young.abstention!("young")), words)
      yield* node.acquire("young", "mine", expiry)
      assert.isTrue(yield* young.extend("young", "mine", expiry * 2))
      yield* assertHeld("young", "mine", expiry * 2)
      assert.isTrue(yield* young.release("young", "mine"))
    }))

  it.effect("the time a server has to be up need not be whole milliseconds", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const young = node.delayedRestart!(3_600_000.5)
      const abstained: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
        young.acquire("fraction", "mine", expiry),
        young.fencing!.acquire("fraction", "mine", expiry, 1)
      ]
      for (const acquire of abstained) {
        const error = yield* Effect.flip(acquire)
        assertNodeError(error, node, "acquire", "Abstained", /^up for only \d+ s, votes after \d+ s$/)
      }
      yield* oldEnough("fraction")
      assert.isTrue(yield* node.delayedRestart!(0.5).acquire("fraction", "mine", expiry))
    }))

  it.effect("a server that is old enough does not abstain", () =>
    Effect.gen(function*() {
      const old = yield* oldEnough("old")
      assert.isTrue(yield* old.acquire("old", "mine", expiry))
      assert.isFalse(yield* old.acquire("old", "other", expiry))
      assert.isTrue(yield* old.release("old", "mine"))
      assert.deepStrictEqual(yield* old.fencing!.acquire("old", "mine", expiry, 3), Option.some(3))
    }))

  it.effect("a script that is sent again for want of it grants nothing after the release", () =>
    Effect.gen(function*() {
      const { flushScripts } = yield* Backend
      const node = yield* oldEnough("sent again")
      for (const acquire of [node.fencing!.acquire, node.acquire]) {
        yield* flushScripts
        // The server has the script of the release again, which then goes through at once.
        yield* node.release("sent again", "mine")
        yield* Effect.all([acquire("sent again", "mine", expiry, 1), node.release("sent again", "mine")], {
          concurrency: "unbounded"
        })
        yield* assertFree("sent again")
        yield* flushScripts
        yield* acquire("sent again", "mine", expiry, 1)
        yield* assertHeld("sent again", "mine", expiry)
        yield* node.release("sent again", "mine")
      }
    }))

  it.effect("a replacement that is sent again for want of its script plants nothing after the release", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { flushScripts } = yield* Backend
      const replacements: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
        node.replace!("replaced again", "old", "new", expiry),
        node.fencing!.replace!("replaced again", "old", "new", expiry, 1)
      ]
      for (const planting of replacements) {
        yield* node.acquire("replaced again", "old", expiry)
        yield* flushScripts
        yield* node.release("replaced again", "nobody's")
        yield* Effect.all([planting, node.release("replaced again", "new")], { concurrency: "unbounded" })
        const state = yield* node.inspect("replaced again")
        assert.isTrue(Option.isNone(state) || state.value.value === "old", "the release of the new value came last")
        yield* node.remove("replaced again")
        yield* node.acquire("replaced again", "old", expiry)
        yield* flushScripts
        yield* planting
        yield* assertHeld("replaced again", "new", expiry)
        yield* node.release("replaced again", "new")
      }
    }))

  it.effect("an extension that is sent again for want of its script plants nothing after the release", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { flushScripts } = yield* Backend
      yield* flushScripts
      // The server has the script of the release again, which then goes through at once.
      yield* node.release("extended again", "mine")
      yield* Effect.all([node.extend("extended again", "mine", expiry), node.release("extended again", "mine")], {
        concurrency: "unbounded"
      })
      yield* assertFree("extended again")
    }))

  it.effect("a list is not a lock: refused, left alone, shown as what it is", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      yield* onKey("RPUSH", "list", "mine")
      assert.isFalse(yield* node.acquire("list", "mine", expiry))
      assert.isFalse(yield* node.extend("list", "mine", expiry))
      assert.isFalse(yield* node.release("list", "mine"))
      assert.isFalse(yield* node.replace!("list", "mine", "other", expiry))
      assert.deepStrictEqual(yield* node.inspect("list"), Option.some({ type: "list", value: "", ttlMillis: Infinity }))
      assert.deepStrictEqual(yield* onKey("LRANGE", "list", "0", "-1"), ["mine"])
      assert.isTrue(yield* node.remove("list"))
      yield* assertFree("list")
    }))

  it.effect("a string without expiry is refused and shown", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      yield* onKey("SET", "eternal", "theirs")
      assert.isFalse(yield* node.acquire("eternal", "mine", expiry))
      assert.deepStrictEqual(
        yield* node.inspect("eternal"),
        Option.some({ type: "string", value: "theirs", ttlMillis: Infinity })
      )
    }))

  it.effect("a string too long to be a lock's value is told by its length, and not fetched", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      const bytes = 50 * 1024 * 1024
      yield* onKey("SETRANGE", "long", String(bytes - 1), "x")
      assert.isFalse(yield* node.acquire("long", "mine", expiry))
      const state = Option.some({ type: "string", value: "", ttlMillis: Infinity, bytes })
      assert.deepStrictEqual(yield* node.inspect("long"), state)
      yield* onKey("SET", "long", "ü".repeat(128), "PX", String(expiry))
      yield* assertHeld("long", "ü".repeat(128), expiry)
      yield* onKey("SET", "long", "ü".repeat(128) + ".")
      assert.strictEqual(Option.getOrThrow(yield* node.inspect("long")).bytes, 257)
    }))

  it.effect("a key that outlives all numbers is there for as long as a number can say", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      yield* onKey("SET", "for ages", "theirs", "PX", "9000000000000000000")
      assert.strictEqual(Option.getOrThrow(yield* node.inspect("for ages")).ttlMillis, 9_007_199_254_740_900)
    }))

  it.effect("works on after the scripts are gone", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { flushScripts } = yield* Backend
      yield* node.acquire("flushed", "mine", expiry)
      yield* flushScripts
      assert.isTrue(yield* node.extend("flushed", "mine", expiry * 2))
      yield* flushScripts
      yield* assertHeld("flushed", "mine", expiry * 2)
      yield* flushScripts
      assert.isTrue(yield* node.release("flushed", "mine"))
      yield* assertFree("flushed")
    }))

  it.effect("an error of the server is told in its words", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      const refused = yield* Effect.flip(node.acquire("no time", "mine", 0))
      assertNodeError(refused, node, "acquire", "Rejected", /^ERR invalid expire time/)
      yield* onKey("SET", "not a number", "mine")
      const failed = yield* Effect.flip(node.extend("not a number", "mine", Number.NaN))
      assertNodeError(failed, node, "extend", "Rejected", /^ERR .*value is not an integer/)
    }))
}

/** So many turns of the event loop: whoever waits for a timer or a connection takes more. */
const turns = (count: number): Effect.Effect<void> =>
  Effect.promise(async () => {
    for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
  })

/** Asserts that each operation fails as `Disconnected`, at once. */
export const assertDown = (node: LockNode): Effect.Effect<void> =>
  Effect.gen(function*() {
    const operations: Record<NodeError["operation"], Effect.Effect<unknown, NodeError>> = {
      acquire: node.acquire("down", "mine", expiry),
      extend: node.extend("down", "mine", expiry),
      release: node.release("down", "mine"),
      inspect: node.inspect("down"),
      remove: node.remove("down")
    }
    for (const [operation, effect] of Object.entries(operations)) {
      const answer = Effect.orDie(Effect.flip(effect))
      const error = yield* Effect.raceFirst(answer, Effect.as(turns(1000), undefined))
      assert(error !== undefined, `${operation} fails at once`)
      assertNodeError(error, node, operation as NodeError["operation"], "Disconnected", /./)
    }
  })
