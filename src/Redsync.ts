/**
 * Mutual exclusion across processes and machines, over N independent Redis
 * servers: the Redlock algorithm as a scoped resource.
 *
 * A lock is a key that a quorum of the nodes, more than half of them, stores
 * with the same random value and an expiry. Acquiring asks all nodes at once and
 * retries on a `Schedule`; releasing deletes the key if it still has that
 * value; if the holder crashes, the key expires. A minority of slow or
 * unreachable nodes goes unnoticed.
 *
 * **Example** (One charge at a time)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Redsync, withLock } from "effect-redsync"
 *
 * const chargeCustomer = Effect.log("charging")
 *
 * const program = withLock("invoices:42", chargeCustomer).pipe(
 *   Effect.provide(Redsync.layerMemory())
 * )
 * ```
 *
 * @see the algorithm: https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { FencingToken } from "./Fencing.ts"
import type { Health, Inspection } from "./Inspection.ts"
import { acquire, tryAcquire } from "./internal/acquire/acquire.ts"
import { acquireAll } from "./internal/acquire/acquireAll.ts"
import { adopt as takeOver } from "./internal/acquire/adopt.ts"
import type { RestoreInterruptibility } from "./internal/acquire/attempt.ts"
import { health as healthOf } from "./internal/admin/health.ts"
import * as inspection from "./internal/admin/inspect.ts"
import * as operate from "./internal/admin/unlock.ts"
import { dieWithIllegalArgument, given, invalidOption, isWhole, millis } from "./internal/base/arguments.ts"
import {
  checkName,
  checkNames,
  checkValue,
  layerOptions,
  lockOptions,
  type LockSettings
} from "./internal/claim/settings.ts"
import type { HeldLock } from "./internal/hold/heldLock.ts"
import { HeldLocks } from "./internal/hold/heldLocks.ts"
import type { Hold } from "./internal/hold/hold.ts"
import { addToScope } from "./internal/hold/nested.ts"
import { guard } from "./internal/lease/guard.ts"
import { dualWithOptions, type Program } from "./internal/service/dualApi.ts"
import { configError, configured } from "./internal/service/environment.ts"
import { checkLayer, makeService } from "./internal/service/layerOptions.ts"
import type { LockService } from "./internal/service/service.ts"
import { holdSpan, inAcquireSpan, inSpan } from "./internal/telemetry/tracing.ts"
import type { FencedLock, Lock } from "./Lock.ts"
import type { LockError, LockLost, NodesUnavailable } from "./LockError.ts"
import type { LayerOptions, LockOptions } from "./LockOptions.ts"
import * as MemoryNode from "./MemoryNode.ts"
import * as RedisNode from "./RedisNode.ts"

// -----------------------------------------------------------------------------
// the service
// -----------------------------------------------------------------------------

/**
 * The nodes that locks are kept on, with the quorum and the default options.
 *
 * **Details**
 *
 * Required by every function of this module; get it from {@link layer},
 * {@link layerConfig}, {@link layerMemory} or {@link layerRedis}.
 *
 * @category services
 * @since 0.1.0
 */
export class Redsync extends Context.Service<Redsync, LockService>()("effect-redsync/Redsync") {}

/** @since 0.1.0 */
export type { Health, Inspection, NodeHealth, NodeView } from "./Inspection.ts"
/** @since 0.1.0 */
export { isLockError } from "./LockError.ts"
/** @since 0.1.0 */
export type { LayerOptions, LockOptions, NodeInput } from "./LockOptions.ts"

// -----------------------------------------------------------------------------
// retrying
// -----------------------------------------------------------------------------

