/**
 * The life of a hold, state by state: what each event does in each of them, and
 * that no other does anything.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  adopt,
  fencedLock,
  forceUnlock,
  inspect,
  Lock,
  lock,
  LockLost,
  type LockNode,
  type LockOptions,
  MemoryNode,
  NodesUnavailable,
  Redsync,
  unlock
} from "../../../src/index.ts"
import type { HeldLock } from "../../../src/internal/hold/heldLock.ts"
import { open } from "../../support/opened.ts"
import * as TestNodes from "../../support/testNodes.ts"

const expiry = 8000
const lease = expiry - (expiry * 0.01 + 2)
const nodeTimeout = 400
/** Less than a millisecond later. */
const third = Math.ceil(expiry / 3)

const errorOf = <A, E>(exit: Exit.Exit<A, E> | undefined): unknown =>
  exit !== undefined && Exit.isFailure(exit) ? Option.getOrUndefined(Exit.findErrorOption(exit)) : exit

const reasonOf = (exit: Exit.Exit<unknown, unknown> | undefined) => {
  const error = errorOf(exit)
  assert.instanceOf(error, LockLost)
  return error.reason
}

const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** A lock over three nodes, taken at once. */
const holding = (options: LockOptions = {}) =>
  Effect.gen(function*() {
    const nodes = yield* TestNodes.makeMany(3)
    const { close, run, service } = yield* open({ nodes, expiry, nodeTimeout })
    yield* Effect.addFinalizer(() => Effect.sync(() => nodes.forEach((node) => node.state = "up")))
    const held = yield* run(lock("a", options))
    const lost = yield* begin(held.lost)
    return {
      nodes,
      close,
      run,
      service,
      held,
      /** The loss, if there is one that those who wait for it have heard of. */
      heard: () => lost.pollUnsafe() === undefined ? undefined : reasonOf(lost.pollUnsafe()),
      remaining: Effect.map(held.remaining, Duration.toMillis),
      count: (operation: string) => nodes.map((node) => TestNodes.callsOf(node, operation).length),
      values: () => nodes.map((node) => node.valueOf("a")),
      isHeldHere: () => service.waitQueues.isHeldHere("a"),
      all: (state: TestNodes.State) => {
        for (const node of nodes) node.state = state
      },
      goOn: () => nodes.forEach((node) => node.state = "up")
    }
  })

type Holding = Effect.Success<ReturnType<typeof holding>>

const gone = [undefined, undefined, undefined]

const test = (
  name: string,
  body: (holding: Holding) => Effect.Effect<void, unknown, Scope.Scope>,
  options?: LockOptions
) => it.effect(name, () => Effect.scoped(Effect.flatMap(holding(options), body)))

describe("resting", () => {
  test(
    "a renewal that is due is sent to all nodes",
    Effect.fnUntraced(function*({ count }) {
      yield* TestClock.adjust(third - 1)
      assert.deepStrictEqual(count("extend"), [0, 0, 0])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(count("extend"), [1, 1, 1])
    })
  )

  test(
    "extend is a renewal like any other, and puts the next one off",
    Effect.fnUntraced(function*({ count, held, remaining }) {
      yield* TestClock.adjust(third - 1)
      yield* held.extend
      assert.strictEqual(yield* remaining, lease)
      yield* TestClock.adjust(third - 1)
      assert.deepStrictEqual(count("extend"), [1, 1, 1])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(count("extend"), [2, 2, 2])
    })
  )

  it.effect("a node that has lost the lock with its counter gets both again with the next renewal", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const { run } = yield* open({ nodes, expiry, nodeTimeout })
      const held = yield* run(fencedLock("a"))
      yield* nodes[0]!.wipe
      yield* TestClock.adjust(third + 1)
      assert.strictEqual(nodes[0]!.valueOf("a"), held.value)
      yield* nodes[0]!.memory.remove("a")
      const next = yield* nodes[0]!.memory.fencing!.acquire("a", "next", 1000, 0)
      assert.isAbove(Option.getOrThrow(next), held.token)
    }).pipe(Effect.scoped))

  test(
    "the end of a scope does not wait for nodes that are known not to answer, for each of its locks in turn",
    Effect.fnUntraced(function*({ all, run }) {
      const scope = yield* Scope.make()
      for (const name of ["b", "c", "d"]) yield* run(Scope.provide(lock(name), scope))
      all("silent")
      const looking = yield* begin(run(inspect("a")))
      yield* TestClock.adjust(nodeTimeout)
      yield* Fiber.join(looking)
      const closing = yield* begin(Scope.close(scope, Exit.void))
      yield* TestClock.adjust(0)
      assert.isDefined(closing.pollUnsafe())
    })
  )

  test(
    "who no longer waits for a loss is forgotten",
    Effect.fnUntraced(function*({ held, run }) {
      const inside = held as HeldLock
      const waiting = new Set<unknown>()
      const onLost = inside.onLost.bind(inside)
      inside.onLost = (listener) => {
        const forget = onLost(listener)
        waiting.add(listener)
        return () => {
          waiting.delete(listener)
          forget()
        }
      }
      const waits = yield* Effect.forEach(
        [held.lost, Lock.guard(held, Effect.never)],
        (wait) => begin(run(wait))
      )
      assert.strictEqual(waiting.size, 2)
      yield* Fiber.interruptAll(waits)
      assert.strictEqual(waiting.size, 0)
    })
  )

  test(
    "the end of the lease is no fault of nodes that failed to extend it before they did extend it",
    Effect.fnUntraced(function*({ all, goOn, heard, held }) {
      all("down")
      assert.strictEqual((yield* Effect.flip(held.extend))._tag, "NodesUnavailable")
      goOn()
      yield* held.extend
      yield* TestClock.adjust(lease)
      assert.strictEqual(heard(), "Expired")
    }),
    { autoExtend: false }
  )

  test(
    "the end of the lease is a loss, and what a renewal may have planted is cleaned up",
    Effect.fnUntraced(function*({ count, heard, isHeldHere, remaining, values }) {
      yield* TestClock.adjust(lease - 1)
      assert.isUndefined(heard())
      yield* TestClock.adjust(1)
      assert.strictEqual(heard(), "Expired")
      assert.isFalse(isHeldHere())
      assert.strictEqual(yield* remaining, 0)
      assert.deepStrictEqual(count("release"), [1, 1, 1])
      assert.deepStrictEqual(values(), gone)
    }),
    { autoExtend: false }
  )
})

