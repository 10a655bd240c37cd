/**
 * What can go wrong with a lock, as tagged errors.
 *
 * Every error lists the votes: what each node answered when it was last asked.
 * The `message` of an error is a single actionable sentence with each node's
 * answer in it. Errors are schema classes, so they can be
 * encoded, sent to another process and decoded there. None carries a password.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { quoted, untrusted } from "./internal/base/text.ts"

/**
 * A single node failed to perform an operation.
 *
 * **Details**
 *
 * `reason` says why:
 *
 * - `"Timeout"`: no answer within the node timeout. The command may still take effect later.
 * - `"Disconnected"`: there is no connection, it broke before the answer came, or the node is silent and nothing was
 *   sent.
 * - `"Rejected"`: the server answered with an error, such as `READONLY`, `OOM`, `NOAUTH` or `NOPERM`.
 * - `"NotAsked"`: no request was sent, because it could not be made. `cause` says why.
 * - `"Abstained"`: the server was restarted recently and does not vote on new locks yet, because of the option
 *   `delayedRestart`. `cause` says since when and how much longer.
 *
 * `node` is the node's `id`; `cause`, where there is one, is what the client or
 * server said, without the command's arguments.
 *
 * @category errors
 * @since 0.1.0
 */
export class NodeError extends Schema.TaggedError<NodeError>("effect-redsync/NodeError")("NodeError", {
  node: Schema.String,
  operation: Schema.Literals(["acquire", "extend", "release", "inspect", "remove"]),
  reason: Schema.Literals(["Timeout", "Disconnected", "Rejected", "Abstained", "NotAsked"]),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  /**
   * What happened, in a few words that follow the node's name.
   *
   * @since 0.1.0
   */
  get summary(): string {
    const { cause } = this
    const words = cause instanceof Error ? cause.message : typeof cause === "string" ? cause : undefined
    const said = words === undefined ? "" : `: ${untrusted(words)}`
    switch (this.reason) {
      case "Timeout":
        return "did not answer in time"
      case "Disconnected":
        return `is not connected${said}`
      case "Rejected":
        return `answered with an error${said}`
      case "NotAsked":
        return `was not asked${said}`
      case "Abstained":
        return `abstains${said}`
    }
  }

  override get message(): string {
    return `Node ${untrusted(this.node)} ${this.summary} (${this.operation})`
  }
}

/**
 * One node's answer to a request to grant, extend or confirm a lock.
 *
 * **Details**
 *
 * - `Granted`: it agreed.
 * - `Refused`: it did not: the key has another value, or, for a lock that was held, no longer exists.
 *   `ttlMillis` is the remaining time to live of the key, if known; `notALock` says what the key is if it is not a
 *   lock, for instance `"a list"` or `"a string without expiry"`.
 * - `Failed`: it could not answer; `error` says why.
 * - `Free`: it has no such key, as an inspection after the last attempt showed.
 * - `Pending`: it has not answered: the others had decided before, or no request was sent.
 *
 * @category models
 * @since 0.1.0
 */
export const Vote = Schema.TaggedUnion({
  Granted: { node: Schema.String },
  Refused: {
    node: Schema.String,
    ttlMillis: Schema.optionalKey(Schema.Finite),
    notALock: Schema.optionalKey(Schema.String)
  },
  Failed: { node: Schema.String, error: NodeError },
  Free: { node: Schema.String },
  Pending: { node: Schema.String }
})

/**
 * One node's answer to a request to grant, extend or confirm a lock.
 *
 * @category models
 * @since 0.1.0
 */
export type Vote = typeof Vote.Type

/**
 * Another client holds the lock, and the retry schedule is exhausted.
 *
 * **Details**
 *
 * `lock` is the name without the layer's prefix, which `prefix` has. `attempts`
 * counts the attempts of the schedule, including those skipped because other fibers
 * of this service were ahead; attempts triggered by wake-ups are not counted. `waited` is the time from the first attempt to the last answer, `votes` are those of the last attempt
 * with the remaining time to live of a held key. `isNested` is `true` if the lock is
 * held by the program that asks for it, or in its scope.
 *
 * @category errors
 * @since 0.1.0
 */
export class ErrFailed extends Schema.TaggedError<ErrFailed>("effect-redsync/ErrFailed")("ErrFailed", {
  lock: Schema.String,
  prefix: Schema.optionalKey(Schema.String),
  attempts: Schema.Int,
  waited: Schema.DurationFromMillis,
  votes: Schema.Array(Vote),
  isNested: Schema.optionalKey(Schema.Boolean)
}) {
  override get message(): string {
    const tries = `${this.attempts} ${this.attempts === 1 ? "attempt" : "attempts"} in ${seconds(this.waited)}`
    return `Could not acquire lock ${quote(this)} after ${tries}: ` +
      (this.isNested === true
        ? "the program that asks for it holds it already, and locks are not re-entrant"
        : describe(this.votes, "held by another"))
  }
}

/**
 * Too many nodes failed to form a quorum, whether or not the lock is held.
 *
 * **Details**
 *
 * `quorum` is the number of nodes that must agree.
 *
 * @category errors
 * @since 0.1.0
 */
export class NodesUnavailable
  extends Schema.TaggedError<NodesUnavailable>("effect-redsync/NodesUnavailable")("NodesUnavailable", {
    lock: Schema.String,
    prefix: Schema.optionalKey(Schema.String),
    quorum: Schema.Int,
    votes: Schema.Array(Vote)
  })
{
  override get message(): string {
    const failed = this.votes.filter((vote) => vote._tag === "Failed").length
    return `Too few nodes for lock ${quote(this)}: ${failed} of ${this.votes.length} failed and ` +
      `${this.quorum} ${this.quorum === 1 ? "has" : "have"} to agree: ${describe(this.votes, "refused it")}`
  }
}

/**
 * The lock was held and is no longer.
 *
 * **Details**
 *
 * `reason` says why:
 *
 * - `"Expired"`: the lease ended before it was extended.
 * - `"Taken"`: a quorum no longer stores this holder's value.
 * - `"NodesUnavailable"`: too many nodes failed to extend it before the lease ended.
 * - `"Released"`: the lock was released, detached or abandoned, by its holder or because the service was closed.
 *
 * @category errors
 * @since 0.1.0
 */
export class LockLost extends Schema.TaggedError<LockLost>("effect-redsync/LockLost")("LockLost", {
  lock: Schema.String,
  prefix: Schema.optionalKey(Schema.String),
  reason: Schema.Literals(["Expired", "Taken", "NodesUnavailable", "Released"]),
  votes: Schema.Array(Vote)
}) {
  override get message(): string {
    const votes = this.votes.length === 0 ? "" : `: ${describe(this.votes, "no longer stores it")}`
    switch (this.reason) {
      case "Expired":
        return `Lock ${quote(this)} is no longer held: its lease has ended${votes}`
      case "Taken":
        return `Lock ${
          quote(this)
        } was lost: a quorum no longer stores its value, which was deleted or replaced${votes}`
      case "NodesUnavailable":
        return `Lock ${quote(this)} could not be extended before its lease ended${votes}`
      case "Released":
        return `Lock ${quote(this)} is no longer held: it was released, detached or abandoned`
    }
  }
}

/**
 * Why a lock could not be acquired.
 *
 * @category errors
 * @since 0.1.0
 */
export type LockError = ErrFailed | NodesUnavailable

const quote = ({ lock, prefix = "" }: { readonly lock: string; readonly prefix?: string }) => quoted(prefix + lock)

const seconds = (duration: Duration.Duration) => `${(Duration.toMillis(duration) / 1000).toFixed(1)} s`

const describe = (votes: ReadonlyArray<Vote>, refused: string) =>
  votes.map((vote) => `${untrusted(vote.node)} ${answer(vote, refused)}`).join("; ")

const answer = (vote: Vote, refused: string): string => {
  switch (vote._tag) {
    case "Granted":
      return "granted it"
    case "Refused":
      if (vote.notALock !== undefined) return `has a key of that name that is no lock but ${untrusted(vote.notALock)}`
      return vote.ttlMillis === undefined
        ? refused
        : `${refused} for about ${seconds(Duration.millis(vote.ttlMillis))} more`
    case "Failed":
      return vote.error.summary
    case "Free":
      return "has no such key now"
    case "Pending":
      return "has given no answer"
  }
}
