/**
 * The life of a pending clean-up, state by state: a value that nobody holds is
 * asked to be released at once, waits where that failed, and is forgotten when it
 * is gone or must have expired.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { constVoid, identity } from "effect/Function"
import { TestClock } from "effect/testing"
import { inspect, lock, type LockNode, NodeError } from "../../../src/index.ts"
import { AcquireRequest, type OwnClaim } from "../../../src/internal/claim/claim.ts"
import type { LockSettings } from "../../../src/internal/claim/settings.ts"
import type { LockService } from "../../../src/internal/service/service.ts"
import { open } from "../../support/opened.ts"
import * as TestNodes from "../../support/testNodes.ts"

const expiry = 8000
const nodeTimeout = 400

/** A service over one node, and the means to leave values to its clean-ups. */
const oneNode = (abilities: Partial<LockNode> = {}) =>
  Effect.gen(function*() {
    const node = yield* TestNodes.make("node-1", { abilities })
    const { close, run, service } = yield* open({ nodes: [node], expiry, nodeTimeout })
    // Nobody lets time pass when the test is over.
    yield* Effect.addFinalizer(() => Effect.sync(() => void (node.state = "up")))
    return {
      node,
      close,
      service,
      claimed: (name: string) => claimed(service, name),
      over: (...claims: ReadonlyArray<OwnClaim>) => claims.forEach((claim) => service.cleanUps.over(claim, [node])),
      waiting: () => service.cleanUps.size,
      releasedAt: () => TestNodes.callsOf(node, "release").map(({ at }) => at),
      /** The node answers something, whatever it is. */
      hear: Effect.asVoid(run(inspect("anything")))
    }
  })

/** A value that a node has been asked to write, whatever became of that. */
const claimed = (service: LockService, name: string): OwnClaim => {
  const claim = service.claim(name, service.settings(undefined) as LockSettings)
  service.quorum.send(new AcquireRequest(claim, false), constVoid)
  return claim
}

describe("a value that is over", () => {
  it.effect("is asked to be released in the same step, behind all that was sent", () =>
    Effect.gen(function*() {
      const { claimed, node, over, waiting } = yield* oneNode()
      node.state = "silent"
      over(claimed("a"))
      assert.deepStrictEqual(TestNodes.operations(node), ["acquire", "release"])
      node.state = "up"
      assert.isUndefined(node.valueOf("a"))
      assert.strictEqual(waiting(), 0)
    }).pipe(Effect.scoped))

  it.effect("is forgotten once it is gone, or was not there", () =>
    Effect.gen(function*() {
      const { claimed, node, over, releasedAt, waiting } = yield* oneNode()
      const claim = claimed("a")
      over(claim, claim)
      assert.isUndefined(node.valueOf("a"))
      assert.strictEqual(waiting(), 0)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(releasedAt(), [0, 0])
    }).pipe(Effect.scoped))

  it.effect("does not touch another's value", () =>
    Effect.gen(function*() {
      const { claimed, node, over, waiting } = yield* oneNode()
      const first = claimed("a")
      over(claimed("a"))
      assert.strictEqual(node.valueOf("a"), first.value)
      assert.strictEqual(waiting(), 0)
    }).pipe(Effect.scoped))

  it.effect("is not left with a node that was never sent it", () =>
    Effect.gen(function*() {
      const { claimed, node, over, waiting } = yield* oneNode()
      node.state = "silent"
      claimed("silences the node")
      yield* TestClock.adjust(nodeTimeout)
      claimed("is its probe")
      const unsent = claimed("a")
      over(unsent)
      assert.strictEqual(waiting(), 0)
      node.state = "up"
      over(unsent)
      assert.isFalse(node.calls.some(({ key }) => key === "a"))
    }).pipe(Effect.scoped))
})