describe("renewing", () => {
  test(
    "granted, it rests: the lease counts from the sending",
    Effect.fnUntraced(function*({ all, count, goOn, remaining }) {
      all("silent")
      yield* TestClock.adjust(third + 200)
      goOn()
      // The date was a fraction of a millisecond before.
      assert.closeTo(yield* remaining, lease - 200, 1)
      yield* TestClock.adjust(third)
      assert.deepStrictEqual(count("extend"), [2, 2, 2])
    })
  )

  test(
    "missed, it backs off: after 50 ms, twice as long each time, up to the node timeout",
    Effect.fnUntraced(function*({ all, heard, nodes }) {
      all("down")
      yield* TestClock.adjust(third + 2000)
      const sentAt = TestNodes.callsOf(nodes[0]!, "extend").map(({ at }) => at)
      const pauses = sentAt.slice(1).map((at, index) => at - sentAt[index]!)
      assert.deepStrictEqual(pauses.slice(0, 6), [50, 100, 200, 400, 400, 400])
      assert.isUndefined(heard())
    })
  )

  test(
    "denied, it is lost: cleaned up on all nodes before anybody hears of it",
    Effect.fnUntraced(function*({ count, heard, held, isHeldHere, nodes, service }) {
      for (const node of nodes.slice(1)) yield* Effect.orDie(node.remove("a"))
      const heardOf: Array<unknown> = []
      for (const lock of service.waitQueues.holders("a")) {
        ;(lock as HeldLock).onLost(() => heardOf.push(count("release")))
      }
      assert.strictEqual(reasonOf(yield* Effect.exit(held.extend)), "Taken")
      assert.strictEqual(heard(), "Taken")
      assert.deepStrictEqual(heardOf, [[1, 1, 1]])
      assert.isFalse(isHeldHere())
      assert.deepStrictEqual(nodes.map((node) => node.valueOf("a")), gone)
    })
  )

  it.effect("another extension may be under way at once, and the later end counts whichever is answered first", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const { run } = yield* open({ nodes, expiry, nodeTimeout })
      const held = yield* run(lock("a"))
      for (const node of nodes) node.state = { slow: 300 }
      const first = yield* begin(held.extend)
      yield* TestClock.adjust(100)
      for (const node of nodes) node.state = "up"
      yield* held.extend
      assert.isUndefined(first.pollUnsafe())
      yield* TestClock.adjust(200)
      yield* Fiber.join(first)
      assert.strictEqual(Duration.toMillis(yield* held.remaining), lease - 200)
    }).pipe(Effect.scoped))

  test(
    "the end of the lease is a loss, for want of nodes where they were too few",
    Effect.fnUntraced(function*({ all, goOn, heard, values }) {
      all("silent")
      yield* TestClock.adjust(lease)
      assert.strictEqual(heard(), "NodesUnavailable")
      goOn()
      // The renewals are executed now, each on its node behind the SET, and the clean-ups behind them.
      assert.deepStrictEqual(values(), gone)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(values(), gone)
    })
  )
})

