/**
 * A lock passes from fiber to fiber inside one service: without a message if nothing tells
 * one hold from the next, else in one round in which the nodes replace the value.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Metric, Option, Schedule } from "effect"
import { TestClock } from "effect/testing"
import {
  adopt,
  fencedLock,
  inspect,
  type Lock,
  lock,
  type LockNode,
  type LockOptions,
  MemoryNode,
  type ServiceOptions,
  unlock,
  withFencedLock,
  withLock,
  withLocks,
  withSharedLock
} from "../../../src/index.ts"
import type { HeldLock } from "../../../src/internal/hold/heldLock.ts"
import * as Opened from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"
import * as TestNodes from "../../support/testNodes.ts"

/** Far apart, so that whoever gets a lock sooner was given it. */
const hourly: LockOptions = { retry: Schedule.spaced("1 hour") }

describe("without a message", () => {
  it.effect("the nodes hear of the first turn and of the last, and of none between", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      const order: Array<number> = []
      const turn = (index: number) => withLock("a", later(() => order.push(index)), hourly)
      yield* run(Effect.forEach(numbers(100), turn, { concurrency: "unbounded" }))
      assert.deepStrictEqual(order, numbers(100))
      for (const node of nodes) assert.strictEqual(node.calls.length, 2)
    }).pipe(scoped))

  it.effect("S13: each hold is over before the next begins, and stays so, whatever is done with it", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      const first = yield* run(lock("a"))
      const next = yield* run(waiting({ until: Effect.never }))
      yield* settle
      assert.isTrue(yield* first.release)
      yield* settle
      const second = yield* Deferred.await(next.held)
      assert.strictEqual((second as HeldLock).claim.value, (first as HeldLock).claim.value)
      const before = nodes.map(({ calls }) => calls.length)
      assert.strictEqual(Duration.toMillis(yield* first.remaining), 0)
      assert.strictEqual(reasonOf(yield* Effect.exit(first.extend)), "Released")
      assert.strictEqual(reasonOf(yield* Effect.exit(first.detach)), "Released")
      yield* first.abandon
      assert.isTrue(yield* first.release)
      assert.deepStrictEqual(nodes.map(({ calls }) => calls.length), before)
      assert.isFalse(yield* first.isHeld)
      assert.isTrue(yield* second.isHeld)
      assert.isAbove(Duration.toMillis(yield* second.remaining), 7000)
    }).pipe(scoped))

  it.effect("what is read of a hold that is over is not the value of the next one", () =>
    Effect.gen(function*() {
      const { run } = yield* service()
      const first = yield* run(lock("a"))
      const next = yield* run(waiting({ until: Effect.never }))
      yield* settle
      yield* first.release
      yield* settle
      const second = yield* Deferred.await(next.held)
      const { value } = first
      assert.strictEqual(value.length, (second as HeldLock).claim.value.length)
      assert.strictEqual(first.value, value)
      assert.isFalse(yield* run(unlock("a", value)))
      assert.strictEqual(reasonOf(yield* Effect.exit(run(adopt("a", value)))), "Taken")
      assert.isTrue(yield* second.isHeld)
      assert.isAbove(Duration.toMillis(yield* second.remaining), 0)
    }).pipe(scoped))

  it.effect("the lease goes on, and whoever holds the lock extends it", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      const first = yield* run(lock("a"))
      const next = yield* run(waiting({ until: Effect.never }))
      yield* TestClock.adjust(900)
      yield* first.release
      yield* settle
      const second = yield* Deferred.await(next.held)
      assert.isAtMost(Duration.toMillis(yield* second.remaining), 7100)
      // A third of the expiry after it was taken, not after it was passed on.
      yield* TestClock.adjust(1750)
      assert.strictEqual(calls(nodes, "extend"), 0)
      yield* TestClock.adjust(50)
      assert.strictEqual(calls(nodes, "extend"), 3)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(yield* second.isHeld)
    }).pipe(scoped))

  it.effect("a loss is told to whoever holds the lock, and to nobody before", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      const first = yield* run(lock("a"))
      const lost = yield* Effect.forkChild(first.lost)
      const next = yield* run(waiting({ until: Effect.never }))
      yield* settle
      yield* first.release
      yield* settle
      const second = yield* Deferred.await(next.held)
      for (const node of nodes) yield* node.remove("a")
      assert.strictEqual(reasonOf(yield* Effect.exit(second.extend)), "Taken")
      yield* settle
      assert.strictEqual(reasonOf(yield* Fiber.await(next.fiber)), "Taken")
      assert.isUndefined(lost.pollUnsafe())
    }).pipe(scoped))

  it.effect("whoever detaches or abandons it leaves a full lease", () =>
    Effect.gen(function*() {
      for (const leave of ["detach", "abandon"] as const) {
        const { nodes, run } = yield* service()
        const first = yield* run(lock("a"))
        const next = yield* run(Effect.forkScoped(Effect.flatMap(lock("a", hourly), (held) => held[leave])))
        yield* TestClock.adjust(500)
        yield* first.release
        yield* settle
        assert.isDefined(next.pollUnsafe())
        for (const node of nodes) {
          assert.isAbove(Option.getOrUndefined(yield* node.inspect("a"))?.ttlMillis ?? 0, 7900, leave)
        }
      }
    }).pipe(scoped))

  it.effect("a value that was read, or seen by inspect, is not passed on", () =>
    Effect.gen(function*() {
      const ways = [(held: Lock) => Effect.sync(() => void held.value), () => Effect.asVoid(inspect("a"))]
      for (const read of ways) {
        const { nodes, run } = yield* service()
        const first = yield* run(lock("a"))
        const value = (first as HeldLock).claim.value
        yield* run(read(first))
        const next = yield* run(waiting({ until: Effect.never }))
        yield* settle
        yield* first.release
        yield* settle
        const second = yield* Deferred.await(next.held)
        assert.notStrictEqual(second.value, value)
        assert.strictEqual(calls(nodes, "replace"), 3)
        assert.isFalse(yield* run(unlock("a", value)))
        assert.isAbove(Duration.toMillis(yield* second.remaining), 0)
      }
    }).pipe(scoped))

  it.effect("S13: so neither is one whose extension is under way, whose last one failed, or of which too little is left", () =>
    Effect.gen(function*() {
      const cases = {
        underWay: Effect.fnUntraced(function*(held: Lock) {
          yield* Effect.forkChild(Effect.exit(held.extend))
          yield* TestClock.adjust(1)
        }),
        failed: Effect.fnUntraced(function*(held: Lock, nodes: ReadonlyArray<TestNodes.TestNode>) {
          nodes.slice(1).forEach((node) => (node.state = { rejects: "OOM" }))
          yield* Effect.forkChild(Effect.exit(held.extend))
          yield* TestClock.adjust(20)
          nodes.forEach((node) => (node.state = "up"))
        })
      }
      for (const make of Object.values(cases)) {
        const { nodes, run } = yield* service({}, 5)
        const first = yield* takes(run(lock("a")))
        const next = yield* run(waiting({ until: Effect.never }))
        yield* settle
        yield* make(first, nodes)
        yield* Effect.forkChild(first.release)
        yield* TestClock.adjust(30)
        const second = yield* Deferred.await(next.held)
        assert.notStrictEqual(second.value, (first as HeldLock).claim.value)
        assert.strictEqual(calls(nodes, "replace"), 3)
      }
    }).pipe(scoped))

  it.effect("nor for a waiter with another lease: it gets a full one of its own", () =>
    Effect.gen(function*() {
      const others: ReadonlyArray<LockOptions> = [{ autoExtend: false }, { expiry: "4 seconds" }, { driftFactor: 0.1 }]
      for (const other of others) {
        const { nodes, run } = yield* service()
        const first = yield* run(lock("a"))
        const next = yield* run(waiting({ until: Effect.never, ...other }))
        yield* TestClock.adjust(500)
        yield* first.release
        yield* settle
        const second = yield* Deferred.await(next.held)
        assert.strictEqual(calls(nodes, "replace"), 3)
        const expiry = Duration.toMillis(Duration.fromInputUnsafe(other.expiry ?? "8 seconds"))
        const remaining = Duration.toMillis(yield* second.remaining)
        assert.isAtLeast(remaining, expiry - expiry * (other.driftFactor ?? 0.01) - 20)
      }
    }).pipe(scoped))
})

