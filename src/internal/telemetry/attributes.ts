/**
 * The attributes of spans, and the annotations of log lines: one list for both.
 */

export const attributes = {
  /** The lock's name, without the layer's prefix; in a span of several locks, all names. */
  lock: "redsync.lock",
  /** The id of the node that a line is about. */
  node: "redsync.node",
  /** How many nodes must agree. */
  quorum: "redsync.quorum",
  /** The attempts so far. */
  attempts: "redsync.attempts",
  /** What each node answered to the last attempt. */
  votes: "redsync.votes",
  /** Why a lock was lost, or how a node failed: the `reason` of the error. */
  reason: "redsync.reason",
  /** The fencing token of the lock that is held. */
  token: "redsync.token",
  /** The slots of the permits that are held. */
  slots: "redsync.slots",
  /** The `_tag` of the error that a span failed with, or the error's name. */
  errorType: "error.type"
} as const
