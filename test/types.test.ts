// What follows is checked by the compiler and not run: @effect-diagnostics floatingEffect:off missingEffectError:off
/**
 * The error channel and the requirements of every function, in both calling forms,
 * and what a signature, a layer and a stub look like. Checked by the compiler; at
 * run time these tests only build effects.
 */
import { describe, it } from "@effect/vitest"
import {
  Config,
  Context,
  Cron,
  Data,
  type Duration,
  Effect,
  Layer,
  type Option,
  Redacted,
  Schedule,
  type Scope
} from "effect"
import type { Redis } from "effect/persistence"
import { expectTypeOf } from "vitest"
import {
  adopt,
  adoptFenced,
  defaultRetry,
  type ErrFailed,
  type FencedLock,
  fencedLock,
  type FencingToken,
  forceUnlock,
  type Health,
  health,
  inspect,
  type Inspection,
  Keyed,
  Leader,
  Lock,
  lock,
  LockError,
  type LockLost,
  type LockNode,
  type LockOptions,
  MemoryNode,
  type NodesUnavailable,
  Redsync,
  retryPolicy,
  type ServiceOptions,
  tryFencedLock,
  tryLock,
  unlock,
  withFencedLock,
  withFencedLockIfAvailable,
  withFencedLocks,
  withLock,
  withLockIfAvailable,
  withLocks
} from "../src/index.ts"
import * as IoredisNode from "../src/IoredisNode.ts"

class Broken extends Data.TaggedError("Broken")<{}> {}
class Db extends Context.Service<Db, { readonly size: number }>()("test/Db") {}

const program = Effect.gen(function*() {
  const { size } = yield* Db
  if (size > 1) return yield* new Broken()
  return "done"
})

type Held = Effect.Effect<string, Broken | ErrFailed | NodesUnavailable | LockLost, Db | Redsync>
type MaybeHeld = Effect.Effect<Option.Option<string>, Broken | NodesUnavailable | LockLost, Db | Redsync>

