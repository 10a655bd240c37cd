/**
 * The functions of `Redsync`, which acquire, release and inspect locks through the service in the
 * context. Most of this file is documentation.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { FencingToken } from "./Fencing.ts"
import type { Health, Inspection } from "./Inspection.ts"
import { dualWithOptions } from "./internal/service/dualApi.ts"
import type { FencedLock, Lock } from "./Lock.ts"
import type { LockError, LockLost, NodesUnavailable } from "./LockError.ts"
import type { LockOptions } from "./LockOptions.ts"
import { type Names, type Program, Redsync, type Topology } from "./RedsyncService.ts"

// -----------------------------------------------------------------------------
// holding a lock
// -----------------------------------------------------------------------------

/**
 * Holds the lock for exactly as long as `program` runs.
 *
 * **Details**
 *
 * Waits for the lock for as long as the schedule allows, runs the program, and releases the lock
 * however the program ends. `program` may be a function of the `Lock`. Requires no `Scope`;
 * wrapping it in `Effect.scoped` does no harm.
 *
 * Fails with `ErrFailed` if another client holds the lock and the schedule is
 * exhausted, with `NodesUnavailable` if too few nodes answer, and with `LockLost`
 * if the lock is lost before the program ends: the program is then interrupted,
 * its finalizers run, and the failure does not wait for the release. The result of
 * a program that outlived its lock is never reported as a success.
 *
 * Unless `autoExtend` is `false`, the lease is extended at the latest when a third of the expiry
 * has passed since the grant or the last extension, so the lock stays held for as long as the
 * program runs. It is lost if a quorum no longer stores its value, or if too few nodes can be
 * reached for the rest of the lease.
 *
 * Interruption, by `Effect.timeout` for instance, ends the waiting at once and leaves no key behind
 * on nodes that can be reached; while the program runs, it interrupts the program and then releases
 * the lock.
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
  (
    name: string,
    options?: LockOptions
  ): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withLock(name, program, options))
)

/**
 * Like {@link withLock}, but makes one attempt: `None` if the lock is held.
 *
 * **Details**
 *
 * Also `None` if attempts of several clients split the votes, so that none of them has a quorum,
 * even though nobody holds the lock. Fails with `NodesUnavailable` if too few nodes respond to
 * decide, and with `LockLost` as `withLock` does. `retry` is not used.
 *
 * @category locking
 * @since 0.1.0
 */
export const withLockIfAvailable: {
  (name: string, options?: LockOptions): <A, E, R>(
    program: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withLockIfAvailable(name, program, options))
)

/**
 * Holds all of the locks, or none, for exactly as long as `program` runs.
 *
 * **Details**
 *
 * Names may come in any order and more than once; callers with overlapping names cannot deadlock.
 * If all are free they are acquired in one round trip, each under its own quorum. A lock that is
 * held elsewhere is waited for with its own schedule, while all locks that sort before it are kept.
 * All are released together. `program` may be a function of the locks, which come in the order in
 * which the names first appear.
 *
 * Fails as {@link withLock} does; the error has the name of the lock in question, and the loss of
 * any one lock ends the program. Giving no name is a defect.
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
  (
    names: Names,
    options?: LockOptions
  ): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  <A, E, R>(
    names: Names,
    program: Program<[locks: ReadonlyArray<Lock>], A, E, R>,
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((names, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withLocks(names, program, options))
)

/**
 * Like {@link withLock}, but also gives the program a fencing token.
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
 * Tokens come from counters beside the keys, and from the clients' clocks if a counter has been
 * lost: an hour after its last use, or when a server restarts empty. So the clients' clocks must
 * agree to within an hour, and to within the layer's `delayedRestart` if servers may restart empty,
 * and no request from before the loss may still be in flight. A lock that was taken by `withLock`,
 * or by another library, has no token, but it and a fenced lock of the same name still exclude each
 * other.
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
  (name: string, options?: LockOptions): <A, E, R>(
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withFencedLock(name, program, options))
)

/**
 * Like {@link withFencedLock}, but makes one attempt: `None` if the lock is held, as
 * {@link withLockIfAvailable}.
 *
 * **Details**
 *
 * Fails with `NodesUnavailable` if too few nodes respond to decide, and with
 * `LockLost` as `withLock` does. `retry` is not used.
 *
 * @category locking
 * @since 0.1.0
 */
