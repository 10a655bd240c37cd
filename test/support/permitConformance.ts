/**
 * What every node with permits does, whatever it is made of.
 */
import { assert, type Vitest } from "@effect/vitest"
import { Effect, Option } from "effect"
import type { NodeError } from "../../src/index.ts"
import { serviceIdLength } from "../../src/internal/nodeContract.ts"
import type { PermitRequest } from "../../src/LockNode.ts"
import { faultOfPermits } from "./randomOperations.ts"
import { assertNodeError, assertTtl, Backend, expiry, oddKeys, oldEnough, Subject } from "./subject.ts"

const store = Effect.map(Subject, ({ node }) => node.permits!)

const request = (limit: number, permits = 1, rest: Partial<PermitRequest> = {}): PermitRequest => ({
  expiryMillis: expiry,
  limit,
  permits,
  start: 0,
  step: 1,
  ...rest
})

const sorted = (slots: ReadonlyArray<number>) => [...slots].sort((a, b) => a - b)

/** Takes permits, and answers the slots in order. */
const take = (key: string, value: string, ...args: Parameters<typeof request>) =>
  Effect.flatMap(
    store,
    (permits) => Effect.map(permits.acquire(key, value, request(...args)), ({ slots }) => sorted(slots))
  )

/** Who has which slots. */
const holders = (key: string) =>
  Effect.flatMap(
    store,
    (permits) =>
      Effect.map(permits.inspect(key), (state) =>
        Object.fromEntries(state.holders.map(({ slots, value }) => [value, sorted(slots)])))
  )

let services = 0

/**
 * A service in the lines of semaphores, and what it was told. No two have the same id: in a cluster the servers pass
 * messages on to each other, and one that was sent to a service may arrive when that has gone.
 */
const inLine = (name: "A" | "B" | "C") =>
  Effect.gen(function*() {
    const { node } = yield* Subject
    const id = `${services++}`.padStart(serviceIdLength - 1, "0") + name
    const told: Array<string> = []
    const list = yield* node.waitingList!(id, (notice) => {
      if (notice._tag === "PermitsFree") told.push(`${notice.key} ${notice.value} ${notice.slot}`)
    })
    return { line: list.permits!, told, entry: (permits: number) => ({ value: `${id}0123456789abcdef`, permits }) }
  })

const untilTold = (told: ReadonlyArray<string>, count: number) =>
  Effect.repeat(Effect.promise(() => new Promise((resolve) => setImmediate(resolve))), {
    until: () => told.length >= count
  })

/** For nodes that have lines; the others have none of this to show. */
const whereThereAreLines = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Subject, ({ node }) => node.waitingList === undefined ? Effect.void : Effect.asVoid(effect))