describe("backing off", () => {
  test(
    "due, it renews; granted, it rests again and starts with short pauses",
    Effect.fnUntraced(function*({ all, count, heard, remaining }) {
      all("down")
      yield* TestClock.adjust(third + 160)
      assert.deepStrictEqual(count("extend"), [3, 3, 3])
      all("up")
      yield* TestClock.adjust(190)
      assert.deepStrictEqual(count("extend"), [4, 4, 4])
      assert.isAbove(yield* remaining, lease - 10)
      yield* TestClock.adjust(third - 10)
      assert.deepStrictEqual(count("extend"), [4, 4, 4])
      all("down")
      yield* TestClock.adjust(10 + 50)
      assert.deepStrictEqual(count("extend"), [6, 6, 6])
      assert.isUndefined(heard())
    })
  )

  test(
    "the end of the lease is a loss",
    Effect.fnUntraced(function*({ all, heard }) {
      all("down")
      yield* TestClock.adjust(lease - 1)
      assert.isUndefined(heard())
      yield* TestClock.adjust(1)
      assert.strictEqual(heard(), "NodesUnavailable")
    })
  )
})

describe("released", () => {
  const released = (name: string, prepare: (holding: Holding) => Effect.Effect<void, unknown, Scope.Scope>) =>
    test(
      `from ${name}: the release is sent, waiters and listeners are told nothing, and nothing is extended any more`,
      Effect.fnUntraced(function*(holding) {
        yield* prepare(holding)
        holding.goOn()
        assert.isTrue(yield* holding.held.release)
        const extended = holding.count("extend")
        assert.isFalse(holding.isHeldHere())
        assert.deepStrictEqual(holding.values(), gone)
        assert.strictEqual(yield* holding.remaining, 0)
        assert.strictEqual(reasonOf(yield* Effect.exit(holding.held.extend)), "Released")
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(holding.count("extend"), extended)
        assert.isUndefined(holding.heard())
      })
    )

  released("resting", () => Effect.void)
  released("renewing", ({ all }) => {
    all("silent")
    return TestClock.adjust(third)
  })
  released("backing off", ({ all }) => {
    all("down")
    return TestClock.adjust(third)
  })

  test(
    "once: a second release gives the same answer and asks nobody",
    Effect.fnUntraced(function*({ count, held }) {
      assert.isTrue(yield* held.release)
      assert.isTrue(yield* held.release)
      assert.deepStrictEqual(count("release"), [1, 1, 1])
    })
  )

  test(
    "what failed is cleaned up",
    Effect.fnUntraced(function*({ held, nodes, service, values }) {
      nodes[2]!.state = "down"
      assert.isTrue(yield* held.release)
      assert.strictEqual(service.cleanUps.size, 1)
      nodes[2]!.state = "up"
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(values(), gone)
      assert.strictEqual(service.cleanUps.size, 0)
    })
  )

  test(
    "a renewal that is answered later changes nothing but what it has planted, which goes",
    Effect.fnUntraced(function*({ all, goOn, heard, held, nodes, remaining, values }) {
      yield* Effect.orDie(nodes[0]!.remove("a"))
      all("silent")
      yield* TestClock.adjust(third)
      const releasing = yield* begin(held.release)
      goOn()
      yield* Fiber.join(releasing)
      assert.deepStrictEqual(values(), gone)
      assert.strictEqual(yield* remaining, 0)
      assert.isUndefined(heard())
    })
  )
})

describe("a renewal that is executed after the release, though it was sent before", () => {
  it.effect("is undone where it has planted the key", () =>
    Effect.gen(function*() {
      const nodes = MemoryNode.makeMany(3).map((memory): LockNode => ({
        ...memory,
        extend: (...args) => Effect.andThen(Effect.sleep(100), memory.extend(...args))
      }))
      const { run, service } = yield* open({ nodes, expiry, nodeTimeout })
      const held = yield* run(lock("a"))
      const extending = yield* begin(Effect.exit(held.extend))
      assert.isTrue(yield* held.release)
      yield* TestClock.adjust(100)
      assert.strictEqual(reasonOf(yield* Fiber.join(extending)), "Released")
      assert.isTrue(Option.isSome(yield* run(Effect.scoped(Redsync.tryLock("a")))))
      assert.strictEqual(service.cleanUps.size, 0)
    }).pipe(Effect.scoped))
})