export const withFencedLockIfAvailable: {
  (name: string, options?: LockOptions): <A, E, R>(
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withFencedLockIfAvailable(name, program, options))
)

/**
 * Like {@link withLocks}, with a fencing token on each lock; see
 * {@link withFencedLock}.
 *
 * **Details**
 *
 * The program gets the locks in the order in which the names first appear. Each token is for the
 * resource that its lock protects; tokens of different names cannot be compared.
 *
 * **Example** (One token for each account)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { withFencedLocks } from "effect-redsync"
 *
 * const program = withFencedLocks(["accounts:1", "accounts:2"], (locks) =>
 *   Effect.forEach(locks, ({ name, token }) => Effect.log(`UPDATE ${name} … WHERE token <= ${token}`)))
 * ```
 *
 * @category locking
 * @since 0.1.0
 */
export const withFencedLocks: {
  (names: Names, options?: LockOptions): <A, E, R>(
    program: (locks: ReadonlyArray<FencedLock>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  <A, E, R>(
    names: Names,
    program: (locks: ReadonlyArray<FencedLock>) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((names, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withFencedLocks(names, program, options))
)

/**
 * Acquires the lock and releases it when the scope closes.
 *
 * **Details**
 *
 * Waits for the lock for as long as the schedule allows, and fails with `ErrFailed` or
 * `NodesUnavailable` as {@link withLock} does. Interruption ends the waiting at once. The program
 * is not interrupted when the lock is lost: use `Lock.guard`, watch `lost`, or use `withLock`.
 *
 * @category locking
 * @since 0.1.0
 */
export const lock = (name: string, options?: LockOptions): Effect.Effect<Lock, LockError, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.lock(name, options))

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
  Effect.flatMap(Redsync, (redsync) => redsync.fencedLock(name, options))

/**
 * Like {@link lock}, but makes one attempt: `None` if the lock is held, or attempts of several
 * clients split the votes; see {@link withLockIfAvailable}. Fails with `NodesUnavailable` if too few
 * nodes respond to decide. `retry` is not used.
 *
 * @category locking
 * @since 0.1.0
 */
export const tryLock = (
  name: string,
  options?: LockOptions
): Effect.Effect<Option.Option<Lock>, NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.tryLock(name, options))

/**
 * Like {@link tryLock}, with a fencing token on the lock; see {@link withFencedLock}.
 *
 * @category locking
 * @since 0.1.0
 */
export const tryFencedLock = (
  name: string,
  options?: LockOptions
): Effect.Effect<Option.Option<FencedLock>, NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.tryFencedLock(name, options))

/**
 * Shares the lock with other readers for exactly as long as `program` runs, so that what they read
 * does not change meanwhile.
 *
 * **Details**
 *
 * Any number of readers can hold the lock at once, and while they do, nobody holds it exclusively.
 * A writer uses `withLock` with the same name. Each reader has a value and a lease of its own,
 * which is extended, lost and released like that of any lock; everything {@link withLock} says
 * about failures, interruption and `autoExtend` applies here. Other Redlock libraries see the lock
 * as held by another client.
 *
 * Readers and writers take turns: once a writer waits, no more readers are admitted, and a
 * writer that has kept readers waiting leaves the lock to them for a moment when it
 * releases. This is best effort, like all ordering across services; a writer that uses another
 * library is not seen waiting.
 *
 * Every node needs the optional ability `shared`, which all nodes of this library have; a node
 * without it is a defect. In a Redis Cluster, a node rejects names with a `}` but no hash tag.
 *
 * **Gotchas**
 *
 * A reader cannot become a writer: two readers that tried would wait for each other. Conversely,
 * `Lock.downgrade` turns a writer into a reader. A reader that asks for the lock exclusively waits
 * for itself until its schedule ends; so may a reader that shares it a second time, if a writer has
 * begun to wait in between.
 *
 * **Example** (Many reports, one rebuild)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { withLock, withSharedLock } from "effect-redsync"
 *
 * const report = withSharedLock("catalogue", Effect.log("reading"))
 * const rebuild = withLock("catalogue", Effect.log("writing"))
 * ```
 *
 * @category locking
 * @since 0.1.0
 */
export const withSharedLock: {
  (
    name: string,
    options?: LockOptions
  ): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withSharedLock(name, program, options))
)

