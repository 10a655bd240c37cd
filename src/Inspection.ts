/**
 * What the nodes have under a name, and whether they answer.
 *
 * @since 0.1.0
 */
import type * as Option from "effect/Option"
import type { NodeError } from "./LockError.ts"

/**
 * What the nodes have under a name.
 *
 * **Details**
 *
 * `holder` is present if a quorum of nodes stores the same value: its `ttlMillis` is
 * how long it stays on a quorum unless it is extended. `nodes` is in the order of
 * the layer's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inspection {
  readonly name: string
  readonly quorum: number
  readonly holder: Option.Option<{ readonly value: string; readonly ttlMillis: number }>
  readonly nodes: ReadonlyArray<NodeView>
}

/**
 * What one node has under a name: nothing, a lock, a key that is not a lock, or a
 * failure to answer.
 *
 * **Details**
 *
 * `abstains` is present if the node does not vote on new locks for now, and says
 * why, for instance `"up for only 4 s, votes after 30 s"`.
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
  | { readonly _tag: "NotALock"; readonly node: string; readonly found: string; readonly abstains?: string }
  | { readonly _tag: "Failed"; readonly node: string; readonly error: NodeError }

/**
 * Whether the nodes answer, in the order of the layer's, and whether those that
 * do can make a quorum.
 *
 * @category models
 * @since 0.1.0
 */
export interface Health {
  readonly isReady: boolean
  readonly quorum: number
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
