/**
 * The options of a lock and of a service, and what can be a node.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { LockError } from "./LockError.ts"
import type { LockNode } from "./LockNode.ts"

/**
 * How one lock is acquired and held.
 *
 * **Details**
 *
 * An option that is `undefined` counts as not given. An invalid or unknown option is a defect, an
 * `IllegalArgumentError` that names the option; no command is sent. So is an invalid name: one that
 * is empty, is not well-formed text, or, with the prefix before it, is longer than 4,096 bytes in
 * UTF-8 or begins with `redsync:`, a number and `:`, which is reserved. The same holds for the value
 * of a lock, as passed to `adopt` and `unlock`, if it is empty, not well-formed text, longer than
 * 256 bytes, or `redsync:shared`, which stands for all readers of a shared lock.
 *
 * @category options
 * @since 0.1.0
 */
export interface LockOptions {
  /**
   * The length of the lease, after which the key expires if its holder has crashed. It must be
   * longer than the clock drift allowed for, see `driftFactor`, and at most 365 days. Fractions of
   * a millisecond are dropped.
   *
   * @default "8 seconds"
   */
  readonly expiry?: Duration.Input | undefined

  /**
   * When to try again while the lock is held by another, and when to give up: any `Schedule`, which
   * is stepped with the error of each failed attempt. `Redsync.retryPolicy` builds the common ones.
   *
   * The default gives up after about 7.7 seconds, just before the end of a crashed holder's lease,
   * which is 8 seconds by default. To outlast that lease, use `retryPolicy({ within: "10 seconds"
   * })`.
   *
   * @default Redsync.defaultRetry, 16 attempts 512 ms apart
   */
  readonly retry?: Schedule.Schedule<unknown, LockError> | undefined

  /**
   * Whether the lease is extended for as long as the lock is held. With `false` the
   * lock is lost when its lease ends.
   *
   * @default true
   */
  readonly autoExtend?: boolean | undefined

  /**
   * The fraction of the expiry reserved for clock drift, at least 0 and less than 1.
   * The lease ends `expiry * driftFactor + 2 ms` before the key expires.
   *
   * @default 0.01
   */
  readonly driftFactor?: number | undefined

  /**
   * How long a node has to answer a request before it counts as failed: more than 0 ms and at most
   * an hour.
   *
   * @default 5 % of the expiry, at least 50 ms and at most 1 second
   */
  readonly nodeTimeout?: Duration.Input | undefined
}

/**
 * What can be a node: a Redis URL (`redis://`, `rediss://`, `unix:`,
 * `redis+sentinel://host,host/name`), such a URL as a `Redacted`, any `LockNode`, or an effect that
 * opens one.
 *
 * **Details**
 *
 * Nodes for URLs are made by `IoredisNode` and need the package `ioredis`, which is loaded when the
 * first URL is used. Their connections belong to the service: it opens them, keeps them open and
 * closes them. For ioredis options or an existing client, use `IoredisNode.make` or
 * `IoredisNode.fromClient`.
 *
 * An effect is run, and waited for, when the service is made. What it opens stays open until the
 * service's scope closes. Its errors and requirements become those of the service's layer.
 *
 * @category options
 * @since 0.1.0
 */
export type NodeInput = string | Redacted.Redacted | LockNode | Effect.Effect<LockNode, unknown, unknown>

/**
 * What the effects among the nodes fail with.
 *
 * @category options
 * @since 0.1.0
 */
export type NodeInputError<Node> = Node extends Effect.Effect<LockNode, infer E, infer _R> ? E : never

/**
 * What the effects among the nodes require.
 *
 * @category options
 * @since 0.1.0
 */
export type NodeInputServices<Node> = Node extends Effect.Effect<LockNode, infer _E, infer R> ? R : never

/**
 * The nodes of a service, and defaults for all of its locks.
 *
 * **Details**
 *
 * `Node` is inferred if the options are written inline. By default it stands for nodes that open
 * without errors or requirements.
 *
 * @category options
 * @since 0.1.0
 */
export interface ServiceOptions<
  Node extends NodeInput = string | Redacted.Redacted | LockNode | Effect.Effect<LockNode, never, Scope.Scope>
> extends LockOptions {
  /**
   * At least one node, each with an id of its own. Use an odd number of servers that
   * share nothing, 3 or 5.
   */
  readonly nodes: ReadonlyArray<Node>

  /**
   * Put before every name on the nodes, so that several programs can share servers.
   * Functions take names without it, and errors carry it separately; messages show the whole key.
   *
   * @default "", none
   */
  readonly prefix?: string | undefined

  /**
   * The number of nodes that must agree.
   *
   * @default a majority of the nodes, which is also the minimum
   */
  readonly quorum?: number | undefined

  /**
   * The minimum uptime of a server before it may grant new locks, more than 0 ms and at most 365
   * days, rounded up to whole milliseconds. A restarted server may have lost the locks it granted:
   * set this to the longest expiry in use, so that they have ended by then. Not needed if servers
   * write every command to disk before they answer (`appendfsync always`).
   *
   * Servers report their uptime in whole seconds, by their own wall clock: a server
   * may abstain up to two seconds longer than this, and if its clock is set forward
   * after its start, it appears to have been up longer than it has; if it is set back, it
   * abstains for that much longer.
   *
   * @default none
   */
  readonly delayedRestart?: Duration.Input | undefined

  /**
   * The number of replicas that must acknowledge a lock, its extension and its token (`WAIT`)
   * before the node's vote counts, at most 100; they get a third of the node timeout for it. For
   * nodes that fail over to a replica, as with Sentinel or in a Cluster: set it to the number of
   * replicas of each node, or to one less so that a replica may be down. A node with fewer replicas
   * connected neither grants nor extends locks.
   *
   * @default 0, since independent servers have none
   */
  readonly replicas?: number | undefined
}

/**
 * The options of a service that can come from configuration: all but `retry`, with URLs as nodes.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConfigOptions extends Omit<ServiceOptions<string | Redacted.Redacted>, "retry"> {}

/**
 * The options of a service over nodes inside the process.
 *
 * @category options
 * @since 0.1.0
 */
export interface MemoryOptions extends Omit<ServiceOptions, "nodes"> {
  /**
   * The number of nodes, from 1 to 100.
   *
   * @default 1
   */
  readonly count?: number | undefined
}

/**
 * The options of `Redsync.retryPolicy`.
 *
 * @category options
 * @since 0.1.0
 */
export interface RetryPolicyOptions {
  /**
   * The number of attempts, the first included: a whole number of at least 1, or `Infinity`. There
   * is no delay after the last one; `1` makes a single attempt.
   *
   * @default 16, or `Infinity` if `within` is given
   */
  readonly tries?: number | undefined

  /**
   * The time between two attempts, varied by up to a fifth either way.
   *
   * @default "512 millis"
   */
  readonly delay?: Duration.Input | undefined

  /**
   * Bounds the wait: the last attempt is made when this much time has passed since
   * the first refusal.
   *
   * @default unbounded
   */
  readonly within?: Duration.Input | undefined
}
