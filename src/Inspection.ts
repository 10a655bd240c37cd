/**
 * What the nodes store under a name, and whether they answer.
 *
 * @since 0.1.0
 */
import type * as Option from "effect/Option"
import type { NodeError } from "./LockError.ts"

/**
 * What the nodes store under a name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inspection {
  /** The name, without the layer's prefix. */
  readonly name: string
  /** The number of nodes that must agree. */
  readonly quorum: number
  /**
   * The value that a quorum of nodes stores, if there is one, and for how many milliseconds a quorum keeps it unless
   * it is extended.
   */
  readonly holder: Option.Option<{ readonly value: string; readonly ttlMillis: number }>
  /**
   * The readers of a shared lock that a quorum of nodes lists, and for how many milliseconds a quorum keeps each unless
   * it is extended. Empty for a lock that is not shared.
   */
  readonly readers: ReadonlyArray<{ readonly value: string; readonly ttlMillis: number }>
  /**
   * The number of services that stand in line for the lock, however many of their fibers wait: the
   * length of the longest line among the nodes. A service that was killed is counted until its turn
   * comes, or for a minute. `None` if no node can tell, as for a Redis user without the permission `+llen`.
   */
  readonly waiting: Option.Option<number>
  /** What each node stores, in the order of the layer's nodes. */
  readonly nodes: ReadonlyArray<NodeView>
}

/**
 * What one node stores under a name: nothing (`Free`), an exclusive lock (`Held`), a lock held by
 * readers (`Shared`), or a key that is not a lock (`NotALock`). `Failed` if the node did not
 * answer.
 *
 * **Details**
 *
 * `readers` is the number of readers, of which `holders` lists at most a hundred; there may be none
 * for a moment. `isWriterWaiting` is `true` while a writer waits for them to leave.
 *
 * `ttlMillis` is how many milliseconds the key or the reader has left. `found` says what a key is
 * that is not a lock, for instance `"a list"`. `abstains` is present if the node does not vote on
 * new locks for now, and says why, for instance `"up for only 4 s, votes after 30 s"`.
 *
 * @category models
 * @since 0.1.0
 */
export type NodeView =
  | { readonly _tag: "Free"; readonly node: string; readonly abstains?: string }
  | {
    readonly _tag: "Held"
    readonly node: string
    readonly value: string
    readonly ttlMillis: number
    readonly abstains?: string
  }
  | {
    readonly _tag: "Shared"
    readonly node: string
    readonly readers: number
    readonly holders: ReadonlyArray<{ readonly value: string; readonly ttlMillis: number }>
    readonly isWriterWaiting: boolean
    readonly ttlMillis: number
    readonly abstains?: string
  }
  | { readonly _tag: "NotALock"; readonly node: string; readonly found: string; readonly abstains?: string }
  | { readonly _tag: "Failed"; readonly node: string; readonly error: NodeError }

/**
 * Whether each node answers, and whether those that do can form a quorum.
 *
 * @category models
 * @since 0.1.0
 */
export interface Health {
  /** Whether enough nodes answer to form a quorum. */
  readonly isReady: boolean
  /** The number of nodes that must agree. */
  readonly quorum: number
  /** Whether each node answers, in the order of the layer's nodes. */
  readonly nodes: ReadonlyArray<NodeHealth>
}

/**
 * Whether one node answers, and why not.
 *
 * @category models
 * @since 0.1.0
 */
export type NodeHealth =
  | { readonly _tag: "Up"; readonly node: string }
  | { readonly _tag: "Down"; readonly node: string; readonly error: NodeError }