describe("a value whose release failed", () => {
  it.effect("waits, twice as long each time, up to a second", () =>
    Effect.gen(function*() {
      for (const state of ["down", { rejects: "OOM command not allowed" }] as const) {
        const { claimed, node, over, releasedAt, waiting } = yield* oneNode()
        const claim = claimed("a")
        node.state = state
        const start = node.calls[0]!.at
        over(claim)
        assert.strictEqual(waiting(), 1)
        yield* TestClock.adjust(4000)
        assert.deepStrictEqual(releasedAt().map((at) => at - start), [0, 100, 300, 700, 1500, 2500, 3500])
        assert.strictEqual(waiting(), 1)
      }
    }).pipe(Effect.scoped))

  it.effect("waits once, however often it is over", () =>
    Effect.gen(function*() {
      const { claimed, node, over, waiting } = yield* oneNode()
      const claim = claimed("a")
      node.state = "down"
      over(claim, claim, claim)
      assert.strictEqual(waiting(), 1)
      node.state = "up"
      yield* TestClock.adjust(100)
      assert.strictEqual(waiting(), 0)
    }).pipe(Effect.scoped))

  it.effect("is released at the next date, and forgotten", () =>
    Effect.gen(function*() {
      const { claimed, node, over, releasedAt, waiting } = yield* oneNode()
      const claim = claimed("a")
      node.state = "down"
      over(claim)
      yield* TestClock.adjust(200)
      node.state = "up"
      yield* TestClock.adjust(100)
      assert.isUndefined(node.valueOf("a"))
      assert.strictEqual(waiting(), 0)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(releasedAt(), [0, 100, 300])
    }).pipe(Effect.scoped))

  it.effect("is released as soon as the node answers anything, with all others that wait for it", () =>
    Effect.gen(function*() {
      const { claimed, hear, node, over, waiting } = yield* oneNode()
      const claims = ["a", "b", "c"].map(claimed)
      node.state = "down"
      over(...claims)
      yield* TestClock.adjust(1000)
      assert.strictEqual(waiting(), 3)
      node.state = "up"
      yield* hear
      assert.strictEqual(waiting(), 0)
      assert.deepStrictEqual(["a", "b", "c"].map(node.valueOf), [undefined, undefined, undefined])
    }).pipe(Effect.scoped))

  it.effect("finds out alone whether an unreachable node answers again", () =>
    Effect.gen(function*() {
      const { claimed, node, over, releasedAt } = yield* oneNode()
      const claims = ["a", "b", "c"].map(claimed)
      node.state = "down"
      over(...claims)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(releasedAt(), [0, 0, 0, 100])
    }).pipe(Effect.scoped))

  it.effect("finds out alone whether a node that refuses goes on doing so, and takes the others along if not", () =>
    Effect.gen(function*() {
      const { claimed, node, over, releasedAt, waiting } = yield* oneNode()
      const claims = ["a", "b", "c"].map(claimed)
      node.state = { rejects: "OOM command not allowed" }
      over(...claims)
      yield* TestClock.adjust(2000)
      assert.strictEqual(waiting(), 3)
      // All at the first date, and one at each from then on.
      assert.deepStrictEqual(releasedAt(), [0, 0, 0, 100, 100, 100, 300, 700, 1500])
      node.state = "up"
      yield* TestClock.adjust(1000)
      assert.strictEqual(waiting(), 0)
      assert.deepStrictEqual(["a", "b", "c"].map(node.valueOf), [undefined, undefined, undefined])
    }).pipe(Effect.scoped))

  it.effect("is not sent again and again where a node refuses one name and permits another", () =>
    Effect.gen(function*() {
      let isOpen = true
      let releases = 0
      const refused = new NodeError({
        node: "node-1",
        operation: "release",
        reason: "Rejected",
        cause: new Error("NOPERM")
      })
      // Answers that take a moment, as those of a server do.
      const release = (key: string) =>
        Effect.flatMap(isOpen ? Effect.sleep(1) : Effect.void, () => {
          releases++
          return isOpen && key === "refused" ? Effect.fail(refused) : Effect.succeed(true)
        })
      // What was permitted stays pending as well, since it may be overtaken.
      const { claimed, over, waiting } = yield* oneNode({ mayOvertake: () => isOpen, release })
      over(claimed("refused"), claimed("permitted"))
      yield* TestClock.adjust(4000)
      const seen = { releases, waiting: waiting() }
      // What is still on its way ends here: nobody lets time pass when the test is over.
      isOpen = false
      yield* TestClock.adjust(1)
      // Each at most once at each of 0, 100, 300, 700, 1500, 2500 and 3500 ms.
      assert.isAtMost(seen.releases, 2 * 7)
      assert.strictEqual(seen.waiting, 2)
    }).pipe(Effect.scoped))

  it.effect("is sent once at its date, though the answer to the first sends all that wait", () =>
    Effect.gen(function*() {
      const { claimed, node, over, releasedAt, waiting } = yield* oneNode()
      const claims = ["a", "b", "c"].map(claimed)
      node.state = { rejects: "OOM command not allowed" }
      over(...claims)
      node.state = "up"
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(releasedAt(), [0, 0, 0, 100, 100, 100])
      assert.strictEqual(waiting(), 0)
    }).pipe(Effect.scoped))

  it.effect("is one of 4,096 at most on a node: the oldest is given up for one more", () =>
    Effect.gen(function*() {
      const { claimed, node, over, waiting } = yield* oneNode()
      const first = claimed("first")
      node.state = "down"
      over(first)
      for (let index = 1; index < 4096; index++) over(claimed(`${index}`))
      assert.strictEqual(waiting(), 4096)
      over(claimed("one more"))
      assert.strictEqual(waiting(), 4096)
      node.state = "up"
      yield* TestClock.adjust(1000)
      assert.strictEqual(waiting(), 0)
      assert.strictEqual(node.valueOf("first"), first.value)
    }).pipe(Effect.scoped))

  it.effect("starts again with short pauses once the node has answered", () =>
    Effect.gen(function*() {
      const { claimed, hear, node, over, releasedAt } = yield* oneNode()
      const claim = claimed("a")
      node.state = "down"
      over(claim)
      yield* TestClock.adjust(2000)
      node.state = "up"
      yield* hear
      const next = claimed("a")
      node.state = "down"
      over(next)
      yield* TestClock.adjust(300)
      assert.deepStrictEqual(releasedAt().slice(-3), [2000, 2100, 2300])
    }).pipe(Effect.scoped))
})

