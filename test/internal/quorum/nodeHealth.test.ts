/**
 * A node that is silent is asked one thing at a time, costs nothing beyond that,
 * and is trusted again with its first reply.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import {
  ErrFailed,
  inspect,
  lock,
  NodesUnavailable,
  retryPolicy,
  type ServiceOptions,
  tryLock
} from "../../../src/index.ts"
import type { Timer } from "../../../src/internal/base/timers.ts"
import * as FaultyNode from "../../support/faultyNode.ts"
import { open } from "../../support/opened.ts"
import * as Stoppable from "../../support/stoppableNode.ts"

const nodeTimeout = 400
const once = { retry: retryPolicy({ tries: 1 }) }

const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const errorOf = <A, E>(exit: Exit.Exit<A, E> | undefined): unknown =>
  exit === undefined
    ? "it is not decided"
    : Exit.isSuccess(exit)
    ? "it succeeded"
    : Option.getOrUndefined(Exit.findErrorOption(exit))

/** Three nodes in a row and a service over them. */
const three = (options: Partial<ServiceOptions> = {}, abilities: Stoppable.Abilities = {}) =>
  Effect.gen(function*() {
    const first = yield* Stoppable.make("first", abilities)
    const nodes = [first, yield* Stoppable.make("second"), yield* Stoppable.make("third")] as const
    const { run, service } = yield* open({ nodes, nodeTimeout, ...options })
    const timers: Array<Timer> = []
    const after = service.quorum.timers.schedule.bind(service.quorum.timers)
    service.quorum.timers.schedule = (millis, act) => {
      const timer = after(millis, act)
      timers.push(timer)
      return timer
    }
    yield* Effect.addFinalizer(() => Effect.sync(() => nodes.forEach((node) => node.goOn())))
    return {
      nodes,
      run,
      service,
      health: service.quorum.health,
      /** Timers that have neither run nor been cancelled. */
      timers: () => timers.filter((timer) => timer.next !== timer).length,
      /** Lets nodes be silent for a node timeout. */
      silence: (...silent: ReadonlyArray<Stoppable.StoppableNode>) =>
        Effect.gen(function*() {
          for (const node of silent) node.state = "stopped"
          yield* begin(run(inspect("is it silent?")))
          yield* TestClock.adjust(nodeTimeout)
        })
    }
  })

const release = Effect.scoped(Effect.flatMap(lock("a"), (held) => held.release))

/** Another's lock on these nodes. */
const holdOn = (...nodes: ReadonlyArray<Stoppable.StoppableNode>) =>
  Effect.forEach(nodes, (node) => node.acquire("a", "another's", 60_000), { discard: true })