export const permitLineCases = <R>(it: Vitest.MethodsNonLive<R | Subject>): void => {
  it.effect("permits: a release wakes those first in line whose permits are free, and nobody before the first", () =>
    Effect.gen(function*() {
      const [a, b, c] = [yield* inLine("A"), yield* inLine("B"), yield* inLine("C")]
      yield* take("line", "holder", 5, 2)
      yield* take("line", "other", 5, 3)
      assert.isFalse(yield* a.line.join("line", a.entry(1), 5, "back"))
      assert.isFalse(yield* b.line.join("line", b.entry(2), 5, "back"))
      assert.isFalse(yield* c.line.join("line", c.entry(1), 5, "back"))
      assert.isTrue(yield* a.line.release("line", "holder"))
      yield* untilTold(a.told, 1)
      assert.deepStrictEqual(a.told, [`line ${a.entry(1).value} 0`])
      assert.isTrue(yield* a.line.release("line", "other"))
      yield* untilTold(b.told, 1)
      yield* untilTold(c.told, 1)
      assert.deepStrictEqual(b.told, [`line ${b.entry(1).value} 2`])
      assert.deepStrictEqual(c.told, [`line ${c.entry(1).value} 4`])
      assert.isFalse(yield* a.line.release("line", "other"))
    }).pipe(Effect.scoped, whereThereAreLines))

  it.effect("permits: whoever joins learns that its permits are free already; who leaves lets the next one", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* inLine("A"), yield* inLine("B")]
      yield* take("leaving", "holder", 3, 2)
      assert.isFalse(yield* a.line.join("leaving", a.entry(2), 3, "back"))
      assert.isFalse(yield* b.line.join("leaving", b.entry(1), 3, "back"))
      yield* a.line.leave("leaving", a.entry(2))
      yield* untilTold(b.told, 1)
      assert.isTrue(yield* b.line.join("leaving", b.entry(1), 3, "front"))
      assert.isFalse(yield* a.line.join("leaving", a.entry(2), 3, "front"))
      assert.isTrue(
        yield* a.line.join("leaving", a.entry(1), 3, "front").pipe(
          Effect.andThen(() =>
            a.line.join("leaving", { ...a.entry(1), value: `${a.entry(1).value.slice(0, -1)}g` }, 3, "front")
          )
        )
      )
    }).pipe(Effect.scoped, whereThereAreLines))

  it.effect("permits: a release wakes no more than it frees where all are restored ones, whose limit is unknown", () =>
    Effect.gen(function*() {
      const permits = yield* store
      const [a, b, c] = [yield* inLine("A"), yield* inLine("B"), yield* inLine("C")]
      for (const [value, slot] of [["one", 0], ["other", 1]] as const) {
        assert.deepStrictEqual(yield* permits.extend("restored", value, expiry, [slot]), [])
      }
      for (const { entry, line } of [a, b, c]) assert.isFalse(yield* line.join("restored", entry(1), 2, "back"))
      assert.isTrue(yield* a.line.release("restored", "one"))
      assert.isTrue(yield* c.line.join("restored", c.entry(1), 2, "front"))
      yield* untilTold(a.told, 1)
      assert.deepStrictEqual([a.told.length, b.told.length, c.told.length], [1, 0, 0])
    }).pipe(Effect.scoped, whereThereAreLines))

  it.effect("permits: who joins again keeps its place, and is woken once", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* inLine("A"), yield* inLine("B")]
      yield* take("joined twice", "holder", 2, 2)
      for (const { entry, line } of [a, a, b]) assert.isFalse(yield* line.join("joined twice", entry(1), 2, "back"))
      assert.isTrue(yield* a.line.release("joined twice", "holder"))
      for (const { told } of [a, b]) yield* untilTold(told, 1)
    }).pipe(Effect.scoped, whereThereAreLines))

  it.effect("permits: a service that is gone is skipped", () =>
    Effect.gen(function*() {
      const here = yield* inLine("A")
      yield* take("gone", "holder", 1)
      yield* Effect.scoped(Effect.gen(function*() {
        const gone = yield* inLine("B")
        yield* gone.line.join("gone", gone.entry(1), 1, "back")
      }))
      yield* here.line.join("gone", here.entry(1), 1, "back")
      yield* here.line.release("gone", "holder")
      yield* untilTold(here.told, 1)
    }).pipe(Effect.scoped, whereThereAreLines))

  it.effect("permits: so is one that is gone and waited for more permits than are free", () =>
    Effect.gen(function*() {
      const [here, late] = [yield* inLine("A"), yield* inLine("C")]
      yield* take("gone large", "holder", 5)
      yield* take("gone large", "other", 5, 4)
      yield* Effect.scoped(Effect.gen(function*() {
        const gone = yield* inLine("B")
        yield* gone.line.join("gone large", gone.entry(5), 5, "back")
      }))
      yield* here.line.join("gone large", here.entry(2), 5, "back")
      yield* late.line.join("gone large", late.entry(1), 5, "back")
      yield* here.line.release("gone large", "holder")
      yield* here.line.leave("gone large", here.entry(2))
      yield* untilTold(late.told, 1)
      assert.deepStrictEqual(here.told, [])
    }).pipe(Effect.scoped, whereThereAreLines))
}

