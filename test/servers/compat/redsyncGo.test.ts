/**
 * The cases of redsync, the Go library this one carries over, on real servers
 * and over 1 to 8 nodes.
 *
 * The nodes are the databases of one server: they share no keys, which is all
 * that matters while nothing breaks.
 */
import { assert, layer } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Layer, Option } from "effect"
import {
  adopt,
  forceUnlock,
  lock,
  LockLost,
  Redsync,
  retryPolicy,
  tryLock,
  unlock,
  withLock
} from "../../../src/index.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const nodeCounts = [1, 2, 3, 4, 5, 6, 7, 8]

/** The URLs of so many nodes. */
const urls = (count: number) =>
  Effect.map(RedisServers, ([server]) => Array.from({ length: count }, (_, db) => `${server!.url}/${db}`))

/** A service with connections of its own to so many nodes, as another process would have. */
const redsync = (count: number) => Layer.unwrap(Effect.map(urls(count), (nodes) => Redsync.layer({ nodes })))

/** What each node has under the name, asked past the library. */
const stored = (count: number, name: string) =>
  Effect.flatMap(
    RedisServers,
    ([server]) =>
      server!.command<Array<string | null>>("EVAL", onEachDatabase(`redis.call("GET", KEYS[1])`), "1", name, `${count}`)
  )

/** The time to live on each node in milliseconds, negative where there is none. */
const timesToLive = (count: number, name: string) =>
  Effect.flatMap(
    RedisServers,
    ([server]) =>
      server!.command<Array<number>>("EVAL", onEachDatabase(`redis.call("PTTL", KEYS[1])`), "1", name, `${count}`)
  )

/** Lets it expire on all nodes after so many milliseconds. */
const expireIn = (count: number, name: string, millis: number) =>
  Effect.flatMap(
    RedisServers,
    ([server]) =>
      server!.command("EVAL", onEachDatabase(`redis.call("PEXPIRE", KEYS[1], ${millis})`), "1", name, `${count}`)
  )

/** Stores a value on those nodes whose bit is set, as another holder would have it. */
const occupy = (count: number, name: string, mask: number) =>
  Effect.flatMap(RedisServers, ([server]) =>
    server!.command(
      "EVAL",
      onEachDatabase(`bit.band(ARGV[2], 2 ^ db) ~= 0 and redis.call("SET", KEYS[1], "theirs", "PX", 60000)`),
      "1",
      name,
      `${count}`,
      `${mask}`
    ))

const onEachDatabase = (expression: string) =>
  `local answers = {}
for db = 0, ARGV[1] - 1 do
  redis.call("SELECT", db)
  answers[db + 1] = ${expression}
end
return answers`

const bits = (count: number, mask: number) => Array.from({ length: count }, (_, bit) => (mask >> bit & 1) === 1)

const everywhere = <A>(count: number, value: A) => Array.from({ length: count }, () => value)

const servers = RedisServers.layer(1)