/**
 * Like {@link withSharedLock}, but makes one attempt: `None` if a writer holds the lock
 * or waits for it.
 *
 * **Details**
 *
 * Also `None` if readers and a writer that attempt at the same time split the votes. Fails with
 * `NodesUnavailable` if too few nodes respond to decide, and with `LockLost` as `withSharedLock`
 * does. `retry` is not used.
 *
 * @category locking
 * @since 0.1.0
 */
export const withSharedLockIfAvailable: {
  (name: string, options?: LockOptions): <A, E, R>(
    program: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: Program<[lock: Lock], A, E, R>,
    options?: LockOptions
  ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withSharedLockIfAvailable(name, program, options))
)

/**
 * Like {@link withSharedLock}, but also gives the program a fencing token: at least as large as
 * that of every earlier fenced writer, and smaller than that of every later one.
 *
 * **Details**
 *
 * A resource that remembers the token of its last write rejects a read with a smaller token: that
 * reader came too late, since another writer has written meanwhile. It accepts an equal token,
 * since readers get the token of the writer before them, and it does not remember the tokens of
 * readers. Takes a second round trip if the nodes' counters differ, for instance after a failed
 * attempt. For clocks and lost counters, see {@link withFencedLock}.
 *
 * @category locking
 * @since 0.1.0
 */
export const withFencedSharedLock: {
  (name: string, options?: LockOptions): <A, E, R>(
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | LockError | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ): Effect.Effect<A, E | LockError | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withFencedSharedLock(name, program, options))
)

/**
 * Like {@link withFencedSharedLock}, but makes one attempt: `None` if a writer holds the lock or
 * waits for it. Fails as {@link withSharedLockIfAvailable} does.
 *
 * @category locking
 * @since 0.1.0
 */
export const withFencedSharedLockIfAvailable: {
  (name: string, options?: LockOptions): <A, E, R>(
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
  <A, E, R>(
    name: string,
    program: (token: FencingToken, lock: FencedLock) => Effect.Effect<A, E, R>,
    options?: LockOptions
  ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R | Redsync>
} = dualWithOptions((name, program, options) =>
  Effect.flatMap(Redsync, (redsync) => redsync.withFencedSharedLockIfAvailable(name, program, options))
)

/**
 * Shares the lock with other readers until the scope closes; see {@link withSharedLock}.
 *
 * **Details**
 *
 * The lock is not guarded: see `Lock.guard` and `lost`. Its `detach` gives it up for
 * good, since a shared lock cannot be adopted.
 *
 * @category locking
 * @since 0.1.0
 */
export const sharedLock = (
  name: string,
  options?: LockOptions
): Effect.Effect<Lock, LockError, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.sharedLock(name, options))

/**
 * Like {@link sharedLock}, but makes one attempt: `None` if a writer holds the lock or waits for it,
 * as {@link withSharedLockIfAvailable}. Fails with `NodesUnavailable` if too few nodes respond to
 * decide. `retry` is not used.
 *
 * @category locking
 * @since 0.1.0
 */
export const trySharedLock = (
  name: string,
  options?: LockOptions
): Effect.Effect<Option.Option<Lock>, NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.trySharedLock(name, options))

/**
 * Like {@link sharedLock}, with a fencing token on the lock; see {@link withFencedSharedLock}.
 *
 * @category locking
 * @since 0.1.0
 */
export const fencedSharedLock = (
  name: string,
  options?: LockOptions
): Effect.Effect<FencedLock, LockError, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.fencedSharedLock(name, options))

/**
 * Like {@link trySharedLock}, with a fencing token on the lock; see {@link withFencedSharedLock}.
 *
 * @category locking
 * @since 0.1.0
 */
export const tryFencedSharedLock = (
  name: string,
  options?: LockOptions
): Effect.Effect<Option.Option<FencedLock>, NodesUnavailable, Redsync | Scope.Scope> =>
  Effect.flatMap(Redsync, (redsync) => redsync.tryFencedSharedLock(name, options))