export const permitCases = <R>(it: Vitest.MethodsNonLive<R | Subject>): void => {
  it.effect("permits: gives slots in the order requested, until none is left", () =>
    Effect.gen(function*() {
      const order = { start: 3, step: 3 }
      for (const [value, slot] of [["a", 3], ["b", 1], ["c", 4], ["d", 2], ["e", 0]] as const) {
        assert.deepStrictEqual(yield* take("order", value, 5, 1, order), [slot])
      }
      const permits = yield* store
      const full = yield* permits.acquire("order", "f", request(5))
      assert.deepStrictEqual([full.slots, full.free, full.lastLimit], [[], 0, 5])
      assertTtl((yield* Subject).slackMillis, full.ttlMillis, expiry)
      assert.deepStrictEqual(yield* holders("order"), { a: [3], b: [1], c: [4], d: [2], e: [0] })
    }))

  it.effect("permits: gives all or none", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* take("weighted", "a", 5, 3), [0, 1, 2])
      const permits = yield* store
      const few = yield* permits.acquire("weighted", "b", request(5, 3))
      assert.deepStrictEqual([few.slots, few.free], [[], 2])
      assert.deepStrictEqual(yield* take("weighted", "b", 5, 2), [3, 4])
    }))

  it.effect.each([1, 2, 7, 8, 9, 31, 33, 100, 1000, 10_000])(
    "permits: finds the last free slot of %d",
    (limit) =>
      Effect.gen(function*() {
        const permits = yield* store
        const key = `last of ${limit}`
        // Slots that are free between full bytes, before and behind the start.
        for (const free of [0, Math.floor(limit / 2), limit - 1]) {
          const all = Array.from({ length: limit }, (_, slot) => slot).filter((slot) => slot !== free)
          if (all.length > 0) {
            const settlement = { expiryMillis: expiry, limit, slots: all, round: 2 }
            assert.strictEqual((yield* permits.settle(key, "most", settlement)).slots.length, limit - 1)
          }
          for (const start of [0, Math.floor(limit / 3), limit - 1]) {
            assert.deepStrictEqual(yield* take(key, "last", limit, 1, { start }), [free])
            assert.deepStrictEqual(yield* take(key, "none", limit, 1, { start }), [])
            assert.isTrue(yield* permits.release(key, "last"))
          }
          yield* permits.remove(key)
        }
      })
  )

  it.effect("permits: whoever has slots already keeps them, and nothing else", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* take("again", "a", 5, 2), [0, 1])
      assert.deepStrictEqual(yield* take("again", "a", 5, 3, { start: 3 }), [0, 1])
      assert.deepStrictEqual(yield* holders("again"), { a: [0, 1] })
    }))

  it.effect("permits: all taken slots count, whatever the limit with which they were taken", () =>
    Effect.gen(function*() {
      const permits = yield* store
      assert.deepStrictEqual(yield* take("limits", "a", 10, 4), [0, 1, 2, 3])
      const refused = yield* permits.acquire("limits", "b", request(3))
      assert.deepStrictEqual([refused.slots, refused.free, refused.lastLimit], [[], -1, 10])
      assert.deepStrictEqual(yield* take("limits", "b", 5), [4])
      assert.deepStrictEqual((yield* permits.inspect("limits")).limit, 5)
    }))

  it.effect("permits: slots are free again once they have expired", () =>
    Effect.gen(function*() {
      const { elapse } = yield* Subject
      const permits = yield* store
      yield* take("expiring", "long", 3)
      yield* take("expiring", "short", 3, 2, { expiryMillis: 30 })
      yield* elapse(30)
      assert.deepStrictEqual(yield* holders("expiring"), { long: [0] })
      assert.deepStrictEqual(yield* permits.extend("expiring", "short", expiry, [1, 2], true), [])
      assert.isFalse(yield* permits.release("expiring", "short"))
      assert.deepStrictEqual(yield* take("expiring", "next", 3, 2), [1, 2])
    }))

  it.effect("permits: settles on the given slots", () =>
    Effect.gen(function*() {
      const permits = yield* store
      const settle = (value: string, slots: ReadonlyArray<number>, round: number) =>
        Effect.map(
          permits.settle("settled", value, { expiryMillis: expiry * 2, limit: 9, slots, round }),
          (grant) => sorted(grant.slots)
        )
      yield* take("settled", "a", 9, 3)
      yield* take("settled", "b", 9, 1)
      assert.deepStrictEqual(yield* settle("a", [1, 3, 5], 2), [1, 5])
      assert.deepStrictEqual(yield* holders("settled"), { a: [1, 5], b: [3] })
      assert.deepStrictEqual(yield* settle("c", [3], 2), [])
      assert.deepStrictEqual(yield* settle("a", [3], 3), [])
      assert.deepStrictEqual(yield* holders("settled"), { b: [3] })
      assert.deepStrictEqual(yield* settle("c", [0, 8], 2), [0, 8])
    }))

  it.effect("permits: an earlier round settles nothing any more, nor does any after an extension", () =>
    Effect.gen(function*() {
      const permits = yield* store
      const settle = (slots: ReadonlyArray<number>, round: number) =>
        Effect.map(
          permits.settle("rounds", "a", { expiryMillis: expiry, limit: 9, slots, round }),
          ({ slots }) => slots
        )
      assert.deepStrictEqual(yield* settle([4], 3), [4])
      assert.deepStrictEqual(yield* settle([7], 2), [4])
      assert.deepStrictEqual(yield* settle([7], 3), [4])
      assert.deepStrictEqual(yield* permits.extend("rounds", "a", expiry, [4]), [4])
      assert.deepStrictEqual(yield* settle([7], 4), [4])
      assert.deepStrictEqual(yield* holders("rounds"), { a: [4] })
    }))

  it.effect("permits: extends what the value has, and takes back what is missing without a vote", () =>
    Effect.gen(function*() {
      const { slackMillis } = yield* Subject
      const permits = yield* store
      yield* take("extended", "a", 9, 2)
      yield* take("extended", "b", 9)
      assert.deepStrictEqual(yield* permits.extend("extended", "a", expiry * 3, [1, 2, 5]), [1])
      assert.deepStrictEqual(yield* holders("extended"), { a: [1, 5], b: [2] })
      assert.deepStrictEqual(sorted(yield* permits.extend("extended", "a", expiry * 3, [1, 2, 5])), [1, 5])
      const state = yield* permits.inspect("extended", "a")
      assertTtl(slackMillis, state.holders[0]!.ttlMillis, expiry * 3)
      assert.deepStrictEqual(yield* permits.extend("extended", "gone", expiry, [0], true), [])
      assert.deepStrictEqual(yield* permits.extend("extended", "gone", expiry, [0, 1]), [])
      assert.deepStrictEqual(yield* holders("extended"), { a: [1, 5], b: [2], gone: [0] })
      assert.deepStrictEqual(yield* permits.extend("extended", "a", expiry, [6, 1], true), [1])
      assert.deepStrictEqual(yield* holders("extended"), { a: [1], b: [2], gone: [0] })
    }))

  it.effect("permits: an extension may shorten the lease", () =>
    Effect.gen(function*() {
      const { elapse } = yield* Subject
      const permits = yield* store
      yield* take("shortened", "a", 2)
      yield* take("shortened", "b", 2)
      assert.deepStrictEqual(yield* permits.extend("shortened", "a", 30, [0]), [0])
      yield* elapse(30)
      assert.deepStrictEqual(yield* permits.extend("shortened", "a", expiry, [0], true), [])
      assert.deepStrictEqual(yield* take("shortened", "c", 2), [0])
    }))

  it.effect("permits: releases by value alone, once", () =>
    Effect.gen(function*() {
      const permits = yield* store
      yield* take("released", "a", 9, 5)
      yield* take("released", "b", 9)
      assert.isTrue(yield* permits.release("released", "a"))
      assert.isFalse(yield* permits.release("released", "a"))
      assert.isFalse(yield* permits.release("released", ""))
      assert.deepStrictEqual(yield* holders("released"), { b: [5] })
      assert.isTrue(yield* permits.release("released", "b"))
      assert.isFalse(yield* permits.remove("released"))
    }))

  it.effect("permits: removes all holders", () =>
    Effect.gen(function*() {
      const permits = yield* store
      assert.isFalse(yield* permits.remove("removed"))
      yield* take("removed", "a", 9, 5)
      assert.isTrue(yield* permits.remove("removed"))
      assert.deepStrictEqual(yield* holders("removed"), {})
      assert.deepStrictEqual(yield* permits.extend("removed", "a", expiry, [0]), [])
    }))

  it.effect("permits: a semaphore and a lock of one name are independent", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const permits = yield* store
      assert.isTrue(yield* node.acquire("both", "lock", expiry))
      assert.deepStrictEqual(yield* take("both", "permit", 1), [0])
      assert.isFalse(yield* node.release("both", "permit"))
      assert.isFalse(yield* permits.release("both", "lock"))
      assert.isTrue(yield* permits.remove("both"))
      assert.isTrue(Option.isSome(yield* node.inspect("both")))
      assert.isTrue(yield* node.remove("both"))
    }))

  it.effect("permits: a release started after an acquire or a settlement undoes it", () =>
    Effect.gen(function*() {
      const permits = yield* store
      const settlement = { expiryMillis: expiry, limit: 5, slots: [3], round: 2 }
      for (const taking of [permits.acquire("undone", "a", request(5)), permits.settle("undone", "a", settlement)]) {
        const [grant, released] = yield* Effect.all([taking, permits.release("undone", "a")], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual([grant.slots.length, released], [1, true])
        assert.deepStrictEqual(yield* holders("undone"), {})
      }
    }))

  it.effect("permits: never more than the limit to many who ask at once, and no slot twice", () =>
    Effect.gen(function*() {
      const permits = yield* store
      const grants = yield* Effect.forEach(
        Array.from({ length: 60 }, (_, index) => index),
        (index) => permits.acquire("contended", `value-${index}`, request(20, 1 + index % 3, { start: index % 20 })),
        { concurrency: "unbounded" }
      )
      const slots = grants.flatMap((grant) => grant.slots)
      assert.strictEqual(new Set(slots).size, slots.length)
      assert.strictEqual(slots.length, 20)
    }))

  it.effect("permits: each slot counts up for itself, to the proposal if that is more", () =>
    Effect.gen(function*() {
      const permits = yield* store
      const counted = (value: string, permitCount: number, proposal: number, start = 0) =>
        Effect.map(
          permits.acquire("counted", value, request(9, permitCount, { proposal, start })),
          ({ slots, tokens }) => Object.fromEntries(slots.map((slot, index) => [slot, tokens[index]]))
        )
      assert.deepStrictEqual(yield* counted("a", 2, 100), { 0: 100, 1: 100 })
      yield* permits.release("counted", "a")
      assert.deepStrictEqual(yield* counted("b", 1, 5, 1), { 1: 101 })
      assert.deepStrictEqual(yield* counted("b", 1, 500, 1), { 1: 101 })
      assert.deepStrictEqual(yield* counted("c", 2, 5), { 0: 101, 2: 5 })
      assert.deepStrictEqual(yield* counted("d", 9, 5), {})
      const settlement = { expiryMillis: expiry, limit: 9, slots: [1, 3], round: 2, proposal: 50 }
      const settled = yield* permits.settle("counted", "b", settlement)
      assert.deepStrictEqual([settled.slots, settled.tokens], [[1, 3], [101, 50]])
      assert.deepStrictEqual(yield* permits.raise("counted", "b", [0, 1, 3], [900, 800, 20]), [1, 3])
      assert.deepStrictEqual(yield* permits.raise("counted", "nobody", [5], [900]), [])
      yield* permits.remove("counted")
      assert.deepStrictEqual(yield* counted("e", 4, 1), { 0: 102, 1: 801, 2: 6, 3: 51 })
    }))

  it.effect.each([-1, 1.5, 2 ** 53, 1e21, Infinity, NaN])("permits: counts nothing from %d, which is no token", (
    proposal
  ) =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const permits = yield* store
      const key = `proposed ${proposal}`
      const isRefused = (answer: Effect.Effect<unknown, NodeError>) =>
        Effect.map(Effect.flip(answer), (error) => assertNodeError(error, node, "acquire", "Rejected", /./))
      yield* isRefused(permits.acquire(key, "a", request(5, 1, { proposal })))
      assert.deepStrictEqual(yield* holders(key), {})
      yield* take(key, "a", 5)
      const settlement = { expiryMillis: expiry, limit: 5, slots: [3], round: 2, proposal }
      yield* isRefused(permits.settle(key, "a", settlement))
      yield* isRefused(permits.raise(key, "a", [0], [proposal]))
      assert.deepStrictEqual(yield* holders(key), { a: [0] })
    }))

  it.effect.each(oddKeys)("permits: a key with %s", ([_, key]) =>
    Effect.gen(function*() {
      const permits = yield* store
      assert.deepStrictEqual(yield* take(key, "a", 5, 2, { proposal: 7 }), [0, 1])
      assert.deepStrictEqual(yield* permits.raise(key, "a", [1], [8]), [1])
      assert.deepStrictEqual(sorted(yield* permits.extend(key, "a", expiry, [0, 1])), [0, 1])
      assert.isTrue(yield* permits.release(key, "a"))
      assert.deepStrictEqual(yield* holders(key), {})
    }))
}

