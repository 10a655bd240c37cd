import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Metric, Option, Random, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  fencedLock,
  fencedSharedLock,
  forceUnlock,
  inspect,
  Lock,
  lock,
  type LockNode,
  MemoryNode,
  Redsync,
  retryPolicy,
  semaphore,
  sharedLock,
  tryLock,
  trySharedLock,
  unlock,
  withFencedLock,
  withFencedSharedLock,
  withLock,
  withSharedLock,
  withSharedLockIfAvailable
} from "../src/index.ts"
import { sharedMarker } from "../src/internal/nodeContract.ts"
import { layerTest, TestNodes } from "../src/testing.ts"
import { scoped } from "./support/scoped.ts"
import { callsOf, makeMany, views } from "./support/testNodes.ts"

const once = retryPolicy({ tries: 1 })

const hourly = { retry: Schedule.spaced("1 hour") }

const three = Redsync.layerMemory({ count: 3 })

const nodes = () => MemoryNode.makeMany(3)

const failure = <A, E>(exit: Exit.Exit<A, E>) => Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined

/** Its outcome, though its answers take time. */
const takes = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.forkChild(effect), (fiber) => Effect.andThen(TestClock.adjust(30), Fiber.join(fiber)))

const isFree = (name: string) => Effect.map(inspect(name), ({ nodes }) => nodes.every(({ _tag }) => _tag === "Free"))

