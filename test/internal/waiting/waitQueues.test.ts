/**
 * Waiting for a lock: in one service and among several, with every notice delivered,
 * with all of them lost, and on nodes that give none.
 */
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  type Context,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Random,
  References,
  Schedule,
  Scope
} from "effect"
import { TestClock } from "effect/testing"
import {
  ErrFailed,
  inspect,
  lock,
  type LockNode,
  type LockOptions,
  MemoryNode,
  NodeError,
  permits,
  Redsync,
  retryPolicy,
  sharedLock,
  tryLock,
  withLock
} from "../../../src/index.ts"
import { withoutHandOver } from "../../support/line.ts"
import * as Opened from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"
import * as TestNodes from "../../support/testNodes.ts"

/** Far apart, so that whoever gets a lock sooner was woken. */
const hourly = { retry: Schedule.spaced("1 hour") }
const everySecond = { retry: Schedule.spaced("1 second") }

describe.each(["delivered", "lost", "absent"] as const)("notices %s", (notices) => {
  const views = (nodes: ReadonlyArray<LockNode>, options: TestNodes.Options = {}) =>
    TestNodes.views(nodes, { notices, ...options })

  describe("in one service", () => {
    it.effect("first come first served, whatever the options", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const holder = yield* elsewhere(nodes, lock("a"))
        const service = yield* open(yield* views(nodes))
        const order: Array<number> = []
        const fibers = yield* Effect.forEach(numbers(30), (who) =>
          withLock(
            "a",
            Effect.andThen(Effect.sync(() => order.push(who)), Effect.sleep(20)),
            {
              expiry: 1000 + 997 * (who % 7),
              autoExtend: who % 2 === 0,
              retry: retryPolicy({ delay: 50 + 111 * (who % 5), within: "1 minute" })
            }
          ).pipe(Effect.provide(service), Effect.forkChild))
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(order, [])
        yield* holder.release
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, numbers(30))
      }).pipe(scoped))

    it.effect("only the head asks the nodes, on its own schedule", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        yield* elsewhere(nodes, lock("a", { expiry: "1 minute" }))
        const mine = yield* views(nodes)
        const service = yield* open(mine)
        yield* Effect.forEach(numbers(50), () =>
          Effect.forkChild(Effect.provide(withLock("a", Effect.void, everySecond), service)))
        yield* TestClock.adjust(5500)
        for (const node of mine) {
          assert.strictEqual(count(node, "acquire"), 6)
        }
        assert.isAtMost(
          Math.max(...mine.map((node) =>
            count(node, "join")
          )),
          notices === "absent" ? 0 : 6
        )
      }).pipe(scoped))

    it.effect("those behind a local holder ask nothing at all", () =>
      Effect.gen(function*() {
        const nodes = yield* views(memory(3))
        const service = yield* open(nodes)
        yield* Effect.provide(lock("a", { expiry: "1 minute" }), service)
        yield* Effect.forEach(numbers(50), () =>
          Effect.forkChild(Effect.provide(withLock("a", Effect.void, everySecond), service)))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(nodes.map(TestNodes.operations), [["acquire"], ["acquire"], ["acquire"]])
      }).pipe(scoped))

    it.effect("1,000 fibers on one name: in order, at most 2 commands a node per acquisition", () =>
      Effect.gen(function*() {
        const nodes = yield* views(memory(3))
        const service = yield* open(nodes)
        const order: Array<number> = []
        const fibers = yield* Effect.forEach(
          numbers(1000),
          (who) =>
            withLock(
              "a",
              Effect.andThen(Effect.sync(() => order.push(who)), who % 10 === 0 ? Effect.sleep(1) : Effect.yieldNow)
            )
              .pipe(Effect.provide(service), Effect.forkChild)
        )
        yield* TestClock.adjust(200)
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, numbers(1000))
        for (const node of nodes) assert.isAtMost(node.calls.length, 2000)
      }).pipe(scoped))

    it.effect("each gives up when its own schedule is used up, even while queueing", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const service = yield* open(yield* views(nodes))
        const holders = [elsewhere(nodes, lock("a")), Effect.provide(lock("b"), service)]
        for (const [index, holder] of holders.entries()) {
          yield* holder
          const patience = [5000, 300, 1000, 100, 2000]
          const fibers = yield* Effect.forEach(patience, (within) =>
            Effect.exit(withLock(["a", "b"][index]!, Effect.void, { retry: retryPolicy({ delay: 200, within }) })).pipe(
              Effect.flatMap((exit) =>
                Effect.map(Clock.currentTimeMillis, (at) => [at, errorOf(exit)] as const)
              ),
              Effect.provide(service),
              Effect.forkChild
            ))
          const start = yield* Clock.currentTimeMillis
          yield* TestClock.adjust("6 seconds")
          for (const [index, [at, error]] of (yield* Fiber.joinAll(fibers)).entries()) {
            assert.strictEqual(at - start, patience[index])
            assert.instanceOf(error, ErrFailed)
            assert.strictEqual(Duration.toMillis(error.waited), patience[index])
          }
        }
      }).pipe(scoped))

    it.effect("interrupted waiters leave no trace: not in the service, not on the nodes", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const service = yield* open(yield* views(nodes))
        for (const order of [[0, 1, 2], [2, 1, 0], [1, 0, 2]]) {
          const holder = yield* elsewhere(nodes, lock("a"))
          const fibers = yield* Effect.forEach(numbers(3), () =>
            Effect.forkChild(Effect.provide(withLock("a", Effect.void), service)))
          yield* TestClock.adjust(700)
          for (const index of order) {
            yield* Fiber.interrupt(fibers[index]!)
          }
          yield* TestClock.adjust(700)
          assert.isFalse(yield* isBusy(service, "a"))
          assert.deepStrictEqual(
            yield* Effect.forEach(nodes, (node) =>
              waitersAt(node, "a")),
            [0, 0, 0]
          )
          assert.deepStrictEqual(yield* valuesAt(nodes, "a"), [holder.value, holder.value, holder.value])
          yield* holder.release
        }
        assert.deepStrictEqual(yield* valuesAt(nodes, "a"), [undefined, undefined, undefined])
      }).pipe(scoped))

    it.effect("those that gave up leave none either", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const service = yield* open(yield* views(nodes))
        yield* elsewhere(nodes, lock("a"))
        yield* Effect.forEach(numbers(3), () =>
          Effect.forkChild(
            Effect.provide(withLock("a", Effect.void, { retry: retryPolicy({ within: 700 }) }), service)
          ))
        yield* TestClock.adjust(800)
        assert.isFalse(yield* isBusy(service, "a"))
        assert.deepStrictEqual(yield* Effect.forEach(nodes, (node) => waitersAt(node, "a")), [0, 0, 0])
      }).pipe(scoped))

    it.effect("a head that is interrupted hands its place on at once", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const service = yield* open(yield* views(nodes))
        const holder = yield* elsewhere(nodes, lock("a"))
        const [head, next] = yield* Effect.forEach(numbers(2), () =>
          Effect.forkChild(Effect.provide(withLock("a", Effect.succeed("mine"), hourly), service)))
        yield* TestClock.adjust(100)
        // Behind everybody's back: nobody is told, not even the head.
        yield* Effect.forEach(nodes, (node) =>
          node.release("a", holder.value))
        yield* Fiber.interrupt(head!)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(next!.pollUnsafe(), Exit.succeed("mine"))
      }).pipe(scoped))

    it.effect("a head that gives up does so too, before it finds out whom to blame", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const mine = yield* views(nodes, { distanceMillis: 10 })
        const service = yield* open(mine)
        yield* elsewhere(nodes, lock("a"))
        for (const retry of [after(500, 2), hourly.retry]) {
          yield* Effect.forkChild(Effect.provide(withLock("a", Effect.void, { retry }), service))
        }
        yield* TestClock.adjust("2 seconds")
        // The head's last attempt was answered 20 ms after it was sent.
        const sent = TestNodes.callsOf(mine[0]!, "acquire").map(({ at }) => at)
        assert.deepStrictEqual(sent.slice(-2), [1040, 1060])
      }).pipe(scoped))

    it.effect("a fiber that comes when others wait does not overtake them", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const service = yield* open(yield* views(nodes))
        const order: Array<string> = []
        const enter = (who: string) =>
          Effect.forkChild(Effect.provide(withLock("a", Effect.sync(() => order.push(who)), everySecond), service))
        const holder = yield* elsewhere(nodes, lock("a"))
        yield* enter("first")
        yield* TestClock.adjust(100)
        yield* Effect.forEach(nodes, (node) => node.release("a", holder.value))
        yield* enter("second")
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(order, ["first", "second"])
      }).pipe(scoped))

    it.effect("tryLock of a lock held in the same service asks nobody", () =>
      Effect.gen(function*() {
        const nodes = yield* views(memory(3))
        const service = yield* open(nodes)
        yield* Effect.provide(lock("a"), service)
        assert.isTrue(Option.isNone(yield* Effect.provide(tryLock("a"), service)))
        assert.deepStrictEqual(nodes.map(TestNodes.operations), [["acquire"], ["acquire"], ["acquire"]])
      }).pipe(scoped))

    it.effect("a schedule without pauses can be interrupted, even while queueing", () =>
      Effect.gen(function*() {
        const service = yield* open(yield* views(memory(3)))
        yield* Effect.provide(lock("a"), service)
        const fiber = yield* Effect.forkChild(
          Effect.provide(withLock("a", Effect.void, { retry: Schedule.recurs(1e6) }), service)
        )
        yield* Effect.yieldNow
        fiber.interruptUnsafe()
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.hasInterrupts(exit))
      }).pipe(scoped))

    it.effect("a waiter says at debug level that it waits, and for how long the holder still has", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const logged: Array<string> = []
        const logger = Logger.layer([Logger.make<unknown, void>(({ message }) => logged.push(String(message)))])
        const service = yield* Layer.build(Layer.provideMerge(Redsync.layer({ nodes: yield* views(nodes) }), logger))
          .pipe(
            Effect.provideService(References.MinimumLogLevel, "Debug")
          )
        yield* elsewhere(nodes, lock("a", { expiry: "5 seconds" }))
        yield* Effect.provide(lock("b", { expiry: "5 seconds" }), service)
        for (const name of ["a", "b"]) {
          yield* Effect.forkChild(Effect.provide(withLock(name, Effect.void), service))
          yield* TestClock.adjust(100)
          // A node without waiting lists tells for how long only if it is asked.
          const held = notices === "absent" && name === "a" ? "" : ", held by another for about [45]\\.\\d s more"
          assert.match(logged.join("\n"), new RegExp(`Waiting for lock "${name}"${held}`))
        }
      }).pipe(scoped))
  })

  describe("when the service closes", () => {
    const closing = (where: "here" | "elsewhere") =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const mine = yield* views(nodes)
        const scope = yield* Scope.make()
        const service = yield* Layer.buildWithScope(Redsync.layer({ nodes: mine }), scope)
        yield* where === "here" ? Effect.provide(lock("a"), service) : elsewhere(nodes, lock("a"))
        const waiters = yield* Effect.forEach(numbers(3), () =>
          Effect.forkChild(Effect.provide(withLock("a", Effect.void, hourly), service)))
        yield* TestClock.adjust(100)
        const before = mine[0]!.calls.length
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust(0)
        for (const waiter of waiters) {
          const error = errorOf(waiter.pollUnsafe()!)
          assert(error instanceof ErrFailed && error.isClosed === true)
          assert.match(
            error.message,
            /^Could not acquire lock "a" after \d+ attempts? in 0.1 s: its service was closed$/
          )
        }
        return TestNodes.operations(mine[0]!).slice(before)
      }).pipe(scoped)

    it.effect("waiting ends at once, and asks nothing more", () =>
      Effect.gen(function*() {
        assert.notInclude(yield* closing("elsewhere"), "acquire")
      }))

    it.effect("so it does behind a holder in the same service", () =>
      Effect.gen(function*() {
        assert.notInclude(yield* closing("here"), "acquire")
      }))
  })

  it.effect.each(["shared", "permits"] as const)("so do other waits: %s", (kind) =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const scope = yield* Scope.make()
      const service = yield* Layer.buildWithScope(Redsync.layer({ nodes: yield* views(nodes) }), scope)
      yield* elsewhere(nodes, Effect.andThen(lock("a"), permits("a", { limit: 1 })))
      const wait = kind === "shared" ? sharedLock("a", hourly) : permits("a", { ...hourly, limit: 1 })
      const waiter = yield* Effect.forkChild(Effect.provide(Effect.scoped(wait), service))
      yield* TestClock.adjust(100)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust(0)
      const error = errorOf(waiter.pollUnsafe()!)
      assert(error instanceof ErrFailed && error.isClosed === true)
      assert.deepStrictEqual([error.permits, error.limit], kind === "shared" ? [undefined, undefined] : [1, 1])
      assert.include(JSON.stringify(error), "\"isClosed\":true")
    }).pipe(scoped))

  it.effect("and a service with many waiters closes within one node timeout, even if no node answers", () =>
    Effect.gen(function*() {
      const nodes = memory(3).map((node): LockNode => ({ ...node, acquire: () => Effect.never }))
      const scope = yield* Scope.make()
      const service = yield* Layer.buildWithScope(Redsync.layer({ nodes: yield* views(nodes) }), scope)
      yield* Effect.forEach(
        numbers(10),
        () => Effect.forkChild(Effect.provide(withLock("a", Effect.void, hourly), service))
      )
      yield* TestClock.adjust(1000)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust(400)
      assert.isDefined(closing.pollUnsafe())
    }).pipe(scoped))

  describe("among services", () => {
    /** So many services that take turns for a while; how often each got the lock. */
    const contend = (services: number, millis: number) =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const turns = numbers(services).map(() => 0)
        let inside = 0
        const retry = retryPolicy({ delay: 50, within: "20 seconds" })
        const fibers = yield* Effect.forEach(turns, (_, who) =>
          Effect.flatMap(Effect.flatMap(views(nodes, { distanceMillis: 1 }), open), (service) =>
            withLock(
              "a",
              Effect.gen(function*() {
                assert.strictEqual(++inside, 1)
                yield* Effect.sleep(4)
                inside--
                turns[who]!++
              }),
              { retry }
            ).pipe(
              Effect.andThen(Effect.sleep(10)),
              Effect.forever,
              Effect.provide(service),
              Effect.forkScoped
            )))
        yield* TestClock.adjust(millis)
        for (const fiber of fibers) {
          assert.isUndefined(fiber.pollUnsafe())
        }
        return turns
      }).pipe(scoped, Random.withSeed("contend"))

    it.effect("everybody gets their turn", () =>
      Effect.gen(function*() {
        for (const services of [4, 8]) {
          const turns = yield* contend(services, 2000)
          for (const count of turns) assert.isAtLeast(count, 1, String(turns))
          if (notices === "delivered") assert.isAbove(jain(turns), 0.9, String(turns))
        }
      }))

    it.effect("nobody waits longer than their next scheduled attempt for a lock that is free", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        const service = yield* open(yield* views(nodes))
        const holder = yield* elsewhere(nodes, lock("a"))
        const waiting = yield* Effect.forkChild(
          Effect.provide(withLock("a", Clock.currentTimeMillis, everySecond), service)
        )
        yield* TestClock.adjust(1500)
        yield* holder.release
        yield* TestClock.adjust(500)
        assert.deepStrictEqual(waiting.pollUnsafe(), Exit.succeed(notices === "delivered" ? 1500 : 2000))
      }).pipe(scoped))

    it.effect("a dead holder is noticed when its key expires, on nodes that tell for how long it lives", () =>
      Effect.gen(function*() {
        const nodes = memory(3)
        for (const node of nodes) yield* node.acquire("a", "dead", 3000)
        const service = yield* open(yield* views(nodes))
        const waiting = yield* Effect.forkChild(Effect.provide(withLock("a", Clock.currentTimeMillis, hourly), service))
        yield* TestClock.adjust("2 hours")
        assert.deepStrictEqual(waiting.pollUnsafe(), Exit.succeed(notices === "absent" ? 3_600_000 : 3001))
      }).pipe(scoped))

    it.effect.each([[4, [1, 1, 5, 5]], [2, [1, 5]], [4, [5, 1, 1, 5]], [2, [2, 2.5]]] as const)(
      "a split vote is resolved within a few round trips: %j",
      ([count, distances]) =>
        Effect.gen(function*() {
          for (const seed of numbers(10)) {
            const nodes = memory(count)
            const got: Array<number> = []
            const fibers = yield* Effect.forEach(
              [distances, distances.map((_, index) => distances.at(-1 - index)!)],
              (distances) =>
                Effect.flatMap(Effect.flatMap(TestNodes.views(nodes, { notices, distances }), open), (service) =>
                  withLock(
                    "a",
                    Effect.flatMap(Clock.currentTimeMillis, (at) =>
                      Effect.sync(() => got.push(at))),
                    hourly
                  ).pipe(
                    Effect.provide(service),
                    Effect.forkChild
                  ))
            )
            const start = yield* Clock.currentTimeMillis
            yield* TestClock.adjust(200).pipe(Random.withSeed(seed))
            assert.isAtLeast(got.length, 1, "nobody got it")
            assert.isAtMost(got[0]! - start, 150)
            yield* Fiber.interruptAll(fibers)
          }
        }).pipe(scoped, Random.withSeed("split"))
    )
  })
})