describe("lost", () => {
  const lost = (name: string, body: (holding: Holding) => Effect.Effect<void, unknown, Scope.Scope>) =>
    test(
      name,
      Effect.fnUntraced(function*(holding) {
        yield* TestClock.adjust(lease)
        assert.strictEqual(holding.heard(), "Expired")
        yield* body(holding)
      }),
      { autoExtend: false }
    )

  lost(
    "extend, remaining, detach and a second loss say so and send nothing",
    Effect.fnUntraced(function*({ held, nodes, remaining, run }) {
      const sent = nodes[0]!.calls.length
      assert.strictEqual(reasonOf(yield* Effect.exit(held.extend)), "Expired")
      assert.strictEqual(reasonOf(yield* Effect.exit(held.detach)), "Expired")
      assert.strictEqual(reasonOf(yield* Effect.exit(held.lost)), "Expired")
      yield* held.abandon
      assert.strictEqual(yield* remaining, 0)
      assert.strictEqual(nodes[0]!.calls.length, sent)
      yield* run(forceUnlock("a"))
      assert.strictEqual(reasonOf(yield* Effect.exit(held.lost)), "Expired")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(nodes[0]!.calls.length, sent + 1)
    })
  )

  lost(
    "a release asks once more and tells that there was nothing left",
    Effect.fnUntraced(function*({ count, held, values }) {
      assert.deepStrictEqual(count("release"), [1, 1, 1])
      assert.isFalse(yield* held.release)
      assert.isFalse(yield* held.release)
      assert.deepStrictEqual(count("release"), [2, 2, 2])
      assert.deepStrictEqual(values(), gone)
      assert.strictEqual(reasonOf(yield* Effect.exit(held.extend)), "Expired")
    })
  )

  test(
    "renewals that are executed after the loss leave nothing",
    Effect.fnUntraced(function*({ all, goOn, heard, run, values }) {
      all("silent")
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(heard(), "NodesUnavailable")
      goOn()
      assert.deepStrictEqual(values(), gone)
      yield* Effect.orDie(run(Effect.scoped(lock("a"))))
    })
  )
})

describe("detach", () => {
  test(
    "gives the lock up with its value: nothing is sent for it any more, and nobody hears of a loss",
    Effect.fnUntraced(function*({ close, heard, held, isHeldHere, nodes, remaining, values }) {
      const sent = nodes[0]!.calls.length
      assert.strictEqual(yield* held.detach, held.value)
      assert.strictEqual(yield* remaining, 0)
      assert.isFalse(isHeldHere())
      assert.isFalse(yield* held.release)
      assert.strictEqual(reasonOf(yield* Effect.exit(held.extend)), "Released")
      assert.strictEqual(yield* held.detach, held.value)
      yield* held.abandon
      yield* close
      assert.isUndefined(heard())
      assert.strictEqual(nodes[0]!.calls.length, sent)
      assert.deepStrictEqual(values(), [held.value, held.value, held.value])
    })
  )

  test(
    "waits for a renewal that is under way, begins no other, and is not extended meanwhile",
    Effect.fnUntraced(function*({ count, held, nodes, remaining }) {
      nodes[2]!.state = "silent"
      yield* TestClock.adjust(third)
      const detaching = yield* begin(held.detach)
      assert.isUndefined(detaching.pollUnsafe())
      assert.isAbove(yield* remaining, 0)
      assert.strictEqual(reasonOf(yield* Effect.exit(held.extend)), "Released")
      nodes[2]!.state = "up"
      assert.strictEqual(yield* Fiber.join(detaching), held.value)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(count("extend"), [1, 1, 1])
      assert.deepStrictEqual(count("release"), [0, 0, 0])
    })
  )

  test(
    "waits no longer than the node timeout",
    Effect.fnUntraced(function*({ held, nodes }) {
      nodes[2]!.state = "silent"
      yield* TestClock.adjust(third)
      const detaching = yield* begin(held.detach)
      yield* TestClock.adjust(nodeTimeout)
      assert.strictEqual(yield* Fiber.join(detaching), held.value)
    })
  )

  test(
    "interrupted before that, it has not happened: the lock is held and extended",
    Effect.fnUntraced(function*({ count, heard, held, nodes, remaining }) {
      nodes[2]!.state = "silent"
      yield* TestClock.adjust(third)
      const detaching = yield* begin(held.detach)
      yield* Fiber.interrupt(detaching)
      nodes[2]!.state = "up"
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(heard())
      assert.isAbove(yield* remaining, 0)
      assert.isAbove(count("extend")[0]!, 20)
    })
  )

  test(
    "interrupted while a renewal was due meanwhile: it is sent at once",
    Effect.fnUntraced(function*({ goOn, heard, held, nodes, remaining }) {
      nodes[0]!.state = nodes[1]!.state = "down"
      nodes[2]!.state = "silent"
      yield* TestClock.adjust(third)
      const detaching = yield* begin(held.detach)
      yield* TestClock.adjust(100)
      yield* Fiber.interrupt(detaching)
      goOn()
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(heard())
      assert.isAbove(yield* remaining, 0)
    })
  )

  test(
    "fails if the lock is lost or released before",
    Effect.fnUntraced(function*({ all, held }) {
      all("silent")
      yield* TestClock.adjust(third)
      const detaching = yield* begin(Effect.exit(held.detach))
      yield* begin(held.release)
      yield* TestClock.adjust(nodeTimeout)
      assert.strictEqual(reasonOf(yield* Fiber.join(detaching)), "Released")
      assert.strictEqual(reasonOf(yield* Effect.exit(held.detach)), "Released")
    })
  )
})

