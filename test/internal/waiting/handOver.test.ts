/**
 * The rules of handing a lock over, one by one: `S` are about exclusion and tokens, `L`
 * about nobody waiting in vain. Those about clocks are in `stopwatch.test.ts`, those about
 * what a node does in `test/servers/waiting/handOver.test.ts`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Logger, Option, Random, Schedule } from "effect"
import { TestClock } from "effect/testing"
import {
  fencedLock,
  forceReleasePermits,
  forceUnlock,
  inspect,
  type Lock,
  lock,
  type LockNode,
  type LockOptions,
  MemoryNode,
  NodeError,
  unlock,
  withFencedLock,
  withLock,
  withPermits
} from "../../../src/index.ts"
import type { HandOver, HandOverTerms, LineEntry, Notice, WaitingList } from "../../../src/LockNode.ts"
import { entryOf, waiterIdOf, withoutHandOver } from "../../support/line.ts"
import * as Opened from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"
import * as TestNodes from "../../support/testNodes.ts"

/** Far apart, so that whoever gets a lock sooner was woken or handed it. */
const hourly: LockOptions = { retry: Schedule.spaced("1 hour") }

describe("exclusion and tokens", () => {
  it.effect("S1: the holder's time is over, and it extends no more, before the first transfer is sent", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      let held: Lock | undefined
      const seen: Array<[number, string]> = []
      const a = yield* open(nodes.map((node) =>
        hooked(node, {
          transfer: () =>
            Effect.gen(function*() {
              const remaining = Duration.toMillis(yield* held!.remaining)
              const extended = yield* Effect.exit(held!.extend)
              seen.push([remaining, Exit.isFailure(extended) ? "not extended" : "extended"])
              return undefined
            })
        })
      ))
      const holding = held = yield* a.run(lock("a"))
      const waiter = yield* waiting(nodes)
      yield* holding.release
      yield* settle
      assert.isDefined(waiter.pollUnsafe())
      assert.deepStrictEqual(seen, Array.from({ length: 3 }, () => [0, "not extended"]))
    }).pipe(scoped))

  it.effect("S3: a value that stands in line is fresh, and no attempt and no clean-up is made with it while it does", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const values = { acquired: new Set<string>(), inLine: new Array<string>(), released: new Set<string>() }
      const mine = nodes.map((node) =>
        hooked(node, {
          join: ({ value }) => void (values.inLine.at(-1) === value || values.inLine.push(value)),
          acquire: (value) => void values.acquired.add(value),
          release: (value) => void values.released.add(value)
        })
      )
      const others = yield* open(nodes)
      const holder = yield* others.run(lock("a"))
      const { run } = yield* open(mine)
      const waiter = yield* Effect.forkScoped(run(withLock("a", Effect.sleep(5), { retry: Schedule.spaced(100) })))
      yield* TestClock.adjust(1000)
      assert.isAtLeast(values.acquired.size, 10)
      assert.strictEqual(new Set(values.inLine).size, 1)
      const [value] = values.inLine
      assert.isFalse(values.acquired.has(value!))
      assert.isFalse(values.released.has(value!))
      yield* holder.release
      yield* settle
      // It is the lock's, and released with it; the next place has another.
      yield* TestClock.adjust(100)
      assert.isDefined(waiter.pollUnsafe())
      const next = yield* others.run(lock("a"))
      yield* Effect.forkScoped(run(withLock("a", Effect.void, hourly)))
      yield* settle
      assert.strictEqual(new Set(values.inLine).size, 2)
      assert.isFalse(values.acquired.has(values.inLine.at(-1)!))
      yield* next.release
    }).pipe(scoped))

  it.effect("S5: a notification counts for the value that it names, while that stands in line", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const onNotice: Array<(notice: Notice) => void> = []
      const mine = nodes.map((node) => hooked(node, { listening: (listener) => void onNotice.push(listener) }))
      for (const node of nodes) yield* node.acquire("a", "theirs", 60_000)
      const { run } = yield* open(mine)
      let inside = 0
      yield* Effect.forkScoped(run(withLock("a", Effect.sync(() => inside++), hourly)))
      yield* settle
      for (const listener of onNotice) {
        listener({
          _tag: "HandedOver",
          key: "a",
          value: "another value of nobody at all",
          ttlMillis: 60_000,
          time: { millis: 0, clock: "memory" },
          chain: { length: 1, millis: 0 },
          next: undefined,
          token: undefined
        })
      }
      yield* settle
      assert.strictEqual(inside, 0)
      assert.deepStrictEqual(yield* valuesAt(nodes), ["theirs", "theirs", "theirs"])
    }).pipe(scoped))

  it.effect("S7: a key that an extension has planted again is no vote for it", () =>
    Effect.gen(function*() {
      const [node] = memory(1)
      assert.isFalse(yield* node!.extend("a", "mine", 1000))
      assert.deepStrictEqual(yield* valuesAt([node!]), ["mine"])
    }))

  it.effect("S11: what is handed over to a dead value is deleted on that node, and the next in line is woken", () =>
    Effect.gen(function*() {
      const nodes = memory(1)
      const a = yield* open(nodes)
      const holder = yield* a.run(lock("a"))
      // Its notifications are held up, and it leaves meanwhile; nobody hears of that, either.
      const late: Array<() => void> = []
      const gone = yield* open(nodes.map((node) =>
        hooked(node, {
          notice: (notice, deliver) => void (notice._tag === "HandedOver" ? late.push(deliver) : deliver()),
          leave: () => Effect.succeed(false)
        })
      ))
      const first = yield* Effect.forkScoped(gone.run(withLock("a", Effect.never, hourly)))
      yield* settle
      const next = yield* waiting(nodes)
      yield* Fiber.interrupt(first)
      yield* holder.release
      yield* settle
      assert.isUndefined(next.pollUnsafe())
      for (const deliver of late) deliver()
      yield* settle
      assert.isDefined(next.pollUnsafe())
    }).pipe(scoped))

  it.effect("S12: a successor takes the largest token, and raises it on a quorum before it enters", () =>
    Effect.gen(function*() {
      for (const ahead of [[0, 0, 5], [5, 0, 0], [5, 3, 1], [0, 0, 0]]) {
        const nodes = memory(3)
        const a = yield* open(nodes)
        const holder = yield* a.run(fencedLock("a"))
        for (const [index, node] of nodes.entries()) {
          if (ahead[index]! > 0) yield* node.fencing!.raise("a", holder.value, holder.token + ahead[index]! * 1000)
        }
        const { run } = yield* open(nodes)
        const token = yield* Effect.forkScoped(run(withFencedLock("a", (token) =>
          Effect.gen(function*() {
            const tokens = yield* Effect.forEach(nodes, ({ fencing }) => fencing!.acquire("a", "x", 1, 0))
            assert.deepStrictEqual(tokens.map(Option.isSome), [false, false, false])
            return token
          }), hourly)))
        yield* settle
        yield* holder.release
        yield* settle
        const taken = yield* Fiber.join(token)
        assert.isAbove(taken, holder.token)
        // Whoever comes next is given a larger one, whichever two nodes grant it.
        for (const absent of nodes) {
          const two = nodes.filter((node) => node !== absent)
          const counters = yield* Effect.forEach(two, ({ fencing }) => fencing!.acquire("a", absent.id, 10, 0))
          const largest = Math.max(...counters.map(Option.getOrElse(() => 0)))
          assert.isAbove(largest, taken, String(ahead))
          for (const node of two) yield* node.release("a", absent.id)
        }
      }
    }).pipe(scoped))

  it.effect("S12: a vote without a count is none for a fenced lock", () =>
    Effect.gen(function*() {
      // The first node has counted far, and its notification of that is lost.
      const nodes = memory(3)
      const a = yield* open(nodes)
      const holder = yield* a.run(fencedLock("a"))
      const far = holder.token + 1_000_000
      for (const node of nodes.slice(0, 2)) yield* node.fencing!.raise("a", holder.value, far)
      const mine = nodes.map((node, index) =>
        hooked(node, {
          notice: (notice, deliver) => {
            if (notice._tag !== "HandedOver" || index === 2) deliver()
          }
        })
      )
      const { run } = yield* open(mine)
      const token = yield* Effect.forkScoped(run(withFencedLock("a", Effect.succeed, hourly)))
      yield* settle
      yield* holder.release
      yield* settle
      yield* TestClock.adjust(100)
      assert.isAbove(yield* Fiber.join(token), far)
    }).pipe(scoped))
})

