/**
 * Servers that answer nonsense: whatever comes is a failed vote of that node, never
 * a yes, a defect or the end of the process.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Layer, Option, Result, type Scope } from "effect"
import type * as Redis from "effect/persistence/Redis"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import {
  inspect,
  type LockNode,
  MemoryNode,
  NodeError,
  NodesUnavailable,
  RedisNode,
  Redsync,
  retryPolicy,
  withFencedLock,
  withLock
} from "../../../src/index.ts"
import * as reply from "../../../src/internal/redis/replies.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { fakeServer, until } from "../../support/faults.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import * as TestNodes from "../../support/testNodes.ts"

const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`

/** Replies as the protocol has them, and what a client makes of them. */
const replies = {
  "0": [":0\r\n", 0],
  "1": [":1\r\n", 1],
  "OK": ["+OK\r\n", "OK"],
  "null": ["$-1\r\n", null],
  "2": [":2\r\n", 2],
  "6": [":6\r\n", 6],
  "-1": [":-1\r\n", -1],
  "-5": [":-5\r\n", -5],
  "2^53": [":9007199254740992\r\n", 2 ** 53],
  "2^32 + 1": [":4294967297\r\n", 2 ** 32 + 1],
  "the largest integer": [":9223372036854775807\r\n", Number("9223372036854775807")],
  "abc": [bulk("abc"), "abc"],
  "an empty string": [bulk(""), ""],
  "a space": [bulk(" "), " "],
  "Infinity": [bulk("Infinity"), "Infinity"],
  "NaN": [bulk("NaN"), "NaN"],
  "1.5": [bulk("1.5"), "1.5"],
  "1e3": [bulk("1e3"), "1e3"],
  "0x1": [bulk("0x1"), "0x1"],
  "ok": ["+ok\r\n", "ok"],
  "a long string": [bulk("x".repeat(10_000)), "x".repeat(10_000)],
  "an empty array": ["*0\r\n", []],
  "an array of 1": ["*1\r\n:1\r\n", [1]],
  "arrays in arrays": ["*2\r\n*1\r\n:1\r\n*1\r\n*0\r\n", [[1], [[]]]],
  "an array of nulls": ["*3\r\n$-1\r\n$-1\r\n$-1\r\n", [null, null, null]]
} as const satisfies Record<string, readonly [raw: string, value: unknown]>

type Reply = keyof typeof replies

const all = Object.keys(replies) as Array<Reply>

type Ask = (node: LockNode) => Effect.Effect<unknown, NodeError, Scope.Scope>

/** Everything that a server is asked, and the replies that mean something there. */
const questions: ReadonlyArray<readonly [what: string, means: ReadonlyArray<Reply>, ask: Ask]> = [
  ["acquire", ["OK", "null"], (node) => node.acquire("a", "mine", 1000)],
  ["acquire with delayed restarts", ["0", "1"], (node) => node.delayedRestart!(1).acquire("a", "mine", 1000)],
  ["extend", ["0", "1"], (node) => node.extend("a", "mine", 1000)],
  ["release", ["0", "1"], (node) => node.release("a", "mine")],
  ["remove", ["0", "1"], (node) => node.remove("a")],
  ["replace", ["0", "1"], (node) => node.replace!("a", "mine", "new", 1000)],
  ["inspect", [], (node) => node.inspect("a")],
  ["abstention", ["0", "1", "2", "6", "2^32 + 1"], (node) => node.delayedRestart!(1).abstention!("a")],
  ["a token", ["0", "1", "2", "6", "2^32 + 1"], (node) => node.fencing!.acquire("a", "mine", 1000, 1)],
  ["raise", ["0", "1"], (node) => node.fencing!.raise("a", "mine", 2)],
  [
    "replace with a token",
    ["0", "1", "2", "6", "2^32 + 1"],
    (node) => node.fencing!.replace!("a", "mine", "new", 1000, 1)
  ]
]

const waitingQuestions: typeof questions = [
  [
    "join",
    [],
    (node) =>
      Effect.flatMap(node.waitingList!(waiterIdOf("we"), () => {}), (list) => list.join("a", entryOf("we"), "back"))
  ],
  [
    "leave",
    ["0", "1", "2"],
    (node) => Effect.flatMap(node.waitingList!(waiterIdOf("we"), () => {}), (list) => list.leave("a", entryOf("we")))
  ],
  [
    "release and wake",
    ["0", "1", "2"],
    (node) =>
      Effect.flatMap(node.waitingList!(waiterIdOf("we"), () => {}), (list) => list.release("a", "mine", undefined))
  ]
]