describe("shared locks", () => {
  it.effect("readers hold a lock together, and no writer beside them", () =>
    Effect.gen(function*() {
      const readers = yield* Effect.forEach([1, 2, 3], () => sharedLock("a"))
      assert.deepStrictEqual(readers.map(({ mode }) => mode), ["shared", "shared", "shared"])
      assert.strictEqual(new Set(readers.map(({ value }) => value)).size, 3)
      for (const reader of readers) assert.isTrue(yield* reader.isHeld)
      assert.deepStrictEqual(yield* tryLock("a"), Option.none())
      const error = yield* Effect.flip(Effect.scoped(lock("a", { retry: once })))
      assert.match(error.message, /memory-1 held by readers for about 8\.0 s more/)
      assert(error._tag === "ErrFailed")
      assert.deepStrictEqual(error.votes[0], { _tag: "Refused", node: "memory-1", ttlMillis: 8000, isShared: true })
      for (const reader of readers) assert.isTrue(yield* reader.release)
      assert.isTrue(yield* isFree("a"))
      const writer = yield* lock("a")
      assert.strictEqual(writer.mode, "exclusive")
      assert.deepStrictEqual(yield* trySharedLock("a"), Option.none())
      assert.deepStrictEqual(yield* withSharedLockIfAvailable("a", Effect.void), Option.none())
      assert.match(
        (yield* Effect.flip(Effect.scoped(sharedLock("a", { retry: once })))).message,
        /held by another for about 8\.0 s/
      )
    }).pipe(Effect.scoped, Effect.provide(three)))

  it.effect("readers of several services hold a lock together, and release it in any order", () => {
    const shared = nodes()
    const reader = (millis: number) =>
      Effect.provide(withSharedLock("a", Effect.sleep(millis)), Redsync.layer({ nodes: shared }))
    return Effect.gen(function*() {
      const fibers = yield* Effect.forEach([30, 10, 20], (millis) => Effect.forkChild(reader(millis)))
      yield* TestClock.adjust(5)
      assert.strictEqual((yield* shared[0]!.shared!.inspect("a")).readers, 3)
      yield* TestClock.adjust(10)
      assert.strictEqual((yield* shared[0]!.shared!.inspect("a")).readers, 2)
      yield* TestClock.adjust(20)
      yield* Fiber.joinAll(fibers)
      for (const node of shared) assert.deepStrictEqual(yield* node.inspect("a"), Option.none())
    })
  })

  it.effect("never a reader beside a writer, nor two writers, whoever comes and goes", () => {
    const shared = nodes()
    const inside = { readers: 0, writers: 0 }
    let done = 0
    const holding = (kind: keyof typeof inside, millis: number) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          inside[kind]++
          assert.isTrue(inside.writers === 0 || (inside.writers === 1 && inside.readers === 0))
        }),
        () => Effect.sleep(millis),
        () => Effect.sync(() => inside[kind]--)
      )
    const options = { expiry: "1 second", retry: Schedule.spaced(7) } as const
    const step = Effect.gen(function*() {
      const kind = yield* Random.nextIntBetween(0, 10)
      const millis = yield* Random.nextIntBetween(0, 20)
      if (kind < 6) yield* withSharedLock("a", holding("readers", millis), options)
      else if (kind < 8) yield* withLock("a", holding("writers", millis), options)
      else {
        yield* Effect.scoped(Effect.gen(function*() {
          const writer = yield* lock("a", options)
          yield* holding("writers", millis)
          yield* Lock.guard(yield* Lock.downgrade(writer), holding("readers", millis))
        }))
      }
      done++
    })
    const client = Effect.repeat(step, { times: 14 })
    const service = Effect.provide(
      Effect.all([client, client, client], { concurrency: "unbounded" }),
      Redsync.layer({ nodes: shared })
    )
    return Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.all([service, service, service], { concurrency: "unbounded" }))
      while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust(100)
      yield* Fiber.join(fiber)
      assert.strictEqual(done, 135)
      for (const node of shared) assert.notStrictEqual(Option.getOrUndefined(yield* node.inspect("a"))?.value, "a")
    }).pipe(Random.withSeed("shared"))
  })

  it.effect("in the same service a writer's release lets all readers in at once, and the last of them the writer", () =>
    Effect.gen(function*() {
      const never = Schedule.spaced("1 hour")
      const writer = yield* lock("a")
      const open = yield* Deferred.make<void>()
      const readers = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.forkChild(withSharedLock("a", Deferred.await(open), { retry: never }))
      )
      yield* TestClock.adjust(1)
      yield* writer.release
      yield* TestClock.adjust(1)
      assert.lengthOf((yield* inspect("a")).readers, 3)
      const next = yield* Effect.forkChild(withLock("a", Effect.succeed("written"), { retry: never }))
      yield* TestClock.adjust(1)
      yield* Deferred.succeed(open, undefined)
      yield* Fiber.joinAll(readers)
      // The lock was left to readers for some milliseconds.
      yield* TestClock.adjust(50)
      assert.deepStrictEqual(next.pollUnsafe(), Exit.succeed("written"))
    }).pipe(Effect.scoped, Effect.provide(three)))

  it.effect("a reader is extended like any lock, and lost like any", () =>
    Effect.gen(function*() {
      const reader = yield* sharedLock("a", { expiry: "3 seconds" })
      yield* TestClock.adjust("1 minute")
      assert.isTrue(yield* reader.isHeld)
      assert.isTrue(yield* forceUnlock("a"))
      assert.strictEqual((yield* Effect.flip(reader.lost)).reason, "Taken")
      assert.isTrue(yield* isFree("a"))

      const left = yield* sharedLock("a", { expiry: "3 seconds", autoExtend: false })
      yield* TestClock.adjust("2 seconds")
      yield* left.extend
      assert.isAtLeast(Duration.toMillis(yield* left.remaining), 2900)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Effect.flip(left.lost)).reason, "Expired")
    }).pipe(Effect.scoped, Effect.provide(three)))

  it.effect("a node that has lost its readers gets them back, one after the other", () =>
    Effect.gen(function*() {
      const { nodes } = yield* TestNodes
      yield* sharedLock("a", { expiry: "3 seconds" })
      yield* sharedLock("a", { expiry: "3 seconds" })
      yield* nodes[0]!.wipe
      assert.lengthOf((yield* inspect("a")).readers, 2)
      yield* TestClock.adjust("1 second")
      const { nodes: views } = yield* inspect("a")
      assert.deepStrictEqual(views.map((view) => view._tag === "Shared" && view.readers), [2, 2, 2])
    }).pipe(Effect.scoped, Effect.provide(layerTest({ count: 3 }))))

  it.effect("a reader that was woken and is interrupted has the next one ask in its place", () => {
    const shared = nodes()
    const slow = shared.map((node): LockNode => ({
      ...node,
      shared: {
        ...node.shared!,
        acquire: (...args) => Effect.tap(Effect.suspend(() => node.shared!.acquire(...args)), Effect.sleep(10))
      }
    }))
    return Effect.gen(function*() {
      const [ours, theirs] = [yield* Redsync.make({ nodes: slow }), yield* Redsync.make({ nodes: shared })]
      const retry = Schedule.spaced("1 hour")
      const writer = yield* theirs.lock("a")
      const first = yield* Effect.forkChild(ours.withSharedLock("a", Effect.void, { retry }))
      const second = yield* Effect.forkChild(ours.withSharedLock("a", Effect.succeed("second"), { retry }))
      yield* TestClock.adjust(20)
      yield* writer.release
      yield* TestClock.adjust(5)
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(second.pollUnsafe(), Exit.succeed("second"))
    }).pipe(Effect.scoped)
  })

  it.effect("an interrupted or late attempt leaves no reader behind", () =>
    Effect.gen(function*() {
      const { nodes } = yield* TestNodes
      yield* nodes[0]!.set("silent")
      yield* nodes[1]!.set("silent")
      const fiber = yield* Effect.forkChild(Effect.scoped(sharedLock("a")))
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(fiber)
      yield* nodes[0]!.set("up")
      yield* nodes[1]!.set("up")
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.scoped, Effect.provide(layerTest({ count: 3 }))))
})

