/** Locks of one kind: their names, their options, and the service over which they are. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Duration, Effect, Exit, Layer, Option } from "effect"
import { inspect, Keyed, Redsync, withLock } from "../src/index.ts"
import { layerTest, TestNodes } from "../src/testing.ts"

class InvoiceLock extends Keyed<InvoiceLock>()("test/InvoiceLock", {
  name: (id: number) => `invoices:${id}`,
  expiry: "30 seconds"
}) {}

const nameOf = (lock: { readonly name: string }) => Effect.succeed(lock.name)

const seconds = (lock: { readonly remaining: Effect.Effect<Duration.Duration> }) =>
  Effect.map(lock.remaining, (left) => Math.round(Duration.toSeconds(left)))

const world = InvoiceLock.layer.pipe(Layer.provideMerge(layerTest({ count: 3, expiry: "10 seconds" })))

describe("Keyed", () => {
  it.effect("takes the lock of a key's name, by every function and in both forms", () =>
    Effect.gen(function*() {
      const held = yield* InvoiceLock.lock(1)
      assert.strictEqual(held.name, "invoices:1")
      assert.strictEqual((yield* InvoiceLock.fencedLock(2)).name, "invoices:2")
      assert.isTrue(Option.isSome(yield* InvoiceLock.tryLock(3)))
      assert.isTrue(Option.isNone(yield* InvoiceLock.tryLock(1)))
      assert.strictEqual(yield* InvoiceLock.withLock(4, nameOf), "invoices:4")
      assert.strictEqual(yield* InvoiceLock.withFencedLock(4, (_, lock) => nameOf(lock)), "invoices:4")
      assert.deepStrictEqual(yield* InvoiceLock.withLockIfAvailable(4, nameOf), Option.some("invoices:4"))
      assert.deepStrictEqual(
        yield* InvoiceLock.withLocks(new Set([5, 4]), (locks) => Effect.succeed(locks.map(({ name }) => name))),
        ["invoices:5", "invoices:4"]
      )
      const holder = Effect.map(inspect("invoices:6"), ({ holder }) => Option.isSome(holder))
      assert.isTrue(yield* holder.pipe(InvoiceLock.withLock(6)))
      assert.isTrue(yield* holder.pipe(InvoiceLock.withLocks([6, 7], { expiry: 1000 })))
      assert.deepStrictEqual(yield* holder.pipe(InvoiceLock.withLockIfAvailable(6)), Option.some(true))
      assert.deepStrictEqual(
        Option.map((yield* InvoiceLock.inspect(1)).holder, ({ value }) => value),
        Option.some(held.value)
      )
      assert.strictEqual(InvoiceLock.nameOf(8), "invoices:8")
    }).pipe(Effect.scoped, Effect.provide(world)))

  it.effect("options of one lock come before those of the class, and these before those of the service", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* withLock("a", seconds), 10)
      assert.strictEqual(yield* InvoiceLock.withLock(1, seconds), 30)
      assert.strictEqual(yield* InvoiceLock.withLock(1, seconds, { expiry: "60 seconds" }), 59)
      assert.strictEqual(yield* InvoiceLock.withLock(1, seconds, { expiry: undefined }), 30)
    }).pipe(Effect.provide(world)))

  it.effect("is over the quorum that is provided to it", () =>
    Effect.gen(function*() {
      class Billing extends Context.Service<Billing, Redsync>()("test/Billing") {}
      const { nodes } = yield* TestNodes
      const billing = Redsync.make({ nodes: nodes.map(({ node }) => node), prefix: "billing:" })
      const layer = Layer.provide(InvoiceLock.layer, Layer.effect(Redsync.Redsync, Billing)).pipe(
        Layer.provide(Layer.effect(Billing, billing))
      )
      yield* InvoiceLock.withLock(
        1,
        Effect.map(inspect("billing:invoices:1"), ({ holder }) => assert.isTrue(Option.isSome(holder)))
      )
        .pipe(Effect.provide(layer))
    }).pipe(Effect.provide(layerTest())))

  it.effect("can be stubbed", () =>
    Effect.gen(function*() {
      assert.isTrue(Option.isNone(yield* InvoiceLock.tryLock(1)))
    }).pipe(Effect.scoped, Effect.provide(Layer.mock(InvoiceLock, { tryLock: () => Effect.succeedNone }))))

  it("throws where its options are none", () => {
    const define = (options: unknown) => () => Keyed<never>()("test/Odd", options as { name: () => string })
    for (const options of [undefined, null, 5, [], "redis://ada:hunter2@a"]) {
      assert.throws(define(options), /the options are (?!.*hunter2)/)
    }
    for (const name of [undefined, "invoices", 5]) {
      assert.throws(define({ name, expiry: 1000 }), /the option name is .*; it must be a function/)
    }
    assert.throws(define({ name: String, expirey: 1000 }), /did you mean expiry/)
  })

  it("throws where an option of its locks is invalid or cannot be read", () => {
    const invalid = {
      expiry: [null, 0, -1, Number.NaN, "later", "366 days"],
      nodeTimeout: [null, 0, -1, Number.NaN, "later", "2 hours"],
      driftFactor: [null, -0.1, 1, Number.NaN, "0.1"],
      autoExtend: [null, 1, "true"],
      retry: [null, 3, "1 second", {}]
    }
    for (const [option, values] of Object.entries(invalid)) {
      const throwing = Object.defineProperty({ name: String }, option, {
        enumerable: true,
        get: () => assert.fail("no")
      })
      for (const options of [...values.map((value) => ({ name: String, [option]: value })), throwing]) {
        assert.throws(
          () => Keyed<never>()("test/Odd", options as never),
          new RegExp(`^effect-redsync: the option ${option} `)
        )
      }
    }
    // The service may have an expiry that is long enough for it.
    assert.isFunction(Keyed<never>()("test/Odd", { name: String, driftFactor: 0.9999 }))
  })

  it.effect("gives each key to its function alone, and dies where there are none", () =>
    Effect.gen(function*() {
      class Parts extends Keyed<Parts>()("test/Parts", { name: (id: string, part = 0) => `${id}.${part}` }) {}
      const layer = Layer.provide(Parts.layer, layerTest())
      const names = Parts.withLocks(["a", "b"], (locks) => Effect.succeed(locks.map(({ name }) => name)))
      assert.deepStrictEqual(yield* Effect.provide(names, layer), ["a.0", "b.0"])
      for (const keys of [null, undefined, 5, "ab", {}]) {
        const exit = yield* Effect.exit(Effect.provide(Parts.withLocks(keys as never, Effect.void), layer))
        assert.match(Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "", /the option keys is /)
      }
      const unnamed = yield* Effect.exit(Effect.provide(Parts.withLocks([], Effect.void), layer))
      assert.match(Exit.isFailure(unnamed) ? String(Cause.squash(unnamed.cause)) : "", /at least one name/)
    }))

  it.effect.each([null, 5, { expirey: 5 }])(
    "dies where those of one lock are none: %j",
    (options) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(InvoiceLock.withLock(1, Effect.void, options as object))
        assert.include(Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "", "effect-redsync: the")
      }).pipe(Effect.provide(world))
  )
})