layer(servers, { excludeTestServices: true, timeout: "60 seconds" })("the cases of redsync", (it) => {
  it.effect.each(nodeCounts)(
    "eight contenders all get their turn, one at a time, on %i nodes",
    (count) =>
      Effect.gen(function*() {
        let inside = 0
        const turns: Array<number> = []
        const contend = (contender: number) =>
          withLock(
            "turns",
            Effect.gen(function*() {
              assert.strictEqual(++inside, 1)
              yield* Effect.sleep("3 millis")
              turns.push(contender)
              inside--
            }),
            // A lock that is handed over has twice the node timeout to be extended in.
            { nodeTimeout: "5 seconds", retry: retryPolicy({ delay: "20 millis", within: "20 seconds" }) }
          ).pipe(Effect.provide(redsync(count), { local: true }))
        const contenders = everywhere(8, 0).map((_, index) => index)
        yield* Effect.forEach(contenders, contend, { concurrency: "unbounded", discard: true })
        assert.sameMembers(turns, contenders)
        assert.deepStrictEqual(yield* stored(count, "turns"), everywhere(count, null))
      })
  )

  it.effect.each(nodeCounts)(
    "whichever of %i nodes are taken, a lock is granted exactly if a quorum is free",
    (count) =>
      Effect.gen(function*() {
        const quorum = Math.floor(count / 2) + 1
        const masks = everywhere(2 ** count, 0).map((_, mask) => mask)
        const held = (mask: number) =>
          Effect.gen(function*() {
            const name = `mask-${count}-${mask}`
            const taken = bits(count, mask)
            yield* occupy(count, name, mask)
            const lock = yield* Effect.scoped(tryLock(name, { nodeTimeout: "5 seconds" }))
            assert.strictEqual(
              Option.isSome(lock),
              taken.filter((bit) => !bit).length >= quorum,
              `taken: ${taken.join()}`
            )
          })
        yield* Effect.forEach(masks, held, { concurrency: 16, discard: true }).pipe(Effect.provide(redsync(count)))
        // The layer is closed, its clean-up is done: what is left are the keys of the others, all of them.
        for (const mask of masks) {
          const expected = bits(count, mask).map((taken) => taken ? "theirs" : null)
          assert.deepStrictEqual(yield* stored(count, `mask-${count}-${mask}`), expected)
        }
      })
  )

  it.effect.each(nodeCounts)("an extension moves the expiry on each of %i nodes", (count) =>
    Effect.gen(function*() {
      const held = yield* lock("extended", { expiry: "1 minute", nodeTimeout: "10 seconds" })
      // As if most of it were over.
      yield* expireIn(count, "extended", 20_000)
      const end = Effect.zipWith(Clock.currentTimeMillis, held.remaining, (now, left) => now + Duration.toMillis(left))
      const before = yield* end
      yield* Effect.sleep("50 millis")
      yield* held.extend
      assert.isAbove(yield* end, before)
      // The extension is done at a quorum; a question that waits for all nodes comes after it on each of them.
      assert.isTrue(yield* held.isHeld)
      yield* settled(held.name)
      const after = yield* timesToLive(count, "extended")
      for (const [node, ttl] of after.entries()) {
        assert.isAbove(ttl, 20_000, `node ${node}`)
        assert.isAtMost(ttl, 60_000)
      }
    }).pipe(Effect.scoped, Effect.provide(redsync(count))))

  it.effect.each(nodeCounts)(
    "nothing is extended or released after the expiry, on %i nodes",
    (count) =>
      Effect.gen(function*() {
        const held = yield* lock("expired", { expiry: "100 millis", nodeTimeout: "5 seconds", autoExtend: false })
        assert.deepStrictEqual(yield* Effect.flip(held.lost).pipe(Effect.map(({ reason }) => reason)), "Expired")
        assert.strictEqual(Duration.toMillis(yield* held.remaining), 0)
        const lost = yield* Effect.flip(held.extend)
        assert.instanceOf(lost, LockLost)
        yield* untilGone(count, "expired")
        assert.isFalse(yield* held.isHeld)
        assert.isFalse(yield* held.release)
      }).pipe(Effect.scoped, Effect.provide(redsync(count)))
  )

  it.effect.each(nodeCounts)(
    "a lock that expired and was taken by another is the other's, on %i nodes",
    (count) =>
      Effect.gen(function*() {
        const first = yield* lock("passed on", { expiry: "100 millis", nodeTimeout: "5 seconds", autoExtend: false })
        const second = yield* lock("passed on", {
          retry: retryPolicy({ delay: "20 millis" }),
          nodeTimeout: "5 seconds"
        })
        assert.isFalse(yield* first.release)
        assert.isTrue(yield* second.isHeld)
        yield* settled("passed on")
        // The attempt that got it may have come before the last key of the first had expired.
        const values = (yield* stored(count, "passed on")).filter((value) => value !== null)
        assert.isAtLeast(values.length, Math.floor(count / 2) + 1)
        assert.deepStrictEqual(values, everywhere(values.length, second.value))
      }).pipe(Effect.scoped, Effect.provide(redsync(count)))
  )

  it.effect.each(nodeCounts)(
    "a lock is released from elsewhere by its value, on %i nodes",
    (count) =>
      Effect.gen(function*() {
        const held = yield* lock("unlocked")
        const elsewhere = yield* Layer.build(redsync(count))
        const unlockElsewhere = (value: string) => Effect.provide(unlock("unlocked", value), elsewhere)
        assert.isFalse(yield* unlockElsewhere("no such value"))
        assert.isTrue(yield* held.isHeld)
        assert.isTrue(yield* unlockElsewhere(held.value))
        assert.isFalse(yield* unlockElsewhere(held.value))
        assert.isFalse(yield* held.isHeld)
        const lost = yield* Effect.flip(held.extend)
        assert.isTrue(lost._tag === "LockLost" && lost.reason === "Taken")
      }).pipe(Effect.scoped, Effect.provide(redsync(count)))
  )

  it.effect.each(nodeCounts)(
    "a lock goes from one process to another by its value, on %i nodes",
    (count) =>
      Effect.gen(function*() {
        const held = yield* lock("handed over", { expiry: "5 seconds" })
        const elsewhere = Context.get(yield* Layer.build(redsync(count)), Redsync.Redsync)
        yield* Effect.scoped(Effect.gen(function*() {
          const adopted = yield* adopt("handed over", held.value, { expiry: "60 seconds" })
          assert.notStrictEqual(adopted.value, held.value)
          assert.isAbove(Duration.toMillis(yield* adopted.remaining), 50_000)
          yield* settled("handed over")
          assert.deepStrictEqual(yield* stored(count, "handed over"), everywhere(count, adopted.value))
          for (const ttl of yield* timesToLive(count, "handed over")) assert.isAbove(ttl, 50_000)
          const wrong = yield* Effect.flip(adopt("handed over", "no such value"))
          assert.isTrue(wrong._tag === "LockLost" && wrong.reason === "Taken")
        })).pipe(Effect.provideService(Redsync.Redsync, elsewhere))
        assert.isFalse(yield* held.isHeld)
        assert.isFalse(yield* held.release)
      }).pipe(Effect.scoped, Effect.provide(redsync(count)))
  )

  it.effect.each(nodeCounts)("a lock is deleted whoever holds it, on %i nodes", (count) =>
    Effect.gen(function*() {
      const held = yield* lock("forced")
      assert.isTrue(yield* forceUnlock("forced"))
      assert.isFalse(yield* forceUnlock("forced"))
      assert.isFalse(yield* held.isHeld)
      const elsewhere = yield* Layer.build(redsync(count))
      assert.isTrue(Option.isSome(yield* Effect.provide(tryLock("forced"), elsewhere)))
    }).pipe(Effect.scoped, Effect.provide(redsync(count))))
})

/** Waits for all nodes: afterwards each has done what it was asked before. */
const settled = (name: string) =>
  Effect.map(Redsync.inspect(name), ({ nodes }) => {
    for (const node of nodes) assert.notStrictEqual(node._tag, "Failed")
  })

/** A lease ends a little before its keys do. */
const untilGone = (count: number, name: string): Effect.Effect<void, never, RedisServers> =>
  Effect.flatMap(timesToLive(count, name), (ttls) => {
    const left = Math.max(...ttls)
    return left < 0 ? Effect.void : Effect.andThen(Effect.sleep(left + 1), untilGone(count, name))
  })