describe("downgrade", () => {
  it.effect("makes a reader of a writer, without a gap", () =>
    Effect.gen(function*() {
      const writer = yield* lock("a", { expiry: "3 seconds" })
      const reader = yield* Lock.downgrade(writer)
      assert.deepStrictEqual([reader.mode, reader.name], ["shared", "a"])
      assert.notStrictEqual(reader.value, writer.value)
      assert.isFalse(yield* writer.isHeld)
      assert.strictEqual(Duration.toMillis(yield* writer.remaining), 0)
      assert.strictEqual((yield* Effect.flip(writer.extend))._tag, "LockLost")
      assert.isTrue(yield* writer.release)
      assert.isTrue(yield* reader.isHeld)
      assert.isTrue(Option.isSome(yield* trySharedLock("a")))
      assert.deepStrictEqual(yield* tryLock("a"), Option.none())
      yield* TestClock.adjust("1 minute")
      assert.isTrue(yield* reader.isHeld)
    }).pipe(
      Effect.scoped,
      Effect.andThen(isFree("a")),
      Effect.map((free) => assert.isTrue(free)),
      Effect.provide(three)
    ))

  it.effect("a node that was down while a writer became a reader keeps no writer's lock", () =>
    Effect.gen(function*() {
      const three = yield* makeMany(3)
      const service = yield* Redsync.make({ nodes: three })
      const writer = yield* service.lock("a", { expiry: "1 hour" })
      three[2]!.state = "down"
      yield* Lock.downgrade(writer)
      three[2]!.state = "up"
      assert.strictEqual(three[2]!.valueOf("a"), writer.value)
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(three[2]!.valueOf("a"))
    }).pipe(Effect.scoped))

  it.effect("a writer that becomes a reader leaves those in line with somebody who wakes them", () => {
    const shared = nodes()
    return Effect.gen(function*() {
      const [ours, theirs] = [yield* Redsync.make({ nodes: shared }), yield* Redsync.make({ nodes: shared })]
      const options = { expiry: "1 hour", retry: Schedule.spaced("1 hour") } as const
      const writer = yield* ours.lock("a", options)
      const next = yield* Effect.forkChild(theirs.withLock("a", Effect.succeed("next"), options))
      yield* TestClock.adjust(100)
      const reader = yield* Lock.downgrade(writer)
      yield* TestClock.adjust(100)
      assert.isUndefined(next.pollUnsafe())
      yield* reader.release
      // Sooner than whoever waits for readers looks again by itself.
      yield* Effect.repeat(TestClock.adjust(20), { until: () => next.pollUnsafe() !== undefined, times: 10 })
      assert.deepStrictEqual(next.pollUnsafe(), Exit.succeed("next"))
    }).pipe(Effect.scoped)
  })

  it.effect("a program goes on with the reader, which outlives it if its scope does", () =>
    Effect.gen(function*() {
      const reader = yield* withLock("a", (writer) => Lock.downgrade(writer))
      assert.isTrue(yield* reader.isHeld)
      assert.deepStrictEqual((yield* inspect("a")).readers.map(({ value }) => value), [reader.value])
    }).pipe(
      Effect.scoped,
      Effect.andThen(isFree("a")),
      Effect.map((free) => assert.isTrue(free)),
      Effect.provide(three)
    ))

  it.effect("keeps the token, which the next writer's exceeds", () =>
    Effect.gen(function*() {
      const writer = yield* fencedLock("a")
      const reader = yield* Lock.downgrade(writer)
      assert.strictEqual(reader.token, writer.token)
      assert.strictEqual((yield* fencedSharedLock("a")).token, writer.token)
    }).pipe(Effect.scoped, Effect.provide(three)))

  it.effect("fails if the lock was lost or taken away, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const released = yield* lock("a")
      yield* released.release
      const error = yield* Effect.flip(Lock.downgrade(released))
      assert.deepStrictEqual([error._tag, error._tag === "LockLost" && error.reason], ["LockLost", "Released"])

      const { nodes } = yield* TestNodes
      const taken = yield* lock("a")
      for (const { node } of nodes) yield* node.remove("a")
      const lost = yield* Effect.flip(Lock.downgrade(taken))
      assert.deepStrictEqual([lost._tag, lost._tag === "LockLost" && lost.reason], ["LockLost", "Taken"])
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* isFree("a"))

      const cutOff = yield* lock("a")
      yield* nodes[0]!.set("down")
      yield* nodes[1]!.set("down")
      assert.strictEqual((yield* Effect.flip(Lock.downgrade(cutOff)))._tag, "NodesUnavailable")
      yield* nodes[0]!.set("up")
      yield* nodes[1]!.set("up")
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.scoped, Effect.provide(layerTest({ count: 3 }))))

  it.effect("an interruption gives up both locks", () =>
    Effect.gen(function*() {
      const { nodes } = yield* TestNodes
      const writer = yield* lock("a")
      yield* nodes[0]!.set("silent")
      yield* nodes[1]!.set("silent")
      const fiber = yield* Effect.forkChild(Effect.scoped(Lock.downgrade(writer)))
      yield* TestClock.adjust(1)
      assert.strictEqual(Duration.toMillis(yield* writer.remaining), 0, "no writer from the moment it was sent")
      yield* Fiber.interrupt(fiber)
      assert.isFalse(yield* writer.release)
      yield* nodes[0]!.set("up")
      yield* nodes[1]!.set("up")
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(yield* isFree("a"))
    }).pipe(Effect.scoped, Effect.provide(layerTest({ count: 3 }))))

  it.effect.each([false, true])(
    "interrupted at whatever moment: never both, never nobody, and nothing is left (fenced: %s)",
    (isFenced) =>
      Effect.gen(function*() {
        const outcomes = { became: 0, gaveUp: 0 }
        for (let moment = 0; moment < 60; moment++) {
          const when = `after ${moment} steps`
          const shared = nodes()
          const service = (distances: ReadonlyArray<number>) =>
            takes(Effect.flatMap(views(shared, { distances }), (nodes) => Redsync.make({ nodes })))
          const [ours, theirs] = [yield* service([1, 4, 7]), yield* service([5, 2, 1])]
          const isHolding = (held: Lock) => Duration.toMillis(Effect.runSync(held.remaining)) > 0
          const writer: Lock = yield* takes<Lock, unknown, Scope.Scope>(
            isFenced ? ours.fencedLock("a", hourly) : ours.lock("a", hourly)
          )
          let isNextInside = false
          const next = yield* Effect.forkChild(
            theirs.withLock("a", Effect.sync(() => isNextInside = true), hourly)
          )
          yield* TestClock.adjust(30)
          const scope = yield* Scope.make()
          const fiber = yield* Effect.forkChild(Scope.provide(Lock.downgrade(writer), scope))
          const reader = () => {
            const exit = fiber.pollUnsafe()
            return exit !== undefined && Exit.isSuccess(exit) ? exit.value : undefined
          }
          for (let step = 0; step < moment; step++) {
            yield* step % 3 === 2 ? TestClock.adjust(1) : Effect.yieldNow
            const became = reader()
            assert.isFalse(isHolding(writer) && became !== undefined, `${when}: both`)
            assert.isFalse(isNextInside, `${when}: nobody`)
          }
          yield* Effect.forkChild(Fiber.interrupt(fiber))
          yield* TestClock.adjust(50)
          assert.isFalse(isHolding(writer), when)
          const became = reader()
          if (became === undefined) outcomes.gaveUp++
          else {
            outcomes.became++
            assert.isTrue(isHolding(became) && (yield* takes(became.isHeld)) && !isNextInside, when)
            yield* Effect.forkChild(Scope.close(scope, Exit.void))
          }
          yield* TestClock.adjust(100)
          assert.deepStrictEqual(next.pollUnsafe(), Exit.succeed(true), `${when}: the next in line is served`)
          yield* TestClock.adjust(100)
          const left = yield* Effect.forEach(shared, (node) => node.inspect("a"))
          assert.deepStrictEqual(left.filter(Option.isSome), [], when)
        }
        assert.isAbove(Math.min(outcomes.became, outcomes.gaveUp), 5)
      }).pipe(scoped)
  )

  it.effect("is refused to what is no exclusive lock", () =>
    Effect.gen(function*() {
      const shared = yield* sharedLock("a")
      const permits = yield* semaphore("a", { limit: 1 }).takeScoped(1)
      for (const wrong of [shared, permits, {}, undefined] as ReadonlyArray<any>) {
        const exit = yield* Effect.exit(Lock.downgrade(wrong))
        assert.match(String(failure(exit)), /it must be a held exclusive lock/)
      }
      assert.isTrue(yield* shared.isHeld)
      assert.isTrue(yield* permits.isHeld)
    }).pipe(Effect.scoped, Effect.provide(three)))
})

