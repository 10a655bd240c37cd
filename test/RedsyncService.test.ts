/**
 * The service as a value: its methods, several of them in one program, prefixes, and
 * stubs.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Option } from "effect"
import {
  ErrFailed,
  inspect,
  lock,
  MemoryNode,
  Redsync,
  retryPolicy,
  tryLock,
  withFencedLock,
  withFencedLockIfAvailable,
  withFencedLocks,
  withLock
} from "../src/index.ts"

const once = { retry: retryPolicy({ tries: 1 }) }

const dieMessage = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "it worked"

describe("the methods", () => {
  it.effect("do what the functions do", () =>
    Effect.gen(function*() {
      const redsync = yield* Redsync.Redsync
      assert.strictEqual(yield* redsync.withLock("a", (held) => Effect.succeed(held.name)), "a")
      assert.deepStrictEqual(yield* redsync.withLockIfAvailable("a", Effect.succeed(1)), Option.some(1))
      const names = yield* redsync.withLocks(["b", "a"], (locks) => Effect.succeed(locks.map(({ name }) => name)))
      assert.deepStrictEqual(names, ["b", "a"])
      const held = yield* redsync.lock("a")
      assert.isTrue(Option.isNone(yield* redsync.tryLock("a")))
      assert.isTrue(Option.isNone(yield* redsync.tryFencedLock("a")))
      assert.isTrue(Option.isNone(yield* redsync.withLockIfAvailable("a", Effect.void)))
      assert.strictEqual(Option.getOrThrow((yield* redsync.inspect("a")).holder).value, held.value)
      assert.isTrue(yield* redsync.unlock("a", held.value))
      const fenced = yield* redsync.fencedLock("a")
      const adopted = yield* redsync.adoptFenced("a", yield* fenced.detach)
      assert.isAbove(adopted.token, fenced.token)
      assert.isTrue(yield* redsync.forceUnlock("a"))
      assert.isTrue((yield* redsync.health).isReady)
      const { nodes, ...rest } = yield* redsync.topology
      assert.lengthOf(nodes, 3)
      assert.deepStrictEqual(rest, { quorum: 2, prefix: "" })
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("refuse what is no program, as the functions do", () =>
    Effect.gen(function*() {
      const redsync = yield* Redsync.Redsync
      for (const program of [42, null, undefined, "text", {}]) {
        const exits = yield* Effect.all([
          Effect.exit(redsync.withLock("a", program as Effect.Effect<void>)),
          Effect.exit(redsync.withLocks(["a"], program as Effect.Effect<void>)),
          Effect.exit(redsync.withFencedLock("a", program as () => Effect.Effect<void>)),
          Effect.exit(redsync.withFencedLockIfAvailable("a", program as () => Effect.Effect<void>))
        ])
        for (const exit of exits) assert.include(dieMessage(exit), "the option program is")
      }
      assert.isTrue(Option.isNone((yield* redsync.inspect("a")).holder))
    }).pipe(Effect.provide(Redsync.layerMemory())))
})

describe("several services", () => {
  class Orders extends Context.Service<Orders, Redsync>()("test/Orders") {}
  class Billing extends Context.Service<Billing, Redsync>()("test/Billing") {}

  it.effect("in one program lock on their own nodes", () =>
    Effect.gen(function*() {
      const held = yield* Orders.use((redsync) => redsync.lock("42"))
      assert.isTrue(Option.isSome(yield* Billing.use((redsync) => redsync.tryLock("42"))))
      assert.isTrue(Option.isNone(yield* Orders.use((redsync) => redsync.tryLock("42"))))
      // The functions, for another service than the one of their own tag.
      const found = yield* Effect.provideServiceEffect(inspect("42"), Redsync.Redsync, Orders)
      assert.strictEqual(Option.getOrThrow(found.holder).value, held.value)
    }).pipe(
      Effect.scoped,
      Effect.provide([
        Layer.effect(Orders, Redsync.make({ nodes: [MemoryNode.make()] })),
        Layer.effect(Billing, Redsync.make({ nodes: [MemoryNode.make()] }))
      ])
    ))

  it.effect("with further prefixes share nodes, and have nothing else to do with each other", () =>
    Effect.gen(function*() {
      const orders = yield* Redsync.prefixed("orders:")
      const billing = yield* Redsync.prefixed("billing:")
      const held = yield* orders.lock("42")
      assert.strictEqual(held.name, "42")
      const other = Option.getOrThrow(yield* billing.tryLock("42"))
      assert.isTrue(Option.isSome(yield* tryLock("42")))
      const seen = yield* inspect("orders:42")
      assert.strictEqual(Option.getOrThrow(seen.holder).value, held.value)
      assert.isFalse(yield* billing.unlock("42", held.value))
      assert.isTrue(yield* billing.forceUnlock("42"))
      assert.isTrue(yield* held.isHeld)
      assert.isFalse(yield* other.isHeld)
      const { nodes, prefix } = yield* orders.topology
      assert.deepStrictEqual(nodes, (yield* billing.topology).nodes)
      assert.strictEqual(prefix, "app:orders:")
      assert.strictEqual((yield* (yield* orders.prefixed("eu:")).topology).prefix, "app:orders:eu:")
      assert.strictEqual((yield* Redsync.topology).prefix, "app:")
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3, prefix: "app:" }))))

  it.effect("with further prefixes are one where the keys are one", () =>
    Effect.gen(function*() {
      const orders = yield* Redsync.prefixed("orders:")
      yield* withLock("orders:42", orders.tryLock("42")).pipe(
        Effect.map((tried) => assert.isTrue(Option.isNone(tried)))
      )
      // Whoever holds the key may be another service, and is the same program.
      const error = yield* Effect.flip(withLock("orders:42", orders.withLock("42", Effect.void, once)))
      assert(error instanceof ErrFailed)
      assert.isTrue(error.isNested)
      assert.deepStrictEqual([error.lock, error.prefix], ["42", "orders:"])
      // The same name is another lock.
      yield* orders.withLock("42", withLock("42", Effect.void, once))
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory())))

  it.effect("refuse a prefix that cannot be one", () =>
    Effect.gen(function*() {
      for (const prefix of [7, null, "\ud800", "redsync:1:", "x".repeat(4097)]) {
        assert.include(dieMessage(yield* Effect.exit(Redsync.prefixed(prefix as string))), "the option prefix is ")
      }
      const long = yield* Redsync.prefixed("x".repeat(4000))
      assert.include(dieMessage(yield* Effect.exit(long.prefixed("y".repeat(97)))), "the option prefix is ")
    }).pipe(Effect.provide(Redsync.layerMemory())))

  it.effect("end together: a further prefix closes nothing by itself", () =>
    Effect.gen(function*() {
      const held = yield* Effect.scoped(Effect.flatMap(Redsync.prefixed("a:"), (redsync) => redsync.lock("x")))
      assert.isFalse(yield* held.isHeld)
      assert.isTrue(Option.isSome(yield* Effect.scoped(tryLock("x"))))
    }).pipe(Effect.provide(Redsync.layerMemory())))
})

describe("a stub", () => {
  it.effect("is all that a test needs of the service", () => {
    const taken = Layer.mock(Redsync.Redsync, { tryLock: () => Effect.succeedNone })
    return Effect.gen(function*() {
      assert.isTrue(Option.isNone(yield* Effect.scoped(tryLock("a"))))
      assert.include(dieMessage(yield* Effect.exit(withLock("a", Effect.void))), "Unimplemented method \"withLock\"")
      assert.include(dieMessage(yield* Effect.exit(Redsync.health)), "Unimplemented method \"health\"")
    }).pipe(Effect.provide(taken))
  })

  it.effect("may run the program without a lock", () => {
    const unlocked = Layer.mock(Redsync.Redsync, {
      withLock: (_, program) => Effect.isEffect(program) ? program : Effect.die("of no use here")
    })
    return Effect.gen(function*() {
      assert.strictEqual(yield* Effect.succeed(7).pipe(withLock("a")), 7)
      assert.strictEqual(yield* withLock("a", Effect.succeed(7), { expiry: 1 }), 7)
    }).pipe(Effect.provide(unlocked))
  })
})

describe("fenced locks", () => {
  it.effect("withFencedLockIfAvailable gives a token, or none if the lock is held", () =>
    Effect.gen(function*() {
      const first = yield* withFencedLock("a", (token) => Effect.succeed(token))
      const second = Option.getOrThrow(yield* withFencedLockIfAvailable("a", (token) => Effect.succeed(token)))
      assert.isAbove(second, first)
      const piped = yield* withFencedLockIfAvailable("a")((token, held) => Effect.succeed([token, held.token] as const))
      const [third, ofLock] = Option.getOrThrow(piped)
      assert.isAbove(third, second)
      assert.strictEqual(third, ofLock)
      yield* lock("a")
      assert.isTrue(Option.isNone(yield* withFencedLockIfAvailable("a", () => Effect.die("it is held"))))
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("withFencedLocks gives a token for each name, larger than that of every earlier holder", () =>
    Effect.gen(function*() {
      const before = yield* Effect.forEach(
        ["b", "a", "c"],
        (name) => withFencedLock(name, (token) => Effect.succeed([name, token] as const))
      )
      const locks = yield* withFencedLocks(["b", "a", "b"], (locks) => Effect.succeed(locks))
      assert.deepStrictEqual(locks.map(({ name }) => name), ["b", "a"])
      for (const { name, token } of locks) assert.isAbove(token, before.find(([other]) => other === name)![1])
      const after = yield* withFencedLocks(["a", "b"])((locks) => Effect.succeed(locks))
      for (const { name, token } of after) assert.isAbove(token, locks.find((lock) => lock.name === name)!.token)
      assert.isTrue(Option.isNone((yield* inspect("a")).holder))
    }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))

  it.effect("withFencedLocks raises the counters of nodes that missed a grant, before the program runs", () =>
    Effect.gen(function*() {
      const nodes = MemoryNode.makeMany(3)
      const [ahead] = nodes
      // One node has counted further than the others, and the next quorum may do without it.
      yield* Effect.orDie(ahead!.fencing!.acquire("a", "another's", 1, 2 ** 52))
      yield* Effect.orDie(ahead!.remove("a"))
      const redsync = yield* Redsync.make({ nodes })
      const token = yield* redsync.withFencedLocks(["a", "b"], ([a]) => Effect.succeed(a!.token))
      assert.isAbove(token, 2 ** 52)
      const others = yield* Redsync.make({ nodes: nodes.slice(1) })
      assert.isAbove(yield* others.withFencedLock("a", (next) => Effect.succeed(next)), token)
    }).pipe(Effect.scoped))

  it.effect("withFencedLocks needs counters on every node", () =>
    Effect.gen(function*() {
      const { fencing: _, ...without } = MemoryNode.make("without")
      const redsync = yield* Redsync.make({ nodes: [without] })
      const exit = yield* Effect.exit(redsync.withFencedLocks(["a"], () => Effect.void))
      assert.include(dieMessage(exit), "the node without does not support fencing tokens")
    }).pipe(Effect.scoped))
})