describe("wake-ups", () => {
  it.effect("the release wakes the first in line, and only that one", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const holder = yield* elsewhere(nodes.map(withoutHandOver), lock("a"))
      const waiting = yield* Effect.forEach(numbers(4), () => waiter(nodes, { distanceMillis: 1 }))
      yield* TestClock.adjust(100)
      const before = waiting.map(({ asked }) => asked())
      yield* holder.release
      yield* TestClock.adjust(15)
      assert.deepStrictEqual(waiting.map(({ asked }, index) => asked() - before[index]!), [1, 0, 0, 0])
    }).pipe(scoped))

  it.effect("one after the other, in the order in which they came", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const order: Array<number> = []
      const holder = yield* elsewhere(nodes, lock("a"))
      const fibers = []
      for (const who of numbers(8)) {
        const service = yield* open(yield* TestNodes.views(nodes, { distanceMillis: 1 }))
        fibers.push(
          yield* withLock("a", Effect.sync(() => order.push(who)), hourly).pipe(
            Effect.provide(service),
            Effect.forkChild
          )
        )
        yield* TestClock.adjust(10)
      }
      yield* holder.release
      yield* TestClock.adjust(200)
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(order, numbers(8))
    }).pipe(scoped))

  it.effect("a woken waiter that is interrupted, at whatever moment, hands the turn on", () =>
    Effect.gen(function*() {
      for (const moment of numbers(40)) {
        const nodes = memory(3)
        const holder = yield* elsewhere(nodes, lock("a"))
        const woken = yield* waiter(nodes, { distanceMillis: 5 })
        yield* TestClock.adjust(30)
        const next = yield* waiter(nodes, { distanceMillis: 5 })
        yield* TestClock.adjust(30)
        yield* holder.release
        yield* TestClock.adjust(moment)
        yield* Effect.forkChild(Fiber.interrupt(woken.fiber))
        yield* TestClock.adjust(100)
        assert.isDefined(next.fiber.pollUnsafe(), `interrupted ${moment} ms after the release`)
      }
    }).pipe(scoped))

  it.effect("so does one that gives up just then", () =>
    Effect.gen(function*() {
      for (const moment of numbers(40)) {
        const nodes = memory(3)
        const holder = yield* elsewhere(nodes, lock("a"))
        const woken = yield* waiter(nodes, { distanceMillis: 5 }, { retry: after(60 + moment, 1) })
        yield* TestClock.adjust(30)
        const next = yield* waiter(nodes, { distanceMillis: 5 })
        yield* TestClock.adjust(35)
        yield* holder.release
        yield* TestClock.adjust(200)
        assert.isDefined(woken.fiber.pollUnsafe())
        assert.isDefined(next.fiber.pollUnsafe(), `gave up ${moment} ms after the release`)
      }
    }).pipe(scoped))

  it.effect("beaten by a newcomer, it goes back to the front", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const order: Array<string> = []
      const near = yield* open(nodes.map(withoutHandOver))
      let holder = yield* Effect.provide(lock("a"), near)
      const enter = (who: string) =>
        Effect.flatMap(Effect.flatMap(TestNodes.views(nodes, { distanceMillis: 5 }), open), (service) =>
          withLock(
            "a",
            Effect.andThen(Effect.sync(() => order.push(who)), Effect.sleep(10)),
            hourly
          ).pipe(
            Effect.provide(service),
            Effect.forkChild,
            Effect.andThen(TestClock.adjust(50))
          ))
      yield* enter("first")
      yield* enter("second")
      for (const _ of numbers(3)) {
        yield* holder.release
        const newcomer = yield* tryLock("a").pipe(Effect.provide(near), Effect.map(Option.getOrThrow))
        yield* TestClock.adjust(50)
        assert.deepStrictEqual(order, [])
        holder = newcomer
      }
      yield* holder.release
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(order, ["first", "second"])
    }).pipe(scoped))

  it.effect("none is lost, whenever the waiter's fiber yields", () =>
    Effect.gen(function*() {
      const turns = (count: number) => Effect.repeat(Effect.yieldNow, { times: count })
      for (let ops = 3; ops < 25; ops++) {
        for (const moment of numbers(12)) {
          const service = yield* open(memory(1))
          const holder = yield* Effect.provide(lock("a"), service)
          const waiting = yield* withLock("a", Effect.void, hourly).pipe(
            Effect.provide(service),
            Effect.provideService(References.MaxOpsBeforeYield, ops),
            Effect.forkChild
          )
          yield* turns(moment)
          yield* holder.release
          yield* turns(300)
          assert.isDefined(waiting.pollUnsafe(), `yielding after ${ops} operations, released after ${moment} turns`)
        }
      }
    }).pipe(scoped))

  it.effect("the release of a lock that was lost long ago takes nobody out of the line", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const service = yield* open(nodes)
      const slowToEnd = Effect.ensuring(Effect.never, Effect.sleep("10 seconds"))
      yield* Effect.forkChild(Effect.provide(Effect.exit(withLock("a", slowToEnd)), service))
      const waiting = yield* Effect.forkChild(Effect.provide(withLock("a", Clock.currentTimeMillis, hourly), service))
      yield* TestClock.adjust(10)
      for (const node of nodes) yield* node.remove("a")
      const thief = yield* elsewhere(nodes, lock("a"))
      yield* waiter(nodes)
      yield* TestClock.adjust("14 seconds")
      yield* thief.release
      yield* TestClock.adjust("1 minute")
      // Right after the other waiter, which holds it for 20 ms.
      assert.deepStrictEqual(waiting.pollUnsafe(), Exit.succeed(14_030))
    }).pipe(scoped))

  it.effect("what a node cannot give notice of is logged once, however often it says so", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.layer([Logger.make<unknown, void>(({ message }) => logged.push(String(message)))])
      const complain: Array<(why: string) => void> = []
      const nodes = memory(3).map((node): LockNode => ({
        ...node,
        waitingList: (waiter, hear) => {
          complain.push((why) => hear({ _tag: "Unsupported", why }))
          return node.waitingList!(waiter, hear)
        }
      }))
      yield* Layer.build(Layer.provide(Redsync.layer({ nodes }), logger))
      for (const why of ["one thing", "one thing", "another", "one thing", "another"]) complain[0]!(why)
      yield* TestClock.adjust(1)
      const about = `Lock node ${nodes[0]!.id} cannot notify all waiters:`
      assert.deepStrictEqual(logged, [`${about} one thing`, `${about} another`])
    }).pipe(scoped))

  it.effect("a process that died in line is skipped", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      const holder = yield* elsewhere(nodes, lock("a"))
      const scope = yield* Scope.make()
      yield* Effect.provideService(waiter(nodes), Scope.Scope, scope)
      yield* TestClock.adjust(10)
      const next = yield* waiter(nodes)
      yield* TestClock.adjust(10)
      yield* Scope.close(scope, Exit.void)
      yield* holder.release
      yield* TestClock.adjust(30)
      assert.isDefined(next.fiber.pollUnsafe())
    }).pipe(scoped))

  it.effect("a look that crosses the turn leaves no entry behind, though its answer comes first", () =>
    Effect.gen(function*() {
      const nodes = memory(3).map(withoutHandOver)
      const holder = yield* elsewhere(nodes, lock("a"))
      const resync: Array<() => void> = []
      const views = yield* TestNodes.views(nodes, { distanceMillis: 1 })
      const service = yield* open(views.map((node): LockNode => ({
        ...node,
        waitingList: Effect.fnUntraced(function*(waiter, hear) {
          resync.push(() => hear({ _tag: "Resync" }))
          const fork = Effect.runForkWith(yield* Effect.context())
          // Notices come over a connection of their own.
          return yield* node.waitingList!(waiter, (notice) => {
            fork(Effect.andThen(Effect.sleep(10), Effect.sync(() => hear(notice))))
          })
        })
      })))
      let isHeld = false
      const entered = Effect.andThen(Effect.sync(() => isHeld = true), Effect.never)
      yield* Effect.forkScoped(Effect.provide(withLock("a", entered, hourly), service))
      for (const _ of numbers(20)) yield* TestClock.adjust(1)
      yield* waiter(nodes)
      for (const _ of numbers(20)) yield* TestClock.adjust(1)
      for (const look of resync) look()
      yield* holder.release
      for (const _ of numbers(40)) yield* TestClock.adjust(1)
      assert.isTrue(isHeld)
      const waiting = yield* Effect.forEach(nodes, (node) => waitersAt(node, "a"))
      assert.strictEqual(Math.max(...waiting), 1, "only the one behind it")
    }).pipe(scoped))

  it.effect("another library's release, or a key deleted by hand, wakes the head of the line", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      for (const node of nodes) yield* node.acquire("a", "theirs", 60_000)
      const head = yield* waiter(nodes)
      yield* TestClock.adjust(10)
      for (const node of nodes) yield* node.remove("a")
      // In small steps, so that the fibers that carry the notices get their turns.
      for (const _ of numbers(10)) yield* TestClock.adjust(5)
      assert.isDefined(head.fiber.pollUnsafe())
    }).pipe(scoped))

  // Each of its own attempts sets the key there and deletes it again, of which it is told.
  it.effect("a node that has lost the key of a held lock is asked ever more rarely", () =>
    Effect.gen(function*() {
      for (const lost of numbers(3)) {
        const nodes = memory(3)
        for (const node of nodes) if (node !== nodes[lost]) yield* node.acquire("a", "theirs", 3_600_000)
        // It is nearer than the others, and is asked and answers before the attempt is refused.
        const views = yield* TestNodes.views(nodes, {
          distances: numbers(3).map((index) => index === lost ? 1 : 3)
        })
        const service = yield* open(views)
        const fiber = yield* Effect.forkChild(Effect.provide(withLock("a", Effect.void, hourly), service))
        const late = yield* nodes[lost]!.waitingList!("elsewhere".padStart(12), () => {})
        for (const _ of numbers(100)) yield* TestClock.adjust(1)
        // The release of a lock that was held before wakes it.
        yield* late.release("a", "before", undefined)
        for (const _ of numbers(1000)) yield* TestClock.adjust(1)
        assert.isAtMost(views[lost]!.calls.length, 80)
        const closing = yield* Effect.forkChild(Fiber.interrupt(fiber))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(closing)
      }
    }).pipe(scoped))
})