/**
 * Takes over a lock that another process has detached, by its value, and releases
 * it when the scope closes.
 *
 * **Details**
 *
 * This hands a lock from one process to another: the holder calls `Lock.detach`
 * and passes the value on. On a quorum of the nodes the given value is replaced
 * by a fresh one; after that the old value can neither extend nor release the lock.
 * A new lease begins, with the given expiry, and is extended like that of any
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
  Effect.flatMap(Redsync, (redsync) => redsync.adopt(name, value, options))

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
  Effect.flatMap(Redsync, (redsync) => redsync.adoptFenced(name, value, options))

/**
 * Releases a lock by its value, from any process: `true` if a quorum of nodes stored the value and
 * deleted the key.
 *
 * **Details**
 *
 * Waits until every node has answered or timed out, so that `inspect` shows what is left. Fails
 * with `NodesUnavailable` if too few nodes respond to decide. In either case, nodes that did not
 * respond are retried in the background. A lock with this value that is held by the same service
 * ends at once: its holder gets `LockLost` with the reason `"Released"`. Interruption ends the
 * waiting, not the release.
 *
 * @category operating
 * @since 0.1.0
 */
export const unlock = (name: string, value: string): Effect.Effect<boolean, NodesUnavailable, Redsync> =>
  Effect.flatMap(Redsync, (redsync) => redsync.unlock(name, value))

/**
 * Reads the key on every node without modifying it.
 *
 * **Details**
 *
 * Never fails: a node that does not answer within the node timeout is shown as `Failed`.
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
  Effect.flatMap(Redsync, (redsync) => redsync.inspect(name))

/**
 * Deletes the key on every node, whoever holds the lock: `true` if any node had the key.
 *
 * **Details**
 *
 * Waits for every node, for the node timeout at most. Fails with `NodesUnavailable` if too many
 * failed to rule out that the lock is still held. Interruption ends the waiting, not the deletion.
 *
 * **Gotchas**
 *
 * A holder in the same service finds out at once, unless it is being granted the lock at that very
 * moment. A holder elsewhere finds out only when it extends or checks the lock; until then, two
 * processes may believe they hold it.
 *
 * The first in line is woken. If the key is deleted by other means, such as `redis-cli`, the first
 * in line may notice only when the holder does, when the lease would have ended, or by an attempt
 * on its own schedule.
 *
 * @category operating
 * @since 0.1.0
 */
export const forceUnlock = (name: string): Effect.Effect<boolean, NodesUnavailable, Redsync> =>
  Effect.flatMap(Redsync, (redsync) => redsync.forceUnlock(name))

/**
 * Whether the nodes answer: for readiness probes.
 *
 * **Details**
 *
 * Reads a key on every node, and waits for all answers, for the node timeout at most. Never fails.
 * `isReady` is `true` if enough nodes respond to form a quorum. A node still abstaining because of
 * `delayedRestart` counts as down; a node on which the user may not read that key counts as up.
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
export const health: Effect.Effect<Health, never, Redsync> = Effect.flatMap(Redsync, ({ health }) => health)

// -----------------------------------------------------------------------------
// the service
// -----------------------------------------------------------------------------

/**
 * The service in the context with a further prefix appended to its own. Nodes, connections and
 * defaults are the same, and it closes when that service closes. An invalid prefix is a defect, an
 * `IllegalArgumentError`.
 *
 * **Example** (Names of its own for a part of a program)
 *
 * ```ts
 * import { Context, Layer } from "effect"
 * import { Redsync } from "effect-redsync"
 *
 * class Billing extends Context.Service<Billing, Redsync>()("app/Billing") {
 *   static readonly layer = Layer.effect(this, Redsync.prefixed("billing:"))
 * }
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const prefixed = (prefix: string): Effect.Effect<Redsync, never, Redsync> =>
  Effect.flatMap(Redsync, (redsync) => redsync.prefixed(prefix))

/**
 * The nodes, quorum and prefix of the service in the context.
 *
 * @category operating
 * @since 0.1.0
 */
export const topology: Effect.Effect<Topology, never, Redsync> = Effect.flatMap(Redsync, ({ topology }) => topology)
