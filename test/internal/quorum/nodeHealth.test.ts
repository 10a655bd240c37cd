/**
 * A node that is silent is asked one thing at a time, costs nothing beyond that,
 * and is trusted again with its first reply.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import {
  ErrFailed,
  forceUnlock,
  inspect,
  lock,
  LockError,
  type LockNode,
  MemoryNode,
  type NodeError,
  NodesUnavailable,
  retryPolicy,
  type ServiceOptions,
  tryLock
} from "../../../src/index.ts"
import type { Timer } from "../../../src/internal/base/timers.ts"
import { NodeHealth } from "../../../src/internal/quorum/nodeHealth.ts"
import { Metrics } from "../../../src/internal/telemetry/metrics.ts"
import { open } from "../../support/opened.ts"
import * as ShiftedClock from "../../support/shiftedClock.ts"
import * as TestNodes from "../../support/testNodes.ts"

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
const three = (options: Partial<ServiceOptions> = {}, abilities: Partial<LockNode> = {}) =>
  Effect.gen(function*() {
    const first = yield* TestNodes.make("first", { abilities })
    const nodes = [first, yield* TestNodes.make("second"), yield* TestNodes.make("third")] as const
    const { run, service } = yield* open({ nodes, nodeTimeout, ...options })
    const timers: Array<Timer> = []
    const after = service.quorum.timers.schedule.bind(service.quorum.timers)
    service.quorum.timers.schedule = (millis, act) => {
      const timer = after(millis, act)
      timers.push(timer)
      return timer
    }
    yield* Effect.addFinalizer(() => Effect.sync(() => nodes.forEach((node) => node.state = "up")))
    return {
      nodes,
      run,
      service,
      health: service.quorum.health,
      /** Timers that have neither run nor been cancelled. */
      timers: () => timers.filter((timer) => timer.next !== timer).length,
      /** Lets nodes be silent for a node timeout. */
      silence: (...silent: ReadonlyArray<TestNodes.TestNode>) =>
        Effect.gen(function*() {
          for (const node of silent) node.state = "silent"
          yield* begin(run(inspect("is it silent?")))
          yield* TestClock.adjust(nodeTimeout)
        })
    }
  })

/** The same node, whose operations are ordinary effects. */
const inFibers = (node: LockNode): LockNode => ({
  id: node.id,
  acquire: (...args) => Effect.suspend(() => node.acquire(...args)),
  extend: (...args) => Effect.suspend(() => node.extend(...args)),
  release: (...args) => Effect.suspend(() => node.release(...args)),
  inspect: (...args) => Effect.suspend(() => node.inspect(...args)),
  remove: (...args) => Effect.suspend(() => node.remove(...args))
})

const release = Effect.scoped(Effect.flatMap(lock("a"), (held) => held.release))

/** Another's lock on these nodes. */
const holdOn = (...nodes: ReadonlyArray<TestNodes.TestNode>) =>
  Effect.forEach(nodes, (node) => node.acquire("a", "another's", 60_000), { discard: true })