describe("a value on a silent node", () => {
  it.effect("waits without a request of its own, and goes as soon as the node goes on", () =>
    Effect.gen(function*() {
      const { claimed, node, over, releasedAt, waiting } = yield* oneNode()
      node.state = "silent"
      const claims = ["a", "b", "c"].map(claimed)
      yield* TestClock.adjust(nodeTimeout)
      over(...claims)
      assert.deepStrictEqual(releasedAt(), [])
      assert.strictEqual(waiting(), 3)
      node.state = "up"
      assert.deepStrictEqual(["a", "b", "c"].map(node.valueOf), [undefined, undefined, undefined])
      assert.strictEqual(waiting(), 0)
    }).pipe(Effect.scoped))

  it.effect("adds at most one request at a time to what the node has to execute, and is never given up", () =>
    Effect.gen(function*() {
      const { claimed, node, over, waiting } = yield* oneNode()
      node.state = "silent"
      const claims = ["a", "b", "c"].map(claimed)
      yield* TestClock.adjust(nodeTimeout)
      over(...claims)
      const longAgo = node.pending
      // A probe a second at most, of which each has its node timeout: far fewer than values and dates.
      yield* TestClock.adjust(10 * expiry)
      assert.isAtMost(node.pending - longAgo, 10 * expiry / 1000)
      node.state = "up"
      assert.strictEqual(waiting(), 0)
      assert.deepStrictEqual(["a", "b", "c"].map(node.valueOf), [undefined, undefined, undefined])
    }).pipe(Effect.scoped))
})

