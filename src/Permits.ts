/**
 * Held permits of a semaphore, and the options for acquiring them.
 *
 * @since 0.1.0
 */
import type * as Option from "effect/Option"
import type { FencingToken } from "./Fencing.ts"
import type { Lock } from "./Lock.ts"
import type { NodeError } from "./LockError.ts"
import type { PermitHolder } from "./LockNode.ts"
import type { LockOptions } from "./LockOptions.ts"

/**
 * How permits of a semaphore are acquired and held: the options of a lock, and the
 * limit.
 *
 * @category options
 * @since 0.1.0
 */
export interface SemaphoreOptions extends LockOptions {
  /**
   * How many permits there are: a whole number from 1 to 10,000.
   *
   * **Details**
   *
   * It is not stored: each caller states it, and all should state the same. If they do not, at most
   * the largest limit is held, callers with a smaller one wait until fewer than that are held, and
   * a warning is logged.
   */
  readonly limit: number
}

/**
 * How a number of permits is acquired and held.
 *
 * @category options
 * @since 0.1.0
 */
export interface PermitOptions extends SemaphoreOptions {
  /**
   * How many permits are needed at once: a whole number from 1 to 1,000, at most the
   * limit.
   *
   * @default 1
   */
  readonly permits?: number | undefined
}

/**
 * Held permits of a semaphore: like a lock, but what is exclusive is the slots, not the name.
 *
 * **Details**
 *
 * All slots share one value and one lease: losing one of them means losing all.
 * Permits given up by `detach` cannot be adopted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permits extends Lock {
  /** The value that the nodes store with the slots, fresh for every attempt. Neither `unlock` nor `adopt` accepts it. */
  readonly value: string

  /**
   * Gives up all slots on every node, and wakes the first in line once its permits are free. In all
   * other respects it does what `Lock.release` does.
   */
  readonly release: Lock["release"]

  /** How many permits the semaphore has, as stated by its holder. */
  readonly limit: number

  /**
   * The numbers of the permits, from 0 to the limit less one, in ascending order. No other holder
   * has any of them, so they can identify what is shared: a connection, a port, a licence. The
   * numbers of one holder need not be adjacent.
   */
  readonly slots: ReadonlyArray<number>

  /** The first of the slots. */
  readonly slot: number
}

/**
 * Held permits, with a fencing token for each slot.
 *
 * @category models
 * @since 0.1.0
 */
export interface FencedPermits extends Permits {
  /** For each slot, at the same index, a token larger than that of every earlier holder of the slot. */
  readonly tokens: ReadonlyArray<FencingToken>

  /** The token of the first slot. */
  readonly token: FencingToken
}

/**
 * Who holds permits of a semaphore.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitInspection {
  /** The name, without the layer's prefix. */
  readonly name: string
  /** The number of nodes that must agree. */
  readonly quorum: number
  /** The largest of the limits last seen by the nodes, if any. */
  readonly limit: Option.Option<number>
  /** How many permits are held, according to a quorum of nodes. */
  readonly taken: number
  /** The holders of permits according to a quorum of nodes. */
  readonly holders: ReadonlyArray<PermitHolder>
  /** What each node stores, in the order of the layer's nodes. */
  readonly nodes: ReadonlyArray<PermitNodeView>
}

/** @since 0.1.0 */
export type { PermitHolder } from "./LockNode.ts"

/**
 * What one node stores of a semaphore, or that it failed to answer.
 *
 * **Details**
 *
 * A node may store slots of values that hold no permit: those of attempts in progress, or of
 * holders that lost their permits.
 *
 * @category models
 * @since 0.1.0
 */
export type PermitNodeView =
  | {
    readonly _tag: "Permits"
    readonly node: string
    /** The limit stated by whoever last took slots, `0` if unknown: none are taken, or the node has lost and restored them. */
    readonly limit: number
    readonly holders: ReadonlyArray<PermitHolder>
  }
  | { readonly _tag: "Failed"; readonly node: string; readonly error: NodeError }
