/**
 * Semaphores over the nodes of a service: at most a given number of permits of a name are held at
 * once, by all processes together.
 *
 * A permit is a numbered slot that a quorum of nodes grants to one holder, so the limit also holds
 * where counting permits on each node would exceed it: with three nodes and a limit of two, each of
 * three holders can have a majority if each is refused by a different node. Otherwise permits are
 * like locks: they have a lease, are extended while their program runs, and are lost if too few
 * nodes can be reached. A semaphore and a lock of one name are independent.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { given } from "./internal/base/arguments.ts"
import { permitOptions } from "./internal/claim/settings.ts"
import { dualWithOptions } from "./internal/service/dualApi.ts"
import type { LockError, LockLost, NodesUnavailable } from "./LockError.ts"
import type { FencedPermits, PermitInspection, PermitOptions, Permits, SemaphoreOptions } from "./Permits.ts"
import { type Program, Redsync } from "./RedsyncService.ts"

/** @since 0.1.0 */
export type {
  FencedPermits,
  PermitHolder,
  PermitInspection,
  PermitNodeView,
  PermitOptions,
  Permits,
  SemaphoreOptions
} from "./Permits.ts"

// -----------------------------------------------------------------------------
// holding permits
// -----------------------------------------------------------------------------

/**
 * Holds permits of a semaphore for exactly as long as `program` runs.
 *
 * **Details**
 *
 * Waits until as many permits as requested are free, all or none, for as long as the schedule
 * allows; runs the program; and releases them however the program ends. `program` may be a function
 * of the `Permits`, whose slots no other holder has.
 *
 * Fails with `ErrFailed` if the schedule is exhausted, with `NodesUnavailable` if too
 * few nodes answer, and with `LockLost` if the permits are lost before the program
 * ends, as `withLock` does. Extension and interruption are those of a lock too.
 *
 * Takes one round trip. If several clients ask at nearly the same time, their requests may be split
 * over the nodes; then an attempt takes up to two more round trips, after which all permits are
 * given up and the next attempt follows soon. Within a service, waiters queue first come first
 * served, whatever their number of permits. Across services the order is kept on one node, where a
 * release wakes the first once its permits are free. The wake-up is a hint: each waiter also makes
 * attempts on its schedule, and when a lease would end.
 *
 * **Gotchas**
 *
 * A server that restarts without its data may admit more than the limit, as it may with a lock: see
 * the option `delayedRestart`. A request for many permits may be overtaken by requests of services
 * in which nobody waits yet.
 *
 * **Example** (Five licences)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { withPermits } from "effect-redsync"
 *
 * const program = withPermits(
 *   "licences",
 *   (permits) => Effect.log(`rendering with licence ${permits.slot}`),
 *   { limit: 5 }
 * )
 * ```
 *
 * @category holding
 * @since 0.1.0
 */
export const withPermits: {
  (
    name: string,
    options: PermitOptions
  ): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: Program<[permits: Permits], A, E, R>,
    options: PermitOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withPermits(name, program, options as PermitOptions))
)

/**
 * Like {@link withPermits}, but makes one attempt: `None` if too few permits are free.
 *
 * **Details**
 *
 * Also `None` if requests of several clients were split over the nodes, even though permits are
 * free. Fails with `NodesUnavailable` if too few nodes respond to decide, and with `LockLost` as
 * `withPermits` does. `retry` is not used.
 *
 * @category holding
 * @since 0.1.0
 */
export const withPermitsIfAvailable: {
  (name: string, options: PermitOptions): <A, E, R>(
    program: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: Program<[permits: Permits], A, E, R>,
    options: PermitOptions
  ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withPermitsIfAvailable(name, program, options as PermitOptions))
)

/**
 * Like {@link withPermits}, with a fencing token for each slot.
 *
 * **Details**
 *
 * The token of a slot is larger than that of every earlier holder of this slot, so a resource can
 * tell the live holders from those that were frozen: it accepts a token that is at least as large
 * as the largest seen for the slot. In all other respects, tokens are like those of
 * `withFencedLock`.
 *
 * **Example** (A write that says which permit it has)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { withFencedPermits } from "effect-redsync"
 *
 * const program = withFencedPermits(
 *   "writers",
 *   ({ slot, token }) => Effect.log(`writing as writer ${slot}, token ${token}`),
 *   { limit: 3 }
 * )
 * ```
 *
 * @category holding
 * @since 0.1.0
 */
export const withFencedPermits: {
  (name: string, options: PermitOptions): <A, E, R>(
    program: Program<[permits: FencedPermits], A, E, R>
  ) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: Program<[permits: FencedPermits], A, E, R>,
    options: PermitOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withFencedPermits(name, program, options as PermitOptions))
)

/**
 * Like {@link withFencedPermits}, but makes one attempt, as {@link withPermitsIfAvailable} does.
 *
 * @category holding
 * @since 0.1.0
 */
export const withFencedPermitsIfAvailable: {
  (name: string, options: PermitOptions): <A, E, R>(
    program: Program<[permits: FencedPermits], A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: Program<[permits: FencedPermits], A, E, R>,
    options: PermitOptions
  ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withFencedPermitsIfAvailable(name, program, options as PermitOptions))
)

// -----------------------------------------------------------------------------
// permits in a scope
// -----------------------------------------------------------------------------

/**
 * Acquires permits of a semaphore, and releases them when the scope closes.
 *
 * **Details**
 *
 * Waits and fails as {@link withPermits} does. `Lock.guard` interrupts a program if
 * the permits are lost; without it, watch `lost` or `remaining`.
 *
 * @category scoped
 * @since 0.1.0
 */