describe("tokens of readers", () => {
  it.effect("are at least those of earlier writers, and smaller than those of later ones", () =>
    Effect.gen(function*() {
      const first = yield* withFencedLock("a", Effect.succeed)
      yield* TestClock.adjust(1)
      const read = yield* withFencedSharedLock("a", Effect.succeed)
      yield* TestClock.adjust(1)
      const second = yield* withFencedLock("a", Effect.succeed)
      assert.strictEqual(read, first)
      assert.isAbove(second, read)
    }).pipe(Effect.provide(three)))

  it.effect("are raised on a quorum before they are handed out", () => {
    const shared = nodes()
    return Effect.gen(function*() {
      // A writer's attempt that reached one node, and failed.
      yield* shared[1]!.fencing!.acquire("a", "attempt", 1000, 5000)
      yield* shared[1]!.release("a", "attempt")
      for (const node of [shared[0]!, shared[2]!]) {
        yield* node.fencing!.acquire("a", "earlier", 1000, 3000)
        yield* node.release("a", "earlier")
      }
      const reader = yield* fencedSharedLock("a")
      assert.strictEqual(reader.token, 5000)
      const counters = yield* Effect.forEach(shared, (node) => node.shared!.fencing!.acquire("a", "look", 1000, 0))
      assert.isAtLeast(counters.filter((counter) => Option.getOrThrow(counter) >= 5000).length, 2)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: shared })))
  })
})

