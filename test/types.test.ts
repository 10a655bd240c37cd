/**
 * The error channel and the requirements of every verb, in both calling forms.
 * Checked by the compiler; at run time these tests only build effects.
 */
import { describe, it } from "@effect/vitest"
import {
  type Config,
  Context,
  Data,
  type Duration,
  Effect,
  type Layer,
  type Option,
  type Schedule,
  type Scope
} from "effect"
import type { Redis } from "effect/persistence"
import { expectTypeOf } from "vitest"
import {
  adopt,
  type ErrFailed,
  forceUnlock,
  inspect,
  type Inspection,
  Lock,
  lock,
  type LockLost,
  type NodesUnavailable,
  Redsync,
  retryPolicy,
  tryLock,
  unlock,
  withLock,
  withLockIfAvailable
} from "../src/index.ts"

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
    expectTypeOf(caught).toEqualTypeOf<
      Effect.Effect<string, Broken | ErrFailed | NodesUnavailable, Db | Redsync>
    >()
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
    expectTypeOf(lock("a")).toEqualTypeOf<
      Effect.Effect<Lock, ErrFailed | NodesUnavailable, Redsync | Scope.Scope>
    >()
    expectTypeOf(tryLock("a")).toEqualTypeOf<
      Effect.Effect<Option.Option<Lock>, NodesUnavailable, Redsync | Scope.Scope>
    >()
    expectTypeOf(adopt("a", "value")).toEqualTypeOf<
      Effect.Effect<Lock, LockLost | NodesUnavailable, Redsync | Scope.Scope>
    >()
  })

  it("operating", () => {
    expectTypeOf(unlock("a", "value")).toEqualTypeOf<Effect.Effect<boolean, NodesUnavailable, Redsync>>()
    expectTypeOf(forceUnlock("a")).toEqualTypeOf<Effect.Effect<boolean, NodesUnavailable, Redsync>>()
    expectTypeOf(inspect("a")).toEqualTypeOf<Effect.Effect<Inspection, never, Redsync>>()
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

  it("layers", () => {
    expectTypeOf(Redsync.layer({ nodes: ["redis://a:6379"] })).toEqualTypeOf<Layer.Layer<Redsync>>()
    expectTypeOf(Redsync.layerMemory({ count: 3 })).toEqualTypeOf<Layer.Layer<Redsync>>()
    expectTypeOf(Redsync.layerEnv()).toEqualTypeOf<Layer.Layer<Redsync, Config.ConfigError>>()
    expectTypeOf(Redsync.layerRedis()).toEqualTypeOf<Layer.Layer<Redsync, never, Redis.Redis>>()
    expectTypeOf(Redsync.defaultRetry).toEqualTypeOf<Schedule.Schedule<number>>()
  })

  it("refuses what is wrong", () => {
    // @ts-expect-error an option that does not exist
    withLock("a", program, { expires: 1 })
    // @ts-expect-error a name that is no string
    lock(1)
    // @ts-expect-error a schedule with requirements
    lock("a", { retry: retryPolicy().pipe((_): Schedule.Schedule<number, unknown, never, Db> => _) })
  })
})
