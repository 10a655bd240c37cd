/**
 * Several locks at once: all or none.
 */
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Data,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Random,
  Schedule,
  type Scope
} from "effect"
import { TestClock } from "effect/testing"
import { expectTypeOf } from "vitest"
import {
  ErrFailed,
  inspect,
  type Lock,
  lock,
  LockLost,
  type LockNode,
  MemoryNode,
  NodesUnavailable,
  Redsync,
  retryPolicy,
  withLock,
  withLocks
} from "../../../src/index.ts"
import * as Opened from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"
import * as TestNodes from "../../support/testNodes.ts"

const hourly = { retry: Schedule.spaced("1 hour") }
const once = { retry: retryPolicy({ tries: 1 }) }

describe("withLocks", () => {
  it.effect("holds all of them while the program runs, and releases all", () =>
    Effect.gen(function*() {
      const during = withLocks(["b", "a", "c"], (locks) =>
        Effect.map(
          Effect.forEach(locks, ({ name }) => inspect(name)),
          (found) =>
            found.map(({ holder, name }, index) => {
              assert.deepStrictEqual(holder._tag === "Some" && holder.value.value, locks[index]!.value)
              return name
            })
        ))
      assert.deepStrictEqual(yield* during, ["b", "a", "c"])
      assert.deepStrictEqual(yield* heldOf(["a", "b", "c"]), [])
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("takes names in any order, more than once, in an array or a set, in both calling forms", () =>
    Effect.gen(function*() {
      const names = (locks: ReadonlyArray<Lock>) => Effect.succeed(locks.map(({ name }) => name))
      assert.deepStrictEqual(yield* withLocks(["b", "a", "b", "a"], names), ["b", "a"])
      assert.deepStrictEqual(yield* withLocks(new Set(["c", "a"]), names), ["c", "a"])
      assert.deepStrictEqual(yield* withLocks(["a"], Effect.succeed(1)), 1)
      assert.deepStrictEqual(yield* Effect.succeed(1).pipe(withLocks(["b", "a", "a"], { expiry: 1000 })), 1)
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("each step of the program reads the clock a few times, however many locks it holds", () =>
    Effect.gen(function*() {
      const inner = yield* Clock.Clock
      let reads = 0
      const clock: Clock.Clock = Object.assign(Object.create(inner), {
        monotonicTimeNanosUnsafe: () => {
          reads++
          return inner.monotonicTimeNanosUnsafe()
        }
      })
      const steps = Effect.forEach(numbers(100), () => Effect.yieldNow, { discard: true })
      const readsOf = (count: number) =>
        withLocks(
          numbers(count).map(String),
          Effect.suspend(() => {
            const before = reads
            return Effect.map(steps, () => reads - before)
          })
        ).pipe(Effect.provide(Redsync.layerMemory()), Effect.provideService(Clock.Clock, clock))
      assert.isAtMost(yield* readsOf(200), (yield* readsOf(1)) + 1000)
    }))

  it.effect("one round trip when all are free: each node is asked once a name, all at the same time", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.views(memory(3), { distanceMillis: 10 })
      const service = yield* open(nodes)
      const fiber = yield* Effect.forkChild(
        Effect.provide(withLocks(["d", "b", "a", "c", "b"], Clock.currentTimeMillis), service)
      )
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(yield* Fiber.join(fiber), 20)
      for (const { calls } of nodes) {
        assert.deepStrictEqual(
          calls.map(({ at, operation }) => `${operation} at ${at}`),
          [...numbers(4).map(() => "acquire at 0"), ...numbers(4).map(() => "release at 20")]
        )
      }
    }).pipe(scoped))

  it.effect("refused: those before it in the order of names are kept, those after given back", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const holder = yield* elsewhere(nodes, lock("c"))
      const service = yield* open(nodes)
      const fiber = yield* Effect.forkChild(
        Effect.provide(withLocks(["d", "a", "c", "b"], Effect.succeed("all")), service)
      )
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(yield* elsewhere(nodes, heldOf(["a", "b", "c", "d"])), ["a", "b", "c"])
      yield* holder.release
      yield* TestClock.adjust(10)
      assert.strictEqual(yield* Fiber.join(fiber), "all")
      assert.deepStrictEqual(yield* elsewhere(nodes, heldOf(["a", "b", "c", "d"])), [])
    }).pipe(scoped))

  it.effect("all or none: whichever it fails on is in the error, and none is kept", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const service = yield* open(nodes)
      for (const busy of ["a", "b", "c"]) {
        const holder = yield* elsewhere(nodes, lock(busy))
        const ran = yield* Deferred.make<void>()
        const error = errorOf(
          yield* Effect.exit(
            Effect.provide(withLocks(["c", "a", "b"], Deferred.succeed(ran, undefined), once), service)
          )
        )
        assert.instanceOf(error, ErrFailed)
        assert.strictEqual(error.lock, busy)
        assert.isFalse(Deferred.isDoneUnsafe(ran))
        assert.deepStrictEqual(yield* elsewhere(nodes, heldOf(["a", "b", "c"])), [busy])
        yield* holder.release
      }
      nodes[0]!.state = nodes[1]!.state = { rejects: "OOM is near" }
      const error = errorOf(yield* Effect.exit(Effect.provide(withLocks(["b", "a"], Effect.void, once), service)))
      assert.instanceOf(error, NodesUnavailable)
      assert.strictEqual(error.lock, "a")
      for (const node of nodes) node.state = "up"
    }).pipe(scoped))

  it.effect("each name under its own quorum", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      // A different node is out of reach for each.
      for (const [index, name] of ["a", "b", "c"].entries()) yield* nodes[index]!.acquire(name, "theirs", 60_000)
      const service = yield* open(nodes)
      assert.strictEqual(yield* Effect.provide(withLocks(["a", "b", "c"], Effect.succeed("all"), once), service), "all")
    }).pipe(scoped))

  it.effect("are released together, though one node is slow for each", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.views(memory(3), { distanceMillis: 10 })
      const service = yield* open(nodes)
      const fiber = yield* Effect.forkChild(
        Effect.provide(Effect.andThen(withLocks(["a", "b", "c", "d"], Effect.void), Clock.currentTimeMillis), service)
      )
      yield* TestClock.adjust(100)
      assert.strictEqual(yield* Fiber.join(fiber), 40)
    }).pipe(scoped))

  it.effect("the loss of any one ends the program at once, with that name, and releases the others", () =>
    Effect.gen(function*() {
      for (const lost of ["a", "b", "c"]) {
        const nodes = memory(3)
        const service = yield* open(nodes)
        const stopped = yield* Deferred.make<void>()
        const program = Effect.onInterrupt(Effect.never, () => Deferred.succeed(stopped, undefined))
        const fiber = yield* Effect.forkChild(Effect.provide(withLocks(["c", "a", "b"], program), service))
        yield* TestClock.adjust(1000)
        for (const node of nodes) yield* node.remove(lost)
        yield* TestClock.adjust(2000)
        assert.isTrue(Deferred.isDoneUnsafe(stopped))
        const error = errorOf(yield* Fiber.await(fiber))
        assert.instanceOf(error, LockLost)
        assert.deepStrictEqual([error.lock, error.reason], [lost, "Taken"])
        assert.deepStrictEqual(yield* elsewhere(nodes, heldOf(["a", "b", "c"])), [])
      }
    }).pipe(scoped))

  it.effect.each(
    [true, false]
  )(
    "one that is lost while another is waited for ends the waiting at once, interruptible: %s",
    (isInterruptible) =>
      Effect.gen(function*() {
        for (const autoExtend of [true, false]) {
          const nodes = memory(3)
          const service = yield* open(nodes)
          yield* elsewhere(nodes, lock("b", { expiry: "1 minute" }))
          const ran = yield* Deferred.make<void>()
          const program = Deferred.succeed(ran, undefined)
          const taking = withLocks(["a", "b", "c"], program, { ...hourly, expiry: 9000, autoExtend })
          const fiber = yield* Effect.forkChild(
            Effect.provide(isInterruptible ? taking : Effect.uninterruptible(taking), service)
          )
          yield* TestClock.adjust(10)
          if (autoExtend) { for (const node of nodes) yield* node.remove("a") }
          // The next round of extension, or the end of the lease.
          yield* TestClock.adjust(autoExtend ? 3000 : 9000)
          const error = errorOf<unknown, unknown>(fiber.pollUnsafe() ?? Exit.void)
          assert.instanceOf(error, LockLost)
          assert.deepStrictEqual([error.lock, error.reason], ["a", autoExtend ? "Taken" : "Expired"])
          assert.isFalse(Deferred.isDoneUnsafe(ran))
          assert.deepStrictEqual(yield* elsewhere(nodes, heldOf(["a", "b", "c"])), ["b"])
          assert.isFalse(
            yield* Effect.provide(Effect.map(Opened.Parts, ({ waitQueues }) => waitQueues.hasQueue("b")), service)
          )
        }
      }).pipe(scoped)
  )

  it.effect("one that is lost at whatever moment of getting the other: none is kept, the program does not run on", () =>
    Effect.gen(function*() {
      for (const moment of numbers(30)) {
        const nodes = memory(3)
        const service = yield* open(yield* TestNodes.views(nodes, { distanceMillis: 5 }))
        for (const node of nodes) yield* node.acquire("b", "theirs", 1000)
        const fiber = yield* Effect.forkChild(
          Effect.provide(
            withLocks(["a", "b"], Effect.never, { ...hourly, expiry: 985 + moment, autoExtend: false, driftFactor: 0 }),
            service
          )
        )
        yield* TestClock.adjust(2000)
        assert.instanceOf(errorOf(fiber.pollUnsafe() ?? Exit.void), LockLost, `expiry ${985 + moment}`)
        assert.deepStrictEqual(yield* elsewhere(nodes, heldOf(["a", "b"])), [])
      }
    }).pipe(scoped))

  it.effect("one that is refused is asked for again when the schedule says so, not at once", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      yield* elsewhere(nodes, lock("b", { expiry: "1 hour" }))
      const views = yield* TestNodes.views(nodes, { notices: "absent" })
      const service = yield* open(views)
      const fiber = yield* Effect.forkChild(
        Effect.provide(withLocks(["b"], Effect.void, { retry: retryPolicy({ tries: 3 }) }), service)
      )
      yield* TestClock.adjust("1 minute")
      const error = errorOf(yield* Fiber.await(fiber))
      assert.instanceOf(error, ErrFailed)
      assert.strictEqual(error.attempts, 3)
      for (const node of views) assert.strictEqual(TestNodes.callsOf(node, "acquire").length, 3)
    }).pipe(scoped))

  it.effect("overlapping names in opposite orders never dead-lock, in one service or several", () =>
    Effect.gen(function*() {
      const all = ["a", "b", "c", "d", "e"]
      const nodes = memory(3)
      const services = yield* Effect.forEach(
        numbers(3),
        () => Effect.flatMap(TestNodes.views(nodes, { distanceMillis: 1 }), open)
      )
      const inside = new Set<string>()
      const caller = (service: (typeof services)[number]) =>
        Effect.gen(function*() {
          for (const _ of numbers(15)) {
            const names = (yield* Random.shuffle(all)).slice(0, yield* Random.nextIntBetween(1, 5))
            const work = Effect.gen(function*() {
              for (const name of names) {
                assert.isFalse(inside.has(name))
                inside.add(name)
              }
              yield* Effect.sleep(yield* Random.nextIntBetween(0, 5))
              for (const name of names) inside.delete(name)
            })
            yield* withLocks(names, work, { retry: retryPolicy({ delay: 100, within: "1 minute" }) })
          }
        }).pipe(Effect.provide(service), Effect.forkChild)
      const fibers = yield* Effect.forEach([...services, ...services, ...services], caller)
      yield* TestClock.adjust("30 seconds")
      for (const fiber of fibers) assert.deepStrictEqual(fiber.pollUnsafe(), Exit.void)
    }).pipe(Random.withSeed("locks"), scoped))

  it.effect("an interruption at any moment leaves no key", () =>
    Effect.gen(function*() {
      const names = ["a", "b", "c", "d"]
      for (const moment of numbers(60)) {
        const nodes = memory(3)
        const service = yield* open(yield* TestNodes.views(nodes, { distanceMillis: 5 }))
        // In the way for a while, so that the moments cover asking, waiting, asking again, running and releasing.
        for (const node of nodes) yield* node.acquire("c", "theirs", 15)
        const fiber = yield* Effect.forkChild(
          Effect.provide(withLocks(names, Effect.sleep(10), { retry: Schedule.spaced(5) }), service)
        )
        yield* TestClock.adjust(moment)
        yield* Effect.forkChild(Fiber.interrupt(fiber))
        yield* TestClock.adjust(100)
        assert.isDefined(fiber.pollUnsafe())
        assert.deepStrictEqual(yield* elsewhere(nodes, heldOf(names)), [], `interrupted after ${moment} ms`)
      }
    }).pipe(scoped))

  it.effect("waits its turn behind those that wait for one name", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const service = yield* open(nodes)
      const order: Array<string> = []
      const holder = yield* Effect.provide(lock("b"), service)
      const note = (who: string) => Effect.sync(() => order.push(who))
      yield* Effect.forkChild(Effect.provide(withLock("b", note("one"), hourly), service))
      yield* Effect.forkChild(Effect.provide(withLocks(["b", "a"], note("both"), hourly), service))
      const last = yield* Effect.forkChild(Effect.provide(withLock("b", note("last"), hourly), service))
      yield* TestClock.adjust(10)
      yield* holder.release
      yield* Fiber.join(last)
      assert.deepStrictEqual(order, ["one", "both", "last"])
    }).pipe(scoped))

  it.effect("keeps its locks for as long as the program runs", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(withLocks(["a", "b"], (locks) =>
        Effect.andThen(
          Effect.sleep("1 hour"),
          Effect.forEach(locks, ({ remaining }) => Effect.map(remaining, Duration.toMillis))
        )))
      yield* TestClock.adjust("1 hour")
      for (const millis of yield* Fiber.join(fiber)) {
        assert.isAbove(millis, 5000)
      }
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("no names, or one that is empty, is a defect before any command is sent", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* Effect.gen(function*() {
        for (const names of [[], new Set<string>()]) {
          assert.match(
            String(errorOf(yield* Effect.exit(withLocks(names, Effect.void)))),
            /names is \[\]; there must be/
          )
        }
        assert.match(String(errorOf(yield* Effect.exit(withLocks(["a", ""], Effect.void)))), /name is ""; it must be/)
        assert.isTrue(Exit.hasDies(yield* Effect.exit(withLocks(["a"], Effect.void, { expiry: 0 }))))
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
      assert.deepStrictEqual(nodes.flatMap(({ calls }) => calls), [])
    }))

  it("adds its errors and its service to the program's", () => {
    class Broken extends Data.TaggedError("Broken")<{}> {}
    const program = Effect.as(new Broken(), "done")
    type Held = Effect.Effect<string, Broken | ErrFailed | NodesUnavailable | LockLost, Redsync>
    expectTypeOf(withLocks(["a"], program)).toEqualTypeOf<Held>()
    expectTypeOf(withLocks(new Set(["a"]), program, { expiry: 1000 })).toEqualTypeOf<Held>()
    expectTypeOf(program.pipe(withLocks(["a"]))).toEqualTypeOf<Held>()
    expectTypeOf(program.pipe(withLocks(["a"], once))).toEqualTypeOf<Held>()
    expectTypeOf(withLocks(["a"], (locks) => {
      expectTypeOf(locks).toEqualTypeOf<ReadonlyArray<Lock>>()
      return program
    })).toEqualTypeOf<Held>()
    // @ts-expect-error one name is not a list of names
    withLocks("a", program)
  })
})

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

const memory = MemoryNode.makeMany

const errorOf = <A, E>(exit: Exit.Exit<A, E>): unknown => Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined

/** Those of the names that any node has a key for. */
const heldOf = (names: ReadonlyArray<string>) =>
  Effect.filter(names, (name) => Effect.map(inspect(name), ({ nodes }) => nodes.some(({ _tag }) => _tag !== "Free")))

/** A service of its own over the nodes, open until the scope closes. */
function open(nodes: ReadonlyArray<LockNode>) {
  return Layer.build(Opened.layer({ nodes }))
}

function elsewhere<A, E>(
  nodes: ReadonlyArray<LockNode>,
  effect: Effect.Effect<A, E, Redsync | Scope.Scope>
) {
  return Effect.flatMap(open(nodes), (context) => Effect.provide(effect, context))
}
