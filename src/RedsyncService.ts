/**
 * The service itself: its tag and its methods.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { FencingToken } from "./Fencing.ts"
import type { Health, Inspection } from "./Inspection.ts"
import type { FencedLock, Lock } from "./Lock.ts"
import type { LockError, LockLost, NodesUnavailable } from "./LockError.ts"
import type { LockOptions } from "./LockOptions.ts"
import type { FencedPermits, PermitInspection, PermitOptions, Permits } from "./Permits.ts"

/**
 * Locks over one set of nodes, with their quorum, prefix and default options.
 *
 * **Details**
 *
 * Get it from `Redsync.make` or one of the layers. Each method does for this service what the
 * function of the same name does for the service in the context. The functions are documented in
 * full.
 *
 * It consists of functions and effects only, so a test can use `Layer.mock` to stub only what it
 * needs.
 *
 * **Example** (A method instead of a function)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Redsync } from "effect-redsync"
 *
 * const program = Effect.gen(function*() {
 *   const redsync = yield* Redsync.Redsync
 *   yield* redsync.withLock("invoices:42", Effect.log("charging"))
 * })
 * ```
 *
 * **Example** (Two quorums in one program)
 *
 * ```ts
 * import { Context, Effect, Layer } from "effect"
 * import { Redsync } from "effect-redsync"
 *
 * class Orders extends Context.Service<Orders, Redsync>()("app/Orders") {
 *   static readonly layer = Layer.effect(
 *     this,
 *     Redsync.make({ nodes: ["redis://a:6379", "redis://b:6379", "redis://c:6379"], prefix: "orders:" })
 *   )
 * }
 *
 * const program = Orders.use((redsync) => redsync.withLock("42", Effect.log("shipping")))
 * ```
 *
 * **Example** (A stub for a test)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Redsync } from "effect-redsync"
 *
 * const layer = Layer.mock(Redsync.Redsync, { tryLock: () => Effect.succeedNone })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Redsync {
  /** The ids of the nodes in order, the number of nodes that must agree, and the prefix of all names. */
  readonly topology: Effect.Effect<Topology>

  /** Holds the lock for exactly as long as the program runs: `Redsync.withLock`. */
  readonly withLock: <A, E, R>(
    name: string,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Like `withLock`, with a single attempt, `None` if the lock is held: `Redsync.withLockIfAvailable`. */
  readonly withLockIfAvailable: <A, E, R>(
    name: string,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R>

  /** Holds all of the locks, or none: `Redsync.withLocks`. */
  readonly withLocks: <A, E, R>(
    names: Names,
    program: Program<[locks: ReadonlyArray<Lock>], A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Like `withLock`, with a fencing token for the program: `Redsync.withFencedLock`. */
  readonly withFencedLock: <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Like `withFencedLock`, with a single attempt, `None` if the lock is held: `Redsync.withFencedLockIfAvailable`. */
  readonly withFencedLockIfAvailable: <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R>

  /** Holds all of the locks, each with a fencing token: `Redsync.withFencedLocks`. */
  readonly withFencedLocks: <A, E, R>(
    names: Names,
    program: (locks: ReadonlyArray<FencedLock>) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Acquires the lock, and releases it when the scope closes: `Redsync.lock`. */
  readonly lock: (name: string, options?: LockOptions) => Effect.Effect<Lock, LockError, Scope.Scope>

  /** Like `lock`, with a single attempt, `None` if the lock is held: `Redsync.tryLock`. */
  readonly tryLock: (
    name: string,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<Lock>, NodesUnavailable, Scope.Scope>

  /** Like `lock`, with a fencing token on the lock: `Redsync.fencedLock`. */
  readonly fencedLock: (name: string, options?: LockOptions) => Effect.Effect<FencedLock, LockError, Scope.Scope>

  /** Like `tryLock`, with a fencing token on the lock: `Redsync.tryFencedLock`. */
  readonly tryFencedLock: (
    name: string,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<FencedLock>, NodesUnavailable, Scope.Scope>

  /** Shares the lock with other readers for exactly as long as the program runs: `Redsync.withSharedLock`. */
  readonly withSharedLock: <A, E, R>(
    name: string,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /**
   * Like `withSharedLock`, with a single attempt, `None` if a writer holds or awaits the lock:
   * `Redsync.withSharedLockIfAvailable`.
   */
  readonly withSharedLockIfAvailable: <A, E, R>(
    name: string,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R>

  /** Like `withSharedLock`, with the fencing token of the last writer: `Redsync.withFencedSharedLock`. */
  readonly withFencedSharedLock: <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Like `withFencedSharedLock`, with a single attempt: `Redsync.withFencedSharedLockIfAvailable`. */
  readonly withFencedSharedLockIfAvailable: <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R>

  /** Shares the lock with other readers until the scope closes: `Redsync.sharedLock`. */
  readonly sharedLock: (name: string, options?: LockOptions) => Effect.Effect<Lock, LockError, Scope.Scope>

  /** Like `sharedLock`, with a single attempt, `None` if a writer holds or awaits it: `Redsync.trySharedLock`. */
  readonly trySharedLock: (
    name: string,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<Lock>, NodesUnavailable, Scope.Scope>

  /** Like `sharedLock`, with the fencing token of the last writer: `Redsync.fencedSharedLock`. */
  readonly fencedSharedLock: (name: string, options?: LockOptions) => Effect.Effect<FencedLock, LockError, Scope.Scope>

  /** Like `trySharedLock`, with the fencing token of the last writer: `Redsync.tryFencedSharedLock`. */
  readonly tryFencedSharedLock: (
    name: string,
    options?: LockOptions
  ) => Effect.Effect<Option.Option<FencedLock>, NodesUnavailable, Scope.Scope>

  /** Takes over a lock that another process has detached, by its value: `Redsync.adopt`. */
  readonly adopt: (
    name: string,
    value: string,
    options?: LockOptions
  ) => Effect.Effect<Lock, LockLost | NodesUnavailable, Scope.Scope>

  /** Like `adopt`, with a new fencing token on the lock: `Redsync.adoptFenced`. */
  readonly adoptFenced: (
    name: string,
    value: string,
    options?: LockOptions
  ) => Effect.Effect<FencedLock, LockLost | NodesUnavailable, Scope.Scope>

  /** Holds permits of a semaphore for exactly as long as the program runs: `Semaphore.withPermits`. */
  readonly withPermits: <A, E, R>(
    name: string,
    program: Program<[permits: Permits], A, E, R>,
    options: PermitOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Like `withPermits`, with a single attempt, `None` if too few are free: `Semaphore.withPermitsIfAvailable`. */
  readonly withPermitsIfAvailable: <A, E, R>(
    name: string,
    program: Program<[permits: Permits], A, E, R>,
    options: PermitOptions
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R>

  /** Holds permits with a fencing token for each slot: `Semaphore.withFencedPermits`. */
  readonly withFencedPermits: <A, E, R>(
    name: string,
    program: Program<[permits: FencedPermits], A, E, R>,
    options: PermitOptions
  ) => Effect.Effect<A, E | LockError | LockLost, R>

  /** Like `withFencedPermits`, with a single attempt: `Semaphore.withFencedPermitsIfAvailable`. */
  readonly withFencedPermitsIfAvailable: <A, E, R>(
    name: string,
    program: Program<[permits: FencedPermits], A, E, R>,
    options: PermitOptions
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R>

  /** Acquires permits of a semaphore, and releases them when the scope closes: `Semaphore.permits`. */
  readonly permits: (name: string, options: PermitOptions) => Effect.Effect<Permits, LockError, Scope.Scope>

  /** Like `permits`, with a single attempt, `None` if too few are free: `Semaphore.tryPermits`. */
  readonly tryPermits: (
    name: string,
    options: PermitOptions
  ) => Effect.Effect<Option.Option<Permits>, NodesUnavailable, Scope.Scope>

  /** Like `permits`, with a fencing token for each slot: `Semaphore.fencedPermits`. */
  readonly fencedPermits: (
    name: string,
    options: PermitOptions
  ) => Effect.Effect<FencedPermits, LockError, Scope.Scope>

  /** Like `tryPermits`, with a fencing token for each slot: `Semaphore.tryFencedPermits`. */
  readonly tryFencedPermits: (
    name: string,
    options: PermitOptions
  ) => Effect.Effect<Option.Option<FencedPermits>, NodesUnavailable, Scope.Scope>

  /** Who holds permits of a semaphore: `Semaphore.inspectPermits`. */
  readonly inspectPermits: (name: string) => Effect.Effect<PermitInspection>

  /** Takes all permits of a semaphore from their holders: `Semaphore.forceReleasePermits`. */
  readonly forceReleasePermits: (name: string) => Effect.Effect<boolean, NodesUnavailable>

  /** Releases a lock by its value, from any process: `Redsync.unlock`. */
  readonly unlock: (name: string, value: string) => Effect.Effect<boolean, NodesUnavailable>

  /** Reads the key on every node without modifying it: `Redsync.inspect`. */
  readonly inspect: (name: string) => Effect.Effect<Inspection>

  /** Deletes the key on every node, whoever holds the lock: `Redsync.forceUnlock`. */
  readonly forceUnlock: (name: string) => Effect.Effect<boolean, NodesUnavailable>

  /** Whether the nodes answer: `Redsync.health`. */
  readonly health: Effect.Effect<Health>

  /** The same service with a further prefix appended to this one's: `Redsync.prefixed`. */
  readonly prefixed: (prefix: string) => Effect.Effect<Redsync>
}

/**
 * The service in the context. Every function of this module requires it.
 *
 * @category services
 * @since 0.1.0
 */
export const Redsync: Context.Service<Redsync, Redsync> = Context.Service("effect-redsync/Redsync")

/**
 * The nodes, quorum and prefix of a service.
 *
 * @category models
 * @since 0.1.0
 */
export interface Topology {
  /** The ids of the nodes, in the order of the options. */
  readonly nodes: ReadonlyArray<string>
  /** The number of nodes that must agree. */
  readonly quorum: number
  /** What precedes every name on the nodes, `""` if nothing does. */
  readonly prefix: string
}

/**
 * The program that runs while a lock is held: an effect, or a function that takes what is held and
 * returns an effect.
 *
 * @category models
 * @since 0.1.0
 */
export type Program<Held extends ReadonlyArray<unknown>, A, E, R> =
  | Effect.Effect<A, E, R>
  | ((...held: Held) => Effect.Effect<A, E, R>)

/**
 * The names of several locks: at least one, in any order, possibly repeated.
 *
 * @category models
 * @since 0.1.0
 */
export type Names = ReadonlyArray<string> | ReadonlySet<string>