describe("in one round", () => {
  it.effect("each fenced turn has a larger token, and costs a command a node", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      const tokens: Array<number> = []
      const turn = () => withFencedLock("a", (token) => later(() => tokens.push(token)), hourly)
      yield* run(Effect.forEach(numbers(20), turn, { concurrency: "unbounded" }))
      assert.strictEqual(tokens.length, 20)
      tokens.forEach((token, index) => index === 0 || assert.isAbove(token, tokens[index - 1]!))
      for (const node of nodes) {
        const operations = TestNodes.operations(node)
        assert.strictEqual(operations.filter((operation) => operation !== "raise").length, 21)
      }
    }).pipe(scoped))

  it.effect("with a clock that stands still the token comes from the counters, and is raised on a quorum", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      yield* nodes[0]!.fencing!.acquire("a", "another's", 1, 5_000_000)
      yield* TestClock.adjust(2)
      const first = yield* run(fencedLock("a"))
      yield* nodes[1]!.fencing!.raise("a", (first as unknown as HeldLock).claim.value, 7_000_000)
      const next = yield* run(waiting({ until: Effect.never, isFenced: true }))
      yield* settle
      yield* first.release
      yield* settle
      const second = yield* Deferred.await(next.held) as unknown as Effect.Effect<typeof first>
      assert.isAbove(second.token, 7_000_000)
      const counters = yield* Effect.forEach(nodes, (node) => node.fencing!.raise("a", "nobody's", 1))
      assert.deepStrictEqual(counters, [false, false, false])
      assert.isAtLeast(calls(nodes, "raise") - 4, 2)
    }).pipe(scoped))

  it.effect("the lease counts from when it was sent", () =>
    Effect.gen(function*() {
      const { run } = yield* service({}, 20)
      const first = yield* takes(run(lock("a", { autoExtend: false })))
      const next = yield* run(waiting({ until: Effect.never }))
      yield* settle
      yield* Effect.forkChild(first.release)
      yield* TestClock.adjust(40)
      const second = yield* Deferred.await(next.held)
      assert.strictEqual(Duration.toMillis(yield* second.remaining), 8000 - 82 - 40)
    }).pipe(scoped))

  it.effect("if too few nodes replace the value, neither is left, and the waiter asks for the lock", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      const first = yield* run(lock("a", { autoExtend: false }))
      const next = yield* run(waiting({ until: Effect.void }))
      yield* settle
      for (const node of nodes.slice(1)) yield* node.remove("a")
      assert.isFalse(yield* first.release)
      yield* settle
      assert.isDefined(next.fiber.pollUnsafe())
      assert.strictEqual(calls(nodes, "acquire"), 6)
      assert.deepStrictEqual(yield* valuesAt(nodes), [undefined, undefined, undefined])
    }).pipe(scoped))

  it.effect("a node that has lost the value is not left out for long: the lock is released, so that all are asked", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      const turns = yield* run(Effect.forEach(numbers(3), () => waiting({ until: settle, isFenced: true })))
      yield* Effect.yieldNow
      yield* nodes[0]!.remove("a")
      yield* Effect.forEach(turns, ({ fiber }) => Fiber.join(fiber))
      assert.strictEqual(calls(nodes, "replace"), 3)
      assert.strictEqual(calls(nodes, "acquire"), 6)
    }).pipe(scoped))

  it.effect("not on nodes that cannot, nor where a server may have to abstain", () =>
    Effect.gen(function*() {
      const plain = yield* service({}, 0, ({ replace: _, ...node }) => node)
      const delayed = yield* service({}, 0, (node) => ({ ...node, abstention: () => Effect.succeedNone }))
      for (const { nodes, run } of [plain, delayed]) {
        const turn = () => withLock("a", Effect.yieldNow, { ...hourly, autoExtend: false })
        yield* run(Effect.forEach(numbers(5), turn, { concurrency: "unbounded" }))
        assert.strictEqual(calls(nodes, "replace"), 0)
        assert.strictEqual(calls(nodes, "acquire"), 15)
      }
    }).pipe(scoped))
})