export const permits = (
  name: string,
  options: PermitOptions
): Effect.Effect<Permits, LockError, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.permits(name, options))

/**
 * Like {@link permits}, but makes one attempt: `None` if too few permits are free, as
 * {@link withPermitsIfAvailable}. Fails with `NodesUnavailable` if too few nodes respond to decide.
 * `retry` is not used.
 *
 * @category scoped
 * @since 0.1.0
 */
export const tryPermits = (
  name: string,
  options: PermitOptions
): Effect.Effect<Option.Option<Permits>, NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.tryPermits(name, options))

/**
 * Like {@link permits}, with a fencing token for each slot: see {@link withFencedPermits}.
 *
 * @category scoped
 * @since 0.1.0
 */
export const fencedPermits = (
  name: string,
  options: PermitOptions
): Effect.Effect<FencedPermits, LockError, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.fencedPermits(name, options))

/**
 * Like {@link tryPermits}, with a fencing token for each slot: see {@link withFencedPermits}.
 *
 * @category scoped
 * @since 0.1.0
 */
export const tryFencedPermits = (
  name: string,
  options: PermitOptions
): Effect.Effect<Option.Option<FencedPermits>, NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.tryFencedPermits(name, options))

// -----------------------------------------------------------------------------
// a semaphore as a value
// -----------------------------------------------------------------------------

/**
 * A semaphore whose name, limit and options are given once, with the functions of Effect's own
 * `Semaphore`. Unlike with Effect's, effects may fail with the errors of a lock, and acquiring
 * gives the held permits.
 *
 * @category models
 * @since 0.1.0
 */
export interface DistributedSemaphore {
  /** The name, without the prefix of the service. */
  readonly name: string

  /** How many permits there are. */
  readonly limit: number

  /** Holds the given number of permits while the program runs: {@link withPermits}. */
  readonly withPermits: (permits: number) => <A, E, R>(
    program: Program<[permits: Permits], A, E, R>
  ) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>

  /** Holds one permit while the program runs. */
  readonly withPermit: <A, E, R>(
    program: Program<[permits: Permits], A, E, R>
  ) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>

  /** Makes one attempt, `None` if too few are free: {@link withPermitsIfAvailable}. */
  readonly withPermitsIfAvailable: (permits: number) => <A, E, R>(
    program: Program<[permits: Permits], A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>

  /** Holds the given number of permits until the scope closes, as the function `permits` does. */
  readonly takeScoped: (permits: number) => Effect.Effect<Permits, LockError, Redsync | Scope.Scope>

  /** Makes one attempt, `None` if too few are free: {@link tryPermits}. */
  readonly takeScopedIfAvailable: (
    permits: number
  ) => Effect.Effect<Option.Option<Permits>, NodesUnavailable, Redsync | Scope.Scope>
}

/**
 * A semaphore as a value. Making it sends nothing.
 *
 * **Details**
 *
 * Options are checked when permits are acquired: invalid ones die with an
 * `IllegalArgumentError`.
 *
 * **Example** (At most twenty connections in the whole cluster)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Semaphore } from "effect-redsync"
 *
 * const connections = Semaphore.semaphore("db:connections", { limit: 20 })
 *
 * const program = Effect.log("querying").pipe(connections.withPermit)
 * const large = Effect.log("loading in parallel").pipe(connections.withPermits(5))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const semaphore = (name: string, options: SemaphoreOptions): DistributedSemaphore => {
  const read = given(options, permitOptions)
  // The service reports what is wrong with them.
  const withCount = (permits: number) =>
    (Predicate.isString(read) ? options : { ...read, permits }) as unknown as PermitOptions
  const withSome: DistributedSemaphore["withPermits"] = (permits) => (program) =>
    withPermits(name, program, withCount(permits))
  return {
    name,
    limit: Predicate.isString(read) ? Number.NaN : read.limit as number,
    withPermits: withSome,
    withPermit: withSome(1),
    withPermitsIfAvailable: (permits) => (program) => withPermitsIfAvailable(name, program, withCount(permits)),
    takeScoped: (count) => permits(name, withCount(count)),
    takeScopedIfAvailable: (permits) => tryPermits(name, withCount(permits))
  }
}

// -----------------------------------------------------------------------------
// inspecting a semaphore
// -----------------------------------------------------------------------------

/**
 * Shows who holds permits of a semaphore, without modifying anything.
 *
 * **Details**
 *
 * Never fails: a node that does not answer within the node timeout is shown as
 * `Failed`.
 *
 * @category inspecting
 * @since 0.1.0
 */
export const inspectPermits = (name: string): Effect.Effect<PermitInspection, never, Redsync> =>
  Effect.flatMap(Redsync, (redsync) => redsync.inspectPermits(name))

/**
 * Takes all permits of a semaphore from their holders: `true` if any were held on any
 * node.
 *
 * **Details**
 *
 * Others can acquire the permits at once, and are woken, while the former holders still run: a
 * holder in this service finds out at once, any other at its next extension. Fencing counters are
 * kept. Waits for every node, for the node timeout at most, and fails with `NodesUnavailable` if too
 * few answer; some permits may be taken away even then. Interruption ends the waiting, not the
 * deletion.
 *
 * @category releasing
 * @since 0.1.0
 */
export const forceReleasePermits = (name: string): Effect.Effect<boolean, NodesUnavailable, Redsync> =>
  Effect.flatMap(Redsync, (redsync) => redsync.forceReleasePermits(name))
