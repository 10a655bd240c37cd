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
 * - `retry`: when to try again after a refusal, and when to give up. {@link defaultRetry} by default.
 * - `autoExtend`: whether the lease is extended for as long as the lock is held. `true` by default. With `false` the
 *   lock is lost when its lease ends.
 * - `driftFactor`: the share of the expiry by which clocks may run apart, at least 0 and less than 1. 0.01 by
 *   default. The lease counts as over `expiry * driftFactor + 2 ms` before the key expires.
 * - `nodeTimeout`: one node's time to answer, at most an hour. By default 5 % of the expiry, but at least 50 ms and at
 *   most 1 second.
 *
 * An option that is `undefined` is not given. Values that are not allowed, and
 * options that do not exist, are a defect that names the option, before any
 * command is sent. So are names of locks that are empty, longer than 4,096 bytes
 * in UTF-8 or no well-formed text, and those that begin with `redsync:`, a number
 * and `:`, as the keys that are kept beside locks do. Values have at most 256
 * bytes.
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
 * `redis+sentinel://host,host/name`), ioredis
 * options, an ioredis client or cluster of the caller's, or any `LockNode`.
 *
 * **Details**
 *
 * Connections for URLs and options belong to the layer: it opens them, keeps
 * them open and closes them. A client of the caller's is never closed or
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
 * - `prefix`: what stands before every name on the nodes, so that several programs can share servers. Names are given,
 *   and told by errors, without it; messages show the whole key. None by default.
 * - `quorum`: how many have to agree: a majority of the nodes by default, which is the least allowed.
 * - `delayedRestart`: for how long a server has to be up before it casts a vote on new locks. A server that was
 *   restarted may have come back empty, without the locks it granted: set this to the longest expiry in use, so that
 *   they have ended by then. At most 365 days; rounded up to whole milliseconds. Off by default. Not needed where servers write every command to disk before they answer
 *   (`appendfsync always`).
 * - `replicas`: how many replicas of a node have to have a lock, its extension and its token before the node's yes
 *   counts, by `WAIT`; they get a third of the node timeout for it. For nodes that fail over to a replica, as with
 *   Sentinel or in a Cluster: set it to the number of replicas each has, or one less if one may be down; at most 100.
 *   0 by default, as independent servers have none.
 *
 * **Gotchas**
 *
 * With `replicas`, a node that has fewer of them left grants and extends nothing.
 *
 * Servers tell their uptime in whole seconds, by their own wall clock: one may
 * abstain for up to two seconds more than `delayedRestart`, and one whose clock is set
 * forward after its start looks older than it is.
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
