/**
 * A node in plain JavaScript may return anything wherever it is called: it costs its own vote and nothing else, and
 * nothing of it ends the process.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Predicate, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  adopt,
  adoptFenced,
  fencedLock,
  forceUnlock,
  inspect,
  Lock,
  lock,
  type LockNode,
  MemoryNode,
  Redsync,
  retryPolicy,
  Semaphore,
  unlock,
  withFencedLock,
  withFencedSharedLock,
  withLock,
  withSharedLock
} from "../../../src/index.ts"
import { open } from "../../support/opened.ts"

const throws = () => {
  throw new Error("it is broken")
}
const unreadable: object = new Proxy({}, { get: throws, getPrototypeOf: throws, has: throws, ownKeys: throws })
const wordless = { toString: throws, [Symbol.toPrimitive]: throws }
const rejected = (): unknown => Promise.reject(new Error("it is broken"))

/** What a function returns instead of what it should. */
const answers: Record<string, () => unknown> = {
  "a promise that is rejected": rejected,
  "nothing, and throws what cannot be read": () => {
    throw unreadable
  },
  "undefined": () => undefined,
  "an object without words": () => wordless,
  "what cannot be read": () => unreadable,
  "an effect with a promise that is rejected": () => Effect.sync(rejected),
  "an effect with NaN": () => Effect.succeed(Number.NaN),
  "an effect with an object": () => Effect.succeed({}),
  "an effect with what cannot be read": () => Effect.succeed(unreadable),
  "an effect that fails with a text": () => Effect.fail("it is broken"),
  "an effect that never ends": () => Effect.never
}

/** The given members of a node, or of what it opens, replaced. */
const broken = (node: LockNode, path: string, member: unknown): LockNode => {
  const [name = "", ...rest] = path.split(".")
  // Otherwise the waiting list does it.
  if (path === "shared.yieldToReaders") node = { ...node, waitingList: undefined as never }
  const replace = (of: object, [name = "", ...rest]: ReadonlyArray<string>): object => {
    const inner: unknown = Reflect.get(of, name)
    return { ...of, [name]: rest.length === 0 ? member : replace(Predicate.isObject(inner) ? inner : {}, rest) }
  }
  return name === "list"
    ? {
      ...node,
      waitingList: (...args) => Effect.map(node.waitingList!(...args), (list) => replace(list, rest) as never)
    }
    : replace(node, path.split(".")) as LockNode
}

const members = [
  "acquire",
  "extend",
  "release",
  "inspect",
  "remove",
  "replace",
  "mayOvertake",
  "serverOf",
  "abstention",
  ...["acquire", "raise", "replace"].map((name) => `fencing.${name}`),
  ...["acquire", "extend", "release", "downgrade", "inspect", "yieldToReaders", "announce"].map((name) =>
    `shared.${name}`
  ),
  ...["acquire", "raise"].map((name) => `shared.fencing.${name}`),
  ...["acquire", "extend", "release", "raise", "inspect", "remove"].map((name) => `permits.${name}`),
  "waitingList",
  ...["join", "leave", "release", "watch", "yieldToReaders", "length"].map((name) => `list.${name}`),
  ...["listen", "stopListening", "transfer"].map((name) => `list.handOver.${name}`),
  ...["join", "leave", "release"].map((name) => `list.permits.${name}`)
]

/** A name whose line is on the node `odd`. */
const line = "c"

const ahead = 1_000_000_000_000

const request = { expiryMillis: 1, limit: 1, permits: 1, start: 0, step: 1 }

const patient = { retry: retryPolicy({ within: "1 minute" }) }