describe("a value whose release never succeeds", () => {
  it.effect("is forgotten an expiry after the node has first answered", () =>
    Effect.gen(function*() {
      const { claimed, node, over, releasedAt, waiting } = yield* oneNode()
      const claim = claimed("a")
      node.state = "down"
      over(claim)
      // As long as nothing is heard, what was sent may still be executed.
      yield* TestClock.adjust(2 * expiry)
      assert.strictEqual(waiting(), 1)
      node.state = { rejects: "OOM command not allowed" }
      yield* TestClock.adjust(1000)
      const heardAt = releasedAt().find((at) => at >= 2 * expiry)!
      yield* TestClock.adjust(heardAt + expiry - 2 * expiry - 1001)
      assert.strictEqual(waiting(), 1)
      yield* TestClock.adjust(1001)
      assert.strictEqual(waiting(), 0)
      assert.isAtLeast(releasedAt().at(-1)!, heardAt + expiry)
      const count = releasedAt().length
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(releasedAt().length, count)
    }).pipe(Effect.scoped))

  it.effect("is asked of the node with the value's age, by which it tells whether what was sent may come later", () =>
    Effect.gen(function*() {
      const ages: Array<number> = []
      const mayOvertake = (age = 0) => ages.push(age) > 2 && age > 250
      const { claimed, over, waiting } = yield* oneNode({ mayOvertake })
      const claim = claimed("a")
      yield* TestClock.adjust(200)
      over(claim)
      assert.strictEqual(waiting(), 0)
      yield* TestClock.adjust(100)
      over(claimed("b"), claim)
      assert.deepStrictEqual(ages, [200, 0, 300])
      assert.strictEqual(waiting(), 1)
    }).pipe(Effect.scoped))

  it.effect("no later than that if it is over once more meanwhile", () =>
    Effect.gen(function*() {
      const { claimed, node, over, waiting } = yield* oneNode()
      const claim = claimed("a")
      node.state = { rejects: "OOM command not allowed" }
      over(claim)
      yield* TestClock.adjust(expiry / 2)
      over(claim)
      yield* TestClock.adjust(expiry / 2 + 1000)
      assert.strictEqual(waiting(), 0)
    }).pipe(Effect.scoped))

  it.effect("or proves nothing, since what was sent before may come after it: the same", () =>
    Effect.gen(function*() {
      let overtakes = true
      const { claimed, node, over, releasedAt, waiting } = yield* oneNode({ mayOvertake: () => overtakes })
      over(claimed("a"))
      assert.isUndefined(node.valueOf("a"))
      assert.strictEqual(waiting(), 1)
      yield* TestClock.adjust(expiry - 1)
      assert.strictEqual(waiting(), 1)
      yield* TestClock.adjust(1001)
      assert.strictEqual(waiting(), 0)
      assert.isAtLeast(releasedAt().at(-1)!, expiry)
      // And where it is known to come in order again, one is enough.
      const claim = claimed("b")
      over(claim)
      assert.strictEqual(waiting(), 1)
      overtakes = false
      yield* TestClock.adjust(1000)
      assert.strictEqual(waiting(), 0)
      over(claimed("c"))
      assert.strictEqual(waiting(), 0)
    }).pipe(Effect.scoped))
})