describe("nobody waits in vain", () => {
  it.effect("L3: who waits for hours stays in line, looks again every few seconds, and is handed the lock", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const a = yield* open(nodes)
      const holder = yield* a.run(lock("a"))
      const views = yield* TestNodes.views(nodes)
      const { run } = yield* open(views)
      const waiter = yield* Effect.forkScoped(run(withLock("a", Effect.void, { retry: Schedule.spaced("1 day") })))
      yield* settle
      yield* TestClock.adjust("1 minute")
      const before = calls(views, "join")
      yield* TestClock.adjust("3 hours")
      const perHour = (calls(views, "join") - before) / 3
      assert.isAtLeast(perHour, 360)
      assert.isAtMost(perHour, 720)
      yield* holder.release
      yield* settle
      assert.isDefined(waiter.pollUnsafe())
    }).pipe(scoped))

  it.effect("L3: who finds no list to stand in tries again once a second, for however long", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      for (const node of nodes) yield* node.acquire("a", "theirs", 36_000_000)
      let joins = 0
      const failing = nodes.map((node) =>
        hooked(node, {
          join: () => {
            joins++
            return Effect.fail(new NodeError({ node: node.id, operation: "inspect", reason: "Disconnected" }))
          }
        })
      )
      const { run } = yield* open(failing)
      yield* Effect.forkScoped(run(withLock("a", Effect.void, hourly)))
      yield* TestClock.adjust("1 minute")
      const [first] = [joins, joins = 0]
      yield* TestClock.adjust("1 minute")
      // Each of the three lists, as often as in the first minute.
      assert.isAtMost(joins, 3 * 61)
      assert.isAtMost(joins, first + 3)
    }).pipe(scoped))

  it.effect("L4: a successor with too few votes asks the other nodes", () =>
    Effect.gen(function*() {
      for (const heard of [[0], [1], [2], []]) {
        const nodes = memory(3)
        const a = yield* open(nodes)
        const holder = yield* a.run(lock("a"))
        const { run } = yield* open(nodes.map((node, index) =>
          hooked(node, {
            notice: (notice, deliver) => {
              if (notice._tag !== "HandedOver" || heard.includes(index)) deliver()
            }
          })
        ))
        const waiter = yield* Effect.forkScoped(run(withLock("a", Clock.currentTimeMillis, hourly)))
        yield* settle
        const at = yield* Clock.currentTimeMillis
        yield* holder.release
        yield* settle
        yield* TestClock.adjust("20 seconds")
        // With none of them heard, by the next look.
        assert.isAtMost((yield* Fiber.join(waiter)) - at, heard.length > 0 ? 10 : 10_000)
        assert.deepStrictEqual(yield* valuesAt(nodes), [undefined, undefined, undefined])
      }
    }).pipe(scoped))

  it.effect("a value that comes to nothing is not left in line where its node has not handed the lock over", () =>
    Effect.gen(function*() {
      for (const isInterrupted of [false, true]) {
        for (const handing of numbers(3)) {
          const nodes = memory(3)
          const a = yield* open(nodes.map((node, index) =>
            hooked(node, {
              transfer: () =>
                index === handing
                  ? Effect.succeed(undefined)
                  : Effect.fail(new NodeError({ node: node.id, operation: "release", reason: "Disconnected" }))
            })
          ))
          const holder = yield* a.run(lock("a"))
          const waiter = yield* waiting(nodes)
          yield* Effect.forkScoped(holder.release)
          yield* TestClock.adjust(1)
          if (isInterrupted) yield* Fiber.interrupt(waiter)
          yield* settle
          const waits = yield* Effect.forEach(
            nodes,
            (node) =>
              Effect.flatMap(
                node.waitingList!(waiterIdOf("looks"), () => {}),
                ({ join }) => Effect.map(join("a", entryOf("looks"), "back"), ({ ahead }) => ahead)
              )
          )
          assert.strictEqual(waits.reduce((sum, ahead) => sum + ahead), isInterrupted ? 0 : 1, `${handing} hands over`)
        }
      }
    }).pipe(scoped))

  it.effect("L5: on a node that rejects a transfer the lock is released, and that is said once", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const logged: Array<string> = []
      const logger = Logger.layer([Logger.make<unknown, void>(({ message }) => logged.push(String(message)))])
      const rejecting = nodes.map((node) =>
        hooked(node, {
          transfer: () =>
            Effect.fail(
              new NodeError({
                node: node.id,
                operation: "release",
                reason: "Rejected",
                cause: new Error("NOPERM time")
              })
            )
        })
      )
      const a = yield* Effect.provide(open(rejecting), logger)
      for (let round = 0; round < 3; round++) {
        const holder = yield* a.run(lock("a"))
        const waiter = yield* waiting(nodes)
        yield* holder.release
        yield* settle
        assert.isDefined(waiter.pollUnsafe(), `round ${round}`)
        yield* TestClock.adjust(100)
      }
      assert.deepStrictEqual(
        logged,
        nodes.map(({ id }) =>
          `Lock node ${id} does not hand locks over, so waiters are only woken: it answered with an error: NOPERM time`
        )
      )
    }).pipe(scoped))

  it.effect("L5: a node that refuses the release too has not said that it hands no locks over", () =>
    Effect.gen(function*() {
      const nodes = memory(1)
      const views = yield* TestNodes.views(nodes)
      const a = yield* open(views)
      for (const state of [{ rejects: "READONLY" }, "up"] as const) {
        const holder = yield* a.run(lock("a"))
        yield* waiting(nodes)
        views[0]!.state = state
        yield* Effect.forkScoped(holder.release)
        yield* settle
        views[0]!.state = "up"
        yield* TestClock.adjust("10 seconds")
      }
      assert.strictEqual(calls(views, "transfer"), 2)
    }).pipe(scoped))

  it.effect.each([[1, 64], [300, 4]] as const)(
    "L6: after 64 hand-overs in a row, or a second, the lock is released: held %i ms",
    ([heldMillis, inARow]) =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const how: Array<string> = []
        const counting = hooked(nodes[0]!, {
          transfer: () => Effect.as(Effect.sync(() => how.push("transfer")), undefined),
          release: () => void how.push("release")
        })
        for (const _ of numbers(3)) {
          const { run } = yield* open([counting, ...nodes.slice(1)])
          yield* Effect.forkScoped(Effect.forever(run(withLock("a", Effect.sleep(heldMillis), hourly))))
        }
        for (const _ of numbers(300)) yield* TestClock.adjust(heldMillis)
        const rows = how.join(" ").split("release").map((row) => row.split("transfer").length - 1)
        assert.isAtLeast(rows.length, 3, how.join(" "))
        assert.isAtMost(Math.max(...rows), inARow)
        assert.isAtLeast(Math.max(...rows), inARow - 1)
      }).pipe(scoped)
  )

  it.effect("L7: a lock is handed over only if a quorum of the nodes can", () =>
    Effect.gen(function*() {
      for (const able of numbers(4)) {
        const nodes = memory(3)
        let transfers = 0
        const a = yield* open(nodes.map((node, index) =>
          index < able
            ? hooked(node, { transfer: () => Effect.as(Effect.sync(() => transfers++), undefined) })
            : withoutHandOver(node)
        ))
        const holder = yield* a.run(lock("a"))
        const waiter = yield* waiting(nodes)
        yield* holder.release
        yield* settle
        yield* TestClock.adjust(100)
        assert.isDefined(waiter.pollUnsafe(), `${able} nodes hand over`)
        assert.strictEqual(transfers, able >= 2 ? able : 0)
      }
    }).pipe(scoped))

  it.effect("a lock that somebody else takes away goes to the first in line, though its holder knows nothing of that", () =>
    Effect.gen(function*() {
      for (const takeAway of [() => forceUnlock("a"), (value: string) => unlock("a", value)]) {
        const nodes = memory(3)
        const a = yield* open(nodes)
        const holder = yield* a.run(lock("a", { autoExtend: false }))
        const waiter = yield* waiting(nodes)
        const other = yield* open(nodes)
        assert.isTrue(yield* other.run(takeAway(holder.value)))
        yield* settle
        assert.isDefined(waiter.pollUnsafe())
        assert.isAbove(Duration.toMillis(yield* holder.remaining), 0)
      }
    }).pipe(scoped))

  it.effect("permits that somebody else takes away go to the first in line", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const a = yield* open(nodes)
      const options = { ...hourly, limit: 1, autoExtend: false }
      yield* Effect.forkScoped(a.run(withPermits("a", Effect.never, options)))
      yield* settle
      const b = yield* open(nodes)
      const waiter = yield* Effect.forkScoped(b.run(withPermits("a", Effect.void, options)))
      yield* settle
      const other = yield* open(nodes)
      assert.isTrue(yield* other.run(forceReleasePermits("a")))
      yield* settle
      assert.isDefined(waiter.pollUnsafe())
    }).pipe(scoped))

  it.effect("L8: who is interrupted when the lock is handed over, at whatever moment, hands it on", () =>
    Effect.gen(function*() {
      for (const moment of numbers(30)) {
        const nodes = memory(3)
        const a = yield* open(nodes)
        const holder = yield* a.run(lock("a"))
        const { run } = yield* open(yield* TestNodes.views(nodes, { distanceMillis: 5 }))
        const first = yield* Effect.forkScoped(run(withLock("a", Effect.never, hourly)))
        yield* TestClock.adjust(50)
        const next = yield* waiting(yield* TestNodes.views(nodes, { distanceMillis: 5 }))
        yield* TestClock.adjust(50)
        yield* Effect.forkScoped(holder.release)
        yield* TestClock.adjust(moment)
        yield* Effect.forkScoped(Fiber.interrupt(first))
        yield* TestClock.adjust(200)
        assert.isDefined(next.pollUnsafe(), `interrupted ${moment} ms after the release`)
      }
    }).pipe(scoped))
})