describe("operating shared locks", () => {
  it.effect("inspect shows the readers, and whether a writer waits", () => {
    const shared = nodes()
    return Effect.gen(function*() {
      const readers = [yield* sharedLock("a", { expiry: "3 seconds" }), yield* sharedLock("a", { expiry: "9 seconds" })]
      yield* shared[0]!.shared!.announce("a", 1000)
      const inspection = yield* inspect("a")
      assert.deepStrictEqual(inspection.holder, Option.none())
      assert.deepStrictEqual(inspection.readers, [
        { value: readers[0]!.value, ttlMillis: 3000 },
        { value: readers[1]!.value, ttlMillis: 9000 }
      ])
      const view = { _tag: "Shared", ttlMillis: 9000, readers: 2, holders: inspection.readers }
      assert.deepStrictEqual<unknown>(inspection.nodes, [
        { ...view, node: "memory-1", isWriterWaiting: true },
        { ...view, node: "memory-2", isWriterWaiting: false },
        { ...view, node: "memory-3", isWriterWaiting: false }
      ])
      assert.deepStrictEqual((yield* inspect("b")).readers, [])
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: shared })))
  })

  it.effect("unlock releases one reader by its value, and refuses the marker of all", () =>
    Effect.gen(function*() {
      const [one, other] = [yield* sharedLock("a"), yield* sharedLock("a")]
      for (const wrong of [unlock("a", sharedMarker), Effect.scoped(Redsync.adopt("a", sharedMarker))]) {
        assert.match(String(failure(yield* Effect.exit<unknown, unknown, Redsync>(wrong))), /stands for all readers/)
      }
      assert.isTrue(yield* unlock("a", one.value))
      assert.strictEqual((yield* Effect.flip(one.lost)).reason, "Released")
      assert.isFalse(yield* unlock("a", one.value))
      assert.isTrue(yield* other.isHeld)
      assert.strictEqual(
        (yield* Effect.flip(Effect.scoped(Redsync.adopt("a", other.value))))._tag,
        "LockLost"
      )
      assert.isTrue(yield* other.isHeld)
    }).pipe(Effect.scoped, Effect.provide(three)))

  it.effect("a node without the ability is named before anything is sent", () => {
    const [first, second, third] = nodes() as [LockNode, LockNode, LockNode]
    const { shared: _, ...without } = second
    return Effect.gen(function*() {
      const message = String(failure(yield* Effect.exit(withSharedLock("a", Effect.void))))
      assert.match(message, /the node memory-2 does not support shared locks; every node must/)
      const writer = yield* lock("a")
      assert.match(
        String(failure(yield* Effect.exit(Lock.downgrade(writer)))),
        /memory-2 does not support shared locks/
      )
      assert.isTrue(yield* writer.isHeld)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: [first, without, third] })))
  })

  it.effect("metrics have a mode of their own", () =>
    Effect.gen(function*() {
      yield* sharedLock("a")
      const snapshot = yield* Metric.snapshot
      const held = snapshot.filter(({ id }) => id === "redsync_locks_held").map(({ attributes }) =>
        attributes?.["mode"]
      )
      assert.deepStrictEqual(held, ["shared"])
    }).pipe(Effect.scoped, Effect.provide(three), Effect.provideService(Metric.MetricRegistry, new Map())))
})