describe("abandon", () => {
  test(
    "keeps the lock until its lease ends: remaining runs down, nothing is sent, nobody hears of a loss",
    Effect.fnUntraced(function*({ close, heard, held, isHeldHere, nodes, remaining, values }) {
      const sent = nodes[0]!.calls.length
      yield* held.abandon
      assert.isFalse(isHeldHere())
      assert.strictEqual(yield* remaining, lease)
      assert.isFalse(yield* held.release)
      assert.strictEqual(reasonOf(yield* Effect.exit(held.extend)), "Released")
      assert.strictEqual(reasonOf(yield* Effect.exit(held.detach)), "Released")
      yield* close
      yield* TestClock.adjust(lease - 1)
      assert.strictEqual(yield* remaining, 1)
      assert.deepStrictEqual(values(), [held.value, held.value, held.value])
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* remaining, 0)
      assert.isUndefined(heard())
      assert.strictEqual(nodes[0]!.calls.length, sent)
      yield* TestClock.adjust(expiry - lease)
      assert.deepStrictEqual(values(), gone)
    })
  )

  test(
    "waits for a renewal that is under way",
    Effect.fnUntraced(function*({ count, held, nodes }) {
      nodes[2]!.state = "silent"
      yield* TestClock.adjust(third)
      const abandoning = yield* begin(held.abandon)
      assert.isUndefined(abandoning.pollUnsafe())
      nodes[2]!.state = "up"
      yield* Fiber.join(abandoning)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(count("extend"), [1, 1, 1])
    })
  )
})

describe("the service closes", () => {
  test(
    "what is held is released, and its holder hears that it was",
    Effect.fnUntraced(function*({ close, heard, values }) {
      yield* close
      assert.strictEqual(heard(), "Released")
      assert.deepStrictEqual(values(), gone)
    })
  )
})

describe("whoever deletes the key in the service that holds the lock", () => {
  const deletions: Record<string, (lock: Lock) => Effect.Effect<unknown, unknown, Redsync | Scope.Scope>> = {
    forceUnlock: () => forceUnlock("a"),
    unlock: ({ value }) => unlock("a", value),
    "adopt, and the end of its scope": ({ value }) => Effect.scoped(adopt("a", value))
  }

  for (const [name, deletion] of Object.entries(deletions)) {
    test(
      `${name}: ends the hold at once, and the next lock is granted`,
      Effect.fnUntraced(function*({ heard, held, isHeldHere, run, values }) {
        yield* run(deletion(held))
        assert.include(["Taken", "Released"], heard())
        assert.isFalse(isHeldHere())
        assert.deepStrictEqual(values(), gone)
        const next = Option.getOrThrow(yield* run(Redsync.tryLock("a")))
        assert.isFalse(yield* held.release)
        assert.deepStrictEqual(values(), [next.value, next.value, next.value])
      })
    )
  }

  test(
    "unlock with another's value ends nothing",
    Effect.fnUntraced(function*({ heard, isHeldHere, run }) {
      assert.isFalse(yield* run(unlock("a", "another's")))
      assert.isUndefined(heard())
      assert.isTrue(isHeldHere())
    })
  )

  test(
    "also where too few nodes can be reached to tell",
    Effect.fnUntraced(function*({ all, goOn, heard, held, run, values }) {
      all("down")
      assert.instanceOf(errorOf(yield* Effect.exit(run(unlock("a", held.value)))), NodesUnavailable)
      assert.strictEqual(heard(), "Released")
      goOn()
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(values(), gone)
    })
  )
})
