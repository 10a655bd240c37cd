/**
 * What errors say, wherever they are shown.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Inspectable, Logger, Schedule, Schema } from "effect"
import { HttpServerResponse } from "effect/http"
import { TestClock } from "effect/testing"
import {
  ErrFailed,
  forceUnlock,
  lock,
  LockError,
  LockLost,
  type LockOptions,
  MemoryNode,
  NodesUnavailable,
  Redsync,
  retryPolicy,
  type Vote,
  withLock
} from "../src/index.ts"
import * as ShiftedClock from "./support/shiftedClock.ts"
import * as TestNodes from "./support/testNodes.ts"

const refused = new LockError.NodeError({
  node: "c:6379",
  operation: "acquire",
  reason: "Disconnected",
  cause: new Error("connect ECONNREFUSED 10.0.0.3:6379")
})

const votes: ReadonlyArray<Vote> = [
  { _tag: "Refused", node: "a:6379", ttlMillis: 5100 },
  { _tag: "Pending", node: "b:6379" },
  { _tag: "Failed", node: "c:6379", error: refused }
]

const inWords = (refusal: string) => [
  `a:6379 ${refusal}`,
  "b:6379 was not waited for",
  "c:6379 is not connected: connect ECONNREFUSED 10.0.0.3:6379"
]

const unreadable = new Proxy(new Error("no"), {
  get() {
    throw new Error("it cannot be read")
  },
  has() {
    throw new Error("it cannot be read")
  },
  getPrototypeOf() {
    throw new Error("it cannot be read")
  }
})

const errors = [
  refused,
  new ErrFailed({
    lock: "invoices:42",
    prefix: "billing:",
    attempts: 16,
    waited: Duration.millis(7912.6),
    votes,
    retryAfter: Duration.millis(5100)
  }),
  new NodesUnavailable({ lock: "invoices:42", quorum: 2, votes }),
  new LockLost({
    lock: "invoices:42",
    reason: "Expired",
    votes: [],
    expiredFor: Duration.millis(800),
    lastExtended: Duration.millis(8718),
    stalledFor: Duration.millis(6200)
  })
] as const

const shown = [
  {
    _tag: "NodeError",
    message: "Node c:6379 is not connected: connect ECONNREFUSED 10.0.0.3:6379 (acquire)",
    node: "c:6379",
    operation: "acquire",
    reason: "Disconnected",
    cause: "connect ECONNREFUSED 10.0.0.3:6379"
  },
  {
    _tag: "ErrFailed",
    message: "Could not acquire lock \"billing:invoices:42\" after 16 attempts in 7.9 s: a:6379 held by another for " +
      "about 5.1 s more; c:6379 is not connected: connect ECONNREFUSED 10.0.0.3:6379 (1 more not waited for)",
    lock: "invoices:42",
    prefix: "billing:",
    attempts: 16,
    waitedMillis: 7913,
    retryAfterMillis: 5100,
    votes: inWords("held by another for about 5.1 s more")
  },
  {
    _tag: "NodesUnavailable",
    message:
      "No quorum for lock \"invoices:42\": at most 2 of 3 nodes usable, 2 required: a:6379 held by another for about " +
      "5.1 s more; c:6379 is not connected: connect ECONNREFUSED 10.0.0.3:6379 (1 more not waited for)",
    lock: "invoices:42",
    quorum: 2,
    votes: inWords("held by another for about 5.1 s more")
  },
  {
    _tag: "LockLost",
    message: "Lock \"invoices:42\" was lost: its lease ended 0.8 s ago, last extended 8.7 s ago; this process stood " +
      "still for about 6.2 s (blocked, suspended, or its clock set forward)",
    lock: "invoices:42",
    reason: "Expired",
    expiredMillis: 800,
    lastExtendedMillis: 8718,
    stalledMillis: 6200,
    votes: []
  }
]

describe("errors show their message first", () => {
  it("as JSON", () => {
    for (const [index, error] of errors.entries()) {
      assert.deepStrictEqual(JSON.parse(JSON.stringify(error)), shown[index])
      assert.deepStrictEqual(Object.keys(JSON.parse(JSON.stringify(error))).slice(0, 2), ["_tag", "message"])
      assert.deepStrictEqual(Reflect.get(error, Inspectable.NodeInspectSymbol).call(error), shown[index])
    }
  })

  it.effect("in logs", () =>
    Effect.gen(function*() {
      const lines: Array<unknown> = []
      const logger = Logger.map(Logger.formatStructured, ({ message }) => lines.push(message))
      for (const error of errors) yield* Effect.provide(Effect.logError(error), Logger.layer([logger]))
      assert.deepStrictEqual(lines, shown)
    }))

  it.effect("in responses, also within a health report", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      nodes[1]!.state = { rejects: "OOM is near" }
      const health = yield* Effect.provide(Redsync.health, Redsync.layer({ nodes }))
      const { body } = yield* HttpServerResponse.json(health)
      assert(body._tag === "Uint8Array")
      assert.deepStrictEqual(JSON.parse(new TextDecoder().decode(body.body)), {
        isReady: true,
        quorum: 2,
        nodes: [
          { _tag: "Up", node: "node-1" },
          {
            _tag: "Down",
            node: "node-2",
            error: {
              _tag: "NodeError",
              message: "Node node-2 answered with an error: OOM is near (inspect)",
              node: "node-2",
              operation: "inspect",
              reason: "Rejected",
              cause: "OOM is near"
            }
          },
          { _tag: "Up", node: "node-3" }
        ]
      })
    }))

  it("and are encoded by their schemas as before", () => {
    const all = Schema.Union([LockError.NodeError, ErrFailed, NodesUnavailable, LockLost])
    for (const error of errors) {
      const encoded: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(all)(error)))
      const decoded = Schema.decodeUnknownSync(all)(encoded)
      assert.strictEqual(decoded.message, error.message)
      assert.deepStrictEqual(decoded.toJSON(), error.toJSON())
    }
  })

  it("whatever their cause is, if it can be read or not", () => {
    const ring = new Error("a ring")
    ring.cause = ring
    const silent = Object.defineProperty(new Error(), "message", {
      get() {
        throw new Error("it cannot be read")
      }
    })
    const causes: ReadonlyArray<readonly [cause: unknown, words: string]> = [
      [ring, ": a ring"],
      [{ toString: undefined }, ""],
      [Object.assign(new Error(), { message: 7 }), ""],
      [silent, ""],
      [unreadable, ""]
    ]
    for (const [cause, words] of causes) {
      const error = new LockError.NodeError({ node: "a", operation: "acquire", reason: "Rejected", cause })
      const unavailable = new NodesUnavailable({ lock: "l", quorum: 1, votes: [{ _tag: "Failed", node: "a", error }] })
      assert.strictEqual(error.message, `Node a answered with an error${words} (acquire)`)
      assert.include(unavailable.message, `a answered with an error${words}`)
      assert.include(JSON.stringify(unavailable), `a answered with an error${words}`)
    }
  })

  it("without the library's own functions", () => {
    const limit = Error.stackTraceLimit
    for (const error of errors) {
      assert.notInclude(error.stack ?? "", "\n    at ")
      assert.include(String(error), `effect-redsync/${error._tag}: ${error.message}`)
    }
    assert.strictEqual(Error.stackTraceLimit, limit)
    assert.throws(() => new ErrFailed({} as never))
    assert.strictEqual(Error.stackTraceLimit, limit)
  })
})

describe("isLockError", () => {
  it("is true of the three errors of a lock", () => {
    assert.deepStrictEqual(errors.map(LockError.isLockError), [false, true, true, true])
    for (const other of [undefined, new Error("no"), { _tag: "ErrFailed" }, unreadable]) {
      assert.isFalse(LockError.isLockError(other))
    }
  })
})

describe("ErrFailed", () => {
  const refusal = (options: LockOptions, ttlMillis: number) =>
    Effect.gen(function*() {
      const nodes = [MemoryNode.make("a"), MemoryNode.make("b"), MemoryNode.make("c")]
      for (const node of nodes) yield* node.acquire("x", "another's", ttlMillis)
      const fiber = yield* withLock("x", Effect.void, options).pipe(
        Effect.flip,
        Effect.provide(Redsync.layer({ nodes })),
        Effect.forkChild
      )
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(fiber)
      assert.instanceOf(error, ErrFailed)
      return error
    })

  it.effect("says that the lock would have been free before one more attempt, and only then", () =>
    Effect.gen(function*() {
      // Without chance in its pauses.
      const retry = Schedule.upTo(Schedule.spaced("1 second"), { times: 2 })
      const tooSoon = yield* refusal({ retry }, 2800)
      assert.match(
        tooSoon.message,
        /; the lock would expire before one more attempt: wait longer, with retryPolicy\(\{ within \}\)$/
      )
      assert.isBelow(Duration.toMillis(tooSoon.retryAfter!), 1000)
      const long = yield* refusal({ retry }, 8000)
      assert.match(long.message, /c held by another for about \d\.\d s more$/)
      assert.isAbove(Duration.toMillis(long.retryAfter!), 5000)
      // Who does not wait at all has not given up too soon.
      const once = yield* refusal({ retry: retryPolicy({ tries: 1 }) }, 100)
      assert.match(once.message, /c held by another for about 0\.1 s more$/)
    }))

  it.effect("tells the time after which a quorum is free, where it is known", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(5)
      for (const [index, ttlMillis] of [4000, 1000, 2000, 3000].entries()) {
        yield* nodes[index]!.acquire("x", "another's", ttlMillis)
      }
      nodes[4]!.state = { rejects: "OOM is near" }
      const program = withLock("x", Effect.void, { retry: retryPolicy({ tries: 1 }) })
      const of = Effect.flip(Effect.provide(program, Redsync.layer({ nodes })))
      const error = yield* of
      assert.instanceOf(error, ErrFailed)
      assert.deepStrictEqual(error.retryAfter, Duration.millis(3000))
      yield* nodes[3]!.remove("x")
      yield* nodes[3]!.acquire("x", "for good", Number.POSITIVE_INFINITY)
      yield* nodes[0]!.remove("x")
      yield* nodes[0]!.acquire("x", "for good", Number.POSITIVE_INFINITY)
      const unknown = yield* of
      assert.instanceOf(unknown, ErrFailed)
      assert.isUndefined(unknown.retryAfter)
    }))
})

describe("LockLost", () => {
  const loss = (
    body: (clock: ShiftedClock.ShiftedClock, nodes: ReadonlyArray<TestNodes.TestNode>) => Effect.Effect<void>,
    options: LockOptions = {}
  ) =>
    ShiftedClock.on((clock) =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes.makeMany(3)
        const program = Effect.andThen(Effect.suspend(() => body(clock, nodes)), Effect.never)
        const fiber = yield* withLock("a", program, options).pipe(
          Effect.flip,
          Effect.provide(Redsync.layer({ nodes })),
          Effect.forkChild
        )
        yield* TestClock.adjust("20 seconds")
        const error = yield* Fiber.join(fiber)
        assert.instanceOf(error, LockLost)
        return error
      })
    )

  const block = (clock: ShiftedClock.ShiftedClock, millis: number) => Effect.sync(() => void (clock.blocked += millis))

  it.effect("tells for how long the process stood still", () =>
    Effect.gen(function*() {
      const error = yield* loss((clock) => Effect.andThen(Effect.sleep(3000), block(clock, 9000)))
      assert.strictEqual(
        error.message,
        "Lock \"a\" was lost: its lease ended 1.4 s ago, last extended 9.3 s ago; this process stood still for about " +
          "6.7 s (blocked, suspended, or its clock set forward)"
      )
    }))

  it.effect("so where the machine was suspended, or its clock set forward", () =>
    Effect.gen(function*() {
      const hour = 3_600_000
      const error = yield* loss((clock) => Effect.sync(() => void (clock.wall += hour)))
      assert.strictEqual(Duration.toMillis(error.stalledFor!), hour)
      assert.isUndefined(error.lastExtended)
      assert.match(
        error.message,
        /lease ended 359\d\.\d s ago, never extended; this process stood still for about 3600\.0 s/
      )
    }))

  it.effect("blames nobody for a lease that nobody extended", () =>
    Effect.gen(function*() {
      const error = yield* loss(() => Effect.void, { autoExtend: false })
      assert.strictEqual(error.message, "Lock \"a\" was lost: its lease ended, never extended")
    }))

  it.effect("names the nodes that failed to extend it", () =>
    Effect.gen(function*() {
      const error = yield* loss((_, nodes) =>
        Effect.andThen(
          Effect.sleep(3000),
          Effect.sync(() => nodes.forEach((node) => void (node.state = { rejects: "OOM is near" })))
        )
      )
      assert.strictEqual(error.reason, "NodesUnavailable")
      assert.match(
        error.message,
        /^Lock "a" was lost: too few nodes extended it before its lease ended, last extended 7\.9 s ago: node-1 answered/
      )
      assert.isUndefined(error.stalledFor)
    }))

  it.effect("says that the value is gone", () =>
    Effect.gen(function*() {
      yield* lock("a")
      const error = yield* Effect.flip(withLock("b", Effect.andThen(forceUnlock("b"), Effect.never)))
      assert.strictEqual(
        error.message,
        "Lock \"b\" was lost: a quorum no longer stores its value (deleted or taken by another)"
      )
    }).pipe(Effect.provide(Redsync.layerMemory()), Effect.scoped))
})