describe("a silent node", () => {
  it.effect("is asked one thing at a time, and nothing else of ours is kept", () =>
    Effect.gen(function*() {
      const { health, nodes, run, service, silence, timers } = yield* three()
      const [first, second] = nodes
      yield* silence(first)
      assert.isTrue(health.isSilent(first))
      assert.isTrue(yield* run(release))
      const before = { pending: first.pending, timers: timers() }
      for (let index = 0; index < 100; index++) assert.isTrue(yield* run(release))
      assert.strictEqual(TestNodes.callsOf(second, "acquire").length, 101)
      assert.strictEqual(first.pending, before.pending)
      // That of the probe, which is to be undone; what was not sent is not.
      assert.isAtMost(service.cleanUps.size, 1)
      assert.strictEqual(timers(), before.timers)
    }).pipe(Effect.scoped))

  it.effect("is asked again once the probe has timed out", () =>
    Effect.gen(function*() {
      const { nodes: [first], run, silence } = yield* three()
      yield* silence(first)
      for (let probes = 1; probes <= 5; probes++) {
        const before = first.pending
        yield* run(Effect.andThen(release, release))
        assert.strictEqual(first.pending, before + 1)
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
      yield* TestClock.adjust(101)
      const [later] = (yield* run(inspect("a"))).nodes
      assert.include(later!._tag === "Failed" ? later!.error.summary : "", "for 0.7 s")
    }).pipe(Effect.scoped))

  it.effect("is one from the sending of what it did not answer, not of what it answered out of time", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run } = yield* three()
      first.state = "silent"
      yield* begin(run(inspect("early")))
      yield* TestClock.adjust(nodeTimeout - 1)
      // All is answered just in time, and then it stops again.
      first.state = "up"
      yield* TestClock.adjust(1)
      assert.isFalse(health.isSilent(first))
      assert.isFalse(health.isFailing(first))
    }).pipe(Effect.scoped))

  it.effect("ends to be one with a late reply: at once, and all that waits for it is sent", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run, service } = yield* three()
      const held = yield* Effect.all([run(lock("a")), run(lock("b"))])
      first.state = "silent"
      yield* begin(Effect.all(held.map((lock) => lock.release), { concurrency: "unbounded" }))
      yield* TestClock.adjust(nodeTimeout)
      assert.isTrue(health.isSilent(first))
      assert.strictEqual(service.cleanUps.size, 2)
      const sent = first.calls.length
      first.state = "up"
      assert.isFalse(health.isSilent(first))
      assert.strictEqual(service.cleanUps.size, 0)
      assert.deepStrictEqual(first.calls.slice(sent).map(({ operation }) => operation), ["release", "release"])
      assert.deepStrictEqual(["a", "b"].map(first.valueOf), [undefined, undefined])
      yield* run(inspect("a"))
      assert.strictEqual(first.calls.at(-1)!.operation, "inspect")
    }).pipe(Effect.scoped))

  it.effect("is not one again for what it was sent before its late reply", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run } = yield* three()
      yield* Effect.addFinalizer(() => Effect.sync(() => first.recover()))
      first.state = { slow: nodeTimeout + 100 }
      const silent: Array<boolean> = []
      for (const millis of [nodeTimeout, 100, nodeTimeout - 100]) {
        if (silent.length < 2) yield* begin(run(release))
        yield* TestClock.adjust(millis)
        silent.push(health.isSilent(first))
      }
      assert.deepStrictEqual(silent, [true, false, false])
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
      first.state = "up"
      assert.strictEqual(service.cleanUps.size, 0)
      assert.isUndefined(first.valueOf("b"))
    }).pipe(Effect.scoped))

  it.effect("ends to be one with an error of the server", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run, silence } = yield* three()
      yield* silence(first)
      first.state = { rejects: "OOM command not allowed" }
      yield* run(release)
      assert.isFalse(health.isSilent(first))
      assert.isTrue(health.isFailing(first))
      assert.isFalse(health.isUnreachable(first))
    }).pipe(Effect.scoped))

  it.effect("is not what rejects a look at a lock, or its removal: it may grant locks all the same", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run } = yield* three()
      for (const look of [Effect.asVoid(inspect("a")), Effect.asVoid(forceUnlock("a"))]) {
        first.state = { rejects: "NOPERM this user has no permissions" }
        yield* run(Effect.orDie(look))
        assert.isFalse(health.isFailing(first))
        first.state = "up"
        yield* run(release)
      }
    }).pipe(Effect.scoped))

  describe("whose operations need a fiber", () => {
    it.effect("ends to be one with a late error of the server, though the fiber has been interrupted", () =>
      Effect.gen(function*() {
        const node = yield* TestNodes.make("node-1")
        const late = yield* Deferred.make<never, NodeError>()
        const { run, service } = yield* open({
          nodes: [{ ...node, inspect: () => Effect.uninterruptible(Deferred.await(late)) }],
          nodeTimeout
        })
        const { health, nodes: [asked] } = service.quorum
        yield* begin(run(inspect("a")))
        yield* TestClock.adjust(nodeTimeout)
        assert.isTrue(health.isSilent(asked!))
        yield* Deferred.fail(
          late,
          new LockError.NodeError({ node: "node-1", operation: "inspect", reason: "Rejected" })
        )
        yield* Effect.yieldNow
        assert.isFalse(health.isSilent(asked!))
      }).pipe(Effect.scoped))

    it.effect("ends to be one with the reply to a clean-up, and all others are sent, without any other request", () =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes.makeMany(3)
        const [first] = nodes as [TestNodes.TestNode]
        const { run, service } = yield* open({ nodes: nodes.map(inFibers), nodeTimeout, expiry: "1 hour" })
        const { health, nodes: [asked] } = service.quorum
        yield* Effect.addFinalizer(() => Effect.sync(() => first.recover()))
        const held = yield* Effect.forEach(["a", "b", "c"], (name) => run(lock(name)))
        // What it is sent is lost, so that no late reply tells of it.
        first.state = "deaf"
        yield* begin(run(inspect("is it silent?")))
        yield* TestClock.adjust(nodeTimeout)
        yield* begin(Effect.forEach(held, (lock) => lock.release, { concurrency: "unbounded" }))
        yield* TestClock.adjust("10 seconds")
        assert.isTrue(health.isSilent(asked!))
        assert.deepStrictEqual(["a", "b", "c"].filter((name) => first.valueOf(name) === undefined), [])
        first.state = "up"
        // A probe that is under way, and the longest pause after it.
        yield* TestClock.adjust(nodeTimeout + 1000)
        assert.isFalse(health.isSilent(asked!))
        assert.strictEqual(service.cleanUps.size, 0)
        assert.deepStrictEqual(["a", "b", "c"].map(first.valueOf), [undefined, undefined, undefined])
      }).pipe(Effect.scoped))
  })

  it.effect("is a disconnected one once its connection is gone, and is asked all that there is", () =>
    Effect.gen(function*() {
      const { health, nodes: [first], run, silence } = yield* three()
      yield* silence(first)
      first.state = "down"
      yield* run(inspect("a"))
      assert.isFalse(health.isSilent(first))
      assert.isTrue(health.isUnreachable(first))
      const before = first.calls.length
      yield* run(Effect.all([inspect("a"), inspect("a"), inspect("a")], { concurrency: "unbounded" }))
      assert.strictEqual(first.calls.length, before + 3)
    }).pipe(Effect.scoped))

  it.effect("stays one though what it was asked is interrupted when its time is over", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const { run, service } = yield* open({ nodes, nodeTimeout })
      nodes[0]!.state = "silent"
      for (let probes = 1; probes <= 3; probes++) {
        yield* begin(run(inspect("a")))
        yield* TestClock.adjust(nodeTimeout)
        assert.isTrue(service.quorum.health.isSilent(nodes[0]!))
      }
      nodes[0]!.state = "up"
      yield* run(inspect("a"))
      assert.isFalse(service.quorum.health.isSilent(nodes[0]!))
    }).pipe(Effect.scoped))
})