describe("a node that refuses to let waiters join", () => {
  /** Refuses as many times as it is told to. */
  const refusing = (node: LockNode, times: number) => {
    const seen = { refusals: 0 }
    const refusal = Effect.suspend(() => {
      seen.refusals++
      return Effect.fail(new NodeError({ node: node.id, operation: "inspect", reason: "Rejected", cause: "OOM" }))
    })
    const view: LockNode = {
      ...node,
      waitingList: (waiterId, onNotice) =>
        Effect.map(node.waitingList!(waiterId, onNotice), (list) => ({
          ...list,
          join: (...request) => seen.refusals < times ? refusal : list.join(...request)
        }))
    }
    return { seen, view }
  }

  it.effect("for a moment, lets them join soon after", () =>
    Effect.gen(function*() {
      const nodes = memory(1)
      const holder = yield* elsewhere(nodes, lock("a"))
      const { view } = refusing(nodes[0]!, 1)
      const { fiber } = yield* waiter([view])
      yield* TestClock.adjust("3 seconds")
      yield* holder.release
      yield* TestClock.adjust(100)
      assert.isDefined(fiber.pollUnsafe())
    }).pipe(scoped))

  it.effect("for a moment, wakes others at its releases soon after", () =>
    Effect.gen(function*() {
      const nodes = memory(1)
      const { view } = refusing(nodes[0]!, 1)
      const service = yield* open([view])
      const first = yield* elsewhere(nodes, lock("a"))
      const second = yield* Effect.forkScoped(Effect.provide(lock("a"), service))
      yield* TestClock.adjust("3 seconds")
      yield* first.release
      yield* TestClock.adjust(100)
      const other = yield* waiter(nodes)
      yield* TestClock.adjust(100)
      yield* (yield* Fiber.join(second)).release
      yield* TestClock.adjust(100)
      assert.isDefined(other.fiber.pollUnsafe())
    }).pipe(scoped))

  it.effect("for good, is asked ever more rarely", () =>
    Effect.gen(function*() {
      const nodes = memory(1)
      yield* elsewhere(nodes, lock("a"))
      const { seen, view } = refusing(nodes[0]!, Infinity)
      yield* waiter([view])
      yield* TestClock.adjust("1 hour")
      assert.isAtMost(seen.refusals, 70)
    }).pipe(scoped))
})