describe("among services", () => {
  it.effect("a lock changes hands in one message, without an attempt", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const [near, far] = [yield* TestNodes.views(nodes), yield* TestNodes.views(nodes, { distanceMillis: 10 })]
      const a = yield* open(near)
      const b = yield* open(far)
      const holder = yield* a.run(lock("a"))
      let enteredAt = 0
      const enter = Effect.map(Clock.currentTimeMillis, (now) => enteredAt = now)
      yield* Effect.forkScoped(b.run(withLock("a", enter, hourly)))
      yield* TestClock.adjust(100)
      const before = calls(far, "acquire")
      const at = yield* Clock.currentTimeMillis
      yield* holder.release
      for (const _ of numbers(20)) yield* TestClock.adjust(1)
      // The notification alone is 10 ms on its way.
      assert.strictEqual(enteredAt - at, 10)
      assert.strictEqual(calls(far, "acquire"), before)
    }).pipe(scoped))

  it.effect.each([200, 20])(
    "one that is near and asks again at once does not starve one that is far: held %i ms",
    (held) =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const turns = { near: 0, far: 0 }
        let [row, longest] = [0, 0]
        const contend = (who: "near" | "far", distanceMillis: number) =>
          Effect.gen(function*() {
            const { run } = yield* open(yield* TestNodes.views(nodes, { distanceMillis }))
            const turn = Effect.sync(() => {
              turns[who]++
              row = who === "near" ? row + 1 : 0
              longest = Math.max(longest, row)
            })
            yield* Effect.forkScoped(Effect.forever(run(withLock("a", Effect.andThen(turn, Effect.sleep(held))))))
          })
        yield* contend("near", 0)
        yield* contend("far", 5)
        for (const _ of numbers(1500)) yield* TestClock.adjust(5)
        assert.isAbove(turns.far, 5)
        assert.isAtMost(turns.near / turns.far, 1.2, JSON.stringify(turns))
        assert.isAtMost(longest, 3)
      }).pipe(scoped, Random.withSeed("greedy"))
  )

  it.effect("a key that is handed over lives for two node timeouts, a second at least, and no longer than a lease", () =>
    Effect.gen(function*() {
      for (const [expiry, nodeTimeout, expected] of [[8000, 100, 1000], [8000, 2000, 4000], [800, 100, 800]] as const) {
        const nodes = memory(1)
        const given: Array<number> = []
        const counting = nodes.map((node): LockNode => ({
          ...node,
          waitingList: (...args) =>
            Effect.map(node.waitingList!(...args), (list) => ({
              ...list,
              handOver: {
                ...list.handOver!,
                transfer: (key, value, successor, terms) => {
                  given.push(terms.expiryMillis)
                  return list.handOver!.transfer(key, value, successor, terms)
                }
              }
            }))
        }))
        const a = yield* open(counting)
        const held = yield* a.run(lock("a", { expiry, nodeTimeout }))
        const waiter = yield* waiting(nodes)
        yield* settle
        yield* held.release
        yield* settle
        assert.deepStrictEqual(given, [expected])
        yield* Fiber.interrupt(waiter)
      }
    }).pipe(scoped))

  it.effect("inspect tells how many of them stand in line, if a node does", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const a = yield* open(nodes)
      const waits = Effect.map(a.run(inspect("a")), (inspection) => inspection.waiting)
      yield* a.run(lock("a"))
      assert.deepStrictEqual(yield* waits, Option.some(0))
      const waiter = yield* waiting(nodes)
      yield* waiting(nodes)
      assert.deepStrictEqual(yield* waits, Option.some(2))
      yield* Fiber.interrupt(waiter)
      yield* settle
      assert.deepStrictEqual(yield* waits, Option.some(1))
      const fails = () => Effect.fail(new NodeError({ node: "memory", operation: "inspect", reason: "Rejected" }))
      for (const length of [undefined, fails, ...[Number.NaN, -1, 1.5].map((length) => () => Effect.succeed(length))]) {
        const mute = yield* open(nodes.map((node) => ({
          ...node,
          waitingList: (...args: Parameters<NonNullable<LockNode["waitingList"]>>) =>
            Effect.map(node.waitingList!(...args), ({ length: _, ...list }) => ({ ...list, ...length && { length } }))
        })))
        assert.deepStrictEqual((yield* mute.run(inspect("a"))).waiting, Option.none())
      }
    }).pipe(scoped))

  it.effect("a lock that was handed over is left with its full lease, though it is detached or abandoned at once", () =>
    Effect.gen(function*() {
      for (const leave of ["detach", "abandon"] as const) {
        const nodes = memory(3)
        const a = yield* open(nodes)
        const b = yield* open(yield* TestNodes.views(nodes, { notices: "delivered" }))
        const holder = yield* a.run(lock("a"))
        const left = yield* Effect.forkScoped(b.run(Effect.flatMap(lock("a", hourly), (held) => held[leave])))
        yield* settle
        yield* holder.release
        yield* settle
        assert.isDefined(left.pollUnsafe())
        for (const node of nodes) {
          const state = Option.getOrUndefined(yield* node.inspect("a"))
          assert.isAbove(state?.ttlMillis ?? 0, 7900, leave)
        }
      }
    }).pipe(scoped))

  it.effect("a lock that was handed over gets its full lease within 50 ms, even without renewals", () =>
    Effect.gen(function*() {
      for (const autoExtend of [true, false]) {
        const nodes = memory(3)
        const a = yield* open(nodes)
        const holder = yield* a.run(lock("a"))
        const { run } = yield* open(nodes)
        const fiber = yield* Effect.forkScoped(run(lock("a", { ...hourly, autoExtend })))
        yield* settle
        yield* holder.release
        yield* settle
        const taken = yield* Fiber.join(fiber)
        if (autoExtend) assert.isAtMost(Duration.toMillis(yield* taken.remaining), 1000)
        yield* TestClock.adjust(50)
        assert.isAtLeast(Duration.toMillis(yield* taken.remaining), 7800)
        yield* taken.release
      }
    }).pipe(scoped))
})

