/**
 * A held lock.
 *
 * `Redsync.lock` acquires it and releases it when its scope closes. It exposes the
 * remaining lease time and can interrupt a program whose lease is lost.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { FencingToken } from "./Fencing.ts"
import { dieWithIllegalArgument, invalidOption, passes } from "./internal/base/arguments.ts"
import { downgradeOf } from "./internal/lease/downgrade.ts"
import * as internal from "./internal/lease/guard.ts"
import type { LockLost, NodesUnavailable } from "./LockError.ts"
import type { LockMode } from "./LockMetrics.ts"

/** @since 0.1.0 */
export type { LockMode } from "./LockMetrics.ts"

/**
 * A held lock.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lock {
  /** The name it was acquired under. The key on the nodes has the service's prefix before it. */
  readonly name: string

  /**
   * The value the granting nodes store, fresh for every attempt: 28 characters
   * of base64, of which the last 16 are random and the first 12 the same for all
   * locks of a service. Anyone who has it can release or adopt the lock with
   * `Redsync.unlock` and `Redsync.adopt`.
   */
  readonly value: string

  /** How it is held: `"exclusive"`, `"shared"`, or `"permits"` for permits of a semaphore. */
  readonly mode: LockMode

  /**
   * Time for which exclusivity is still guaranteed, which is the time until the lease ends: earlier
   * than the keys expire, by the allowance for clock drift (see `driftFactor`). Zero once the lock
   * is lost, released or detached. Computed locally; no node is asked.
   */
  readonly remaining: Effect.Effect<Duration.Duration>

  /**
   * Renews the lease to its full expiry on every node.
   *
   * **Details**
   *
   * Fails with `LockLost` if the lock was lost, released, detached or abandoned before, or a quorum
   * of the nodes no longer stores its value; with `NodesUnavailable` if too few nodes confirmed the
   * extension within the node timeout, in which case the lock is held to the end of its lease as
   * before. Interrupting it ends the waiting, not the extension, which still renews the lease if a
   * quorum confirms it.
   */
  readonly extend: Effect.Effect<void, LockLost | NodesUnavailable>

  /**
   * Asks all nodes, and succeeds with whether a quorum of them still stores the value. Fails with
   * `NodesUnavailable` if too few respond to decide. A `false` does not end the lock.
   */
  readonly isHeld: Effect.Effect<boolean, NodesUnavailable>

  /**
   * Deletes the key on every node that stores the value, or passes the lock to the next in line:
   * `true` if a quorum confirmed it. Closing the lock's scope does the same, but does not wait for
   * the nodes if the lock is lost or too few of them respond.
   *
   * **Details**
   *
   * It never waits longer than the node timeout and never fails; nodes that did not answer are
   * retried in the background until the key must have expired. Idempotent: a second call returns
   * the first result. After `detach` or `abandon` it does nothing and returns `false`. Interrupting
   * it ends the waiting, not the release.
   */
  readonly release: Effect.Effect<boolean>

  /**
   * Gives up the lock without releasing it, and succeeds with its value. Another process that has
   * the value can take the lock over before the lease ends: `Redsync.adopt`.
   *
   * **Details**
   *
   * From then on this lock is neither extended nor released, `remaining` is zero and `lost` never
   * fails. A lock that was handed over, and so still has the lease of its previous holder, is
   * extended first; an extension in progress is waited for, for the node timeout at most. Fails with
   * `LockLost` if the lock is lost or released before that. An interruption before it has succeeded
   * leaves the lock held.
   */
  readonly detach: Effect.Effect<string, LockLost>

  /**
   * Stops extending the lock and leaves it to expire: for work that must happen at most once per
   * expiry across all processes.
   *
   * **Details**
   *
   * Closing the scope no longer releases the lock, `remaining` runs down and `lost` never fails.
   * Like `detach`, it first extends a lock that was handed over, and waits for an extension in
   * progress; an interruption before it has succeeded leaves the lock held. Has no effect on a lock
   * that is lost or released.
   */
  readonly abandon: Effect.Effect<void>

  /**
   * Fails with `LockLost` if the lock is lost before it is released. Otherwise, and once the lock
   * is released, detached or abandoned, it never completes.
   */
  readonly lost: Effect.Effect<never, LockLost>
}

