/**
 * How locks are acquired and held, and on which nodes.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Schedule from "effect/Schedule"
import type { Cluster, Redis, RedisOptions } from "ioredis"
import type { LockError } from "./LockError.ts"
import type { LockNode } from "./LockNode.ts"

/**
 * How one lock is acquired and held.
 *
 * **Details**
 *
 * - `expiry`: the length of the lease, after which the key frees itself; more than the drift allowed for, and at most
 *   365 days. 8 seconds by default. Fractions of a millisecond are dropped.
 * - `retry`: when to try again while the lock is held by another, and when to give up. {@link defaultRetry} by default.
 * - `autoExtend`: whether the lease is extended for as long as the lock is held. `true` by default. With `false` the
 *   lock is lost when its lease ends.
 * - `driftFactor`: the fraction of the expiry reserved for clock drift, at least 0 and less than 1. 0.01 by
 *   default. The lease ends `expiry * driftFactor + 2 ms` before the key expires.
 * - `nodeTimeout`: the time for one node to answer, at most an hour. By default 5 % of the expiry, but at least 50 ms and at
 *   most 1 second.
 *
 * An option that is `undefined` counts as not given. Invalid values and unknown
 * options die with an `IllegalArgumentError` that names the option; no command is
 * sent. So do names of locks that are empty, not well-formed text or, together with
 * the prefix, longer than 4,096 bytes in UTF-8, and those that begin with
 * `redsync:`, a number and `:`, which is reserved. Values have at most 256 bytes.
 *
 * @category options
 * @since 0.1.0
 */
export interface LockOptions {
  readonly expiry?: Duration.Input
  readonly retry?: Schedule.Schedule<unknown, LockError>
  readonly autoExtend?: boolean
  readonly driftFactor?: number
  readonly nodeTimeout?: Duration.Input
}

/**
 * What can be a node: a Redis URL (`redis://`, `rediss://`, `unix:`,
 * `redis+sentinel://host,host/name`), ioredis options, an existing ioredis `Redis`
 * or `Cluster`, or any `LockNode`.
 *
 * **Details**
 *
 * Connections for URLs and options belong to the layer: it opens them, keeps
 * them open and closes them. An existing client is never closed or
 * reconfigured.
 *
 * @category options
 * @since 0.1.0
 */
export type NodeInput = string | RedisOptions | Redis | Cluster | LockNode

/**
 * The nodes, and defaults for every lock.
 *
 * **Details**
 *
 * - `nodes`: at least one, with ids that differ. Use an odd number of servers that share nothing, 3 or 5.
 * - `prefix`: put before every name on the nodes, so that several programs can share servers. Functions take names
 *   without it, and errors have it apart from the name; messages show the whole key. None by default.
 * - `quorum`: the number of nodes that must agree: by default a majority, which is also the minimum.
 * - `delayedRestart`: the minimum server uptime before it may grant new locks. A restarted server may have lost the
 *   locks it granted: set this to the longest expiry in use, so that they have ended by then. At most 365 days; rounded
 *   up to whole milliseconds. Off by default. Not needed if servers write every command to disk before they answer
 *   (`appendfsync always`).
 * - `replicas`: the number of replicas that must acknowledge a lock, its extension and its token (`WAIT`) before the
 *   node's vote counts; they get a third of the node timeout for it. For nodes that fail over to a replica, as with
 *   Sentinel or in a Cluster: set it to the number of replicas each has, or one less if one may be down; at most 100.
 *   0 by default, as independent servers have none.
 *
 * **Gotchas**
 *
 * With `replicas`, a node with fewer of them connected grants and extends nothing.
 *
 * Servers report their uptime in whole seconds, by their own wall clock: a server may
 * abstain up to two seconds longer than `delayedRestart`, and if its clock is set
 * forward after its start, it appears to have been up longer than it has.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions extends LockOptions {
  readonly nodes: ReadonlyArray<NodeInput>
  readonly prefix?: string
  readonly quorum?: number
  readonly delayedRestart?: Duration.Input
  readonly replicas?: number
}