describe("attempts are paced", () => {
  /** Sees no key at one look, and one that is about to expire at the next. */
  const fickle = (node: LockNode): LockNode => ({
    ...node,
    waitingList: (waiterId, onNotice) =>
      Effect.map(node.waitingList!(waiterId, onNotice), (list) => {
        let looks = 0
        return {
          ...list,
          join: (...request) =>
            Effect.map(list.join(...request), (position) => ({ ...position, ttlMillis: looks++ % 2 }))
        }
      })
  })

  it.effect("though a node tells of a free key whenever it is asked again", () =>
    Effect.gen(function*() {
      const nodes = memory(3)
      for (const node of nodes) yield* node.acquire("a", "another", 3_600_000)
      const views = yield* TestNodes.views(nodes, { distanceMillis: 1 })
      const service = yield* open(views.map(fickle))
      yield* Effect.forkScoped(Effect.provide(withLock("a", Effect.never, hourly), service))
      yield* TestClock.adjust("10 seconds")
      const attempts = count(views[0]!, "acquire")
      assert.isAtLeast(attempts, 5)
      // A few, then a pause as long as all before it.
      assert.isAtMost(attempts, 200)
    }).pipe(scoped))
})

/** So many more attempts, so far apart. */
const after = (millis: number, times: number) =>
  Schedule.recurs(times).pipe(Schedule.addDelay(() => Effect.succeed(Duration.millis(millis))))

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