describe("when the service closes", () => {
  /** Closes, and tells whether that is done. */
  const closing = (close: Effect.Effect<void>) =>
    Effect.map(Effect.forkChild(close, { startImmediately: true }), (fiber) => () => fiber.pollUnsafe() !== undefined)

  it.effect("what waits is asked for at once, though nobody knows that the node is back", () =>
    Effect.gen(function*() {
      const { claimed, close, node, over } = yield* oneNode()
      const claims = ["a", "b", "c"].map(claimed)
      node.state = "down"
      over(...claims)
      yield* TestClock.adjust(1000)
      node.state = "up"
      yield* close
      assert.deepStrictEqual(["a", "b", "c"].map(node.valueOf), [undefined, undefined, undefined])
    }).pipe(Effect.scoped))

  it.effect("what waits for a silent node is sent all the same, and gets the node timeout", () =>
    Effect.gen(function*() {
      const { claimed, close, node, over } = yield* oneNode()
      node.state = "silent"
      const claims = ["a", "b", "c"].map(claimed)
      yield* TestClock.adjust(nodeTimeout)
      over(...claims)
      const isClosed = yield* closing(close)
      yield* TestClock.adjust(nodeTimeout - 1)
      assert.isFalse(isClosed())
      yield* TestClock.adjust(1)
      assert.isTrue(isClosed())
      node.state = "up"
      assert.deepStrictEqual(["a", "b", "c"].map(node.valueOf), [undefined, undefined, undefined])
    }).pipe(Effect.scoped))

  it.effect("a node that comes back within the node timeout is still asked", () =>
    Effect.gen(function*() {
      const { claimed, close, node, over } = yield* oneNode()
      const claim = claimed("a")
      node.state = "down"
      over(claim)
      const isClosed = yield* closing(close)
      yield* TestClock.adjust(nodeTimeout / 2)
      assert.isFalse(isClosed())
      node.state = "up"
      yield* TestClock.adjust(50)
      assert.isTrue(isClosed())
      assert.isUndefined(node.valueOf("a"))
    }).pipe(Effect.scoped))

  it.effect("a node that stays away is waited for no longer than the node timeout", () =>
    Effect.gen(function*() {
      const { claimed, close, node, over } = yield* oneNode()
      const claim = claimed("a")
      node.state = "down"
      over(claim)
      const isClosed = yield* closing(close)
      yield* TestClock.adjust(nodeTimeout)
      assert.isTrue(isClosed())
      const { length } = node.calls
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(node.calls.length, length)
    }).pipe(Effect.scoped))

  it.effect("a node that refuses is not asked again", () =>
    Effect.gen(function*() {
      const { claimed, close, node, over, releasedAt } = yield* oneNode()
      const claim = claimed("a")
      node.state = { rejects: "OOM command not allowed" }
      over(claim)
      yield* close
      assert.deepStrictEqual(releasedAt(), [0, 0])
    }).pipe(Effect.scoped))
})

describe("what changes nothing", () => {
  it.effect("an answer to a release of which nothing is left to do", () =>
    Effect.gen(function*() {
      const { claimed, node, over, service, waiting } = yield* oneNode()
      const claim = claimed("a")
      over(claim)
      const answers = yield* service.quorum.request<boolean>({
        operation: "release",
        key: "a",
        timeoutMillis: nodeTimeout,
        sendTo: (node) => node.release("a", claim.value),
        isGranted: identity
      })
      const { length } = node.calls
      service.cleanUps.released(claim, answers)
      assert.strictEqual(waiting(), 0)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(node.calls.length, length)
    }).pipe(Effect.scoped))

  it.effect("a node that answers again when nothing waits for it", () =>
    Effect.gen(function*() {
      const { hear, node, waiting } = yield* oneNode()
      node.state = "down"
      yield* hear
      node.state = "up"
      yield* hear
      assert.deepStrictEqual(TestNodes.operations(node), ["inspect", "inspect"])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(waiting(), 0)
      assert.strictEqual(node.calls.length, 2)
    }).pipe(Effect.scoped))

  it.effect("an answer of one that does not answer otherwise: what waits keeps its date", () =>
    Effect.gen(function*() {
      const { claimed, hear, node, over, releasedAt, waiting } = yield* oneNode()
      const claim = claimed("a")
      node.state = "down"
      over(claim)
      yield* hear
      yield* hear
      assert.strictEqual(waiting(), 1)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(releasedAt(), [0, 100])
    }).pipe(Effect.scoped))

  it.effect("a second closing", () =>
    Effect.gen(function*() {
      const { claimed, close, node, over } = yield* oneNode()
      over(claimed("a"))
      yield* close
      const { length } = node.calls
      yield* close
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(node.calls.length, length)
    }).pipe(Effect.scoped))
})

describe("a service that closes", () => {
  it.effect.each([40, 400])(
    "asks a node once more that comes back within a node timeout of %d ms",
    (nodeTimeout) =>
      Effect.gen(function*() {
        const node = yield* TestNodes.make("node")
        const { close, run } = yield* open({ nodes: [node], nodeTimeout })
        yield* run(lock("a"))
        node.state = "down"
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust(10)
        node.state = "up"
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(closing)
        assert.isUndefined(node.valueOf("a"))
      }).pipe(Effect.scoped)
  )
})