/** Everything that a node is asked for, by two services that contend. The line is on the node. */
const everything = (breaking: (node: LockNode) => LockNode) =>
  Effect.gen(function*() {
    const memories = ["a", "odd", "b"].map(MemoryNode.make)
    // The counters of the nodes differ, so that tokens are settled in a second round.
    for (const name of [line, "read"]) yield* memories[0]!.fencing!.acquire(name, "of yesterday", 1, ahead)
    yield* memories[0]!.permits!.acquire(line, "of yesterday", { ...request, proposal: ahead })
    const nodes = memories.map((memory, index) => index === 1 ? breaking(memory) : memory)
    yield* TestClock.adjust(1)
    const scope = yield* Scope.make()
    const opened = yield* Effect.all([open({ nodes, expiry: "1 second" }), open({ nodes, expiry: "1 second" })]).pipe(
      Effect.provideService(Scope.Scope, scope)
    )
    const [ours, theirs] = opened.map(({ run }) => run) as [typeof opened[0]["run"], typeof opened[1]["run"]]
    const contended = <A, E, R>(make: (index: number) => Effect.Effect<A, E, R>) =>
      Effect.all([ours(make(0)), theirs(make(1)), ours(make(2)), theirs(make(3))], { concurrency: "unbounded" })
    const pause = Effect.sleep("700 millis")
    yield* contended(() => withLock(line, pause, patient))
    yield* contended(() => withFencedLock(line, () => pause, patient))
    yield* contended((index) =>
      index % 2 === 0 ? withFencedSharedLock(line, () => pause, patient) : withLock(line, pause, patient)
    )
    yield* contended((index) => index > 1 ? withSharedLock(line, pause, patient) : withLock(line, pause, patient))
    yield* contended(() => Semaphore.withPermits(line, pause, { limit: 2, permits: 1, ...patient }))
    yield* contended(() => Semaphore.withFencedPermits(line, () => pause, { limit: 1, permits: 1, ...patient }))
    yield* contended(() => withLock("a", pause, patient))
    const impatient = { limit: 1, permits: 1, retry: retryPolicy({ within: "100 millis" }) }
    yield* ours(Effect.scoped(Effect.andThen(
      Semaphore.permits(line, { ...impatient, ...patient }),
      Effect.flip(theirs(Semaphore.withPermits(line, pause, impatient)))
    )))
    yield* ours(withFencedSharedLock("read", () => pause, patient))
    const isHeld = yield* ours(Effect.scoped(Effect.gen(function*() {
      const held = yield* lock("b", patient)
      yield* held.extend
      const adopted = yield* adopt("b", yield* held.detach)
      const isHeld = yield* adopted.isHeld
      yield* unlock("b", adopted.value)
      const fenced = yield* fencedLock(line, patient)
      yield* adoptFenced(line, yield* fenced.detach)
      yield* forceUnlock(line)
      const exclusive = yield* lock("d", patient)
      yield* Lock.downgrade(exclusive)
      yield* inspect("d")
      const held2 = yield* Semaphore.permits("e", { limit: 2, permits: 1, ...patient })
      yield* held2.isHeld
      yield* Semaphore.inspectPermits("e")
      yield* Semaphore.forceReleasePermits("e")
      yield* inspect("b")
      return isHeld
    })))
    assert.isTrue(isHeld)
    assert.isTrue((yield* ours(Redsync.health)).isReady)
    yield* Scope.close(scope, Exit.void)
  })

describe("a custom node of which a function", () => {
  it.effect.each(members)("%s returns anything", (member) =>
    Effect.gen(function*() {
      const unhandled: Array<unknown> = []
      const listener = (error: unknown) => unhandled.push(error)
      yield* Effect.acquireRelease(
        Effect.sync(() => process.on("unhandledRejection", listener).on("uncaughtException", listener)),
        () => Effect.sync(() => process.off("unhandledRejection", listener).off("uncaughtException", listener))
      )
      const problems: Array<string> = []
      for (const [name, answer] of Object.entries(answers)) {
        const before = unhandled.length
        let calls = 0
        const counting = () => {
          calls++
          return answer()
        }
        const fiber = yield* Effect.forkChild(everything((node) => broken(node, member, counting)))
        for (let steps = 0; steps < 400 && fiber.pollUnsafe() === undefined; steps++) {
          yield* TestClock.adjust("500 millis")
        }
        const exit = fiber.pollUnsafe()
        if (exit === undefined) {
          problems.push(`${name}: hangs`)
          yield* Fiber.interrupt(fiber).pipe(Effect.forkChild)
          yield* TestClock.adjust("1 minute")
        } else if (Exit.isFailure(exit)) problems.push(`${name}: ${String(exit).slice(0, 300)}`)
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        if (calls === 0) problems.push(`${name}: is not called`)
        if (unhandled.length > before) problems.push(`${name}: ends the process`)
      }
      assert.deepStrictEqual(problems, [])
    }).pipe(Effect.scoped), 60_000)
})

describe("a custom node", () => {
  it.effect("may notify of anything: what is no notice is ignored", () =>
    Effect.gen(function*() {
      const memory = MemoryNode.make("odd")
      let notify: (notice: unknown) => void = () => {}
      const node: LockNode = {
        ...memory,
        waitingList: (waiterId, onNotice) => {
          notify = onNotice as typeof notify
          return memory.waitingList!(waiterId, onNotice)
        }
      }
      const { run } = yield* open({ nodes: [node] })
      const { value } = yield* run(lock(line))
      yield* Effect.forkChild(run(withLock(line, Effect.void, patient)))
      yield* TestClock.adjust("1 second")
      const handOver = { _tag: "HandedOver", key: line, value, ttlMillis: 1, time: {}, chain: {} }
      const notices = [
        undefined,
        null,
        5,
        {},
        unreadable,
        wordless,
        { _tag: "toString" },
        { _tag: "WakeUp" },
        handOver,
        {
          ...handOver,
          chain: { length: 1, millis: 1 },
          time: { millis: Number.NaN, clock: "odd" }
        },
        { _tag: "Successor", key: line, value, successor: "yes" },
        { _tag: "First", key: line, value },
        {
          _tag: "Unsupported"
        }
      ]
      for (const notice of notices) assert.doesNotThrow(() => notify(notice))
    }).pipe(Effect.scoped))

  it.effect.each(Object.entries(answers).slice(0, 5))(
    "must be what its delayedRestart returns: %s is a defect",
    ([_, answer]) =>
      Effect.gen(function*() {
        const node: LockNode = { ...MemoryNode.make("odd"), delayedRestart: answer as () => LockNode }
        const exit = yield* Effect.exit(open({ nodes: [node], delayedRestart: "1 minute" }))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }).pipe(Effect.scoped)
  )
})