describe("types", () => {
  it("withLock adds its errors and its service to the program's", () => {
    expectTypeOf(withLock("a", program)).toEqualTypeOf<Held>()
    expectTypeOf(withLock("a", program, { expiry: "1 second" })).toEqualTypeOf<Held>()
    expectTypeOf(withLock("a", () => program)).toEqualTypeOf<Held>()
    expectTypeOf(withLock("a", (held) => {
      expectTypeOf(held).toEqualTypeOf<Lock>()
      return program
    })).toEqualTypeOf<Held>()
    expectTypeOf(program.pipe(withLock("a"))).toEqualTypeOf<Held>()
    expectTypeOf(program.pipe(withLock("a", { retry: retryPolicy({ tries: 1 }) }))).toEqualTypeOf<Held>()
    expectTypeOf(program.pipe(withLock("a"), Effect.map((done) => done.length))).toEqualTypeOf<
      Effect.Effect<number, Effect.Error<Held>, Effect.Services<Held>>
    >()
    expectTypeOf(withLocks(["a"], (locks) => {
      expectTypeOf(locks).toEqualTypeOf<ReadonlyArray<Lock>>()
      return program
    })).toEqualTypeOf<Held>()
    expectTypeOf(program.pipe(withLocks(new Set(["a"])))).toEqualTypeOf<Held>()
  })

  it("so do its fenced forms", () => {
    const one = (token: FencingToken, held: FencedLock) => Effect.as(program, held.token === token ? "done" : "")
    expectTypeOf(withFencedLock("a", one)).toEqualTypeOf<Held>()
    expectTypeOf(withFencedLock("a", { expiry: 1 })(one)).toEqualTypeOf<Held>()
    expectTypeOf(withFencedLockIfAvailable("a", one)).toEqualTypeOf<MaybeHeld>()
    expectTypeOf(withFencedLockIfAvailable("a")(one)).toEqualTypeOf<MaybeHeld>()
    const several = (locks: ReadonlyArray<FencedLock>) => Effect.as(program, locks[0]!.name)
    expectTypeOf(withFencedLocks(["a", "b"], several)).toEqualTypeOf<Held>()
    expectTypeOf(withFencedLocks(["a", "b"])(several)).toEqualTypeOf<Held>()
  })

  it("withLockIfAvailable cannot be refused for good", () => {
    expectTypeOf(withLockIfAvailable("a", program)).toEqualTypeOf<MaybeHeld>()
    expectTypeOf(withLockIfAvailable("a", () => program, {})).toEqualTypeOf<MaybeHeld>()
    expectTypeOf(program.pipe(withLockIfAvailable("a"))).toEqualTypeOf<MaybeHeld>()
  })

  it("Effect.scoped around withLock compiles, and LockLost is gone once caught", () => {
    const scoped = Effect.scoped(withLock("name", program))
    expectTypeOf(scoped).toEqualTypeOf<Held>()
    const caught = Effect.catchTag(scoped, "LockLost", () => Effect.succeed("lost"))
    expectTypeOf(caught).toEqualTypeOf<Effect.Effect<string, Broken | ErrFailed | NodesUnavailable, Db | Redsync>>()
    const handled = caught.pipe(
      Effect.catchTags({ ErrFailed: () => Effect.succeed("busy"), NodesUnavailable: () => Effect.succeed("down") }),
      Effect.provide(Redsync.layerMemory())
    )
    expectTypeOf(handled).toEqualTypeOf<Effect.Effect<string, Broken, Db>>()
  })

  it("a program's scope stays the caller's", () => {
    expectTypeOf(withLock("a", Effect.addFinalizer(() => Effect.void))).toEqualTypeOf<
      Effect.Effect<void, ErrFailed | NodesUnavailable | LockLost, Redsync | Scope.Scope>
    >()
  })

  it("locks are scoped", () => {
    type Scoped = Redsync | Scope.Scope
    expectTypeOf(lock("a")).toEqualTypeOf<Effect.Effect<Lock, LockError, Scoped>>()
    expectTypeOf(tryLock("a")).toEqualTypeOf<Effect.Effect<Option.Option<Lock>, NodesUnavailable, Scoped>>()
    expectTypeOf(fencedLock("a")).toEqualTypeOf<Effect.Effect<FencedLock, LockError, Scoped>>()
    expectTypeOf(tryFencedLock("a")).toEqualTypeOf<Effect.Effect<Option.Option<FencedLock>, NodesUnavailable, Scoped>>()
    expectTypeOf(adopt("a", "v")).toEqualTypeOf<Effect.Effect<Lock, LockLost | NodesUnavailable, Scoped>>()
    expectTypeOf(adoptFenced("a", "v")).toEqualTypeOf<Effect.Effect<FencedLock, LockLost | NodesUnavailable, Scoped>>()
  })

  it("operating", () => {
    expectTypeOf(unlock("a", "value")).toEqualTypeOf<Effect.Effect<boolean, NodesUnavailable, Redsync>>()
    expectTypeOf(forceUnlock("a")).toEqualTypeOf<Effect.Effect<boolean, NodesUnavailable, Redsync>>()
    expectTypeOf(inspect("a")).toEqualTypeOf<Effect.Effect<Inspection, never, Redsync>>()
    expectTypeOf(health).toEqualTypeOf<Effect.Effect<Health, never, Redsync>>()
    expectTypeOf(Redsync.prefixed("a:")).toEqualTypeOf<Effect.Effect<Redsync, never, Redsync>>()
  })

  it("a held lock", () => {
    expectTypeOf<Lock["remaining"]>().toEqualTypeOf<Effect.Effect<Duration.Duration>>()
    expectTypeOf<Lock["extend"]>().toEqualTypeOf<Effect.Effect<void, LockLost | NodesUnavailable>>()
    expectTypeOf<Lock["isHeld"]>().toEqualTypeOf<Effect.Effect<boolean, NodesUnavailable>>()
    expectTypeOf<Lock["release"]>().toEqualTypeOf<Effect.Effect<boolean>>()
    expectTypeOf<Lock["lost"]>().toEqualTypeOf<Effect.Effect<never, LockLost>>()
    const guarded = (held: Lock) => [Lock.guard(held, program), program.pipe(Lock.guard(held))] as const
    type Guarded = Effect.Effect<string, Broken | LockLost, Db>
    expectTypeOf(guarded).returns.toEqualTypeOf<readonly [Guarded, Guarded]>()
  })

  it("refuses what is wrong", () => {
    // @ts-expect-error an option that does not exist
    withLock("a", program, { expires: 1 })
    // @ts-expect-error a name that is no string
    lock(1)
    // @ts-expect-error a schedule with requirements
    lock("a", { retry: retryPolicy().pipe((_): Schedule.Schedule<number, unknown, never, Db> => _) })
    // @ts-expect-error a function that returns a promise
    withLock("a", async () => 1)
    // @ts-expect-error an effect where a token is to be used
    withFencedLock("a", program, {})
  })
})