const assertUnexpected = (exit: Exit.Exit<unknown, unknown>, node: LockNode, what: string) => {
  assert(Exit.isFailure(exit), `${what} was taken for an answer: ${JSON.stringify(exit)}`)
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  assert(error instanceof NodeError, `${what}: ${String(exit.cause)}`)
  assert.deepStrictEqual([error.node, error.reason], [node.id, "Rejected"], what)
  assert.match(error.message, /unexpected reply/, what)
  assert.isBelow(error.message.length, 400, what)
}

const nonsense = (means: ReadonlyArray<Reply>) => all.filter((reply) => !means.includes(reply))

/** A server that answers everything that touches a key with the same. */
const liar = (raw: string) =>
  Effect.map(fakeServer(""), (server) => {
    server.says = (command) => /^(set|del|eval|evalsha|wait)$/.test(command) ? raw : undefined
    return server
  })

describe("nonsense from a server", () => {
  it.live("is a failed vote, over ioredis", () =>
    Effect.gen(function*() {
      const server = yield* fakeServer("")
      const node = yield* IoredisNode.make(server.url)
      yield* node.ready!
      for (const [what, means, ask] of [...questions, ...waitingQuestions]) {
        for (const name of nonsense(means)) {
          server.says = (command) => /^(set|del|eval|evalsha)$/.test(command) ? replies[name][0] : undefined
          assertUnexpected(yield* Effect.exit(Effect.scoped(ask(node))), node, `${what}: ${name}`)
        }
        for (const name of means) {
          server.says = (command) => /^(set|del|eval|evalsha)$/.test(command) ? replies[name][0] : undefined
          assert.isTrue(Exit.isSuccess(yield* Effect.exit(Effect.scoped(ask(node)))), `${what}: ${name}`)
        }
      }
    }).pipe(Effect.scoped))

  it.live("is too few acknowledgements, from replicas", () =>
    Effect.gen(function*() {
      const server = yield* fakeServer("")
      const node = yield* IoredisNode.make(server.url)
      yield* node.ready!
      const careful = node.replicas!(1, 10)
      for (const name of all) {
        server.says = (command) => command === "wait" ? replies[name][0] : undefined
        const exit = yield* Effect.exit(careful.acquire("a", "mine", 1000))
        assert.strictEqual(Exit.isSuccess(exit), ["1", "2", "6", "2^32 + 1"].includes(name), name)
        if (Exit.isFailure(exit)) assert.match(String(exit.cause), /NOREPLICAS 0 of 1/, name)
      }
    }).pipe(Effect.scoped))

  it.effect("is a failed vote, over Effect's Redis", () =>
    Effect.gen(function*() {
      for (const [what, means, ask] of questions) {
        for (const name of all) {
          const send = () => Effect.succeed(replies[name][1]) as Effect.Effect<never>
          const node = RedisNode.make({ send } as unknown as Redis.Redis["Service"], { id: "effect" })
          const exit = yield* Effect.exit(Effect.scoped(ask(node)))
          if (means.includes(name)) assert.isTrue(Exit.isSuccess(exit), `${what}: ${name}`)
          else assertUnexpected(exit, node, `${what}: ${name}`)
        }
      }
    }))

  it("means nothing, whatever it is", () => {
    const { joined, serverTime, decodeKeyState, decodeToken, wholeNumber, count, wakeUp, oneOrZero, okOrNull } = reply
    const meanings = [joined, serverTime, decodeKeyState, decodeToken, wholeNumber, count, wakeUp, oneOrZero, okOrNull]
    const anything = fc.oneof(fc.anything(), fc.array(fc.oneof(fc.integer(), fc.double(), fc.string(), fc.anything())))
    fc.assert(
      fc.property(anything, (reply) => {
        for (const meaning of meanings) {
          JSON.stringify(meaning(reply), (_, value: unknown) => {
            if (typeof value === "number") assert.isTrue(Number.isSafeInteger(value) || value === Infinity)
            return value
          })
        }
      }),
      { numRuns: 2000 }
    )
    const states: ReadonlyArray<readonly [reply: unknown, means: unknown]> = [
      [["none", "", -2], Option.none()],
      [["string", "v", 5], Option.some({ type: "string", value: "v", ttlMillis: 5 })],
      [["string", "v", "5"], Option.some({ type: "string", value: "v", ttlMillis: 5 })],
      [["list", "", -1], Option.some({ type: "list", value: "", ttlMillis: Infinity })],
      [["string", "", 5, 1000], Option.some({ type: "string", value: "", ttlMillis: 5, bytes: 1000 })],
      [["none", "", 5], undefined],
      [["none", "v", -2], undefined],
      [["string", "v", -2], undefined],
      [["string", "v", -3], undefined],
      [["string", "v", 1.5], undefined],
      [["string", 7, 5], undefined],
      [["string", "v"], undefined],
      [["list", "v", 5], undefined],
      [["string", "v", 5, 1000], undefined],
      [["string", "", 5, "many"], undefined],
      [["string", "v".repeat(1000), 5], undefined],
      [["a\u202elist", "", 5], undefined]
    ]
    for (const [reply, means] of states) assert.deepStrictEqual(decodeKeyState(reply), means, JSON.stringify(reply))
  })

  it.live.each(all)(
    "from one of three keeps nobody out, from two nobody is let in: %s",
    (name) =>
      Effect.gen(function*() {
        const [one, two] = [yield* liar(replies[name][0]), yield* liar(replies[name][0])]
        const options = { retry: retryPolicy({ tries: 1 }) }
        const minority = Redsync.layer({ nodes: [one.url, ...MemoryNode.makeMany(2)], ...options })
        yield* Effect.gen(function*() {
          yield* withLock("a", (held) => Effect.andThen(held.extend, held.isHeld))
          assert.isAbove(yield* withFencedLock("a", (token) => Effect.succeed(token)), 0)
          const { nodes } = yield* inspect("a")
          assert.deepStrictEqual(nodes.map(({ _tag }) => _tag), ["Failed", "Free", "Free"])
        }).pipe(Effect.provide(Layer.fresh(minority)))
        const majority = Redsync.layer({ nodes: [one.url, two.url, MemoryNode.make()], ...options })
        yield* Effect.gen(function*() {
          const yes = name === "OK"
          const no = name === "null"
          const exit = yield* Effect.exit(withLock("b", Effect.void))
          assert.strictEqual(Exit.isSuccess(exit), yes, String(exit))
          if (!yes && !no) assert.instanceOf(Option.getOrThrow(Exit.findErrorOption(exit)), NodesUnavailable)
        }).pipe(Effect.provide(Layer.fresh(majority)))
      }).pipe(Effect.scoped)
  )

  it.live.each([
    "ABSTAINS 5 1",
    "ABSTAINS 0 0",
    "ABSTAINS 1 2",
    "ABSTAINS 99999999999999999999 999999999999999999999999",
    "ABSTAINS",
    "ABSTAINS -1 -2",
    "ABSTAINS 1.5 2.5",
    "",
    "x",
    "NOSCRIPT again",
    "MOVED 1 127.0.0.1:1",
    "\u202e"
  ])("an error from one of three, too: %s", (error) =>
    Effect.gen(function*() {
      const server = yield* liar(`-${error}\r\n`)
      const nodes = [server.url, ...MemoryNode.makeMany(2)]
      const layer = Redsync.layer({ nodes, delayedRestart: "1 second", retry: retryPolicy({ tries: 1 }) })
      yield* Effect.gen(function*() {
        yield* withLock("a", Effect.void)
        assert.isAbove(yield* withFencedLock("a", (token) => Effect.succeed(token)), 0)
        const { nodes: views } = yield* inspect("a")
        assert.strictEqual(views[0]!._tag, "Failed")
      }).pipe(Effect.provide(layer))
      const node = yield* IoredisNode.make(server.url)
      yield* node.ready!
      const failure = yield* Effect.flip(node.delayedRestart!(1000).acquire("a", "mine", 1000))
      assert.strictEqual(failure.reason, error === "ABSTAINS 1 2" ? "Abstained" : "Rejected")
      assert.notMatch(failure.message, /Infinity|NaN|\u202e/)
    }).pipe(Effect.scoped))

  it.effect("tokens of a node of the caller's that are none are its failed vote", () =>
    Effect.gen(function*() {
      for (const token of [0, -5, 1.5, NaN, Infinity, 2 ** 53, "abc", null, [7]]) {
        const nodes = yield* TestNodes.makeMany(3)
        const odd: LockNode = {
          ...nodes[0]!,
          fencing: { ...nodes[0]!.fencing!, acquire: () => Effect.succeed(Option.some(token as number)) }
        }
        yield* TestClock.setTime(1000)
        const given = yield* withFencedLock("a", (token) => Effect.succeed(token)).pipe(
          Effect.provide(Redsync.layer({ nodes: [odd, nodes[1]!, nodes[2]!] }))
        )
        assert.strictEqual(given, 1_000_000, String(token))
      }
    }))
})

