/**
 * What the library measures about locks, as Effect metrics.
 *
 * The metrics are updated in the registry of the context in which the layer is
 * built, and read by whatever exports Effect's metrics, such as
 * `PrometheusMetrics` and `OtlpMetrics` of `effect/observability`. Names of locks
 * are not among the attributes, since there may be any number of them: they are
 * in the spans.
 *
 * @since 0.1.0
 */

/**
 * One metric: its name, type, unit and meaning, and its attributes with the
 * values they take.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition {
  readonly name: string
  readonly type: "counter" | "gauge" | "histogram"
  readonly unit?: "seconds"
  readonly description: string
  /** The upper bounds of a histogram's buckets. */
  readonly buckets?: ReadonlyArray<number>
  readonly attributes: { readonly [name: string]: string }
}

const mode = "exclusive"

/** The durations of waits and holds, up to a minute. */
const durations = [0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60]

/**
 * All metrics of the library.
 *
 * **Details**
 *
 * Counters only grow, gauges are sums over the services that share a registry, except those of a single node, and
 * histograms count seconds. `attributes` lists the values of each attribute. `mode` is there for other kinds of
 * locks: its only value is `exclusive` for now.
 *
 * @category metrics
 * @since 0.1.0
 */
export const definitions = {
  acquisitions: {
    name: "redsync_acquisitions_total",
    type: "counter",
    description: "Ended tries to acquire a lock, waiting included",
    attributes: { mode, outcome: "granted, held_by_another, nodes_unavailable, interrupted" }
  },
  wait: {
    name: "redsync_wait_seconds",
    type: "histogram",
    unit: "seconds",
    description: "Time from asking for a lock until it was granted or the wait ended",
    buckets: durations,
    attributes: { mode, outcome: "as of redsync_acquisitions_total" }
  },
  hold: {
    name: "redsync_hold_seconds",
    type: "histogram",
    unit: "seconds",
    description: "Time from the grant of a lock to its release or loss",
    buckets: durations,
    attributes: { mode }
  },
  held: {
    name: "redsync_locks_held",
    type: "gauge",
    description: "Locks held now",
    attributes: { mode }
  },
  waiters: {
    name: "redsync_waiters",
    type: "gauge",
    description: "Fibers that ask or wait for a lock now",
    attributes: { mode }
  },
  extensions: {
    name: "redsync_extensions_total",
    type: "counter",
    description: "Rounds of extension, automatic ones included",
    attributes: { mode, outcome: "extended, missed (too few nodes answered), taken" }
  },
  losses: {
    name: "redsync_losses_total",
    type: "counter",
    description: "Locks that were lost before they were released",
    attributes: { mode, reason: "Expired, Taken, NodesUnavailable" }
  },
  votes: {
    name: "redsync_votes_total",
    type: "counter",
    description: "Answers of nodes",
    attributes: {
      node: "the node's id",
      operation: "acquire, extend, release, inspect, remove",
      vote: "Granted, Refused, Timeout, Disconnected, Rejected, Abstained, NotAsked"
    }
  },
  latency: {
    name: "redsync_node_latency_seconds",
    type: "histogram",
    unit: "seconds",
    description: "Time a node took to answer a request of any kind, where it did",
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    attributes: { node: "the node's id" }
  },
  up: {
    name: "redsync_node_up",
    type: "gauge",
    description: "Whether the node answered when it was last asked: 1 if it did, 0 if not",
    attributes: { node: "the node's id" }
  },
  quorumMargin: {
    name: "redsync_quorum_margin",
    type: "gauge",
    description: "Nodes that did not fail when last asked, minus the quorum: below 0 no lock can be acquired",
    attributes: {}
  },
  wakeUps: {
    name: "redsync_wake_ups_total",
    type: "counter",
    description: "Turns that a waiting list gave to this service",
    attributes: { mode, outcome: "used (the lock was granted), wasted" }
  }
} satisfies { readonly [key: string]: Definition }