describe("a silent node", () => {
  it.effect("is asked one thing at a time, and nothing else of ours is kept", () =>
    Effect.gen(function*() {
      const { health, nodes, run, service, silence, timers } = yield* three()
      const [first, second] = nodes
      yield* silence(first)
      assert.isTrue(health.isSilent(first))
      assert.isTrue(yield* run(release))
      const before = { inFlight: first.inFlight, timers: timers() }
      for (let index = 0; index < 100; index++) assert.isTrue(yield* run(release))
      assert.strictEqual(Stoppable.sentOf(second, "acquire").length, 101)
      assert.strictEqual(first.inFlight, before.inFlight)
      // That of the probe, which is to be undone; what was not sent is not.
      assert.isAtMost(service.cleanUps.size, 1)
      assert.strictEqual(timers(), before.timers)
    }).pipe(Effect.scoped))

  it.effect("is asked again once the probe has timed out", () =>
    Effect.gen(function*() {
      const { nodes: [first], run, silence } = yield* three()
      yield* silence(first)
      for (let probes = 1; probes <= 5; probes++) {
        const before = first.inFlight
        yield* run(Effect.andThen(release, release))
        assert.strictEqual(first.inFlight, before + 1)
        yield* TestClock.adjust(nodeTimeout)
      }
    }).pipe(Effect.scoped))

  it.effect("fails what it is not sent as disconnected, and says for how long it has been silent", () =>
    Effect.gen(function*() {
      const { nodes: [first], run, silence } = yield* three()
      yield* silence(first)
      yield* begin(run(inspect("a")))
      yield* TestClock.adjust(nodeTimeout / 2)
      const { nodes } = yield* run(inspect("a"))
      const view = nodes[0]!
      assert.strictEqual(view._tag, "Failed")
      if (view._tag !== "Failed") return
      assert.strictEqual(view.error.reason, "Disconnected")
      assert.strictEqual(view.error.summary, "is not connected: it has not answered anything for 0.6 s")
    }).pipe(Effect.scoped))

  it.effect("is one from the sending of what it did not answer, not of what it answered out of time", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run } = yield* three()
      first.state = "stopped"
      yield* begin(run(inspect("early")))
      yield* TestClock.adjust(nodeTimeout - 1)
      // All is answered just in time, and then it stops again.
      first.goOn()
      yield* TestClock.adjust(1)
      assert.isFalse(health.isSilent(first))
      assert.isFalse(health.isFailing(first))
    }).pipe(Effect.scoped))

  it.effect("ends to be one with a late reply: at once, and all that waits for it is sent", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run, service } = yield* three()
      const held = yield* Effect.all([run(lock("a")), run(lock("b"))])
      first.state = "stopped"
      yield* begin(Effect.all(held.map((lock) => lock.release), { concurrency: "unbounded" }))
      yield* TestClock.adjust(nodeTimeout)
      assert.isTrue(health.isSilent(first))
      assert.strictEqual(service.cleanUps.size, 2)
      const sent = first.sent.length
      first.goOn()
      assert.isFalse(health.isSilent(first))
      assert.strictEqual(service.cleanUps.size, 0)
      assert.deepStrictEqual(first.sent.slice(sent).map(({ operation }) => operation), ["release", "release"])
      assert.deepStrictEqual(["a", "b"].map(first.valueOf), [undefined, undefined])
      yield* run(inspect("a"))
      assert.strictEqual(first.sent.at(-1)!.operation, "inspect")
    }).pipe(Effect.scoped))

  it.effect("does not end to be one because its client throws", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run, service, silence } = yield* three()
      yield* silence(first)
      const held = yield* run(lock("b"))
      const { release } = first
      const broken = () => {
        throw new Error("the client is broken")
      }
      Object.assign(first, { release: broken })
      yield* held.release
      yield* TestClock.adjust("1 minute")
      Object.assign(first, { release })
      assert.isTrue(health.isSilent(first))
      assert.strictEqual(service.cleanUps.size, 1)
      first.goOn()
      assert.strictEqual(service.cleanUps.size, 0)
      assert.isUndefined(first.valueOf("b"))
    }).pipe(Effect.scoped))

  it.effect("ends to be one with an error of the server", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run, silence } = yield* three()
      yield* silence(first)
      first.state = "refusing"
      yield* run(release)
      assert.isFalse(health.isSilent(first))
      assert.isTrue(health.isFailing(first))
      assert.isFalse(health.isUnreachable(first))
    }).pipe(Effect.scoped))

  it.effect("is a disconnected one once its connection is gone, and is asked all that there is", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run, silence } = yield* three()
      yield* silence(first)
      first.state = "cut"
      yield* run(inspect("a"))
      assert.isFalse(health.isSilent(first))
      assert.isTrue(health.isUnreachable(first))
      const before = first.sent.length
      yield* run(Effect.all([inspect("a"), inspect("a"), inspect("a")], { concurrency: "unbounded" }))
      assert.strictEqual(first.sent.length, before + 3)
    }).pipe(Effect.scoped))

  it.effect("stays one though what it was asked is interrupted when its time is over", () =>
    Effect.gen(function*() {
      const nodes = FaultyNode.makeMany(3)
      const { run, service } = yield* open({ nodes, nodeTimeout })
      nodes[0]!.behave = "silent"
      for (let probes = 1; probes <= 3; probes++) {
        yield* begin(run(inspect("a")))
        yield* TestClock.adjust(nodeTimeout)
        assert.isTrue(service.quorum.health.isSilent(nodes[0]!))
      }
      nodes[0]!.behave = "healthy"
      yield* run(inspect("a"))
      assert.isFalse(service.quorum.health.isSilent(nodes[0]!))
    }).pipe(Effect.scoped))
})

describe("a node that is slow", () => {
  it.effect("is not silent if it has answered something since", () =>
    Effect.gen(function*() {
      const nodes = FaultyNode.makeMany(3)
      const { run, service } = yield* open({ nodes, nodeTimeout })
      nodes[0]!.behave = "silent"
      yield* begin(run(inspect("a")))
      yield* TestClock.adjust(nodeTimeout / 2)
      nodes[0]!.behave = "healthy"
      yield* run(inspect("a"))
      yield* TestClock.adjust(nodeTimeout / 2)
      assert.isFalse(service.quorum.health.isSilent(nodes[0]!))
      assert.isFalse(service.quorum.health.isFailing(nodes[0]!))
    }).pipe(Effect.scoped))
})