describe("others have their turn", () => {
  it.effect("L9: who is known to stand in line is overtaken 16 times, or for 20 ms", () =>
    Effect.gen(function*() {
      // A short lease bounds it further: by an eighth, as if nobody were known.
      for (const [holdMillis, most, expiry] of [[0, 17], [4, 6], [30, 1], [4, 4, 80]] as const) {
        const shared = memory(3)
        const { run } = yield* service({}, 0, undefined, shared)
        const other = yield* service({}, 0, undefined, shared)
        // It listens from the first time on that it waits.
        yield* other.run(Effect.forkScoped(withLock("a", Effect.sleep(10), hourly)))
        yield* Effect.yieldNow
        yield* run(withLock("a", Effect.void, hourly)).pipe(Effect.forkScoped)
        yield* TestClock.adjust(20)
        const order: Array<string> = []
        const turn = (who: string) =>
          withLock("a", Effect.andThen(Effect.sync(() => order.push(who)), Effect.sleep(holdMillis)), {
            ...hourly,
            expiry
          })
        const first = yield* run(Effect.forkScoped(turn("near")))
        yield* Effect.yieldNow
        const far = yield* other.run(Effect.forkScoped(turn("far")))
        yield* settleNow
        const near = yield* run(Effect.forkScoped(
          Effect.forEach(numbers(40), () => turn("near"), { concurrency: "unbounded" })
        ))
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.joinAll([first, near, far])
        assert.isAtMost(order.indexOf("far"), most, `held ${holdMillis} ms`)
        assert.isAtLeast(order.indexOf("far"), Math.min(1, most), `held ${holdMillis} ms`)
      }
    }).pipe(scoped))

  it.effect("L9: while nobody is known to stand in line, the lock is free once in an eighth of the expiry, or a second", () =>
    Effect.gen(function*() {
      for (const [expiry, millis] of [["8 seconds", 1000], ["800 millis", 100], ["1 hour", 1000]] as const) {
        const { nodes, run } = yield* service()
        const turn = () => withLock("a", Effect.sleep(10), { ...hourly, expiry })
        const fibers = yield* run(Effect.forkScoped(Effect.forEach(numbers(300), turn, { concurrency: "unbounded" })))
        yield* TestClock.adjust(3500)
        yield* Fiber.join(fibers)
        assert.strictEqual(calls(nodes.slice(0, 1), "acquire"), Math.ceil(3000 / millis), expiry)
      }
    }).pipe(scoped))

  it.effect.each(
    [
      ["8 seconds", 40, 4, hourly],
      ["800 millis", 4, 40, hourly],
      // At each millisecond some waiter is due.
      ["8 seconds", 10, 16, { retry: Schedule.spaced("300 millis") }]
    ] as const
  )(
    "L9: and then for long enough that a client of another library, which polls, has its turn: expiry %s",
    ([expiry, pauseMillis, least, waits]) =>
      Effect.gen(function*() {
        const shared = memory(3)
        const { run } = yield* service({}, 0, undefined, shared)
        const turn = (index: number) => Effect.delay(withLock("a", Effect.sleep(10), { ...waits, expiry }), index % 300)
        yield* run(Effect.forkScoped(Effect.forEach(numbers(1000), turn, { concurrency: "unbounded" })))
        let granted = 0
        const poll = Effect.gen(function*() {
          const votes = yield* Effect.forEach(shared, (node) => node.acquire("a", "another's", 1))
          if (votes.filter(Boolean).length >= 2) granted++
          yield* Effect.sleep(pauseMillis)
        })
        yield* TestClock.adjust(10)
        yield* Effect.forkScoped(Effect.forever(poll))
        yield* TestClock.adjust("5 seconds")
        assert.isAtLeast(granted, least)
      }).pipe(scoped)
  )

  it.effect("L9: a hold that is adopted meanwhile, after the key was taken away by hand, does not start the time anew", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* service()
      const first = yield* run(lock("a"))
      yield* run(waiting({ until: Effect.never }))
      yield* TestClock.adjust(600)
      yield* Effect.forEach(nodes, (node) => Effect.andThen(node.remove("a"), node.acquire("a", "another's", 8000)))
      yield* run(Effect.scoped(adopt("a", "another's")))
      yield* TestClock.adjust(600)
      const before = nodes.map((node) => TestNodes.operations(node).length)
      yield* takes(first.release)
      for (const [index, node] of nodes.entries()) assert.isAbove(TestNodes.operations(node).length, before[index]!)
    }).pipe(scoped))

  it.effect("readers that wait are let in, those of this service at once", () =>
    Effect.gen(function*() {
      const { run } = yield* service()
      const order: Array<string> = []
      const note = (who: string) => Effect.sync(() => order.push(who))
      const first = yield* run(lock("a"))
      const fibers = yield* run(Effect.all([
        Effect.forkScoped(withLock("a", note("writer"), hourly)),
        Effect.forkScoped(withSharedLock("a", note("reader"), hourly)),
        Effect.forkScoped(withLock("a", note("writer"), hourly))
      ]))
      yield* settle
      yield* first.release
      yield* TestClock.adjust("1 minute")
      yield* Fiber.joinAll(fibers)
      assert.strictEqual(order[0], "reader")
    }).pipe(scoped))
})

