/**
 * Waiting lists, one by one and by hand: the same of a node in memory and of a real
 * server.
 */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { type LockNode, MemoryNode, RedisNode } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { clientLayer } from "../../support/effectRedis.ts"
import { until } from "../../support/faults.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

class Subject extends Context.Service<Subject, LockNode>()("effect-redsync/test/waitingLists/Subject") {}

const overIoredis = Layer.effect(
  Subject,
  Effect.gen(function*() {
    const [server] = yield* RedisServers
    const node = yield* IoredisNode.make(server!.url)
    yield* node.ready!
    return node
  })
).pipe(Layer.provide(RedisServers.layer(1)))

const overEffectRedis = Layer.effect(
  Subject,
  Effect.gen(function*() {
    const [server] = yield* RedisServers
    return RedisNode.make(Context.get(yield* Layer.build(clientLayer(server!.url)), Redis.Redis))
  })
).pipe(Layer.provide(RedisServers.layer(1)))

const subjects = {
  "in memory": Layer.sync(Subject, () => MemoryNode.make()),
  "over ioredis": overIoredis,
  "over Effect's Redis": overEffectRedis
}

for (const [name, subject] of Object.entries(subjects)) {
  layer(subject, { excludeTestServices: true, timeout: "60 seconds" })(`waiting lists ${name}`, (it) => {
    /** Somebody who waits, and how often it was their turn. */
    const waiter = (name: string) =>
      Effect.gen(function*() {
        const node = yield* Subject
        const heard = { turns: 0 }
        const list = yield* node.waitingList!(waiterIdOf(name), (notice) => {
          if (notice._tag === "WakeUp") heard.turns++
        })
        const entry = entryOf(name)
        return { ...list, entry, heard }
      })

    const setUp = (key: string) =>
      Effect.gen(function*() {
        const node = yield* Subject
        const [holder, a, b, c] = yield* Effect.all([
          waiter(`holder of ${key}`),
          waiter(`a of ${key}`),
          waiter(`b of ${key}`),
          waiter(`c of ${key}`)
        ])
        const held = node.acquire(key, "held", 60_000)
        assert.isTrue(yield* held)
        return {
          a,
          b,
          c,
          node,
          ahead: (who: typeof a, end: "front" | "back") =>
            Effect.map(who.join(key, who.entry, end), ({ ahead }) => ahead),
          /** A release, and another lock after it. */
          release: Effect.tap(
            Effect.map(holder.release(key, "held", undefined), ({ released, woke }) => ({ released, woke })),
            held
          ),
          untilTurn: (who: typeof a, turns = 1) =>
            until("it is their turn", Effect.sync(() => who.heard.turns >= turns)),
          turns: () => [a.heard.turns, b.heard.turns, c.heard.turns]
        }
      })

    it.effect("wake one at a time, in the order of joining; who goes to the front leaves the old place", () =>
      Effect.gen(function*() {
        const { a, ahead, b, c, release, turns, untilTurn } = yield* setUp("order")
        assert.strictEqual(yield* ahead(a, "back"), 0)
        assert.strictEqual(yield* ahead(b, "back"), 1)
        assert.strictEqual(yield* ahead(a, "back"), 0)
        assert.strictEqual(yield* ahead(b, "front"), 0)
        assert.strictEqual(yield* ahead(a, "back"), 1)
        assert.strictEqual(yield* ahead(c, "back"), 2)
        assert.strictEqual(yield* a.length!("order"), 3)
        for (const [index, who] of [b, a, c].entries()) {
          assert.deepStrictEqual(yield* release, { released: true, woke: true })
          yield* untilTurn(who)
          assert.strictEqual(turns().reduce((sum, count) => sum + count), index + 1)
        }
        assert.strictEqual(yield* a.length!("order"), 0)
        assert.deepStrictEqual(yield* release, { released: true, woke: false })
      }))

    it.effect("a place that was left is nobody's, and who leaves a free lock hands the turn on", () =>
      Effect.gen(function*() {
        const { a, ahead, b, c, node, release, turns, untilTurn } = yield* setUp("left")
        for (const who of [a, b, c]) yield* ahead(who, "back")
        yield* a.leave("left", a.entry)
        yield* release
        yield* untilTurn(b)
        assert.isTrue(yield* node.release("left", "held"))
        // It is b's turn, which does not take it.
        yield* b.leave("left", b.entry)
        yield* untilTurn(c)
        assert.deepStrictEqual(turns(), [0, 1, 1])
      }))

    it.effect("a holder that still stands in line is not told of its own release", () =>
      Effect.gen(function*() {
        const { a, ahead, b, turns, untilTurn } = yield* setUp("own")
        for (const who of [a, b]) yield* ahead(who, "back")
        const { released, woke } = yield* a.release("own", "held", a.entry)
        assert.deepStrictEqual({ released, woke }, { released: true, woke: true })
        yield* untilTurn(b)
        assert.deepStrictEqual(turns(), [0, 1, 0])
      }))
  })
}
