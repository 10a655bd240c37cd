/**
 * Locks of one kind as a service of its own: a class with its options and a function
 * from key to name.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { FencingToken } from "./Fencing.ts"
import type { Inspection } from "./Inspection.ts"
import { dieWithIllegalArgument, given, invalidOption, passes } from "./internal/base/arguments.ts"
import { lockOptions, resolveSettings } from "./internal/claim/settings.ts"
import { dualWithOptions } from "./internal/service/dualApi.ts"
import type { FencedLock, Lock } from "./Lock.ts"
import type { LockError, LockLost, NodesUnavailable } from "./LockError.ts"
import type { LockOptions } from "./LockOptions.ts"
import { type Program, Redsync } from "./RedsyncService.ts"

/**
 * The options of {@link Keyed}: defaults for every lock of this kind, which override those of the service.
 *
 * @category options
 * @since 0.1.0
 */
export interface KeyedOptions<in Key> extends LockOptions {
  /** The name of the lock for a key. Different keys must give different names. */
  readonly name: (key: Key) => string
}

/**
 * The functions for locks of one kind, as in `Redsync` but for a key instead of a name.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyedLocks<in Key> {
  /** Holds the lock for exactly as long as the program runs: `Redsync.withLock`. */
  readonly withLock: <A, E, R>(
    key: Key,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Like `withLock`, with a single attempt, `None` if the lock is held: `Redsync.withLockIfAvailable`. */
  readonly withLockIfAvailable: <A, E, R>(
    key: Key,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R>

  /** Holds all of the locks, or none: `Redsync.withLocks`. */
  readonly withLocks: <A, E, R>(
    keys: Iterable<Key>,
    program: Program<[locks: ReadonlyArray<Lock>], A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Like `withLock`, with a fencing token for the program: `Redsync.withFencedLock`. */
  readonly withFencedLock: <A, E, R>(
    key: Key,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Acquires the lock, and releases it when the scope closes: `Redsync.lock`. */
  readonly lock: (key: Key, options?: LockOptions) => Effect.Effect<Lock, LockError, Scope.Scope>

  /** Like `lock`, with a single attempt, `None` if the lock is held: `Redsync.tryLock`. */
  readonly tryLock: (
    key: Key,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<Lock>, NodesUnavailable, Scope.Scope>

  /** Like `lock`, with a fencing token on the lock: `Redsync.fencedLock`. */
  readonly fencedLock: (key: Key, options?: LockOptions) => Effect.Effect<FencedLock, LockError, Scope.Scope>

  /** Reads the key on every node without modifying it: `Redsync.inspect`. */
  readonly inspect: (key: Key) => Effect.Effect<Inspection>
}

/**
 * The class that {@link Keyed} makes: a service, its layer, and its methods as
 * functions that require it.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyedClass<in out Self, in out Id extends string, in out Key>
  extends Context.ServiceClass<Self, Id, KeyedLocks<Key>>
{
  /** The service over the `Redsync` in the context. */
  readonly layer: Layer.Layer<Self, never, Redsync>

  /**
   * The name of the lock for a key, for functions that the class does not have:
   * `Redsync.withSharedLock`, `Redsync.unlock`, `Redsync.adopt`.
   */
  readonly nameOf: (key: Key) => string

  /** Holds the lock for exactly as long as the program runs: `Redsync.withLock`. */
  readonly withLock: {
    (
      key: Key,
      options?: LockOptions
    ): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError | LockLost, R | Self>
    <A, E, R>(
      key: Key,
      program: Program<[lock: Lock], A, E, R>,
      options?: LockOptions
    ): Effect.Effect<A, E | LockError | LockLost, R | Self>
  }

  /** Like `withLock`, with a single attempt, `None` if the lock is held: `Redsync.withLockIfAvailable`. */
  readonly withLockIfAvailable: {
    (key: Key, options?: LockOptions): <A, E, R>(
      program: Effect.Effect<A, E, R>
    ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Self>
    <A, E, R>(
      key: Key,
      program: Program<[lock: Lock], A, E, R>,
      options?: LockOptions
    ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Self>
  }

  /** Holds all of the locks, or none: `Redsync.withLocks`. */
  readonly withLocks: {
    (
      keys: Iterable<Key>,
      options?: LockOptions
    ): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError | LockLost, R | Self>
    <A, E, R>(
      keys: Iterable<Key>,
      program: Program<[locks: ReadonlyArray<Lock>], A, E, R>,
      options?: LockOptions
    ): Effect.Effect<A, E | LockError | LockLost, R | Self>
  }

  /** Like `withLock`, with a fencing token for the program: `Redsync.withFencedLock`. */
  readonly withFencedLock: {
    (key: Key, options?: LockOptions): <A, E, R>(
      program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | LockError | LockLost, R | Self>
    <A, E, R>(
      key: Key,
      program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
      options?: LockOptions
    ): Effect.Effect<A, E | LockError | LockLost, R | Self>
  }

  /** Acquires the lock, and releases it when the scope closes: `Redsync.lock`. */
  readonly lock: (key: Key, options?: LockOptions) => Effect.Effect<Lock, LockError, Self | Scope.Scope>

  /** Like `lock`, with a single attempt, `None` if the lock is held: `Redsync.tryLock`. */
  readonly tryLock: (
    key: Key,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<Lock>, NodesUnavailable, Self | Scope.Scope>

  /** Like `lock`, with a fencing token on the lock: `Redsync.fencedLock`. */
  readonly fencedLock: (key: Key, options?: LockOptions) => Effect.Effect<FencedLock, LockError, Self | Scope.Scope>

  /** Reads the key on every node without modifying it: `Redsync.inspect`. */
  readonly inspect: (key: Key) => Effect.Effect<Inspection, never, Self>
}

/**
 * Makes a class for locks of one kind: their options in one place, and typed keys instead of names
 * assembled wherever a lock is acquired.
 *
 * **Details**
 *
 * The class is a service like any other. `layer` requires `Redsync`; a test can provide a stub with
 * `Layer.mock`, and a program with several quorums can provide each kind of lock over its own.
 * Options of a single lock override those of the class, which override those of the service. Errors
 * are documented with the functions of `Redsync`.
 *
 * Throws an `IllegalArgumentError` that names the option if `name` is not a function, or if an
 * option of a lock is invalid or unknown. An invalid name, and `keys` that cannot be iterated, are
 * defects when the lock is acquired.
 *
 * **Example** (A lock for each invoice)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Keyed, Redsync } from "effect-redsync"
 *
 * class InvoiceLock extends Keyed<InvoiceLock>()("app/InvoiceLock", {
 *   name: (id: number) => `invoices:${id}`,
 *   expiry: "30 seconds"
 * }) {}
 *
 * const charge = Effect.log("charging")
 *
 * const program = InvoiceLock.withLock(42, charge)
 * const piped = charge.pipe(InvoiceLock.withLock(42))
 *
 * const layer = InvoiceLock.layer.pipe(Layer.provide(Redsync.layerMemory()))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Keyed =
  <Self>() => <const Id extends string, Key>(id: Id, options: KeyedOptions<Key>): KeyedClass<Self, Id, Key> => {
    const { name, ...defaults } = checked(options)
    const Tag = Context.Service<Self, KeyedLocks<Key>>()(id)
    return Object.assign(Tag, {
      layer: Layer.effect(Tag, Effect.map(Redsync, (redsync) => locksOver(redsync, name, defaults))),
      nameOf: name,
      withLock: dualWithOptions((key, program, options) => Tag.use((locks) => locks.withLock(key, program, options))),
      withLockIfAvailable: dualWithOptions((key, program, options) =>
        Tag.use((locks) => locks.withLockIfAvailable(key, program, options))
      ),
      withLocks: dualWithOptions((keys, program, options) =>
        Tag.use((locks) => locks.withLocks(keys, program, options))
      ),
      withFencedLock: dualWithOptions((key, program, options) =>
        Tag.use((locks) => locks.withFencedLock(key, program, options))
      ),
      lock: (key: Key, options?: LockOptions) => Tag.use((locks) => locks.lock(key, options)),
      tryLock: (key: Key, options?: LockOptions) => Tag.use((locks) => locks.tryLock(key, options)),
      fencedLock: (key: Key, options?: LockOptions) => Tag.use((locks) => locks.fencedLock(key, options)),
      inspect: (key: Key) => Tag.use((locks) => locks.inspect(key))
    }) as KeyedClass<Self, Id, Key>
  }

const checked = <Key>(options: KeyedOptions<Key>): KeyedOptions<Key> => {
  const read = given(options, ["name", ...lockOptions])
  if (Predicate.isString(read)) throw new Cause.IllegalArgumentError(read)
  if (!Predicate.isFunction(read.name)) {
    throw new Cause.IllegalArgumentError(
      invalidOption("name", read.name, "it must be a function that makes the name of a lock from a key")
    )
  }
  // The service may have another expiry or drift: they are checked together with each lock.
  const settings = resolveSettings({ expiry: "365 days", driftFactor: 0, ...read }, Schedule.forever)
  if (Predicate.isString(settings)) throw new Cause.IllegalArgumentError(settings)
  return read as KeyedOptions<Key>
}

const locksOver = <Key>(redsync: Redsync, name: (key: Key) => string, defaults: LockOptions): KeyedLocks<Key> => {
  const merged = (options: LockOptions = {}): LockOptions => {
    const read = given(options, lockOptions)
    // The service reports what is wrong with them.
    return Predicate.isString(read) ? options : { ...defaults, ...read as LockOptions }
  }
  return {
    withLock: (key, program, options) => Effect.suspend(() => redsync.withLock(name(key), program, merged(options))),
    withLockIfAvailable: (key, program, options) =>
      Effect.suspend(() => redsync.withLockIfAvailable(name(key), program, merged(options))),
    withLocks: (keys, program, options) =>
      Effect.suspend(() =>
        isIterable(keys)
          ? redsync.withLocks(Array.from(keys, (key) => name(key)), program, merged(options))
          : dieWithIllegalArgument(
            invalidOption("keys", keys, "it must be an array, a Set or another iterable of keys")
          )
      ),
    withFencedLock: (key, program, options) =>
      Effect.suspend(() => redsync.withFencedLock(name(key), program, merged(options))),
    lock: (key, options) => Effect.suspend(() => redsync.lock(name(key), merged(options))),
    tryLock: (key, options) => Effect.suspend(() => redsync.tryLock(name(key), merged(options))),
    fencedLock: (key, options) => Effect.suspend(() => redsync.fencedLock(name(key), merged(options))),
    inspect: (key) => Effect.suspend(() => redsync.inspect(name(key)))
  }
}

/** A string is one key, although its characters can be iterated. */
const isIterable = (keys: unknown) => passes(() => !Predicate.isString(keys) && Predicate.isIterable(keys))