describe("in signatures", () => {
  it("the names of the index are types of this library, and of no other", () => {
    expectTypeOf(withLock("a", Effect.void)).toExtend<Effect.Effect<void, LockError | LockLost, Redsync>>()
    expectTypeOf<LockError>().toEqualTypeOf<ErrFailed | NodesUnavailable>()
    // That of the browser cannot be extended.
    expectTypeOf<Lock>().toHaveProperty("extend")
    expectTypeOf(LockError.isLockError).toBeFunction()
    expectTypeOf(Redsync.isLockError).toEqualTypeOf(LockError.isLockError)
  })

  it("an option may be undefined, as it is where it comes from elsewhere", () => {
    const undefinedOptions = {
      expiry: undefined,
      retry: undefined,
      autoExtend: undefined,
      driftFactor: undefined,
      nodeTimeout: undefined
    }
    expectTypeOf(undefinedOptions).toExtend<LockOptions>()
    const ofService = {
      nodes: [],
      prefix: undefined,
      quorum: undefined,
      delayedRestart: undefined,
      replicas: undefined
    }
    expectTypeOf({ ...undefinedOptions, ...ofService }).toExtend<ServiceOptions>()
    expectTypeOf(retryPolicy({ tries: undefined, delay: undefined, within: undefined })).toEqualTypeOf(defaultRetry)
  })

  it("a schedule may look at the error", () => {
    const whileHeld = retryPolicy({ within: "1 minute" }).pipe(
      Schedule.setInputType<LockError>(),
      Schedule.while(({ input }) => input._tag === "ErrFailed")
    )
    expectTypeOf(lock("a", { retry: whileHeld })).toEqualTypeOf(lock("a"))
  })
})

describe("the service", () => {
  it("has the functions as methods, which require nothing of it", () => {
    const used = Effect.gen(function*() {
      const redsync = yield* Redsync.Redsync
      expectTypeOf(redsync).toEqualTypeOf<Redsync>()
      expectTypeOf(redsync.withLock("a", program)).toEqualTypeOf<
        Effect.Effect<string, Effect.Error<Held>, Db>
      >()
      expectTypeOf(redsync.tryLock("a")).toEqualTypeOf<
        Effect.Effect<Option.Option<Lock>, NodesUnavailable, Scope.Scope>
      >()
      const { quorum } = yield* redsync.topology
      return quorum
    })
    expectTypeOf(used).toEqualTypeOf<Effect.Effect<number, never, Redsync>>()
  })

  it("can be several in one program", () => {
    class Orders extends Context.Service<Orders, Redsync>()("test/Orders") {
      static readonly layer = Layer.effect(this, Redsync.make({ nodes: ["redis://a:6379"], prefix: "orders:" }))
    }
    expectTypeOf(Orders.layer).toEqualTypeOf<Layer.Layer<Orders>>()
    const inOrders = Orders.use((redsync) => redsync.withLock("42", program))
    expectTypeOf<Effect.Services<typeof inOrders>>().toEqualTypeOf<Db | Orders>()
    // The functions, for another service than the one of their own tag.
    const onOrders = Effect.provideServiceEffect(withLock("42", program), Redsync.Redsync, Orders)
    expectTypeOf<Effect.Services<typeof onOrders>>().toEqualTypeOf<Db | Orders>()
  })

  it("is stubbed by whatever of it a test needs", () => {
    const stub = Layer.mock(Redsync.Redsync)({ tryLock: () => Effect.succeedNone })
    expectTypeOf(stub).toEqualTypeOf<Layer.Layer<Redsync>>()
    expectTypeOf(Layer.mock(Redsync.Redsync, {})).toEqualTypeOf<Layer.Layer<Redsync>>()
  })
})

