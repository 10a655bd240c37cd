/**
 * Clean-up: the sole owner of every value of ours that may remain on a node after
 * its attempt, hold or adoption has ended.
 *
 * A release is sent immediately, behind everything sent before it. If it fails, the
 * value is queued for that node, and the release is retried with backoff, or as
 * soon as the node responds again. The value is dropped once a release has succeeded
 * that no earlier command can follow, or once the key must have expired: one expiry
 * after the node's first reply, because commands in flight to a stopped server take
 * effect when it resumes. The queue of a node is bounded; the oldest values are left to
 * expire.
 */
import type * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { handled } from "../base/arguments.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Timer } from "../base/timers.ts"
import { isUnsent, partOf } from "../nodeContract.ts"
import { isTrue, type NodeRequest, type Tally } from "../quorum/ballot.ts"
import { isServerError } from "../quorum/failures.ts"
import type { Quorum } from "../quorum/quorum.ts"
import { type ClaimedValue, releaseOn } from "./claim.ts"

const initialBackoffMillis = 100

const maxBackoffMillis = 1000

const closingRetryMillis = 50
const maxPending = 4096

/** A value that may remain on a node. */
class Pending {
  readonly claimed: ClaimedValue
  /** When the node first replied to a release of the value, on the monotonic clock. */
  firstReplyAt: number | undefined
  /** Whether a release of the value has been sent. */
  isSent: boolean
  /** Whether the node rejected its last release. */
  isRefused = false

  constructor(claimed: ClaimedValue, isSent: boolean) {
    this.claimed = claimed
    this.isSent = isSent
  }
}

/** The values pending on one node. */
class NodeQueue {
  readonly node: LockNode
  readonly pending = new Map<string, Pending>()
  backoffMillis = initialBackoffMillis
  timer: Timer | undefined
  /** Whether the node rejected the last retry. */
  isRefusing = false

  constructor(node: LockNode) {
    this.node = node
  }
}

export class CleanUps {
  readonly #quorum: Quorum
  readonly #byNode = new Map<LockNode, NodeQueue>()
  /** When the service started to close, on the monotonic clock. */
  #closingAt: number | undefined

  constructor(quorum: Quorum) {
    this.#quorum = quorum
    for (const node of quorum.nodes) this.#byNode.set(node, new NodeQueue(node))
    quorum.health.onResponding = (node) => this.#onResponding(this.#byNode.get(node)!)
  }

  /** Deletes the value on those of the given nodes that may store it. */
  over(claimed: ClaimedValue, nodes: ReadonlyArray<LockNode>): void {
    const { health } = this.#quorum
    const reachable: Array<LockNode> = []
    for (const node of nodes) {
      if (claimed.untouched?.has(node) === true) continue
      // A silent node would only queue the release behind the command that it is to undo.
      if (health.isSilent(partOf(node, claimed.key)) && !this.#isClosing) {
        this.#enqueue(this.#byNode.get(node)!, new Pending(claimed, false))
      } else reachable.push(node)
    }
    if (reachable.length > 0) {
      this.#quorum.send(new CleanUpRequest(this, claimed, reachable, this.#isClosing), constVoid)
    }
  }

  /** Takes over from a release that was not sent by this class: retries it on the nodes where it failed. */
  released(claimed: ClaimedValue, { byNode, nodes }: Tally<boolean>): void {
    for (let index = 0; index < nodes.length; index++) this.answered(claimed, nodes[index]!, byNode[index]!)
  }