describe("whoever does not take it", () => {
  it.effect("passes it on: interrupted at whatever moment, it costs nobody the lock, and leaves nothing", () =>
    Effect.gen(function*() {
      for (const isFenced of [false, true]) {
        for (let moment = 0; moment < 25; moment++) {
          const { nodes, run } = yield* service({}, 2)
          const first = yield* takes(run(isFenced ? fencedLock("a") : lock("a")))
          const interrupted = yield* run(waiting({ until: Effect.sleep(2), isFenced }))
          const last = yield* run(waiting({ until: Effect.void, isFenced }))
          yield* TestClock.adjust(1)
          yield* Effect.forkChild(first.release)
          for (let step = 0; step < moment; step++) yield* step % 5 === 4 ? TestClock.adjust(1) : Effect.yieldNow
          yield* Effect.forkChild(Fiber.interrupt(interrupted.fiber))
          yield* TestClock.adjust(50)
          assert.isDefined(last.fiber.pollUnsafe(), `after ${moment} steps`)
          yield* TestClock.adjust(100)
          assert.deepStrictEqual(yield* valuesAt(nodes), [undefined, undefined, undefined], `after ${moment} steps`)
        }
      }
    }).pipe(scoped))

  it.effect("a closing service passes nothing on, and leaves nothing", () =>
    Effect.gen(function*() {
      for (const isFenced of [false, true]) {
        const { close, nodes, run } = yield* service({}, 2)
        yield* takes(run(waiting({ until: Effect.never, isFenced })))
        const next = yield* run(waiting({ until: Effect.never, isFenced }))
        yield* TestClock.adjust(5)
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust(100)
        yield* Fiber.join(closing)
        assert.isDefined(next.fiber.pollUnsafe())
        assert.deepStrictEqual(yield* valuesAt(nodes), [undefined, undefined, undefined])
      }
    }).pipe(scoped))
})