describe("a node that is slow", () => {
  it.effect("is not silent if it has answered something since", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const { run, service } = yield* open({ nodes, nodeTimeout })
      nodes[0]!.state = "silent"
      yield* begin(run(inspect("a")))
      yield* TestClock.adjust(nodeTimeout / 2)
      nodes[0]!.state = "up"
      yield* run(inspect("a"))
      yield* TestClock.adjust(nodeTimeout / 2)
      assert.isFalse(service.quorum.health.isSilent(nodes[0]!))
      assert.isFalse(service.quorum.health.isFailing(nodes[0]!))
    }).pipe(Effect.scoped))
})

describe("a process that stands still", () => {
  it.effect("gives the nodes their time once more, and not again if it stands still again", () =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const node = yield* TestNodes.make("node")
        const { run } = yield* open({ nodes: [node], nodeTimeout })
        yield* Effect.addFinalizer(() => Effect.sync(() => node.recover()))
        node.state = "silent"
        const looking = yield* begin(run(inspect("a")))
        clock.blocked += 1000
        yield* TestClock.adjust(nodeTimeout)
        assert.isUndefined(looking.pollUnsafe())
        clock.blocked += 1000
        yield* TestClock.adjust(nodeTimeout)
        assert.isDefined(looking.pollUnsafe())
      }).pipe(Effect.scoped)
    ))
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
      opened.nodes[0].state = "silent"
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

  it.effect("which ends when the service is closed", () =>
    Effect.gen(function*() {
      let isEnded = false
      const reconnect = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (isEnded = true)))
      const node = yield* TestNodes.make("node", { abilities: { reconnect } })
      const { close, run } = yield* open({ nodes: [node], nodeTimeout: 1000 })
      node.state = "silent"
      for (let probes = 1; probes <= 3; probes++) {
        yield* begin(run(inspect("a")))
        yield* TestClock.adjust(1000)
      }
      assert.isFalse(isEnded)
      node.state = "up"
      yield* close
      assert.isTrue(isEnded)
    }).pipe(Effect.scoped))

  it.effect("not if it has replied in between, too late as it may be", () =>
    Effect.gen(function*() {
      const { count, nodes: [first], run } = yield* givenUp(1000, true)
      for (let round = 1; round <= 5; round++) {
        first.state = "silent"
        yield* begin(run(release))
        yield* TestClock.adjust(1900)
        first.state = "up"
      }
      assert.strictEqual(count(), 0)
    }).pipe(Effect.scoped))

  it.effect("nor for many requests that time out at once", () =>
    Effect.gen(function*() {
      const { count, nodes: [first], run } = yield* givenUp(1000, true)
      for (let index = 1; index <= 10; index++) yield* begin(run(inspect("a")))
      assert.strictEqual(first.pending, 10)
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
      assert.strictEqual(TestNodes.callsOf(first, "acquire").length, 1)
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
      second.state = { rejects: "OOM command not allowed" }
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
      third.state = { rejects: "OOM command not allowed" }
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
      third.state = { rejects: "OOM command not allowed" }
      assert.instanceOf(errorOf(yield* Effect.exit(run(Effect.scoped(tryLock("a"))))), NodesUnavailable)
    }).pipe(Effect.scoped))
})

