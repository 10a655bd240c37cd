/**
 * How long a lock that was handed over is valid.
 *
 * A node reports the time on its own clock when it set the key; that may be long before the
 * notification arrives. So for every node the service remembers an earlier request: when it was
 * sent, and the time that the node answered with. Like any other lease, the lease is counted from
 * when that request was sent; the time that has passed on the node's clock between the two is added
 * to the time to live of the key.
 */
import type { Clock } from "effect/Clock"
import type { LockNode, NodeTime } from "../../LockNode.ts"
import { type Instant, instantNow, monotonicMillis } from "../base/clock.ts"
import { remainingMillis, validityMillis } from "../lease/lease.ts"

/** A key that lives for the given milliseconds, counted from a request that was sent at `sentAt`. */
export interface TimedVote {
  readonly sentAt: Instant
  readonly millis: number
  /** The time on the node's clock between that request and the setting of the key. */
  readonly elapsedMillis: number
}

interface Reading {
  readonly sentAt: Instant
  readonly time: NodeTime
  readonly roundTripMillis: number
}

/**
 * Nodes report times in whole milliseconds. If a node's clock and ours diverge by more than that
 * and the drift, one of them was set or stopped.
 */
const precisionMillis = 1

export class Stopwatches {
  readonly #clock: Clock
  readonly #readings = new Map<LockNode, Reading>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The time of a request whose answer will have the time of the node. */
  start(): Instant {
    return instantNow(this.#clock)
  }

  /** Records the answer to a request that was sent at `sentAt`. */
  read(node: LockNode, sentAt: Instant, time: NodeTime): void {
    const before = this.#readings.get(node)
    if (before !== undefined && before.sentAt.monotonic > sentAt.monotonic) return
    const roundTripMillis = monotonicMillis(this.#clock) - sentAt.monotonic
    this.#readings.set(node, { sentAt, time, roundTripMillis })
  }

  /** Forgets the node's clock: it may be another server now. */
  forget(node: LockNode): void {
    this.#readings.delete(node)
  }

  isOlderThan(node: LockNode, millis: number): boolean {
    const reading = this.#readings.get(node)
    return reading === undefined || monotonicMillis(this.#clock) - reading.sentAt.monotonic > millis
  }

  /** The longest of the last round trips measured to each node. */
  get roundTripMillis(): number {
    let longest = 0
    for (const { roundTripMillis } of this.#readings.values()) longest = Math.max(longest, roundTripMillis)
    return longest
  }

  /**
   * The vote for a key that the node has just reported to have set. `undefined` if the node's clock
   * has not been read, has gone backwards, or has advanced by more than ours: one of the two was
   * set, or stopped.
   */
  vote(node: LockNode, { clock, millis }: NodeTime, ttlMillis: number, driftFactor: number): TimedVote | undefined {
    const reading = this.#readings.get(node)
    if (reading === undefined || reading.time.clock !== clock) return undefined
    const elapsedMillis = millis - reading.time.millis
    const ours = monotonicMillis(this.#clock) - reading.sentAt.monotonic
    if (elapsedMillis < -precisionMillis || elapsedMillis > ours * (1 + driftFactor) + precisionMillis) return undefined
    return { sentAt: reading.sentAt, elapsedMillis, millis: ttlMillis }
  }
}

/** The votes of the nodes for a lock that is being handed over to us. */
export class HandOverVotes {
  readonly #byNode = new Map<LockNode, TimedVote | undefined>()
  readonly #handedOver = new Set<LockNode>()

  /** Records that the node has handed the lock over: the value is no longer in its list. */
  handedOver(node: LockNode, vote: TimedVote | undefined): void {
    this.#handedOver.add(node)
    this.add(node, vote)
  }

  /** Records that the node has set the key; without a vote, it is unknown for how long. */
  add(node: LockNode, vote: TimedVote | undefined): void {
    if (vote !== undefined || !this.#byNode.has(node)) this.#byNode.set(node, vote)
  }

  /** The nodes that have set the key. */
  get nodes(): ReadonlyArray<LockNode> {
    return [...this.#byNode.keys()]
  }

  isHandedOverOn(node: LockNode): boolean {
    return this.#handedOver.has(node)
  }

  isTimed(node: LockNode): boolean {
    return this.#byNode.get(node) !== undefined
  }

  /**
   * Until when a quorum of the nodes has the key, if it has it now. A later extension sets it to
   * `expiryMillis`, so more than that does not count.
   */
  end(
    clock: Clock,
    quorum: number,
    { driftFactor, expiryMillis }: { readonly driftFactor: number; readonly expiryMillis: number }
  ): Instant | undefined {
    const left: Array<number> = []
    for (const vote of this.#byNode.values()) {
      if (vote === undefined) continue
      const { elapsedMillis, millis, sentAt } = vote
      const validity = validityMillis(elapsedMillis + Math.min(millis, expiryMillis), driftFactor)
      left.push(
        remainingMillis(clock, { monotonic: sentAt.monotonic + validity, wall: sentAt.wall + validity })
      )
    }
    const least = left.sort((a, b) => b - a)[quorum - 1]
    if (least === undefined || least <= 0) return undefined
    const { monotonic, wall } = instantNow(clock)
    return { monotonic: monotonic + least, wall: wall + least }
  }
}
