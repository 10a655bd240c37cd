/**
 * Nodes that somebody else has written: whatever they answer, throw or lack, they
 * cost their own vote and nothing else.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Option, Schema } from "effect"
import { TestClock } from "effect/testing"
import {
  inspect,
  lock,
  type LockNode,
  MemoryNode,
  NodeError,
  NodesUnavailable,
  Redsync,
  retryPolicy,
  tryLock,
  unlock,
  withLock,
  withPermitsIfAvailable
} from "../src/index.ts"
import type * as LockErrors from "../src/LockError.ts"

const never = new Proxy({}, {
  get: () => {
    throw new Error("it cannot be read")
  }
})

const nonsense: Record<string, unknown> = {
  "undefined": undefined,
  "null": null,
  "a text": "yes",
  "a number": 1,
  "true": true,
  "an object": {},
  "some of nothing": Option.some(undefined),
  "some text": Option.some("yes"),
  "a state of numbers": Option.some({ value: 5, ttlMillis: "x" }),
  "a state of symbols": Option.some({ value: Symbol("x"), ttlMillis: 1n, type: Symbol("y") }),
  "no time": Option.some({ value: "x", ttlMillis: Number.NaN }),
  "an odd type": Option.some({ value: "x", ttlMillis: 1, type: {} }),
  "an odd length": Option.some({ value: "x", ttlMillis: 1, bytes: "many" }),
  "what cannot be read": never
}

const oneOf = (node: Partial<LockNode>) =>
  Redsync.layer({ nodes: [MemoryNode.make("a"), { ...MemoryNode.make("odd"), ...node }, MemoryNode.make("b")] })

describe("a look that is answered with", () => {
  it.effect.each(Object.entries(nonsense))("%s is a failure of the node", ([_, answer]) =>
    Effect.gen(function*() {
      const looks = yield* inspect("a")
      assert.deepStrictEqual(looks.nodes.map(({ _tag }) => _tag), ["Free", "Failed", "Free"])
      const { isReady, nodes } = yield* Redsync.health
      assert.isTrue(isReady)
      assert.deepStrictEqual(nodes.map(({ _tag }) => _tag), ["Up", "Down", "Up"])
      const held = yield* lock("a")
      assert.isTrue(yield* held.isHeld)
      yield* held.abandon
      const error = yield* Effect.flip(lock("a", { retry: retryPolicy({ tries: 1 }) }))
      assert.strictEqual(error._tag, "ErrFailed")
    }).pipe(Effect.scoped, Effect.provide(oneOf({ inspect: () => Effect.succeed(answer as Option.Option<never>) }))))

  it.effect.each(Object.entries(nonsense))(
    "%s where it is why the node abstains is one too",
    ([_, answer]) =>
      Effect.gen(function*() {
        const isReason = Option.isOption(answer) && Option.isSome(answer) && answer.value === "yes"
        const { nodes } = yield* inspect("a")
        assert.strictEqual(nodes[1]?._tag, isReason ? "Free" : "Failed")
        assert.isTrue((yield* Redsync.health).isReady)
      }).pipe(Effect.provide(oneOf({ abstention: () => Effect.succeed(answer as Option.Option<never>) })))
  )
})

describe("permits that are answered with", () => {
  const grant = { slots: [0], tokens: [], free: 1, lastLimit: 2, ttlMillis: 1000 }

  it.effect.each<readonly [string, unknown]>([
    ...Object.entries(nonsense),
    ["more slots than were requested", { ...grant, slots: [0, 1] }],
    ["a slot beyond the limit", { ...grant, slots: [2] }],
    ["a slot below the first", { ...grant, slots: [-1] }],
    ["half a slot", { ...grant, slots: [0.5] }],
    ["tokens that nobody asked for", { ...grant, tokens: [1] }],
    ["no tokens", { ...grant, tokens: undefined }],
    ["no number of free ones", { ...grant, free: "1" }],
    ["no limit", { ...grant, lastLimit: Number.NaN }],
    ["no time", { ...grant, ttlMillis: undefined }]
  ])("%s are a failure of the node", ([_, answer]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(withPermitsIfAvailable("a", Effect.void, { limit: 2 }))
      assert(error._tag === "NodesUnavailable")
      assert.match(error.message, /node answered with an error: (unexpected reply|it cannot be read)/)
    }).pipe(
      Effect.provide(Redsync.layer({
        nodes: [{
          ...MemoryNode.make("node"),
          permits: { ...MemoryNode.make().permits!, acquire: () => Effect.succeed(answer as never) }
        }]
      }))
    ))
})

describe("a node that cannot", () => {
  const dies = Effect.die(new Error("it is broken"))
  const throws = () => {
    throw new Error("it is broken")
  }

  it.effect.each<readonly [string, Partial<LockNode>]>([
    ["become ready", { ready: dies }],
    ["open its waiting lists", { waitingList: () => dies }],
    ["even try to", { waitingList: throws }],
    ["tell what may overtake", { mayOvertake: throws }],
    ["tell it clearly", { mayOvertake: () => "perhaps" as unknown as boolean }]
  ])("%s does not keep the others from their locks", ([_, trait]) =>
    Effect.gen(function*() {
      yield* withLock("a", Effect.void)
      const held = yield* lock("a")
      assert.isTrue(Option.isNone(yield* tryLock("a")))
      assert.isTrue(yield* unlock("a", held.value))
      // What is asked for again later throws in a timer.
      yield* TestClock.adjust("1 second")
      yield* withLock("a", Effect.void)
    }).pipe(Effect.scoped, Effect.provide(oneOf(trait))))

  const unreadable = new Proxy(new Error(), {
    get: throws,
    getPrototypeOf: throws
  })
  const silent = Object.defineProperty(new Error(), "message", { get: throws })

  // Closing the layer asks the node once more, a while later.
  it.live.each<readonly [string, () => Effect.Effect<never, never>]>([
    ["throws what cannot be read", () => {
      throw unreadable
    }],
    ["throws an error without words", () => {
      throw silent
    }],
    ["dies with what cannot be read", () => Effect.die(unreadable)],
    ["fails with it", () => Effect.fail(unreadable as never)],
    ["is it", () => unreadable as never]
  ])("do anything, and %s, is told so", ([_, operation]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(withLock("a", Effect.void, { retry: retryPolicy({ tries: 1 }) }))
      assert.strictEqual(error._tag, "NodesUnavailable")
      assert.include(error.message, "odd answered with an error: ")
      assert.include(JSON.stringify(Schema.encodeSync(NodesUnavailable)(error as NodesUnavailable)), "odd")
      assert.isFalse((yield* Redsync.health).isReady)
    }).pipe(Effect.provide(Redsync.layer({
      nodes: [{
        ...MemoryNode.make("odd"),
        acquire: operation,
        release: operation,
        inspect: operation
      }]
    }))))

  it.effect("answer may say why with an error of another copy of this package", () =>
    Effect.gen(function*() {
      const path = "../src/LockError.ts?copy"
      const copy: typeof LockErrors = yield* Effect.promise(() => import(path))
      assert.notStrictEqual(copy.NodeError, NodeError)
      const failure = new copy.NodeError({ node: "odd", operation: "acquire", reason: "Disconnected" })
      const error = yield* Effect.flip(withLock("a", Effect.void, { retry: retryPolicy({ tries: 1 }) })).pipe(
        Effect.provide(Redsync.layer({ nodes: [{ ...MemoryNode.make("odd"), acquire: () => Effect.fail(failure) }] }))
      )
      assert.include(error.message, "1 required: odd is not connected")
    }))

  it.effect.each<readonly [string, () => unknown]>([
    ["never ends", () => Effect.never],
    ["is none", () => undefined]
  ])(
    "open its waiting lists, since that %s, does not keep the layer from being built",
    ([_, waitingList]) =>
      Effect.gen(function*() {
        const locking = withLock("a", Effect.succeed("held")).pipe(
          Effect.provide(oneOf({ waitingList: waitingList as LockNode["waitingList"] & {} }))
        )
        const fiber = yield* Effect.forkChild(locking)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(yield* Fiber.join(fiber), "held")
      })
  )

  it.effect.each(["ready", "reconnect", "resends", "replace", "mayOvertake", "waitingList", "replicas"])(
    "be used for its %s is refused",
    (trait) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(oneOf({ [trait]: 5 }))))
        assert.isTrue(Exit.isFailure(exit))
        assert.include(String(exit), `${trait} of the LockNode odd must be `)
      })
  )
})

describe("what waits to be deleted", () => {
  interface Counting extends LockNode {
    releases: number
    isRefusing: boolean
  }

  /** Counts the releases, and refuses them if told to. */
  const counting = (traits: Partial<LockNode> = {}) => {
    const { waitingList: _, ...memory } = MemoryNode.make("counting")
    const node: Counting = {
      ...memory,
      ...traits,
      releases: 0,
      isRefusing: false,
      release: (key, value) => {
        node.releases++
        const error = new NodeError({ node: node.id, operation: "release", reason: "Rejected", cause: "NOPERM" })
        return node.isRefusing ? Effect.fail(error) : memory.release(key, value)
      }
    }
    return node
  }

  const layerWith = (node: LockNode) =>
    Redsync.layer({ nodes: [...MemoryNode.makeMany(2), node], expiry: "10 minutes" })

  const locks = (count: number) =>
    Effect.forEach(Array.from({ length: count }), () => withLock("a", Effect.void), { discard: true })

  it.effect("is what was sent before the connection was replaced, not what came after", () => {
    let replacedAt = -1
    let now = () => 0
    const node = counting({ mayOvertake: (ageMillis = Infinity) => now() - ageMillis <= replacedAt })
    return Effect.gen(function*() {
      const clock = yield* Clock.Clock
      now = () => clock.currentTimeMillisUnsafe()
      yield* TestClock.adjust("1 second")
      yield* Effect.scoped(Effect.gen(function*() {
        yield* lock("before")
        replacedAt = now()
        yield* TestClock.adjust("1 second")
        yield* locks(100)
      }))
      assert.strictEqual(node.releases, 101)
      yield* TestClock.adjust("1 minute")
      // Of the one lock only, which is asked for again about once a second.
      assert.isAtLeast(node.releases, 150)
      assert.isAtMost(node.releases, 180)
    }).pipe(Effect.provide(layerWith(node)))
  })

  it.effect("is asked for one by one where the node refuses, and all at once when it does no longer", () => {
    const node = counting()
    node.isRefusing = true
    return Effect.gen(function*() {
      yield* locks(500)
      yield* TestClock.adjust("2 seconds")
      node.releases = 0
      yield* TestClock.adjust("1 minute")
      assert.isAtLeast(node.releases, 50)
      assert.isAtMost(node.releases, 70)
      node.isRefusing = false
      node.releases = 0
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(node.releases, 500)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(node.releases, 500)
    }).pipe(Effect.provide(layerWith(node)))
  })

  it.effect("is bounded, however long a node refuses", () => {
    const node = counting()
    node.isRefusing = true
    return Effect.gen(function*() {
      yield* locks(5000)
      node.isRefusing = false
      node.releases = 0
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(node.releases, 4096)
    }).pipe(Effect.provide(layerWith(node)))
  })
})