describe("turns", () => {
  const services = (
    shared: ReadonlyArray<LockNode>,
    programs: ReadonlyArray<Effect.Effect<unknown, unknown, Redsync>>
  ) =>
    Effect.forEach(programs, (program) => Effect.forkChild(Effect.provide(program, Redsync.layer({ nodes: shared }))))

  const options = { retry: Schedule.spaced("1 hour") }

  it.effect("a writer gets its turn behind a steady stream of readers", () => {
    const shared = nodes()
    const reader = Effect.forever(withSharedLock("a", Effect.sleep(30), options))
    return Effect.gen(function*() {
      const streams = yield* services(shared, [
        reader,
        Effect.andThen(Effect.sleep(10), reader),
        Effect.andThen(Effect.sleep(20), reader)
      ])
      yield* TestClock.adjust(100)
      const [writer] = yield* services(shared, [withLock("a", Effect.void, options)])
      yield* TestClock.adjust(100)
      assert.isDefined(writer!.pollUnsafe(), "within the longest read, by being woken")
      yield* TestClock.adjust(100)
      assert.isAbove((yield* shared[0]!.shared!.inspect("a")).readers, 0, "and then the readers have theirs")
      yield* Fiber.interruptAll(streams)
    })
  })

  it.effect("readers that come and go faster than a writer can look do not keep it from announcing itself", () => {
    const shared = nodes()
    // The key has changed again before each answer to a look.
    const changing = shared.map((node): LockNode => ({
      ...node,
      waitingList: (waiter, hear) =>
        Effect.map(node.waitingList!(waiter, hear), (list) => ({
          ...list,
          join: (key, ...rest) =>
            Effect.tap(list.join(key, ...rest), () => {
              hear({ _tag: "KeyChanged", key })
              return Effect.sleep(5)
            })
        }))
    }))
    return Effect.gen(function*() {
      yield* Effect.forEach(shared, (node) => node.shared!.acquire("a", "reader", 60_000))
      const writer = yield* Effect.forkChild(withLock("a", Effect.void))
      for (let millis = 0; millis < 100; millis++) yield* TestClock.adjust(1)
      const states = yield* Effect.forEach(shared, (node) => node.shared!.inspect("a"))
      assert.deepStrictEqual(states.map(({ isWriterWaiting }) => isWriterWaiting), [true, true, true])
      yield* Fiber.interrupt(writer)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: changing })))
  })

  it.effect("readers get theirs between busy writers", () => {
    const shared = nodes()
    let written = 0
    const writer = Effect.forever(
      withLock("a", Effect.andThen(Effect.sleep(10), Effect.sync(() => written++)), options)
    )
    return Effect.gen(function*() {
      const writers = yield* services(shared, [writer, writer, writer])
      yield* TestClock.adjust(100)
      const before = written
      const readers = yield* services(shared, [
        withSharedLock("a", Effect.sleep(5), options),
        withSharedLock("a", Effect.sleep(5), options)
      ])
      yield* TestClock.adjust(100)
      for (const reader of readers) assert.isDefined(reader.pollUnsafe(), "by being woken")
      yield* TestClock.adjust(200)
      assert.isAbove(written, before + 5, "and the writers go on")
      yield* Fiber.interruptAll(writers)
    })
  })

  it.effect("a reader asks twice more where votes are split, each time its schedule has it ask", () =>
    Effect.gen(function*() {
      const three = yield* makeMany(3)
      for (const node of three.slice(1)) yield* node.acquire("a", "another's", 3_600_000)
      const service = yield* Redsync.make({ nodes: three })
      const reader = yield* Effect.forkChild(
        service.withSharedLock("a", Effect.void, { retry: Schedule.spaced("10 seconds") })
      )
      for (let asked = 1; asked <= 3; asked++) {
        yield* TestClock.adjust("9 seconds")
        assert.strictEqual(callsOf(three[0]!, "acquire").length, 3 * asked)
        yield* TestClock.adjust("1 second")
      }
      yield* Fiber.interrupt(reader)
    }).pipe(Effect.scoped))

  it.effect("a writer leaves the lock to readers that wait, and not to one that made a single attempt", () => {
    const [node] = nodes() as [LockNode]
    const left = Effect.gen(function*() {
      assert.isTrue(yield* node.shared!.yieldToReaders("a", "writer", 1000))
      const key = yield* node.inspect("a")
      yield* node.remove("a")
      return Option.getOrUndefined(Option.map(key, ({ value }) => value))
    })
    return Effect.gen(function*() {
      yield* node.acquire("a", "writer", 60_000)
      assert.deepStrictEqual(yield* trySharedLock("a"), Option.none())
      assert.isUndefined(yield* left)
      yield* node.acquire("a", "writer", 60_000)
      const reader = yield* Effect.forkChild(sharedLock("a", options))
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* left, sharedMarker)
      yield* Fiber.interrupt(reader)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: [node] })))
  })

  it.effect("a writer that waits says so about twice a second, however often readers come and go", () => {
    const [node] = nodes() as [LockNode]
    let announced = 0
    const counting: LockNode = {
      ...node,
      shared: {
        ...node.shared!,
        announce: (...args) =>
          Effect.suspend(() => {
            announced++
            return node.shared!.announce(...args)
          })
      }
    }
    return Effect.gen(function*() {
      yield* node.shared!.acquire("a", "reader", 60_000)
      const writer = yield* Effect.forkChild(withLock("a", Effect.void, options))
      for (let round = 0; round < 100; round++) {
        yield* node.shared!.extend("a", "reader", 60_000)
        yield* TestClock.adjust(20)
      }
      assert.isAtLeast(announced, 3)
      assert.isAtMost(announced, 6)
      yield* Fiber.interrupt(writer)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: [counting] })))
  })

  it.effect("a lock that is never shared sends the commands of a lock", () =>
    Effect.gen(function*() {
      const { nodes } = yield* TestNodes
      yield* withLock("a", Effect.void)
      const { calls } = nodes[0]!
      assert.deepStrictEqual(calls.map(({ operation }) => operation), ["acquire", "release"])
    }).pipe(Effect.provide(layerTest({ count: 3 }))))
})