/**
 * A held lock with a fencing token.
 *
 * @category models
 * @since 0.1.0
 */
export interface FencedLock extends Lock {
  /**
   * Larger than the token of every earlier holder of a fenced lock of this name. For a shared lock,
   * at least as large as the token of every earlier fenced writer.
   */
  readonly token: FencingToken
}

/**
 * Runs a program for as long as the lock is held.
 *
 * **Details**
 *
 * When the lock is lost the program is interrupted, its finalizers run, and the result is
 * `LockLost`. The lease is checked before every asynchronous step of the program, so a program that
 * resumes after a blocked event loop or a suspended process is interrupted before it can do more
 * I/O; parts of it that set a `Scheduler` or `PreventSchedulerYield` are not checked. A program
 * that succeeds after the lease has ended fails with `LockLost` too; a program that fails by itself
 * keeps its own failure. Releasing the lock does not stop the program, but no program is started
 * once the lock is lost, released or detached.
 *
 * **Example** (Guarding one part of a program)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Lock, lock } from "effect-redsync"
 *
 * const program = Effect.gen(function*() {
 *   const held = yield* lock("report")
 *   yield* Effect.log("not guarded")
 *   yield* Lock.guard(held, Effect.log("interrupted if the lock is lost"))
 * })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export function guard(lock: Lock): <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockLost, R>
export function guard<A, E, R>(lock: Lock, program: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R>
export function guard<A, E, R>(lock: Lock, program?: Effect.Effect<A, E, R>) {
  return program === undefined
    ? (program: Effect.Effect<A, E, R>) => guarded(lock, program)
    : guarded(lock, program)
}

const guarded = <A, E, R>(lock: Lock, program: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLost, R> => {
  if (!passes(() => Predicate.hasProperty(lock, "lost"))) {
    return dieWithIllegalArgument(invalidOption("lock", lock, "it must be a held lock"))
  }
  if (!Effect.isEffect(program)) {
    return dieWithIllegalArgument(invalidOption("program", program, "it must be an Effect"))
  }
  return lock instanceof internal.Guardable ? internal.guard(lock, program) : Effect.raceFirst(lock.lost, program)
}

/**
 * Turns an exclusive lock into a shared one without a gap: nobody else holds it in between, and
 * readers are admitted from now on. For work that writes first, and then only needs what it has
 * written to stay unchanged.
 *
 * **Details**
 *
 * The given lock ends as if it were released, so its scope or program has nothing left to release.
 * The shared lock is released when the scope of the call closes. It has the same options, a value
 * of its own, and the token if the given lock is fenced. A program that `guard` or `withLock` runs
 * with the given lock continues, but is no longer interrupted by a loss: guard it with the shared
 * lock.
 *
 * Fails with `LockLost` if the lock was lost or released before, or a quorum of the
 * nodes no longer stores its value; with `NodesUnavailable` if too few respond. Both locks are then
 * gone, as they are after an interruption, and what is left of them on the nodes is deleted. A lock
 * that is not exclusive, or a node without the optional ability `shared`, is a defect.
 *
 * There is no way back: two readers that both waited to become writers would wait for
 * each other.
 *
 * **Example** (Writing, then reading with others)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Lock, lock } from "effect-redsync"
 *
 * const program = Effect.gen(function*() {
 *   const writer = yield* lock("catalogue")
 *   yield* Effect.log("rebuilding")
 *   const reader = yield* Lock.downgrade(writer)
 *   yield* Lock.guard(reader, Effect.log("publishing what was built"))
 * })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const downgrade = <L extends Lock>(lock: L): Effect.Effect<L, LockLost | NodesUnavailable, Scope.Scope> =>
  Effect.suspend(() => {
    const downgraded = downgradeOf(lock) as Effect.Effect<L, LockLost | NodesUnavailable, Scope.Scope> | undefined
    return downgraded ?? dieWithIllegalArgument(invalidOption("lock", lock, "it must be a held exclusive lock"))
  })
