/**
 * Until when a lock that was handed over is valid.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { MemoryNode } from "../../../src/index.ts"
import { instantNow } from "../../../src/internal/base/clock.ts"
import { leaseEndFrom, remainingMillis } from "../../../src/internal/lease/lease.ts"
import { HandOverVotes, Stopwatches, type TimedVote } from "../../../src/internal/waiting/stopwatch.ts"

const terms = { driftFactor: 0.01, expiryMillis: 8000 }

const node = MemoryNode.make()

/** A stopwatch whose node was asked at the beginning of the test, and answered 10 ms later with a time of its own. */
const started = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const stopwatches = new Stopwatches(clock)
  const sentAt = stopwatches.start()
  yield* TestClock.adjust(10)
  stopwatches.read(node, sentAt, { millis: 1_000_000, clock: "it" })
  const vote = (afterMillis: number, ttlMillis = 1000, name = "it") =>
    stopwatches.vote(node, { millis: 1_000_000 + afterMillis, clock: name }, ttlMillis, terms.driftFactor)
  return { clock, sentAt, stopwatches, vote }
})

const endOf = (clock: Clock.Clock, vote: TimedVote | undefined, options = terms) => {
  const votes = new HandOverVotes()
  votes.add(node, vote)
  return votes.end(clock, 1, options)
}

describe("S4: a lease that was handed over counts from a request of ours, and is shortened by the drift", () => {
  it.effect("it ends as long after the request as the node's clock says, less the drift", () =>
    Effect.gen(function*() {
      const { clock, vote } = yield* started
      yield* TestClock.adjust(490)
      const start = instantNow(clock)
      // 480 ms went by there; 1000 more are left, of which 500 ms have gone by here since the request.
      const end = endOf(clock, vote(480))!
      assert.closeTo(end.monotonic - start.monotonic, (480 + 1000) * 0.99 - 2 - 500, 1e-6)
    }))

  it.effect("a notification that arrives late makes it no longer", () =>
    Effect.gen(function*() {
      const { clock, vote } = yield* started
      yield* TestClock.adjust(100)
      const [soon, before] = [endOf(clock, vote(90))!, instantNow(clock)]
      yield* TestClock.adjust(300)
      const late = endOf(clock, vote(90))!
      assert.closeTo(late.monotonic - before.monotonic, soon.monotonic - before.monotonic, 1e-6)
      yield* TestClock.adjust(1000)
      assert.isUndefined(endOf(clock, vote(90)))
    }))

  it.effect("nor does an older reading that comes later take the place of a newer one", () =>
    Effect.gen(function*() {
      const { clock, sentAt, stopwatches, vote } = yield* started
      yield* TestClock.adjust(490)
      const newer = stopwatches.start()
      stopwatches.read(node, newer, { millis: 1_000_480, clock: "it" })
      stopwatches.read(node, sentAt, { millis: 1_000_000, clock: "it" })
      assert.deepStrictEqual(vote(480)?.sentAt, newer)
      assert.isFalse(stopwatches.isOlderThan(node, 1))
      assert.isDefined(endOf(clock, vote(480)))
    }))

  it.effect("no more of it counts than a later extension leaves", () =>
    Effect.gen(function*() {
      const { clock, vote } = yield* started
      yield* TestClock.adjust(10)
      const end = endOf(clock, vote(10, 1000), { ...terms, expiryMillis: 300 })!
      assert.isAtMost(end.monotonic - instantNow(clock).monotonic, 300)
    }))

  it("it never outlives the key, whatever the clocks' speeds and the delays are", () => {
    const speed = fc.double({ min: 1 - 0.005, max: 1 + 0.005, noNaN: true })
    const delay = fc.double({ min: 0, max: 500, noNaN: true })
    const wait = fc.double({ min: 0, max: 600_000, noNaN: true })
    fc.assert(fc.property(speed, speed, delay, delay, delay, wait, (client, server, there, back, notice, wait) => {
      // In true time: asked at 0, answered there at `there`, handed over `wait` later, told `notice` after that.
      let now = 0
      const clock = {
        currentTimeMillisUnsafe: () => now * client,
        monotonicTimeNanosUnsafe: () => BigInt(Math.round(now * client * 1e6))
      } as Clock.Clock
      const stopwatches = new Stopwatches(clock)
      const sentAt = stopwatches.start()
      now = there + back
      stopwatches.read(node, sentAt, { millis: there * server, clock: "it" })
      const handedOverAt = there + wait
      now = Math.max(now, handedOverAt + notice)
      const vote = stopwatches.vote(node, { millis: Math.floor(handedOverAt * server), clock: "it" }, 1000, 0.01)
      const end = endOf(clock, vote)
      if (end === undefined) return
      const keyExpiresAt = (Math.floor(handedOverAt * server) + 1000) / server
      assert.isAtMost(end.monotonic / client, keyExpiresAt)
    }))
  })
})

describe("S8: a reading of a server's clock counts only if as much time has gone by there as here", () => {
  it.effect("not if more has: it was set forward, or this process stood still", () =>
    Effect.gen(function*() {
      const { vote } = yield* started
      yield* TestClock.adjust(90)
      assert.isDefined(vote(90))
      assert.isDefined(vote(101))
      assert.isUndefined(vote(103))
    }))

  it.effect("nor if the clock went backwards", () =>
    Effect.gen(function*() {
      const { vote } = yield* started
      // Nodes count whole milliseconds.
      assert.isDefined(vote(-0.9))
      assert.isUndefined(vote(-1.1))
    }))

  it.effect("nor if it is the clock of another server, or of another connection", () =>
    Effect.gen(function*() {
      const { stopwatches, vote } = yield* started
      assert.isUndefined(vote(5, 1000, "another"))
      assert.isDefined(vote(5))
      stopwatches.forget(node)
      assert.isUndefined(vote(5))
    }))
})

describe("S9: a lease is over as soon as either clock says so", () => {
  it.effect("a vote ends on both", () =>
    Effect.gen(function*() {
      const { clock, vote } = yield* started
      const wallAhead = (millis: number) =>
        ({
          currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + millis,
          monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe()
        }) as Clock.Clock
      assert.isDefined(endOf(wallAhead(500), vote(5)))
      assert.isUndefined(endOf(wallAhead(1000), vote(5)))
    }))

  it.effect("of a quorum the vote that ends first counts, on whichever clock", () =>
    Effect.gen(function*() {
      const { clock, sentAt } = yield* started
      const votes = new HandOverVotes()
      const [a, b, c] = MemoryNode.makeMany(3)
      votes.add(a!, { sentAt, elapsedMillis: 0, millis: 1000 })
      assert.isUndefined(votes.end(clock, 2, terms))
      votes.add(b!, { sentAt: { ...sentAt, wall: sentAt.wall - 600 }, elapsedMillis: 0, millis: 1000 })
      const end = votes.end(clock, 2, terms)!
      assert.isAtMost(remainingMillis(clock, end), remainingMillis(clock, leaseEndFrom(sentAt, 988 - 600)) + 1)
      votes.add(c!, { sentAt, elapsedMillis: 0, millis: 1000 })
      assert.isAbove(remainingMillis(clock, votes.end(clock, 2, terms)!), 900)
    }))
})
