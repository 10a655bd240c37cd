/**
 * What can go wrong with a lock, as tagged errors.
 *
 * Every error of a lock lists the votes: what each node answered when it was last asked. Its
 * `message` is a single actionable sentence with each node's answer in it. No error contains a
 * password.
 *
 * Logged, printed or turned into JSON, an error shows its message first, times in
 * milliseconds and votes in words. To send one to another process, encode it with
 * its class, which is a schema, and decode it there.
 *
 * Stack traces omit the library's own functions; inside a span or `Effect.fn` of yours, Effect adds
 * the location in your program.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import { quoted, untrusted } from "./internal/base/text.ts"
import { untraced } from "./internal/base/untraced.ts"

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
 * - `"Abstained"`: the server started too recently to vote on new locks, because of the option
 *   `delayedRestart`. `cause` says how long it has been up, and how long it must be up to vote.
 *
 * @category errors
 * @since 0.1.0
 */
export class NodeError extends untraced(
  Schema.TaggedError<NodeError>("effect-redsync/NodeError")("NodeError", {
    node: Schema.String,
    operation: Schema.Literals(["acquire", "extend", "release", "inspect", "remove"]),
    reason: Schema.Literals(["Timeout", "Disconnected", "Rejected", "Abstained", "NotAsked"]),
    cause: Schema.optionalKey(Schema.Defect())
  })
) {
  /** The node's `id`. */
  declare readonly node: string

  /** The operation it was asked to perform. */
  declare readonly operation: "acquire" | "extend" | "release" | "inspect" | "remove"

  /** Why it failed: {@link NodeError} lists the reasons. */
  declare readonly reason: "Timeout" | "Disconnected" | "Rejected" | "Abstained" | "NotAsked"

  /** What the client or server said, without the command's arguments. */
  declare readonly cause?: unknown

  /**
   * What happened, in a few words that follow the node's name.
   *
   * @since 0.1.0
   */
  get summary(): string {
    const words = wordsOf(this.cause)
    const said = words === undefined ? "" : `: ${words}`
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

  /**
   * What logs and JSON show of the error: the message first, and `cause` reduced to its own
   * message.
   *
   * @since 0.1.0
   */
  override toJSON(): unknown {
    const { _tag, cause, message, node, operation, reason } = this
    return shown({ _tag, message, node, operation, reason, cause: wordsOf(cause) })
  }
}

/**
 * One node's answer to a request to grant, extend or confirm a lock.
 *
 * **Details**
 *
 * - `Granted`: it agreed.
 * - `Refused`: it did not agree, because the key has another value or, for a lock that was held, no
 *   longer exists. `ttlMillis` is the remaining time to live of the key, if known; `notALock` says
 *   what the key is if it is not a lock, for instance `"a list"` or `"a string without expiry"`.
 *   `free` is how many permits of a semaphore it has left. `isShared` is `true` if readers hold the
 *   lock, or the lock is kept for them.
 * - `Failed`: it could not answer; `error` says why.
 * - `Free`: it has no such key, as an inspection after the last attempt found.
 * - `Pending`: it has not answered, because the others had already decided or no request was sent.
 *
 * @category models
 * @since 0.1.0
 */
export const Vote = Schema.TaggedUnion({
  Granted: { node: Schema.String },
  Refused: {
    node: Schema.String,
    ttlMillis: Schema.optionalKey(Schema.Finite),
    notALock: Schema.optionalKey(Schema.String),
    free: Schema.optionalKey(Schema.Int),
    isShared: Schema.optionalKey(Schema.Boolean)
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
 * Another client holds the lock, or too few permits are free, and the retry schedule is exhausted.
 *
 * **Details**
 *
 * Waits also end with it when their service is closed, and `isClosed` is then `true`.
 *
 * The default schedule waits for about 7.7 seconds, a little less than the default lease of 8
 * seconds, so it gives up just before the lock of a crashed holder expires. The message says so if
 * the key would have expired before one more attempt. To outlast a lease, wait longer:
 * `retryPolicy({ within: "10 seconds" })`.
 *
 * @category errors
 * @since 0.1.0
 */
export class ErrFailed extends untraced(
  Schema.TaggedError<ErrFailed>("effect-redsync/ErrFailed")("ErrFailed", {
    lock: Schema.String,
    prefix: Schema.optionalKey(Schema.String),
    attempts: Schema.Int,
    waited: Schema.DurationFromMillis,
    votes: Schema.Array(Vote),
    retryAfter: Schema.optionalKey(Schema.DurationFromMillis),
    isNested: Schema.optionalKey(Schema.Boolean),
    isClosed: Schema.optionalKey(Schema.Boolean),
    permits: Schema.optionalKey(Schema.Int),
    limit: Schema.optionalKey(Schema.Int)
  })
) {
  /** The lock's name, without the layer's prefix. */
  declare readonly lock: string

  /** The layer's prefix, if it has one. */
  declare readonly prefix?: string

  /**
   * The attempts of the schedule, including those skipped because other fibers of this service were ahead. Attempts
   * triggered by wake-ups are not counted.
   */
  declare readonly attempts: number

  /** The time from the first attempt to the last answer. */
  declare readonly waited: Duration.Duration

  /** What each node answered to the last attempt, with the remaining time to live of a held key. */
  declare readonly votes: ReadonlyArray<Vote>

  /**
   * The time after which the lock is free at the latest, unless its holder extends it, as for an HTTP `Retry-After`.
   * Absent if unknown, and for permits.
   */
  declare readonly retryAfter?: Duration.Duration

  /** `true` if the lock is already held by the program that asks for it, or by its scope. Locks are not re-entrant. */
  declare readonly isNested?: boolean

  /** `true` if the wait ended before its schedule, because the scope of the service was closed. */
  declare readonly isClosed?: boolean

  /** How many permits of a semaphore were requested. Absent for a lock. */
  declare readonly permits?: number

  /** How many permits the semaphore has, as stated by the caller. Absent for a lock. */
  declare readonly limit?: number

  override get message(): string {
    const tries = `${this.attempts} ${this.attempts === 1 ? "attempt" : "attempts"} in ${seconds(this.waited)}`
    return `Could not acquire ${subject(this)} after ${tries}: ` +
      (this.isNested === true
        ? "the program that asks for it holds it already, and locks are not re-entrant"
        : this.isClosed === true
        ? "its service was closed"
        : describe(this.votes, "held by another") +
          (endedTooSoon(this)
            ? "; the lock would expire before one more attempt: wait longer, with retryPolicy({ within })"
            : ""))
  }

  /**
   * What logs and JSON show of it: the message, times in milliseconds, and votes in words.
   *
   * @since 0.1.0
   */
  override toJSON(): unknown {
    const { _tag, attempts, isClosed, isNested, limit, lock, message, permits, prefix, retryAfter, votes, waited } =
      this
    return shown({
      _tag,
      message,
      lock,
      prefix,
      attempts,
      waitedMillis: millis(waited),
      retryAfterMillis: millis(retryAfter),
      isNested,
      isClosed,
      permits,
      limit,
      votes: votes.map(inWords("held by another"))
    })
  }
}

/**
 * Too many nodes failed to form a quorum, whether or not the lock is held.
 *
 * @category errors
 * @since 0.1.0
 */
export class NodesUnavailable extends untraced(
  Schema.TaggedError<NodesUnavailable>("effect-redsync/NodesUnavailable")("NodesUnavailable", {
    lock: Schema.String,
    prefix: Schema.optionalKey(Schema.String),
    quorum: Schema.Int,
    votes: Schema.Array(Vote),
    permits: Schema.optionalKey(Schema.Int),
    limit: Schema.optionalKey(Schema.Int)
  })
) {
  /** The lock's name, without the layer's prefix. */
  declare readonly lock: string

  /** The layer's prefix, if it has one. */
  declare readonly prefix?: string

  /** The number of nodes that must agree. */
  declare readonly quorum: number

  /** What each node answered when it was last asked. */
  declare readonly votes: ReadonlyArray<Vote>

  /**
   * How many permits of a semaphore were requested, `0` for all that are held, as by
   * `forceReleasePermits`. Absent for a lock.
   */
  declare readonly permits?: number

  /** How many permits the semaphore has, as stated by the caller. Absent for a lock, and if `permits` is `0`. */
  declare readonly limit?: number

  override get message(): string {
    const usable = this.votes.filter((vote) => vote._tag !== "Failed").length
    const isCertain = this.votes.every((vote) => vote._tag !== "Pending")
    return `No quorum for ${subject(this)}: ${isCertain ? "" : "at most "}${usable} of ${this.votes.length} ` +
      `${this.votes.length === 1 ? "node" : "nodes"} usable, ${this.quorum} required: ${
        describe(this.votes, "refused")
      }`
  }

  /**
   * What logs and JSON show of it: the message, and votes in words.
   *
   * @since 0.1.0
   */
  override toJSON(): unknown {
    const { _tag, limit, lock, message, permits, prefix, quorum, votes } = this
    return shown({ _tag, message, lock, prefix, quorum, permits, limit, votes: votes.map(inWords("refused")) })
  }
}

/**
 * The lock was held but no longer is.
 *
 * **Details**
 *
 * `reason` says why:
 *
 * - `"Expired"`: the lease ended before it was extended.
 * - `"Taken"`: a quorum no longer stores this holder's value.
 * - `"NodesUnavailable"`: too many nodes failed to extend it before the lease ended.
 * - `"Released"`: the lock was released, detached or abandoned by its holder, released by `unlock`
 *   in the same service, or its service was closed.
 *
 * A loss for one of the first three reasons is also logged, as a warning, since a
 * program that does not watch its lock would not notice. To log only what your
 * program does with the error, build the layer with `References.MinimumLogLevel` at
 * `"Error"`, which silences the warnings about nodes too.
 *
 * @category errors
 * @since 0.1.0
 */
export class LockLost extends untraced(
  Schema.TaggedError<LockLost>("effect-redsync/LockLost")("LockLost", {
    lock: Schema.String,
    prefix: Schema.optionalKey(Schema.String),
    reason: Schema.Literals(["Expired", "Taken", "NodesUnavailable", "Released"]),
    votes: Schema.Array(Vote),
    expiredFor: Schema.optionalKey(Schema.DurationFromMillis),
    lastExtended: Schema.optionalKey(Schema.DurationFromMillis),
    stalledFor: Schema.optionalKey(Schema.DurationFromMillis),
    permits: Schema.optionalKey(Schema.Int),
    limit: Schema.optionalKey(Schema.Int)
  })
) {
  /** The lock's name, without the layer's prefix. */
  declare readonly lock: string

  /** The layer's prefix, if it has one. */
  declare readonly prefix?: string

  /** Why it was lost: {@link LockLost} lists the reasons. */
  declare readonly reason: "Expired" | "Taken" | "NodesUnavailable" | "Released"

  /** What each node answered to the last extension. Empty if the last extension succeeded, or there was none. */
  declare readonly votes: ReadonlyArray<Vote>

  /** How long the lease had been over when the loss was noticed. Absent if it was not over. */
  declare readonly expiredFor?: Duration.Duration

  /**
   * How long ago the lease had last been extended when the loss was noticed. Absent if it was
   * never extended, or had not ended.
   */
  declare readonly lastExtended?: Duration.Duration

  /**
   * For about how long this process stood still before the loss was noticed, because it was blocked
   * or suspended, or its clock was set forward. Absent if it did not stand still.
   */
  declare readonly stalledFor?: Duration.Duration

  /** How many permits of a semaphore were lost, all at once. Absent for a lock. */
  declare readonly permits?: number

  /** How many permits the semaphore has, as stated by the holder. Absent for a lock. */
  declare readonly limit?: number

  override get message(): string {
    const lost = this.permits === undefined ? `Lock ${quote(this)}` : subject(this)
    const { are, ended, it, its, were } = (this.permits ?? 1) > 1 ? plural : singular
    const votes = this.votes.length === 0 ? "" : `: ${describe(this.votes, `no longer stores ${it}`)}`
    switch (this.reason) {
      case "Expired":
        return `${lost} ${were} lost: ${its} lease ended${history(this)}${votes}`
      case "Taken":
        return `${lost} ${were} lost: a quorum no longer stores ${its} value (deleted or taken by another)${votes}`
      case "NodesUnavailable":
        return `${lost} ${were} lost: too few nodes extended ${it} before ${its} lease ended${history(this)}${votes}`
      case "Released":
        return `${lost} ${are} no longer held: ${ended} released, detached or abandoned, or ${its} service was closed`
    }
  }

  /**
   * What logs and JSON show of it: the message, times in milliseconds, and votes in words.
   *
   * @since 0.1.0
   */
  override toJSON(): unknown {
    const { _tag, expiredFor, lastExtended, limit, lock, message, permits, prefix, reason, stalledFor, votes } = this
    return shown({
      _tag,
      message,
      lock,
      prefix,
      reason,
      expiredMillis: millis(expiredFor),
      lastExtendedMillis: millis(lastExtended),
      stalledMillis: millis(stalledFor),
      permits,
      limit,
      votes: votes.map(inWords("no longer stores it"))
    })
  }
}

/**
 * Why a lock could not be acquired.
 *
 * @category errors
 * @since 0.1.0
 */
export type LockError = ErrFailed | NodesUnavailable

/**
 * Whether something is one of the three errors of a lock: `ErrFailed`,
 * `NodesUnavailable` or `LockLost`.
 *
 * **Example** (Telling the lock's failures apart from the program's)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { LockError, withLock } from "effect-redsync"
 *
 * const charge = Effect.fail("card declined")
 *
 * const program = withLock("invoices:42", charge).pipe(
 *   Effect.catchIf(LockError.isLockError, (error) => Effect.log("try again later", error))
 * )
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const isLockError = (u: unknown): u is LockError | LockLost => {
  try {
    return isError(u)
  } catch {
    // A proxy that cannot be read.
    return false
  }
}

const isError = Schema.is(Schema.Union([ErrFailed, NodesUnavailable, LockLost]))

/** Absent fields are not shown. */
const shown = (fields: { readonly [name: string]: unknown }): unknown => Record.filter(fields, Predicate.isNotUndefined)

interface Subject {
  readonly lock: string
  readonly prefix?: string
  readonly permits?: number
  readonly limit?: number
}

const quote = ({ lock, prefix = "" }: Subject) => quoted(prefix + lock)

/** What an error is about, in the middle of a sentence: a lock, or permits of a semaphore. */
const subject = (about: Subject): string => {
  const { limit, permits } = about
  if (permits === undefined) return `lock ${quote(about)}`
  const which = permits === 0 ? "the permits" : `${permits} of ${limit} ${limit === 1 ? "permit" : "permits"}`
  return `${which} of ${quote(about)}`
}

const singular = { were: "was", are: "is", it: "it", its: "its", ended: "it was" }

const plural = { were: "were", are: "are", it: "them", its: "their", ended: "they were" }

const seconds = (duration: Duration.Duration) => `${(Duration.toMillis(duration) / 1000).toFixed(1)} s`

const millis = (duration: Duration.Duration | undefined) =>
  duration === undefined ? undefined : Math.round(Duration.toMillis(duration))

const wordsOf = (cause: unknown): string | undefined => {
  try {
    const words = cause instanceof Error ? cause.message : cause
    return typeof words === "string" ? untrusted(words) : undefined
  } catch {
    // Its getters or traps throw.
    return undefined
  }
}

/** How the lease of a lost lock ended. */
const history = ({ expiredFor, lastExtended, reason, stalledFor }: LockLost): string => {
  if (expiredFor === undefined) return ""
  const ended = Duration.toMillis(expiredFor) < 50 ? "" : ` ${seconds(expiredFor)} ago`
  const extended = lastExtended !== undefined
    ? `, last extended ${seconds(lastExtended)} ago`
    : reason === "Expired"
    ? ", never extended"
    : ""
  const stalled = stalledFor === undefined
    ? ""
    : `; this process stood still for about ${seconds(stalledFor)} (blocked, suspended, or its clock set forward)`
  return `${ended}${extended}${stalled}`
}

/** Whether the wait ended although the lock would have been free before the next attempt. */
const endedTooSoon = ({ attempts, retryAfter, waited }: ErrFailed): boolean =>
  attempts > 1 && retryAfter !== undefined &&
  Duration.toMillis(retryAfter) < Duration.toMillis(waited) / (attempts - 1)

/** The answers of the nodes that answered: the others were not waited for, which is no fault of theirs. */
const describe = (votes: ReadonlyArray<Vote>, refused: string): string => {
  const answered = votes.filter((vote) => vote._tag !== "Pending")
  if (answered.length === 0) return "no node has answered"
  const pending = votes.length - answered.length
  return answered.map(inWords(refused)).join("; ") + (pending === 0 ? "" : ` (${pending} more not waited for)`)
}

const inWords = (refused: string) => (vote: Vote): string => `${untrusted(vote.node)} ${answer(vote, refused)}`

const answer = (vote: Vote, refused: string): string => {
  switch (vote._tag) {
    case "Granted":
      return "granted it"
    case "Refused":
      if (vote.notALock !== undefined) {
        return `has a key of that name that is not a lock but ${untrusted(vote.notALock)}`
      }
      if (vote.free !== undefined) return `has ${vote.free === 0 ? "none" : vote.free} free`
      return vote.ttlMillis === undefined
        ? refused
        : `held by ${vote.isShared === true ? "readers" : "another"} for about ${
          seconds(Duration.millis(vote.ttlMillis))
        } more`
    case "Failed":
      return vote.error.summary
    case "Free":
      return "has no such key now"
    case "Pending":
      return "was not waited for"
  }
}