describe("what ioredis cannot digest", () => {
  const unasked: ReadonlyArray<readonly [what: string, raw: string]> = [
    ["nulls that nobody asked for", "$-1\r\n".repeat(50)],
    ["nulls behind the reply", `+OK\r\n${"*-1\r\n".repeat(50)}`],
    ["nulls of another kind", "_\r\n".repeat(50)],
    ["numbers that nobody asked for", ":1\r\n".repeat(50)],
    ["an empty push", ">0\r\n"],
    ["a push of null", ">1\r\n$-1\r\n"],
    ["a subscription without a channel", ">1\r\n+subscribe\r\n"],
    ["a message of null", ">2\r\n+message\r\n_\r\n"],
    ["a subscription that nobody asked for", ">3\r\n+subscribe\r\n+a\r\n:1\r\n*0\r\n"],
    ["attributes", "|1\r\n+a\r\n+b\r\n+OK\r\n"],
    ["another protocol", "?what\r\n"],
    ["arrays in arrays without end", "*1\r\n".repeat(10_000)]
  ]

  it.live.each(unasked)("breaks the connection, and no more: %s", ([_, raw]) =>
    Effect.gen(function*() {
      const server = yield* fakeServer("")
      const node = yield* IoredisNode.make(server.url)
      assert.isTrue(yield* node.ready!)
      server.says = (command) => command === "set" ? raw : undefined
      // What comes before is an answer. What nobody catches fails the whole run.
      yield* Effect.exit(node.acquire("a", "mine", 1000))
      delete server.says
      yield* until("the node answers again", Effect.isSuccess(node.acquire("a", "mine", 1000)))
    }).pipe(Effect.scoped))

  it.live.each([
    ":1\r\n",
    "$-1\r\n",
    "+OK\r\n",
    "*0\r\n",
    "*1\r\n*1\r\n*0\r\n",
    "*1\r\n$-1\r\n",
    "*1\r\n$9\r\nsubscribe\r\n",
    "*3\r\n$9\r\nsubscribe\r\n$-1\r\n:1\r\n",
    "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*2\r\n$7\r\nmessage\r\n$-1\r\n",
    "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$8\r\npmessage\r\n$1\r\na\r\n$-1\r\n",
    "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*0\r\n"
  ])("breaks the connection that waits for turns, which is made anew: %j", (raw) =>
    Effect.gen(function*() {
      const server = yield* fakeServer("")
      const node = yield* IoredisNode.make(server.url)
      const list = yield* node.waitingList!(waiterIdOf("we"), () => {})
      let subscriptions = 0
      server.says = (command) => command === "subscribe" && ++subscriptions < 3 ? raw : undefined
      const joined = list.join("a", entryOf("we"), "back").pipe(Effect.eventually)
      assert.strictEqual((yield* joined).ahead, 0)
      yield* until("it subscribes again", Effect.sync(() => subscriptions > 1))
      // Its two connections do not give each other up in turns.
      assert.isAtMost(subscriptions, 8)
    }).pipe(Effect.scoped))
})