// -----------------------------------------------------------------------------
// nodes that tell what they are asked, or do something else
// -----------------------------------------------------------------------------

interface Hooks {
  readonly acquire?: (value: string) => void
  /** A release that is no transfer. */
  readonly release?: (value: string) => void
  readonly join?: (entry: LineEntry) => Effect.Effect<never, NodeError> | void
  readonly leave?: () => Effect.Effect<boolean>
  /** Takes the place of the transfer, or comes before it. */
  readonly transfer?: (terms: HandOverTerms) => Effect.Effect<undefined, NodeError>
  readonly notice?: (notice: Notice, deliver: () => void) => void
  readonly listening?: (onNotice: (notice: Notice) => void) => void
}

const hooked = (node: LockNode, hooks: Hooks): LockNode => ({
  ...node,
  acquire: (key, value, expiryMillis) => {
    hooks.acquire?.(value)
    return node.acquire(key, value, expiryMillis)
  },
  release: (key, value) => {
    hooks.release?.(value)
    return node.release(key, value)
  },
  waitingList: (waiterId, onNotice) => {
    hooks.listening?.(onNotice)
    const listened = node.waitingList!(waiterId, (notice) => {
      if (hooks.notice === undefined) onNotice(notice)
      else hooks.notice(notice, () => onNotice(notice))
    })
    return Effect.map(listened, (list): WaitingList => ({
      join: (key, entry, ...rest) => hooks.join?.(entry) ?? list.join(key, entry, ...rest),
      leave: (...args) => hooks.leave?.() ?? list.leave(...args),
      release: (key, value, entry) => {
        hooks.release?.(value)
        return list.release(key, value, entry)
      },
      handOver: {
        ...list.handOver!,
        transfer: (...args: Parameters<HandOver["transfer"]>) =>
          Effect.andThen(hooks.transfer?.(args[3]) ?? Effect.void, list.handOver!.transfer(...args))
      }
    }))
  }
})

/** Lets everything happen that needs no time, or hardly any. */
const settle = Effect.repeat(TestClock.adjust(1), { times: 9 })

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

const memory = MemoryNode.makeMany

const open = (nodes: ReadonlyArray<LockNode>) => Opened.open({ nodes })

const calls = (nodes: ReadonlyArray<TestNodes.TestNode>, operation: string): number =>
  nodes.reduce((sum, node) => sum + TestNodes.callsOf(node, operation).length, 0)

/** A fiber that stands in line for "a", in a service of its own. */
function waiting(nodes: ReadonlyArray<LockNode>) {
  return Effect.gen(function*() {
    const { run } = yield* open(nodes)
    const fiber = yield* Effect.forkScoped(run(withLock("a", Effect.void, hourly)))
    yield* settle
    return fiber
  })
}

const valuesAt = (nodes: ReadonlyArray<LockNode>) =>
  Effect.forEach(nodes, (node) => Effect.map(node.inspect("a"), (state) => Option.getOrUndefined(state)?.value))