const memory = MemoryNode.makeMany

const count = (node: TestNodes.TestNode, operation: string) => TestNodes.callsOf(node, operation).length

const errorOf = <A, E>(exit: Exit.Exit<A, E>): unknown => Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined

/** Jain's index: 1 where all got the same, 1/n where one got everything. */
const jain = (turns: ReadonlyArray<number>) => {
  const sum = turns.reduce((sum, n) => sum + n, 0)
  return sum * sum / (turns.length * turns.reduce((sum, n) => sum + n * n, 0))
}

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

/** A fiber that waits for "a" in a service of its own; `asked` counts its attempts. */
function waiter(
  nodes: ReadonlyArray<LockNode>,
  options: TestNodes.Options = {},
  lockOptions: LockOptions = hourly
) {
  return Effect.gen(function*() {
    const views = yield* TestNodes.views(nodes, options)
    const service = yield* open(views)
    const fiber = yield* Effect.forkScoped(Effect.provide(withLock("a", Effect.sleep(20), lockOptions), service))
    yield* Effect.yieldNow
    return { fiber, asked: () => count(views[0]!, "acquire") }
  })
}

const isBusy = (service: Context.Context<Opened.Parts>, name: string) =>
  Effect.provide(Effect.map(Opened.Parts, ({ waitQueues }) => waitQueues.hasQueue(name)), service)

/** How many wait in the node's list. */
const waitersAt = (node: LockNode, name: string) =>
  Effect.scoped(Effect.gen(function*() {
    const list = yield* node.waitingList!("probe", () => {})
    const entry = { value: "probe", mode: "exclusive", weight: 1, fenced: false } as const
    const { ahead } = yield* list.join(name, entry, "back")
    yield* list.leave(name, entry)
    return ahead
  }))

const valuesAt = (nodes: ReadonlyArray<LockNode>, name: string) =>
  Effect.map(
    elsewhere(nodes, inspect(name)),
    (found) => found.nodes.map((node) => node._tag === "Held" ? node.value : undefined)
  )