/**
 * A schedule for acquiring: a given number of attempts at a given interval.
 *
 * **Details**
 *
 * - `tries` counts attempts, the first included; there is no delay after the last. A whole number of at least 1, or
 *   `Infinity`. 16 by default, or no limit if `within` is given. 1 tries once.
 * - `delay` between two attempts, varied by up to a fifth either way. 512 ms by default.
 * - `within` bounds the wait: the last attempt comes when this much time has passed since the first refusal.
 *
 * Values that are not allowed throw an `IllegalArgumentError` that names the option.
 *
 * Any `Schedule` can be used instead: it is stepped with the error of each
 * failed attempt and ends the wait when it is done.
 *
 * **Example** (Waiting half a minute)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Redsync, withLock } from "effect-redsync"
 *
 * const program = withLock("report", Effect.void, {
 *   retry: Redsync.retryPolicy({ delay: "100 millis", within: "30 seconds" })
 * })
 * ```
 *
 * @category retrying
 * @since 0.1.0
 */
export const retryPolicy = (options: {
  readonly tries?: number
  readonly delay?: Duration.Input
  readonly within?: Duration.Input
} = {}): Schedule.Schedule<number> => {
  const read = given(options, ["tries", "delay", "within"])
  if (Predicate.isString(read)) throw new Cause.IllegalArgumentError(read)
  const { delay = 512, within = Duration.infinity } = read
  const { tries = read.within === undefined ? 16 : Number.POSITIVE_INFINITY } = read
  const isCount = tries === Number.POSITIVE_INFINITY || (isWhole(tries) && tries >= 1)
  checkPolicy("tries", tries, isCount, "it must be at least 1, and whole or Infinity")
  checkPolicy("delay", delay, millis(delay) >= 0, "it must be a duration of at least 0 ms")
  checkPolicy("within", within, millis(within) >= 0, "it must be a duration of at least 0 ms")
  return policy(tries as number, millis(delay), millis(within))
}

const policy = (tries: number, delay: number, limit: number): Schedule.Schedule<number> =>
  Schedule.spaced(delay).pipe(
    Schedule.jittered,
    Schedule.while(({ attempt, elapsed }) => attempt < tries && elapsed < limit),
    Schedule.modifyDelay(({ duration, elapsed }) =>
      Effect.succeed(Duration.min(duration, Duration.millis(limit - elapsed)))
    )
  )

const checkPolicy = (option: string, value: unknown, isAllowed: boolean, allowed: string): void => {
  if (!isAllowed) throw new Cause.IllegalArgumentError(invalidOption(option, value, allowed))
}

/**
 * The default retry schedule: 16 attempts, 512 ms apart,
 * varied by up to a fifth either way; about 7.7 seconds in all.
 *
 * @category retrying
 * @since 0.1.0
 */
export const defaultRetry: Schedule.Schedule<number> = retryPolicy()

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * The service over the given nodes.
 *
 * **Details**
 *
 * Building the layer completes when a quorum of its connections is ready, or each
 * has been attempted once; unreachable servers never make it fail. When its scope
 * closes, the locks still held are released, pending clean-up finishes or times out
 * after one node timeout, and the connections are closed.
 *
 * An invalid option is a defect, an `IllegalArgumentError` that names the option,
 * its value and what is allowed; passwords in URLs are masked.
 *
 * **Example** (Three servers)
 *
 * ```ts
 * import { Redsync } from "effect-redsync"
 *
 * const layer = Redsync.layer({
 *   nodes: ["redis://a:6379", "redis://b:6379", "redis://c:6379"],
 *   expiry: "10 seconds"
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: LayerOptions): Layer.Layer<Redsync> => {
  const checked = checkLayer(options, defaultRetry)
  return Layer.effect(Redsync, Predicate.isString(checked) ? dieWithIllegalArgument(checked) : makeService(checked))
}

/**
 * The service with its options from configuration, which takes precedence over the
 * given ones.
 *
 * **Details**
 *
 * | variable | option | example |
 * | --- | --- | --- |
 * | `REDSYNC_NODES` | `nodes`, URLs separated by commas | `redis://a:6379,redis://b:6379,redis://c:6379` |
 * | `REDSYNC_PREFIX` | `prefix` | `billing:` |
 * | `REDSYNC_QUORUM` | `quorum` | `2` |
 * | `REDSYNC_EXPIRY` | `expiry` | `10 seconds` |
 * | `REDSYNC_DRIFT_FACTOR` | `driftFactor` | `0.02` |
 * | `REDSYNC_NODE_TIMEOUT` | `nodeTimeout` | `200 millis` |
 * | `REDSYNC_DELAYED_RESTART` | `delayedRestart` | `30 seconds` |
 * | `REDSYNC_REPLICAS` | `replicas` | `1` |
 *
 * Durations have a unit: `10s` or `10 seconds`, `500ms`, `5m`, `2h`.
 *
 * Fails with a `ConfigError` where a variable is missing or its value is not
 * allowed; passwords in URLs are masked. `REDSYNC_NODES` may be missing if
 * `options` names the nodes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Partial<LayerOptions> = {}): Layer.Layer<Redsync, Config.ConfigError> =>
  Layer.effect(
    Redsync,
    Effect.gen(function*() {
      const read = given(options, layerOptions)
      if (Predicate.isString(read)) return yield* Effect.fail(configError(read))
      const checked = checkLayer(yield* configured(read as Partial<LayerOptions>), defaultRetry)
      return yield* Predicate.isString(checked) ? Effect.fail(configError(checked)) : makeService(checked)
    })
  )