describe("the look that explains a refusal", () => {
  it.effect("asks no node that has just been silent, and is there at once", () =>
    Effect.gen(function*() {
      const { nodes: [first, second, third], run } = yield* three({ expiry: "5 minutes" })
      yield* holdOn(second, third)
      first.state = "silent"
      const waiting = run(Effect.scoped(lock("a", { retry: retryPolicy({ delay: 500, tries: 3 }) })))
      const fiber = yield* begin(Effect.exit(waiting))
      yield* TestClock.adjust(2000)
      const error = errorOf(yield* Fiber.join(fiber))
      assert.instanceOf(error, ErrFailed)
      assert.deepStrictEqual([first, second, third].map((node) => TestNodes.callsOf(node, "inspect").length), [0, 1, 1])
      assert.deepStrictEqual(error.votes.map(({ _tag }) => _tag).slice(1), ["Refused", "Refused"])
      assert.isTrue(error.votes.slice(1).every((vote) => vote._tag === "Refused" && vote.ttlMillis !== undefined))
    }).pipe(Effect.scoped))

  it.effect("takes a quarter of a second at most, however long a node may take", () =>
    Effect.gen(function*() {
      const { nodes: [first, second, third], run } = yield* three({ expiry: "5 minutes", nodeTimeout: "1 minute" })
      yield* holdOn(second, third)
      // It stops after it was asked for the lock, when nobody knows yet that it does.
      const waiting = run(Effect.scoped(lock("a", once)))
      first.state = "silent"
      const fiber = yield* begin(Effect.exit(waiting))
      assert.strictEqual(TestNodes.callsOf(first, "inspect").length, 1)
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
      first.state = "up"
      // Behind a holder in the same service nobody is asked, so nobody has answered, until a look finds it gone.
      const held = yield* run(Effect.scoped(Effect.flatMap(lock("b"), () => Effect.exit(lock("b", once)))))
      const nested = errorOf(held)
      assert.instanceOf(nested, ErrFailed)
      assert.deepStrictEqual(nested.votes.map(({ _tag }) => _tag), ["Refused", "Refused", "Refused"])
      assert.isUndefined(third.valueOf("b"))
    }).pipe(Effect.scoped))

  it.effect("states why a node rejected an earlier attempt, if it has no such key after the last", () =>
    Effect.gen(function*() {
      const node = MemoryNode.make("node-1")
      const cause = new Error("NOREPLICAS 0 of 1 replica acknowledged within 134 ms")
      const rejected = new LockError.NodeError({ node: "node-1", operation: "acquire", reason: "Rejected", cause })
      // Each of two waiters finds the key of an attempt of the other, which is then rejected too.
      const answers = [Effect.fail(rejected), Effect.succeed(false), Effect.succeed(false)]
      const { run } = yield* open({ nodes: [{ ...node, acquire: () => answers.shift()! }] })
      const retry = retryPolicy({ tries: 2, delay: "1 second" })
      const fiber = yield* begin(Effect.exit(run(Effect.scoped(lock("a", { retry })))))
      yield* TestClock.adjust("2 seconds")
      const error = errorOf(yield* Fiber.join(fiber))
      assert.instanceOf(error, NodesUnavailable)
      assert.include(error.message, "node-1 answered with an error: NOREPLICAS 0 of 1 replica")
      const later = errorOf(yield* Effect.exit(run(Effect.scoped(lock("a", once)))))
      assert.instanceOf(later, ErrFailed)
      assert.match(later.message, /: node-1 held by another$/)
    }).pipe(Effect.scoped))

  it.effect("does not state why a node rejected an attempt for another name", () =>
    Effect.gen(function*() {
      const cause = new Error("NOPERM no permissions to access a key")
      const rejected = new LockError.NodeError({ node: "node-1", operation: "acquire", reason: "Rejected", cause })
      const acquire: LockNode["acquire"] = (key) => key === "b" ? Effect.fail(rejected) : Effect.succeed(false)
      const { run } = yield* open({ nodes: [{ ...MemoryNode.make("node-1"), acquire }] })
      const retry = retryPolicy({ tries: 2, delay: "1 second" })
      const fiber = yield* begin(Effect.exit(run(Effect.scoped(lock("a", { retry })))))
      yield* Effect.exit(run(Effect.scoped(lock("b", once))))
      yield* TestClock.adjust("2 seconds")
      assert.instanceOf(errorOf(yield* Fiber.join(fiber)), ErrFailed)
    }).pipe(Effect.scoped))

  it.effect("leaves those without an answer that nobody asked", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const { close, run } = yield* open({ nodes, nodeTimeout })
      yield* run(lock("a"))
      const fiber = yield* begin(Effect.exit(run(Effect.scoped(lock("a")))))
      yield* close
      const error = errorOf(yield* Fiber.join(fiber))
      assert.instanceOf(error, ErrFailed)
      assert.deepStrictEqual(error.votes.map(({ _tag }) => _tag), ["Pending", "Pending", "Pending"])
      assert.match(error.message, /: its service was closed$/)
    }).pipe(Effect.scoped))
})

describe("a node that refuses some requests and allows others", () => {
  it.effect("is logged once a minute, not with every request", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const context = yield* Effect.context<never>()
      const node = MemoryNode.make("a")
      const health = new NodeHealth([node], 0, {
        clock: yield* Clock.Clock,
        metrics: new Metrics(context),
        log: (level, message) => lines.push(`${level} ${message}`),
        fork: Effect.runForkWith(context)
      })
      let request = 0
      const answer = (error?: string) => {
        request++
        const failure = error === undefined
          ? undefined
          : new LockError.NodeError({ node: "a", operation: "acquire", reason: "Rejected", cause: new Error(error) })
        health.recordAnswer(node, request, { key: "a", operation: "acquire" }, failure, 0, request)
      }
      for (let index = 0; index < 10; index++) {
        answer("NOPERM")
        answer()
      }
      assert.deepStrictEqual(lines, [
        "Warn Lock node a answered with an error: NOPERM",
        "Info Lock node a answers again"
      ])
      answer("OOM")
      assert.lengthOf(lines, 3)
      answer()
      yield* TestClock.adjust("1 minute")
      answer("OOM")
      assert.lengthOf(lines, 5)
    }))
})