export const permitRedisCases = (it: Vitest.MethodsNonLive<Subject | Backend>): void => {
  it.effect("permits: the key lives as long as the last holder, and is gone with it", () =>
    Effect.gen(function*() {
      const { slackMillis } = yield* Subject
      const { onKey } = yield* Backend
      const permits = yield* store
      const key = "redsync:1:permits:{lifetime}"
      yield* take("lifetime", "a", 5, 1, { expiryMillis: expiry * 2 })
      yield* take("lifetime", "b", 5)
      assertTtl(slackMillis, yield* onKey<number>("PTTL", key), expiry * 2)
      yield* permits.extend("lifetime", "b", expiry * 3, [1])
      assertTtl(slackMillis, yield* onKey<number>("PTTL", key), expiry * 3)
      yield* permits.release("lifetime", "a")
      yield* permits.release("lifetime", "b")
      assert.strictEqual(yield* onKey("EXISTS", key), 0)
    }))

  it.effect("permits: whatever happens, the bits are the slots of the holders", () =>
    Effect.gen(function*() {
      const { onKey } = yield* Backend
      const read = (key: string) => onKey<ReadonlyArray<string>>("HGETALL", key)
      assert.isUndefined(yield* faultOfPermits(yield* store, read))
    }))

  it.effect("permits: a server that is too young gives no slots, writes nothing, and does all else", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const young = node.delayedRestart!(3_600_000).permits!
      const permits = yield* store
      const words = /^up for only \d+ s, votes after \d+ s$/
      const settlement = { expiryMillis: expiry, limit: 5, slots: [3], round: 2 }
      const abstained: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
        young.acquire("young", "a", request(5)),
        young.acquire("young", "a", request(5, 1, { proposal: 1 })),
        young.settle("young", "a", settlement),
        young.settle("young", "a", { ...settlement, proposal: 1 })
      ]
      for (const taking of abstained) {
        assertNodeError(yield* Effect.flip(taking), node, "acquire", "Abstained", words)
        assert.deepStrictEqual(yield* holders("young"), {})
      }
      yield* permits.acquire("young", "a", request(5))
      assert.deepStrictEqual(yield* young.extend("young", "a", expiry, [0]), [0])
      assert.isTrue(yield* young.release("young", "a"))
      const old = (yield* oldEnough("young")).permits!
      assert.deepStrictEqual((yield* old.acquire("young", "a", request(5))).slots, [0])
    }))

  it.effect("permits: a script that is sent again for want of it takes nothing after the release", () =>
    Effect.gen(function*() {
      const { flushScripts } = yield* Backend
      const permits = yield* store
      const settlement = { expiryMillis: expiry, limit: 5, slots: [3], round: 2 }
      const takings: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
        permits.acquire("sent again", "a", request(5)),
        permits.settle("sent again", "a", settlement),
        permits.extend("sent again", "a", expiry, [0])
      ]
      for (const taking of takings) {
        yield* flushScripts
        yield* permits.release("sent again", "a")
        yield* Effect.all([taking, permits.release("sent again", "a")], { concurrency: "unbounded" })
        assert.deepStrictEqual(yield* holders("sent again"), {})
      }
    }))

  it.effect("permits: what is no semaphore is an error that names the key, and left alone", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      const permits = yield* store
      const key = "redsync:1:permits:{by hand}"
      const rubbish: ReadonlyArray<readonly [command: string, ...args: ReadonlyArray<string>]> = [
        ["SET", "a string"],
        ["RPUSH", "an entry"],
        ["HSET", "taken", "many"],
        ["HSET", "taken", "5"],
        ["HSET", "taken", "1", "soonest", "soon"],
        ["HSET", "=a", "slots"],
        ["HSET", "taken", "1", "soonest", "1", "=b", "slots"],
        ["HSET", "taken", "1", "soonest", "1", "bits", "", "=b", "1:1:3"]
      ]
      const settlement = { expiryMillis: expiry, limit: 5, slots: [3], round: 2 }
      const asked: ReadonlyArray<readonly [NodeError["operation"], Effect.Effect<unknown, NodeError>]> = [
        ["acquire", permits.acquire("by hand", "a", request(5))],
        ["acquire", permits.settle("by hand", "a", settlement)],
        ["extend", permits.extend("by hand", "a", expiry, [0])],
        ["release", permits.release("by hand", "a")]
      ]
      for (const [command, ...args] of rubbish) {
        yield* onKey(command, key, ...args)
        for (const [operation, ask] of asked) {
          const error = yield* Effect.flip(ask)
          const named = /^ERR the key "redsync:1:permits:\{by hand\}" does not hold what it should: [^@]*$/
          assertNodeError(error, node, operation, "Rejected", named)
        }
        if (command === "SET") assert.strictEqual(yield* onKey("GET", key), "a string")
        assert.isTrue(yield* permits.remove("by hand"))
      }
      yield* onKey("HSET", key, "limit", "several")
      assert.deepStrictEqual(yield* permits.inspect("by hand"), { limit: 0, holders: [] })
      assert.strictEqual((yield* permits.acquire("by hand", "a", request(5))).lastLimit, 0)
    }))

  it.effect("permits: a counter that is no number gives no slots", () =>
    Effect.gen(function*() {
      const { node } = yield* Subject
      const { onKey } = yield* Backend
      const permits = yield* store
      const counters = "redsync:1:permit-fencing:{rubbish}"
      for (const rubbish of ["many", "-1", "9007199254740991"]) {
        yield* onKey("HSET", counters, "0", rubbish)
        const error = yield* Effect.flip(permits.acquire("rubbish", "a", request(5, 1, { proposal: 1 })))
        assertNodeError(error, node, "acquire", "Rejected", /^ERR a fencing counter in redsync:1:permit-fencing/)
        assert.deepStrictEqual(yield* holders("rubbish"), {})
      }
    }))

  it.effect("permits: hundreds of dead holders are removed by and by", () =>
    Effect.gen(function*() {
      const { elapse } = yield* Subject
      const permits = yield* store
      yield* Effect.forEach(
        Array.from({ length: 1300 }, (_, index) => index),
        (index) => permits.acquire("dead", `dead-${index}`, request(1301, 1, { expiryMillis: 2000, start: index })),
        { concurrency: 64 }
      )
      yield* take("dead", "alive", 1301)
      yield* elapse(2000)
      assert.deepStrictEqual(yield* holders("dead"), { alive: [1300] })
      // Each call frees a part, and whoever is dead is no holder whatever is left.
      assert.deepStrictEqual(yield* permits.extend("dead", "dead-1299", expiry, [1299], true), [])
      assert.isFalse(yield* permits.release("dead", "dead-1298"))
      for (let call = 0; call < 3; call++) yield* permits.release("dead", "nobody")
      assert.strictEqual((yield* take("dead", "next", 1301, 1000)).length, 1000)
    }))
}
