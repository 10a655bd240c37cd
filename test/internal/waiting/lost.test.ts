/**
 * What is stored under a name is lost, by a FLUSHALL or an eviction, and no node says so: who waits is told by the holder
 * as soon as that finds out.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import {
  Lock,
  lock,
  type LockNode,
  type LockOptions,
  permits,
  type Redsync,
  sharedLock,
  withLock,
  withPermits
} from "../../../src/index.ts"
import * as Opened from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"
import * as TestNodes from "../../support/testNodes.ts"

/** Far apart, so that whoever gets a lock sooner was told. */
const hourly: LockOptions = { retry: Schedule.spaced("1 hour") }
const single = { ...hourly, limit: 1 }

/** The node as one whose keys and lists can be lost without a word to those who watch them. */
const unheard = (node: LockNode): LockNode => ({
  ...node,
  waitingList: (waiterId, onNotice) =>
    node.waitingList!(waiterId, (notice) => notice._tag === "Resync" ? undefined : onNotice(notice))
})

/** Lets everything happen that needs no time, or hardly any. */
const settle = Effect.repeat(TestClock.adjust(1), { times: 29 })

type Program = Effect.Effect<unknown, unknown, Redsync>

/** Services over the same three nodes. */
const world = Effect.gen(function*() {
  const nodes = yield* TestNodes.makeMany(3, { notices: "delivered" })
  const service = Opened.open({ nodes: nodes.map(unheard) })
  return {
    service,
    /** Two services stand in line, one behind the other; when each got in. */
    twoWait: Effect.fnUntraced(function*(waiting: (got: Effect.Effect<void>) => Program) {
      const got: Array<number> = []
      const enter = Effect.flatMap(Clock.currentTimeMillis, (at) => Effect.sync(() => void got.push(at)))
      for (const { run } of [yield* service, yield* service]) {
        yield* Effect.forkScoped(run(waiting(enter)))
        yield* settle
      }
      return got
    }),
    lose: (...places: ReadonlyArray<number>) =>
      Effect.forEach(places, (place) => nodes[place - 1]!.wipe, { discard: true })
  }
})

const quorums = [[1, 2], [1, 3], [2, 3], [1, 2, 3]]
const everywhere = [[1], [2], [3], ...quorums]

describe("all services that wait get in as soon as the holder has released", () => {
  const kinds = {
    "a lock": [lock("a", hourly), (got: Effect.Effect<void>) => withLock("a", got, hourly), everywhere],
    // In a crowd these are often held on a quorum without the node that has the line, so that one alone says nothing.
    "a shared lock": [sharedLock("a", hourly), (got: Effect.Effect<void>) => withLock("a", got, hourly), quorums],
    permits: [permits("a", single), (got: Effect.Effect<void>) => withPermits("a", got, single), quorums]
  } as const
  for (const [kind, [take, waiting, lost]] of Object.entries(kinds)) {
    it.effect(`${kind} lost on nodes`, () =>
      Effect.forEach(lost, (places) =>
        Effect.gen(function*() {
          const { lose, service, twoWait } = yield* world
          const held = yield* (yield* service).run(take)
          const got = yield* twoWait(waiting)
          yield* lose(...places)
          yield* held.release
          yield* settle
          assert.lengthOf(got, 2, `lost on ${places.join(", ")}`)
        }).pipe(scoped), { discard: true }))
  }
})

describe("all services that wait get in as soon as the holder has found out", () => {
  it.effect("by an extension", () =>
    Effect.gen(function*() {
      const { lose, service, twoWait } = yield* world
      const { run } = yield* service
      const held = yield* run(lock("a", { ...hourly, autoExtend: false, expiry: "1 hour" }))
      const got = yield* twoWait((got) => withLock("a", got, hourly))
      yield* lose(1, 2, 3)
      yield* settle
      assert.lengthOf(got, 0)
      yield* Effect.flip(held.extend)
      yield* settle
      assert.lengthOf(got, 2)
    }).pipe(scoped))

  it.effect("by a renewal", () =>
    Effect.gen(function*() {
      const { lose, service, twoWait } = yield* world
      yield* (yield* service).run(lock("a", { ...hourly, expiry: "9 seconds" }))
      const got = yield* twoWait((got) => withLock("a", got, hourly))
      yield* lose(1, 2, 3)
      yield* TestClock.adjust("3 seconds")
      yield* settle
      assert.lengthOf(got, 2)
    }).pipe(scoped))

  it.effect("by a downgrade", () =>
    Effect.gen(function*() {
      const { lose, service, twoWait } = yield* world
      const { run } = yield* service
      const held = yield* run(lock("a", hourly))
      const got = yield* twoWait((got) => withLock("a", got, hourly))
      yield* lose(1, 2, 3)
      yield* Effect.flip(Effect.scoped(run(Lock.downgrade(held))))
      yield* settle
      assert.lengthOf(got, 2)
    }).pipe(scoped))

  it.effect("though a newcomer has the lock by then, they are in line behind it", () =>
    Effect.gen(function*() {
      const { lose, service, twoWait } = yield* world
      const held = yield* (yield* service).run(lock("a", hourly))
      const got = yield* twoWait((got) => withLock("a", got, hourly))
      yield* lose(1, 2, 3)
      const newcomer = yield* (yield* service).run(lock("a", hourly))
      yield* held.release
      yield* settle
      assert.lengthOf(got, 0)
      yield* newcomer.release
      yield* settle
      assert.lengthOf(got, 2)
    }).pipe(scoped))
})

it.effect("nobody else is told when a lock is released that is in its place", () =>
  Effect.gen(function*() {
    const nodes = yield* TestNodes.makeMany(3, { notices: "delivered" })
    const alerts = () => nodes.flatMap((node) => TestNodes.callsOf(node, "alert"))
    const [a, b] = [yield* Opened.open({ nodes }), yield* Opened.open({ nodes })]
    for (const { run } of [a, b]) {
      yield* run(withLock("a", Effect.void, hourly))
      yield* run(withPermits("a", Effect.void, single))
    }
    const held = yield* a.run(lock("a", hourly))
    yield* Effect.forkScoped(b.run(withLock("a", Effect.void, hourly)))
    yield* settle
    yield* held.release
    yield* settle
    assert.deepStrictEqual(alerts(), [])
  }).pipe(scoped))