/**
 * The service over nodes inside this process, one by default: for tests, on
 * `TestClock` too, and for experiments. Provides mutual exclusion within this
 * process only.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (count: number = 1, options: LockOptions = {}): Layer.Layer<Redsync> =>
  Layer.unwrap(Effect.suspend(() => {
    if (!(isWhole(count) && count >= 1 && count <= 100)) {
      return dieWithIllegalArgument(invalidOption("count", count, "it must be a whole number from 1 to 100"))
    }
    const read = given(options, lockOptions)
    return Predicate.isString(read)
      ? dieWithIllegalArgument(read)
      : Effect.succeed(layer({ ...read as LockOptions, nodes: Array.from({ length: count }, () => MemoryNode.make()) }))
  }))

/**
 * The service over one node: the Redis service of Effect that is in the context.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerRedis: Layer.Layer<Redsync, never, Redis.Redis> = Layer.unwrap(
  Effect.map(Redis.Redis, (redis) => layer({ nodes: [RedisNode.make(redis)] }))
)

// -----------------------------------------------------------------------------
// holding a lock
// -----------------------------------------------------------------------------

/**
 * Holds the lock for exactly as long as `program` runs.
 *
 * **Details**
 *
 * Waits for the lock as long as the schedule says, runs the program, and
 * releases the lock however the program ends. `program` may be a function of
 * the `Lock`. Needs no `Scope`; `Effect.scoped` around it does no harm.
 *
 * Fails with `ErrFailed` if another client holds the lock and the schedule is
 * exhausted, with `NodesUnavailable` if too few nodes answer, and with `LockLost`
 * if the lock is lost before the program ends: the program is then interrupted,
 * its finalizers run, and the failure does not wait for the release. The result of
 * a program that outlived its lock is never reported as a success.
 *
 * Unless `autoExtend` is `false`, the lease is extended a third of the expiry
 * after the last success, so the lock stays held for as long as the program runs.
 * It is lost if a quorum no longer stores its value, or if too few nodes can be
 * reached for the rest of the lease.
 *
 * Interruption, by `Effect.timeout` for instance, ends the waiting at once and
 * leaves no key behind on nodes that can be reached; while the program runs it
 * interrupts the program and then releases.
 *
 * **Gotchas**
 *
 * Locks are not re-entrant. A program that asks for a lock it already holds waits
 * for itself until its schedule ends, and then fails with an `ErrFailed` whose
 * `isNested` is `true`; with a schedule that never ends it waits forever.
 *
 * Child fibers that the program forks are interrupted when it ends, before the
 * lock is released. Fibers that it detaches, or forks into a scope of its caller,
 * continue without the lock.
 *
 * **Example** (Both forms)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { withLock } from "effect-redsync"
 *
 * const chargeCustomer = Effect.succeed("charged")
 *
 * const program = withLock("invoices:42", chargeCustomer)
 * const piped = chargeCustomer.pipe(withLock("invoices:42", { expiry: "30 seconds" }))
 * ```
 *
 * @category locking
 * @since 0.1.0
 */