describe("the connection of a silent node is given up", () => {
  /** How often, while something is asked every node timeout; `ends` tells whether giving up does. */
  const givenUp = (timeout: number, ends: boolean) =>
    Effect.gen(function*() {
      let count = 0
      const reconnect = Effect.suspend(() => {
        count++
        return ends ? Effect.void : Effect.never
      })
      const opened = yield* three({ nodeTimeout: timeout }, { reconnect })
      opened.nodes[0].state = "stopped"
      const probe = Effect.andThen(begin(opened.run(inspect("a"))), TestClock.adjust(timeout))
      return { ...opened, probe, count: () => count }
    })

  it.effect("after three requests in a row without a reply", () =>
    Effect.gen(function*() {
      const { count, probe } = yield* givenUp(1000, true)
      const counts: Array<number> = []
      for (let probes = 1; probes <= 9; probes++) {
        yield* probe
        counts.push(count())
      }
      assert.deepStrictEqual(counts, [0, 0, 1, 1, 1, 2, 2, 2, 3])
    }).pipe(Effect.scoped))

  it.effect("but not within a second of silence", () =>
    Effect.gen(function*() {
      const { count, probe } = yield* givenUp(100, true)
      for (let probes = 1; probes <= 9; probes++) yield* probe
      assert.strictEqual(count(), 0)
      yield* probe
      assert.strictEqual(count(), 1)
    }).pipe(Effect.scoped))

  it.effect("once at a time, however long it takes", () =>
    Effect.gen(function*() {
      const { count, probe } = yield* givenUp(1000, false)
      for (let probes = 1; probes <= 12; probes++) yield* probe
      assert.strictEqual(count(), 1)
    }).pipe(Effect.scoped))

  it.effect("not if it has replied in between, too late as it may be", () =>
    Effect.gen(function*() {
      const { count, nodes: [first], run } = yield* givenUp(1000, true)
      for (let round = 1; round <= 5; round++) {
        first.state = "stopped"
        yield* begin(run(release))
        yield* TestClock.adjust(1900)
        first.goOn()
      }
      assert.strictEqual(count(), 0)
    }).pipe(Effect.scoped))

  it.effect("nor for many requests that time out at once", () =>
    Effect.gen(function*() {
      const { count, nodes: [first], run } = yield* givenUp(1000, true)
      for (let index = 1; index <= 10; index++) yield* begin(run(inspect("a")))
      assert.strictEqual(first.inFlight, 10)
      yield* TestClock.adjust(1000)
      assert.strictEqual(count(), 0)
    }).pipe(Effect.scoped))
})

describe("a decision", () => {
  it.effect("to refuse does not wait for a node that is known not to answer", () =>
    Effect.gen(function*() {
      const { nodes: [first, second], run, silence } = yield* three({ expiry: "5 minutes" })
      yield* holdOn(second)
      yield* silence(first)
      // One of three says no, one yes, and the third is being asked, as its probe.
      const exit = yield* Effect.exit(run(Effect.scoped(lock("a", once))))
      const error = errorOf(exit)
      assert.instanceOf(error, ErrFailed)
      assert.strictEqual(Stoppable.sentOf(first, "acquire").length, 1)
    }).pipe(Effect.scoped))

  it.effect("waits for such nodes where so many are that no quorum is left: then it is NodesUnavailable", () =>
    Effect.gen(function*() {
      const { nodes: [first, second, third], run, silence } = yield* three()
      yield* holdOn(third)
      yield* silence(first, second)
      const fiber = yield* begin(run(Effect.scoped(lock("a", once))))
      assert.strictEqual(errorOf(fiber.pollUnsafe()), "it is not decided")
      yield* TestClock.adjust(nodeTimeout)
      assert.instanceOf(errorOf(fiber.pollUnsafe()), NodesUnavailable)
    }).pipe(Effect.scoped))

  it.effect("and so where one fails otherwise", () =>
    Effect.gen(function*() {
      const { nodes: [first, second, third], run, silence } = yield* three()
      yield* holdOn(third)
      yield* silence(first)
      second.state = "refusing"
      const fiber = yield* begin(run(Effect.scoped(lock("a", once))))
      assert.strictEqual(errorOf(fiber.pollUnsafe()), "it is not decided")
      yield* TestClock.adjust(nodeTimeout)
      assert.instanceOf(errorOf(fiber.pollUnsafe()), NodesUnavailable)
    }).pipe(Effect.scoped))

  it.effect("to grant never waits for it", () =>
    Effect.gen(function*() {
      const { nodes: [first], run, silence } = yield* three()
      yield* silence(first)
      for (let index = 0; index < 10; index++) assert.isTrue(yield* run(release))
    }).pipe(Effect.scoped))

  it.effect("of tryLock is held by another only where enough say so, and else waits for whoever may", () =>
    Effect.gen(function*() {
      const { nodes: [first, second, third], run, silence } = yield* three()
      yield* silence(first)
      yield* holdOn(second, third)
      // Two of three say no.
      assert.isTrue(Option.isNone(yield* run(Effect.scoped(tryLock("a")))))
      yield* TestClock.adjust(nodeTimeout)
      // One says no and one fails: whether it is held or too few answer the probe has to tell.
      third.state = "refusing"
      const fiber = yield* begin(run(Effect.scoped(tryLock("a"))))
      assert.strictEqual(errorOf(fiber.pollUnsafe()), "it is not decided")
      yield* TestClock.adjust(nodeTimeout)
      assert.instanceOf(errorOf(fiber.pollUnsafe()), NodesUnavailable)
    }).pipe(Effect.scoped))

  it.effect("of tryLock waits no longer where the silent node is not asked at all", () =>
    Effect.gen(function*() {
      const { nodes: [first, , third], run, silence } = yield* three()
      yield* silence(first)
      yield* begin(run(inspect("is its probe")))
      third.state = "refusing"
      assert.instanceOf(errorOf(yield* Effect.exit(run(Effect.scoped(tryLock("a"))))), NodesUnavailable)
    }).pipe(Effect.scoped))
})