it.effect("a turn is an acquisition and a hold of its own in the metrics", () =>
  Effect.gen(function*() {
    const { run } = yield* service()
    const turn = () => withLock("a", Effect.yieldNow, hourly)
    yield* run(Effect.forEach(numbers(10), turn, { concurrency: "unbounded" }))
    const all = yield* Metric.snapshot
    const counted = (id: string) =>
      all.flatMap((metric) => metric.id === id ? [metric.state as { readonly count: number }] : [])
    for (const id of ["redsync_acquisitions_total", "redsync_wait_seconds", "redsync_hold_seconds"]) {
      assert.deepStrictEqual(counted(id).map(({ count }) => count), [10], id)
    }
    const held = all.find(({ id }) => id === "redsync_locks_held")?.state as { readonly value: number } | undefined
    assert.strictEqual(held?.value, 0)
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()), scoped))

it.effect("several locks are passed on one by one", () =>
  Effect.gen(function*() {
    const { nodes, run } = yield* service()
    const order: Array<number> = []
    const turn = (index: number) => withLocks(["a", "b"], later(() => order.push(index)), hourly)
    yield* run(Effect.forEach(numbers(20), turn, { concurrency: "unbounded" }))
    assert.deepStrictEqual(order, numbers(20))
    // The second is free while the next is woken with the first.
    for (const node of nodes) assert.strictEqual(node.calls.length, 2 + 2 * 20)
  }).pipe(scoped))