export const withLock: {
  <A, E, R>(
    name: string,
    program: Effect.Effect<A, E, R> | ((lock: Lock) => Effect.Effect<A, E, R>),
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  (
    name: string,
    options?: LockOptions
  ): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.uninterruptibleMask((restore) =>
    withSettings(
      name,
      options,
      (service, settings) =>
        Effect.flatMap(
          acquireOne(service, name, settings, restore),
          (lock) => runHolding(lock, restore(guard(lock, program(lock))))
        )
    )
  )
)

/**
 * Like {@link withLock}, but makes one attempt: `None` if the lock is held.
 *
 * **Details**
 *
 * Fails with `NodesUnavailable` if too few nodes respond to decide, and with
 * `LockLost` as `withLock` does. `retry` is not used.
 *
 * @category locking
 * @since 0.1.0
 */
export const withLockIfAvailable: {
  <A, E, R>(
    name: string,
    program: Effect.Effect<A, E, R> | ((lock: Lock) => Effect.Effect<A, E, R>),
    options?: LockOptions
  ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
  (name: string, options?: LockOptions): <A, E, R>(
    program: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.uninterruptibleMask((restore) =>
    withSettings(name, options, (service, settings) =>
      Effect.flatMap(
        tryOne(service, name, settings, restore),
        Option.match({
          onNone: () => Effect.succeedNone,
          onSome: (lock) => Effect.asSome(runHolding(lock, restore(guard(lock, program(lock)))))
        })
      ))
  )
)

/**
 * Holds all of the locks, or none, for exactly as long as `program` runs.
 *
 * **Details**
 *
 * Names may come in any order and more than once; callers with overlapping names
 * cannot deadlock. If all are free they are acquired in one round trip, each
 * under its own quorum. A lock that is held elsewhere is waited for with its own
 * schedule, while all locks that sort before it are kept. They are released
 * together.
 * `program` may be a function of the locks, which come in the order in which the
 * names first appear.
 *
 * Fails as {@link withLock} does, with the name in question in the error: the
 * loss of any one lock ends the program. At least one name has to be given.
 *
 * **Example** (A transfer between two accounts)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { withLocks } from "effect-redsync"
 *
 * const transfer = Effect.log("from one account to the other")
 *
 * const program = withLocks(["accounts:1", "accounts:2"], transfer)
 * ```
 *
 * @category locking
 * @since 0.1.0
 */
export const withLocks: {
  <A, E, R>(
    names: ReadonlyArray<string> | ReadonlySet<string>,
    program: Effect.Effect<A, E, R> | ((locks: ReadonlyArray<Lock>) => Effect.Effect<A, E, R>),
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  (
    names: ReadonlyArray<string> | ReadonlySet<string>,
    options?: LockOptions
  ): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((
  names: ReadonlyArray<string> | ReadonlySet<string>,
  program: Program<[ReadonlyArray<Lock>]>,
  options
) =>
  Effect.uninterruptibleMask((restore) =>
    withNames(
      names,
      options,
      (service, inOrder, settings) =>
        Effect.flatMap(acquireMany(service, inOrder, settings, restore), (held) => {
          const locks = inOrder.map((name) => held.find((lock) => lock.name === name)!)
          const hold = new HeldLocks(locks)
          return runHolding(hold, restore(guard(hold, program(locks))))
        })
    )
  )
)

/**
 * Like {@link withLock}, and gives the program a fencing token.
 *
 * **Details**
 *
 * The token is a positive safe integer, larger than that of every earlier holder
 * of a fenced lock of this name, whichever quorum granted it. The program sends it
 * along with what it writes, and the resource rejects any request whose token is
 * smaller than the largest seen; see `Fencing` for the resource's side. The
 * program also gets the lock.
 *
 * Costs one round trip as long as the nodes agree on the token, which they do
 * unless some have missed a grant; otherwise two.
 *
 * **Gotchas**
 *
 * Tokens come from counters beside the keys, and from the clients' clocks if a
 * counter has been lost: an hour after its last use, or when a server restarts
 * empty. So the clients' clocks must agree within the hour, and within
 * `delayedRestart` of the layer if servers may restart empty. A lock that was taken
 * by `withLock`, or by another library, has no token but is still mutually
 * exclusive.
 *
 * **Example** (A write that says who it is from)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { withFencedLock } from "effect-redsync"
 *
 * const program = withFencedLock("invoices", (token) =>
 *   Effect.log(`UPDATE invoices SET …, token = ${token} WHERE id = 42 AND token <= ${token}`))
 * ```
 *
 * @category locking
 * @since 0.1.0
 */
export const withFencedLock: {
  <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  (name: string, options?: LockOptions): <A, E, R>(
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((name, program: Program<[FencingToken, FencedLock]>, options) =>
  Effect.uninterruptibleMask((restore) =>
    requireFencing(
      name,
      options,
      (service, settings) =>
        Effect.flatMap(acquireOne(service, name, settings, restore), (lock) => {
          const fenced = lock as FencedLock
          return runHolding(lock, restore(guard(lock, program(fenced.token, fenced))))
        })
    )
  )
)

/**
 * Acquires the lock and releases it when the scope closes.
 *
 * **Details**
 *
 * Waits for the lock as long as the schedule says, and fails with `ErrFailed` or
 * `NodesUnavailable` as {@link withLock} does. The program is not interrupted when
 * the lease is lost: use `Lock.guard`, or watch `lost`, or use `withLock`.
 *
 * @category locking
 * @since 0.1.0
 */
export const lock = (name: string, options?: LockOptions): Effect.Effect<Lock, LockError, Redsync | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    withSettings(
      name,
      options,
      (service, settings) => Effect.tap(acquireOne(service, name, settings, restore), releaseWithScope)
    )
  )

/**
 * Like {@link lock}, with a fencing token on the lock; see {@link withFencedLock}.
 *
 * @category locking
 * @since 0.1.0
 */
export const fencedLock = (
  name: string,
  options?: LockOptions
): Effect.Effect<FencedLock, LockError, Redsync | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    requireFencing(
      name,
      options,
      (service, settings) =>
        Effect.map(
          Effect.tap(acquireOne(service, name, settings, restore), releaseWithScope),
          (lock) => lock as FencedLock
        )
    )
  )

/**
 * Like {@link lock}, but makes one attempt: `None` if the lock is held.
 *
 * @category locking
 * @since 0.1.0
 */
export const tryLock = (
  name: string,
  options?: LockOptions
): Effect.Effect<Option.Option<Lock>, NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    withSettings(name, options, (service, settings) =>
      Effect.tap(
        tryOne(service, name, settings, restore),
        Option.match({ onNone: () => Effect.void, onSome: releaseWithScope })
      ))
  )

/**
 * Takes over a lock that another process has detached, by its value, and releases
 * it when the scope closes.
 *
 * **Details**
 *
 * This hands a lock from one process to another: the holder calls `Lock.detach`
 * and passes the value on. On a quorum of the nodes the given value is replaced
 * by a fresh one; after that the old value can neither extend nor release the lock.
 * The lease starts anew with the given expiry and is extended like that of any
 * lock.
 *
 * Fails with `LockLost` if a quorum of the nodes does not store the value, and
 * with `NodesUnavailable` if too few respond to decide. An adoption that fails or
 * is interrupted deletes the fresh value, so the lock may be lost. A node without
 * the optional operation `replace` is a defect; all nodes of this library have it.
 *
 * **Gotchas**
 *
 * If the lock was not detached, its holder learns of the loss at its next
 * extension; without `autoExtend`, at the end of its lease. Until then two
 * processes may believe they hold it.
 *
 * **Example** (From one process to another)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { adopt, lock } from "effect-redsync"
 *
 * const giveAway = Effect.gen(function*() {
 *   const held = yield* lock("report", { expiry: "30 seconds" })
 *   return yield* held.detach
 * })
 *
 * const takeOver = (value: string) =>
 *   Effect.gen(function*() {
 *     const held = yield* adopt("report", value)
 *     yield* Effect.log(held.name)
 *   })
 * ```
 *
 * @category locking
 * @since 0.1.0
 */
export const adopt = (
  name: string,
  value: string,
  options?: LockOptions
): Effect.Effect<Lock, LockLost | NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    withSettings(name, options, (service, settings) => adoptOne(service, name, value, settings, restore))
  )

/**
 * Like {@link adopt}, with a fencing token on the lock, larger than that of every
 * earlier holder; see {@link withFencedLock}.
 *
 * @category locking
 * @since 0.1.0
 */
export const adoptFenced = (
  name: string,
  value: string,
  options?: LockOptions
): Effect.Effect<FencedLock, LockLost | NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    requireFencing(
      name,
      options,
      (service, settings) => Effect.map(adoptOne(service, name, value, settings, restore), (lock) => lock as FencedLock)
    )
  )

/**
 * Releases a lock by its value, from any process: `true` if a quorum of nodes had
 * it and deleted it.
 *
 * **Details**
 *
 * Fails with `NodesUnavailable` if too few nodes respond to decide; the others are
 * tried again in the background. A lock with this value that is held by the same
 * service ends at once: its holder gets `LockLost` with the reason `"Released"`.
 *
 * @category operating
 * @since 0.1.0
 */
export const unlock = (name: string, value: string): Effect.Effect<boolean, NodesUnavailable, Redsync> =>
  withSettings(
    name,
    undefined,
    (service, settings) => checked(checkValue(value), operate.unlock(service, name, value, settings))
  )

/**
 * Reads the key on every node without modifying it.
 *
 * **Details**
 *
 * Never fails: a node that did not answer within the node timeout is shown as
 * failed.
 *
 * **Example** (Who holds it)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Redsync } from "effect-redsync"
 *
 * const program = Effect.gen(function*() {
 *   const { holder, nodes } = yield* Redsync.inspect("invoices:42")
 *   yield* Effect.log(holder, nodes)
 * })
 * ```
 *
 * @category operating
 * @since 0.1.0
 */
export const inspect = (name: string): Effect.Effect<Inspection, never, Redsync> =>
  withSettings(name, undefined, (service, settings) => inspection.inspect(service, name, settings))

/**
 * Deletes the key on every node, whoever holds the lock: `true` if any node had
 * it.
 *
 * **Details**
 *
 * Waits for every node, for the node timeout at most. Fails with
 * `NodesUnavailable` if too many failed to rule out that the lock is still held.
 *
 * **Gotchas**
 *
 * A holder in the same service finds out at once, one elsewhere only when it
 * extends or checks the lock. Until then two processes may believe they hold it.
 *
 * @category operating
 * @since 0.1.0
 */
export const forceUnlock = (name: string): Effect.Effect<boolean, NodesUnavailable, Redsync> =>
  withSettings(name, undefined, (service, settings) => operate.forceUnlock(service, name, settings))

/**
 * Whether the nodes answer: for readiness probes.
 *
 * **Details**
 *
 * Reads a key on every node, and waits for all answers, for the node timeout at
 * most. Never fails. `isReady` is `true` if enough nodes respond to form a quorum;
 * a node still abstaining because of `delayedRestart` counts as down.
 *
 * **Gotchas**
 *
 * A node that answers may still refuse a lock, for lack of memory for instance.
 * Do not use it for liveness probes: restarting the process does not repair a node.
 *
 * **Example** (A readiness probe)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Redsync } from "effect-redsync"
 *
 * const probe = Effect.map(Redsync.health, ({ isReady, nodes }) => ({
 *   status: isReady ? 200 : 503,
 *   body: nodes.map((node) => `${node.node} ${node._tag === "Up" ? "up" : node.error.summary}`)
 * }))
 * ```
 *
 * @category operating
 * @since 0.1.0
 */
export const health: Effect.Effect<Health, never, Redsync> = Effect.flatMap(
  Redsync,
  (service) => {
    const settings = service.settings(undefined)
    return Predicate.isString(settings) ? dieWithIllegalArgument(settings) : healthOf(service, settings)
  }
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const withSettings = <A, E, R>(
  name: string,
  options: LockOptions | undefined,
  f: (service: LockService, settings: LockSettings) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Redsync> =>
  Effect.flatMap(Redsync, (service) => {
    const settings = checkName(name, service.prefix) ?? service.settings(options)
    return Predicate.isString(settings) ? dieWithIllegalArgument(settings) : f(service, settings)
  })

/** The same for several names, which come each once. */
const withNames = <A, E, R>(
  names: ReadonlyArray<string> | ReadonlySet<string>,
  options: LockOptions | undefined,
  f: (service: LockService, names: ReadonlyArray<string>, settings: LockSettings) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Redsync> =>
  Effect.flatMap(Redsync, (service) => {
    const inOrder = checkNames(names, service.prefix)
    if (Predicate.isString(inOrder)) return dieWithIllegalArgument(inOrder)
    const settings = service.settings(options)
    return Predicate.isString(settings) ? dieWithIllegalArgument(settings) : f(service, inOrder, settings)
  })

/** Every node has to keep fencing counters: one without could not tell what it has granted before. */
const requireFencing = <A, E, R>(
  name: string,
  options: LockOptions | undefined,
  f: (service: LockService, settings: LockSettings) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Redsync> =>
  withSettings(name, options, (service, settings) => {
    const unable = service.nodes.find((node) => node.fencing === undefined)
    return unable === undefined
      ? f(service, { ...settings, isFenced: true })
      : dieWithIllegalArgument(
        `effect-redsync: the node ${unable.id} keeps no fencing counters; fenced locks need them on every node.`
      )
  })

const checked = <A, E, R>(problem: string | undefined, effect: Effect.Effect<A, E, R>) =>
  problem === undefined ? effect : dieWithIllegalArgument(problem)

const acquireOne = (service: LockService, name: string, settings: LockSettings, restore: RestoreInterruptibility) =>
  inAcquireSpan(service, name, settings, (settings) => acquire(service, name, settings, restore))

const acquireMany = (
  service: LockService,
  names: ReadonlyArray<string>,
  settings: LockSettings,
  restore: RestoreInterruptibility
) => inAcquireSpan(service, names, settings, (settings) => acquireAll(service, names, settings, restore))

const tryOne = (service: LockService, name: string, settings: LockSettings, restore: RestoreInterruptibility) =>
  inAcquireSpan(service, name, settings, (settings) => tryAcquire(service, name, settings, restore))

const adoptOne = (
  service: LockService,
  name: string,
  value: string,
  settings: LockSettings,
  restore: RestoreInterruptibility
) => {
  const unable = service.nodes.find((node) => (settings.isFenced ? node.fencing : node)?.replace === undefined)
  return checked(
    unable === undefined
      ? checkValue(value)
      : `effect-redsync: the node ${unable.id} cannot replace a value; adopting a lock needs that of every node.`,
    Effect.tap(takeOver(service, name, value, settings, restore), releaseWithScope)
  )
}

/** Runs the program and then releases; if the lock is lost, in the background. */
const runHolding = <A, E, R>(hold: Hold, program: Effect.Effect<A, E, R>) =>
  Effect.onExitPrimitive(inSpan("Redsync.hold", hold, program), () => {
    const isLost = hold.checkLease() !== undefined
    hold.beginRelease()
    return isLost ? undefined : Effect.asVoid(inSpan("Redsync.release", hold, hold.release))
  })

const releaseWithScope = (lock: HeldLock) =>
  Effect.flatMap(Effect.scope, (scope) => {
    addToScope(scope, lock)
    return Effect.andThen(
      Scope.addFinalizer(scope, inSpan("Redsync.release", lock, lock.releaseInFinalizer)),
      holdSpan(lock)
    )
  })