describe("layers", () => {
  const safe: Effect.Effect<LockNode, never, Scope.Scope> = IoredisNode.make({ host: "a" })
  const ambient: Effect.Effect<LockNode, never, Redis.Redis> = Effect.succeed(MemoryNode.make())
  const failing: Effect.Effect<LockNode, Broken, Scope.Scope> = Effect.fail(new Broken())

  it("of URLs and nodes neither fail nor require anything", () => {
    type Plain = Layer.Layer<Redsync>
    expectTypeOf(Redsync.layer({ nodes: ["redis://a:6379"] })).toEqualTypeOf<Plain>()
    const mixed = ["redis://a", Redacted.make("redis://b"), MemoryNode.make(), safe]
    expectTypeOf(Redsync.layer({ nodes: mixed })).toEqualTypeOf<Plain>()
    const urls: ReadonlyArray<string> = ["redis://a"]
    expectTypeOf(Redsync.layer({ nodes: urls, expiry: "10 seconds" })).toEqualTypeOf<Plain>()
    expectTypeOf(Redsync.layer({ nodes: urls.map((host) => IoredisNode.make({ host })) })).toEqualTypeOf<Plain>()
    const options: ServiceOptions = { nodes: mixed }
    expectTypeOf(Redsync.layer(options)).toEqualTypeOf<Plain>()
    expectTypeOf(Redsync.layerMemory({ count: 3, expiry: 1000 })).toEqualTypeOf<Plain>()
    expectTypeOf(Redsync.make({ nodes: ["redis://a"] })).toEqualTypeOf<Effect.Effect<Redsync, never, Scope.Scope>>()
  })

  it("of nodes that are opened have their errors and requirements", () => {
    const nodes = ["redis://a", safe, ambient, failing] as const
    expectTypeOf(Redsync.layer({ nodes })).toEqualTypeOf<Layer.Layer<Redsync, Broken, Redis.Redis>>()
    expectTypeOf(Redsync.layer({ nodes: ["redis://a", ambient] })).toEqualTypeOf<
      Layer.Layer<Redsync, never, Redis.Redis>
    >()
    expectTypeOf(Redsync.make({ nodes: [failing] })).toEqualTypeOf<Effect.Effect<Redsync, Broken, Scope.Scope>>()
    expectTypeOf(Redsync.layerRedis({ id: "a", prefix: "b:" })).toEqualTypeOf<
      Layer.Layer<Redsync, never, Redis.Redis>
    >()
  })

  it("from configuration fail with its error alone", () => {
    type Configured = Layer.Layer<Redsync, Config.ConfigError>
    expectTypeOf(Redsync.layerEnv()).toEqualTypeOf<Configured>()
    expectTypeOf(Redsync.layerEnv({ nodes: [safe], retry: Schedule.recurs(3) })).toEqualTypeOf<Configured>()
    const own = Redsync.layerConfig({
      nodes: Config.all([Config.Redacted("REDIS_A"), Config.String("REDIS_B")]),
      expiry: Config.succeed("10 seconds" as const),
      nodeTimeout: Config.Duration("TIMEOUT"),
      quorum: Config.Int("QUORUM").pipe(Config.withDefault(2))
    }, { retry: Schedule.recurs(3) })
    expectTypeOf(own).toEqualTypeOf<Configured>()
    expectTypeOf(Redsync.layerConfig(Config.succeed({ nodes: ["redis://a"] }))).toEqualTypeOf<Configured>()
  })

  it("take nothing else for a node", () => {
    // @ts-expect-error ioredis options go through IoredisNode.make
    Redsync.layer({ nodes: [{ host: "a" }] })
    // @ts-expect-error an effect that opens something else
    Redsync.layer({ nodes: [Effect.succeed("redis://a")] })
    // @ts-expect-error a node that can fail is no node of an environment
    Redsync.layerEnv({ nodes: [failing] })
  })
})