  /** Records a node's reply to a release, or its failure. */
  answered(claimed: ClaimedValue, node: LockNode, answer: Result.Result<boolean, NodeError>, pending?: Pending): void {
    const now = monotonicMillis(this.#quorum.clock)
    const isGone = Result.isSuccess(answer) && !mayOvertake(node, now - claimed.madeAt)
    if (isGone && pending === undefined) return
    const queue = this.#byNode.get(node)!
    const isRefused = Result.isFailure(answer) && answer.failure.reason === "Rejected"
    // A success of another value says nothing: a node may refuse one name and permit another.
    const isPermitted = Result.isSuccess(answer) && pending?.isRefused === true
    if (isRefused && pending !== undefined) queue.isRefusing = true
    else if (Result.isSuccess(answer)) queue.isRefusing = false
    if (!isGone) {
      const retry = pending ?? new Pending(claimed, !(Result.isFailure(answer) && isUnsent(answer.failure)))
      retry.isRefused = isRefused
      const hasReplied = Result.isSuccess(answer) || isServerError(answer.failure)
      if (hasReplied) retry.firstReplyAt ??= now
      const isExpired = retry.firstReplyAt !== undefined &&
        now >= retry.firstReplyAt + claimed.settings.expiryMillis
      // While closing, a node that has replied with an error is not asked again.
      if (!isExpired && !(hasReplied && this.#isClosing)) this.#enqueue(queue, retry)
    }
    if (isPermitted) this.#onResponding(queue)
    else this.#schedule(queue)
  }

  /**
   * Sends all pending releases immediately, whatever the state of the nodes. The `close` of the
   * quorum waits for the replies.
   */
  close(): void {
    this.#closingAt = monotonicMillis(this.#quorum.clock)
    for (const queue of this.#byNode.values()) this.#sendAll(queue)
  }

  /** The number of pending values on all nodes. */
  get size(): number {
    let size = 0
    for (const { pending } of this.#byNode.values()) size += pending.size
    return size
  }

  get #isClosing(): boolean {
    return this.#closingAt !== undefined
  }

  #enqueue(queue: NodeQueue, pending: Pending): void {
    if (pending.claimed.untouched?.has(queue.node) === true) return
    if (this.#isClosing) return this.#sendWhileClosing(queue, pending)
    // Values are random: no two claims share one, even if one is on a lock and the other on a semaphore.
    const { key, value } = pending.claimed
    const id = `${key}\n${value}`
    if (!queue.pending.has(id)) queue.pending.set(id, pending)
    if (queue.pending.size > maxPending) queue.pending.delete(queue.pending.keys().next().value!)
    this.#schedule(queue)
  }

  #schedule(queue: NodeQueue) {
    if (queue.timer !== undefined || queue.pending.size === 0) return
    queue.timer = this.#quorum.timers.schedule(queue.backoffMillis, () => this.#onDue(queue))
    queue.backoffMillis = Math.min(queue.backoffMillis * 2, maxBackoffMillis)
  }

  #onDue(queue: NodeQueue) {
    queue.timer = undefined
    // A single release is enough to find out whether a node, or one of its servers, responds again.
    const asked = new Set<unknown>()
    const due = [...queue.pending].filter(([_, { claimed }]) => {
      const part = partOf(queue.node, claimed.key)
      if (!queue.isRefusing && !this.#quorum.health.isUnreachable(part)) return true
      return asked.size < asked.add(part).size
    })
    // All first: an answer that comes at once may send everything that is still pending.
    for (const [id] of due) queue.pending.delete(id)
    for (const [_, pending] of due) this.#send(queue, pending)
  }

  #onResponding(queue: NodeQueue) {
    queue.backoffMillis = initialBackoffMillis
    this.#sendAll(queue)
  }

  #sendAll(queue: NodeQueue) {
    queue.timer?.cancel()
    queue.timer = undefined
    const all = [...queue.pending.values()]
    queue.pending.clear()
    for (const pending of all) this.#send(queue, pending)
  }

  #send({ node }: NodeQueue, pending: Pending) {
    pending.isSent = true
    this.#quorum.send(new CleanUpRequest(this, pending.claimed, [node], this.#isClosing, pending), constVoid)
  }

  /** Retries for one node timeout, within which a node may still recover. */
  #sendWhileClosing(queue: NodeQueue, pending: Pending) {
    const { clock, timers } = this.#quorum
    const { nodeTimeoutMillis } = pending.claimed.settings
    // A release held back while the node was silent has not been sent at all.
    if (!pending.isSent) return this.#send(queue, pending)
    const pauseMillis = Math.min(closingRetryMillis, nodeTimeoutMillis / 2)
    if (monotonicMillis(clock) + pauseMillis > this.#closingAt! + nodeTimeoutMillis) return
    this.#quorum.taskStarted()
    timers.schedule(pauseMillis, () => {
      this.#send(queue, pending)
      this.#quorum.taskEnded()
    })
  }
}

/** Whether commands of that age may still overtake new ones; assumed if a custom node throws. */
const mayOvertake = (node: LockNode, ageMillis: number): boolean => {
  try {
    return Boolean(handled(node.mayOvertake?.(ageMillis)))
  } catch {
    return true
  }
}

/** A release that wakes no waiter: one failed attempt would otherwise trigger the next. */
class CleanUpRequest implements NodeRequest<boolean> {
  readonly operation = "release"
  readonly key: string
  readonly timeoutMillis: number
  readonly awaitAll = true
  readonly nodes: ReadonlyArray<LockNode>
  readonly isForced: boolean
  readonly #cleanUps: CleanUps
  readonly #claimed: ClaimedValue
  readonly #pending: Pending | undefined

  constructor(
    cleanUps: CleanUps,
    claimed: ClaimedValue,
    nodes: ReadonlyArray<LockNode>,
    isForced: boolean,
    pending?: Pending
  ) {
    this.key = claimed.key
    this.timeoutMillis = claimed.settings.nodeTimeoutMillis
    this.nodes = nodes
    this.isForced = isForced
    this.#cleanUps = cleanUps
    this.#claimed = claimed
    this.#pending = pending
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    return releaseOn(node, this.#claimed)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onAllAnswered({ byNode, nodes }: Tally<boolean>): void {
    for (let index = 0; index < nodes.length; index++) {
      this.#cleanUps.answered(this.#claimed, nodes[index]!, byNode[index]!, this.#pending)
    }
  }
}