describe("the look that explains a refusal", () => {
  it.effect("asks no node that has just been silent, and is there at once", () =>
    Effect.gen(function*() {
      const { nodes: [first, second, third], run } = yield* three({ expiry: "5 minutes" })
      yield* holdOn(second, third)
      first.state = "stopped"
      const waiting = run(Effect.scoped(lock("a", { retry: retryPolicy({ delay: 500, tries: 3 }) })))
      const fiber = yield* begin(Effect.exit(waiting))
      yield* TestClock.adjust(2000)
      const error = errorOf(yield* Fiber.join(fiber))
      assert.instanceOf(error, ErrFailed)
      assert.deepStrictEqual([first, second, third].map((node) => Stoppable.sentOf(node, "inspect").length), [0, 1, 1])
      assert.deepStrictEqual(error.votes.map(({ _tag }) => _tag).slice(1), ["Refused", "Refused"])
      assert.isTrue(error.votes.slice(1).every((vote) => vote._tag === "Refused" && vote.ttlMillis !== undefined))
    }).pipe(Effect.scoped))

  it.effect("takes a quarter of a second at most, however long a node may take", () =>
    Effect.gen(function*() {
      const { nodes: [first, second, third], run } = yield* three({ expiry: "5 minutes", nodeTimeout: "1 minute" })
      yield* holdOn(second, third)
      // It stops after it was asked for the lock, when nobody knows yet that it does.
      const waiting = run(Effect.scoped(lock("a", once)))
      first.state = "stopped"
      const fiber = yield* begin(Effect.exit(waiting))
      assert.strictEqual(Stoppable.sentOf(first, "inspect").length, 1)
      yield* TestClock.adjust(250)
      assert.instanceOf(errorOf(yield* Fiber.join(fiber)), ErrFailed)
    }).pipe(Effect.scoped))

  it.effect("states nothing that was not observed: free where a look found no key, no answer where none came a moment ago", () =>
    Effect.gen(function*() {
      const { nodes: [first, second, third], run, silence } = yield* three()
      yield* holdOn(second)
      yield* silence(first)
      const error = errorOf(yield* Effect.exit(run(Effect.scoped(lock("a", once)))))
      assert.instanceOf(error, ErrFailed)
      assert.deepStrictEqual(error.votes.map(({ _tag }) => _tag), ["Failed", "Refused", "Free"])
      assert.include(error.message, "first did not answer in time")
      yield* TestClock.adjust(nodeTimeout)
      first.goOn()
      // Behind a holder in the same service nobody is asked, so nobody has answered, until a look finds it gone.
      const held = yield* run(Effect.scoped(Effect.flatMap(lock("b"), () => Effect.exit(lock("b", once)))))
      const nested = errorOf(held)
      assert.instanceOf(nested, ErrFailed)
      assert.deepStrictEqual(nested.votes.map(({ _tag }) => _tag), ["Refused", "Refused", "Refused"])
      assert.isUndefined(third.valueOf("b"))
    }).pipe(Effect.scoped))

  it.effect("leaves those without an answer that nobody asked", () =>
    Effect.gen(function*() {
      const nodes = yield* Stoppable.makeMany(3)
      const { close, run } = yield* open({ nodes, nodeTimeout })
      yield* run(lock("a"))
      const fiber = yield* begin(Effect.exit(run(Effect.scoped(lock("a")))))
      yield* close
      const error = errorOf(yield* Fiber.join(fiber))
      assert.instanceOf(error, ErrFailed)
      assert.deepStrictEqual(error.votes.map(({ _tag }) => _tag), ["Pending", "Pending", "Pending"])
      assert.match(error.message, /: no node has answered$/)
    }).pipe(Effect.scoped))
})