class InvoiceLock extends Keyed<InvoiceLock>()("test/InvoiceLock", {
  name: (id: number) => `invoices:${id}`,
  expiry: "30 seconds"
}) {}

describe("locks of one kind", () => {
  type Held = Effect.Effect<string, Broken | ErrFailed | NodesUnavailable | LockLost, Db | InvoiceLock>
  type MaybeHeld = Effect.Effect<Option.Option<string>, Broken | NodesUnavailable | LockLost, Db | InvoiceLock>

  it("require the class instead of Redsync, and take keys instead of names", () => {
    expectTypeOf(InvoiceLock.withLock(42, program)).toEqualTypeOf<Held>()
    expectTypeOf(InvoiceLock.withLock(42, (_lock: Lock) => program, { expiry: 1 })).toEqualTypeOf<Held>()
    expectTypeOf(program.pipe(InvoiceLock.withLock(42))).toEqualTypeOf<Held>()
    expectTypeOf(InvoiceLock.withLocks([1, 2], program)).toEqualTypeOf<Held>()
    expectTypeOf(InvoiceLock.withFencedLock(42, (_token: FencingToken) => program)).toEqualTypeOf<Held>()
    expectTypeOf(InvoiceLock.withLockIfAvailable(42, program)).toEqualTypeOf<MaybeHeld>()
    expectTypeOf(program.pipe(InvoiceLock.withLockIfAvailable(42))).toEqualTypeOf<MaybeHeld>()
    expectTypeOf(InvoiceLock.lock(42)).toEqualTypeOf<
      Effect.Effect<Lock, LockError, InvoiceLock | Scope.Scope>
    >()
    expectTypeOf(InvoiceLock.layer).toEqualTypeOf<Layer.Layer<InvoiceLock, never, Redsync>>()
    expectTypeOf(InvoiceLock.use(({ withLock }) => withLock(42, program))).toEqualTypeOf<Held>()
    expectTypeOf(Layer.mock(InvoiceLock, { inspect: () => Effect.never })).toEqualTypeOf<Layer.Layer<InvoiceLock>>()
    // @ts-expect-error -- keys are numbers
    InvoiceLock.withLock("42", program)
  })
})

describe("leaders and cron jobs", () => {
  it("require what the program requires, except for its scope, and fail with nothing", () => {
    const scoped = Effect.andThen(Effect.scope, program)
    type Requiring = Layer.Layer<never, never, Redsync | Db>
    expectTypeOf(Leader.singleton("a", scoped)).toEqualTypeOf<Requiring>()
    expectTypeOf(Leader.singleton("a", (lock: FencedLock) => Effect.as(scoped, lock.token))).toEqualTypeOf<Requiring>()
    expectTypeOf(Leader.lead("a", scoped, { restart: Schedule.recurs(3) })).toEqualTypeOf<
      Effect.Effect<never, never, Redsync | Db>
    >()
    // @ts-expect-error -- a candidate waits until it is elected
    Leader.singleton("a", scoped, { retry: Schedule.recurs(1) })
    const execute = Effect.andThen(Leader.CurrentScheduledTime, scoped)
    expectTypeOf(Leader.cron({ name: "a", cron: Cron.parseUnsafe("* * * * *"), execute })).toEqualTypeOf<Requiring>()
  })
})
