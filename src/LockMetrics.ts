/**
 * What the library measures about locks, as Effect metrics.
 *
 * The metrics are updated in the registry of the context in which the layer is
 * built, and read by any exporter of Effect's metrics, such as `PrometheusMetrics`
 * and `OtlpMetrics` of `effect/observability`. Lock names appear in spans but not
 * in metrics, since their number is unbounded.
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
  /** The name, in the form that Prometheus uses. */
  readonly name: string
  /** A histogram's values are durations. */
  readonly type: "counter" | "gauge" | "histogram"
  /** The unit of a histogram. Counters and gauges count. */
  readonly unit?: "seconds"
  /** What is counted or measured, in one sentence. */
  readonly description: string
  /** The upper bounds of a histogram's buckets. One more bucket counts the values above the last bound. */
  readonly buckets?: ReadonlyArray<number>
  /** The values of each attribute, separated by commas. */
  readonly attributes: { readonly [name: string]: string }
}

/**
 * How a lock is held: by one holder, by readers that share it, or as permits of a
 * semaphore.
 *
 * @category models
 * @since 0.1.0
 */
export type LockMode = "exclusive" | "shared" | "permits"

const mode = "exclusive, shared, permits"

/** The durations of waits and holds, up to a minute. */
const durations = [0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60]

/**
 * All metrics of the library.
 *
 * **Details**
 *
 * Gauges are sums over the services that share a registry, except `redsync_node_up`. The values of
 * `vote` are those of the span attribute `redsync.votes`, and `reason` is that of the error. `mode`
 * is that of the lock: `exclusive`, `shared`, or `permits` for semaphores.
 *
 * @category metrics
 * @since 0.1.0
 */
export const definitions = {
  acquisitions: {
    name: "redsync_acquisitions_total",
    type: "counter",
    description: "Acquisitions that have ended, by outcome",
    attributes: { mode, outcome: "granted, held_by_another, nodes_unavailable, interrupted" }
  },
  wait: {
    name: "redsync_wait_seconds",
    type: "histogram",
    unit: "seconds",
    description: "Time from requesting a lock until it was granted or the wait ended",
    buckets: durations,
    attributes: { mode, outcome: "see redsync_acquisitions_total" }
  },
  hold: {
    name: "redsync_hold_seconds",
    type: "histogram",
    unit: "seconds",
    description: "Time from the grant of a lock until it was no longer held",
    buckets: durations,
    attributes: { mode }
  },
  held: {
    name: "redsync_locks_held",
    type: "gauge",
    description: "Locks currently held",
    attributes: { mode }
  },
  waiters: {
    name: "redsync_waiters",
    type: "gauge",
    description: "Fibers that are acquiring or waiting for a lock",
    attributes: { mode }
  },
  extensions: {
    name: "redsync_extensions_total",
    type: "counter",
    description: "Attempts to extend a lease, automatic ones included",
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
    description: "Requests to nodes, by their outcome",
    attributes: {
      node: "its id",
      operation: "acquire, extend, release, inspect, remove",
      vote: "Granted, Refused, Timeout, Disconnected, Rejected, Abstained, NotAsked"
    }
  },
  latency: {
    name: "redsync_node_latency_seconds",
    type: "histogram",
    unit: "seconds",
    description: "Time a node took to answer a request, failed requests excluded",
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    attributes: { node: "its id" }
  },
  up: {
    name: "redsync_node_up",
    type: "gauge",
    description: "1 if the last request to the node, or to each of its servers, succeeded, 0 if one failed",
    attributes: { node: "its id" }
  },
  quorumMargin: {
    name: "redsync_quorum_margin",
    type: "gauge",
    description: "Nodes whose last request did not fail, minus the quorum; below 0 no lock can be acquired",
    attributes: {}
  },
  wakeUps: {
    name: "redsync_wake_ups_total",
    type: "counter",
    description: "Wake-ups that gave a waiter of this service its turn",
    attributes: { mode: "exclusive", outcome: "used (the lock was granted), wasted" }
  },
  handOvers: {
    name: "redsync_hand_overs_total",
    type: "counter",
    description: "Hand-overs of a lock to this service by its previous holder",
    attributes: { mode: "exclusive", outcome: "taken, wasted (too few nodes, or nobody was waiting any more)" }
  },
  permitsHeld: {
    name: "redsync_permits_held",
    type: "gauge",
    description: "Permits of semaphores currently held",
    attributes: {}
  },
  permitRounds: {
    name: "redsync_permit_rounds_total",
    type: "counter",
    description: "Grants of permits, by round of requests; frequent splits mean that the limit is too small",
    attributes: { round: "1, 2, 3, split (not granted)" }
  },
  limitMismatches: {
    name: "redsync_limit_mismatches_total",
    type: "counter",
    description: "Grants of a semaphore that is also used with another limit",
    attributes: {}
  }
} satisfies { readonly [key: string]: Definition }