/** A service whose wall clock stands at a time. */
const at = (nodes: ReadonlyArray<LockNode>, date: string) =>
  Clock.clockWith((clock) => {
    const nanos = BigInt(Date.parse(date)) * 1_000_000n
    const shifted: Clock.Clock = Object.assign(Object.create(clock) as Clock.Clock, {
      currentTimeMillisUnsafe: () => Date.parse(date),
      currentTimeNanosUnsafe: () => nanos
    })
    return Effect.provideService(Layer.build(Redsync.layer({ nodes })), Clock.Clock, shifted)
  })

describe("clocks that stand far away", () => {
  const token = withFencedLock("a", (token) => Effect.succeed(token))

  it.effect.each(["2300-01-01T00:00:00Z", "2255-06-05T23:47:34.740Z", "+275760-09-13T00:00:00Z"])(
    "a client in %s gets no token, clearly, and asks nobody; others get theirs",
    (date) =>
      Effect.gen(function*() {
        const nodes = yield* TestNodes.makeMany(3)
        const far = yield* at(nodes, date)
        const error = yield* Effect.flip(Effect.provide(token, far))
        assert.instanceOf(error, NodesUnavailable)
        assert.include(error.message, `the clock of this client stands at ${new Date(Date.parse(date)).toISOString()}`)
        assert.deepStrictEqual(nodes.flatMap(({ calls }) => calls), [])
        // What needs no token is given to it.
        yield* Effect.provide(withLock("a", Effect.void), far)
        assert.isTrue(Result.isSuccess(yield* Effect.result(Effect.provide(token, yield* at(nodes, "2026-01-01Z")))))
      }).pipe(Effect.scoped)
  )

  it.effect("before 1970 it is one that is far behind, and counts on from the others", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const before = yield* at(nodes, "1950-01-01T00:00:00Z")
      assert.strictEqual(yield* Effect.provide(token, before), 1)
      const now = yield* Effect.provide(token, yield* at(nodes, "2026-01-01T00:00:00Z"))
      assert.strictEqual(yield* Effect.provide(token, before), now + 1)
    }).pipe(Effect.scoped))

  it.effect("in 2250 it is one that is ahead, and leaves room for others", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const ahead = yield* Effect.provide(token, yield* at(nodes, "2250-01-01T00:00:00Z"))
      assert.strictEqual(yield* Effect.provide(token, yield* at(nodes, "2026-01-01T00:00:00Z")), ahead + 1)
    }).pipe(Effect.scoped))
})