// -----------------------------------------------------------------------------
// helpers
// -----------------------------------------------------------------------------

const memory = MemoryNode.makeMany

/** A service over nodes of its own, or shared ones. */
const service = (
  options: Omit<ServiceOptions, "nodes"> = {},
  distanceMillis = 0,
  change: (node: LockNode) => LockNode = (node) => node,
  shared: ReadonlyArray<LockNode> = memory(3)
) =>
  Effect.gen(function*() {
    const nodes = yield* TestNodes.views(shared, { notices: "delivered", distanceMillis })
    return { nodes, ...yield* Opened.open({ nodes: nodes.map(change), ...options }) }
  })

/** A fiber that waits for the lock, and the lock once it has it. */
const waiting = ({ isFenced, until, ...options }: LockOptions & {
  readonly until: Effect.Effect<unknown>
  readonly isFenced?: boolean
}) =>
  Effect.gen(function*() {
    const held = yield* Deferred.make<Lock>()
    const use = (lock: Lock) => Effect.andThen(Deferred.succeed(held, lock), until)
    const program = isFenced === true
      ? withFencedLock("a", (_, lock) => use(lock), { ...hourly, ...options })
      : withLock("a", use, { ...hourly, ...options })
    const fiber = yield* Effect.forkScoped(program)
    yield* Effect.yieldNow
    return { fiber, held }
  })

/** Lets the time pass that it takes. */
const takes = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust(100)
    return yield* Fiber.join(fiber)
  })

const reasonOf = (exit: Exit.Exit<unknown, unknown> | undefined): string | undefined => {
  const error = exit !== undefined && Exit.isFailure(exit) ? Cause.findErrorOption(exit.cause) : Option.none()
  return Option.isSome(error) ? (error.value as { readonly reason?: string }).reason : undefined
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

/** Once others have had the time to come. */
const later = (run: () => unknown) => Effect.andThen(Effect.yieldNow, Effect.sync(run))

const calls = (nodes: ReadonlyArray<TestNodes.TestNode>, operation: string): number =>
  nodes.reduce((sum, node) => sum + TestNodes.callsOf(node, operation).length, 0)

const valuesAt = (nodes: ReadonlyArray<LockNode>) =>
  Effect.forEach(nodes, (node) => Effect.map(takes(node.inspect("a")), (state) => Option.getOrUndefined(state)?.value))

const settleNow = Effect.repeat(Effect.yieldNow, { times: 50 })

/** Lets everything happen that needs no time, or hardly any. */
const settle = Effect.repeat(TestClock.adjust(1), { times: 9 })
