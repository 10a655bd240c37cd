/**
 * Deletes what nobody holds: the one owner of every value of ours that may be on
 * a node after the attempt, the hold or the adoption it was for has ended.
 *
 * A release is sent at once, behind all that was sent before. Where it fails, the
 * value waits for the node: it is asked for again, ever more rarely, and at once
 * when the node answers again. It is forgotten when the node has answered, and
 * when the key must have expired: an expiry after the node was first heard again,
 * since what was under way to a stopped server takes effect when it goes on. Where
 * a node refuses or fails for long, only so many wait; what came first is left to
 * its expiry.
 */
import type * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Timer } from "../base/timers.ts"
import { isUnsent } from "../nodeContract.ts"
import { isTrue, type NodeRequest, type Tally } from "../quorum/ballot.ts"
import { isServerError } from "../quorum/failures.ts"
import type { Quorum } from "../quorum/quorum.ts"
import type { ClaimedValue } from "./claim.ts"

const initialBackoffMillis = 100

const maxBackoffMillis = 1000

const closingRetryMillis = 50
const maxPending = 4096

/** A value that may be on a node. */
class Pending {
  readonly value: ClaimedValue
  /** When the node was first heard after the value's time was over, on the monotonic clock. */
  heardAt: number | undefined
  /** Whether a release has been sent since the value's time was over. */
  isSent: boolean

  constructor(value: ClaimedValue, isSent: boolean) {
    this.value = value
    this.isSent = isSent
  }
}

/** What waits for one node. */
class NodeQueue {
  readonly node: LockNode
  readonly pending = new Map<string, Pending>()
  backoffMillis = initialBackoffMillis
  timer: Timer | undefined
  /** Whether the last one that was asked for again was refused. */
  isRefusing = false

  constructor(node: LockNode) {
    this.node = node
  }
}

export class CleanUps {
  readonly #quorum: Quorum
  readonly #byNode = new Map<LockNode, NodeQueue>()
  /** When the service began to close, on the monotonic clock. */
  #closingAt: number | undefined

  constructor(quorum: Quorum) {
    this.#quorum = quorum
    for (const node of quorum.nodes) this.#byNode.set(node, new NodeQueue(node))
    quorum.health.onResponding = (node) => this.#onResponding(this.#byNode.get(node)!)
  }

  /** Deletes the value on these nodes, where it can be. */
  over(value: ClaimedValue, nodes: ReadonlyArray<LockNode>): void {
    const { health } = this.#quorum
    const asked: Array<LockNode> = []
    for (const node of nodes) {
      if (value.untouched?.has(node) === true) continue
      // On a silent node a release would only stand behind what is to be undone.
      if (health.isSilent(node) && !this.#isClosing) this.#enqueue(this.#byNode.get(node)!, new Pending(value, false))
      else asked.push(node)
    }
    if (asked.length > 0) this.#quorum.send(new CleanUpRequest(this, value, asked, this.#isClosing), constVoid)
  }

  /** A release of the value that was not sent by this class has been answered, or has failed. */
  released(value: ClaimedValue, { byNode, nodes }: Tally<boolean>): void {
    for (let index = 0; index < nodes.length; index++) this.answered(value, nodes[index]!, byNode[index]!)
  }

  /** A node has answered a release, or has failed to. */
  answered(value: ClaimedValue, node: LockNode, answer: Result.Result<boolean, NodeError>, pending?: Pending): void {
    const now = monotonicMillis(this.#quorum.clock)
    const isGone = Result.isSuccess(answer) && !mayOvertake(node, now - value.madeAt)
    if (isGone && pending === undefined) return
    const queue = this.#byNode.get(node)!
    const isRefused = Result.isFailure(answer) && answer.failure.reason === "Rejected"
    const wasRefusing = queue.isRefusing
    if (isRefused && pending !== undefined) queue.isRefusing = true
    else if (Result.isSuccess(answer)) queue.isRefusing = false
    if (!isGone) {
      const again = pending ?? new Pending(value, !(Result.isFailure(answer) && isUnsent(answer.failure)))
      const isHeard = Result.isSuccess(answer) || isServerError(answer.failure)
      if (isHeard) again.heardAt ??= now
      const isExpired = again.heardAt !== undefined && now >= again.heardAt + value.settings.expiryMillis
      // Whoever closes does not wait for a server to change its mind.
      if (!isExpired && !(isHeard && this.#isClosing)) this.#enqueue(queue, again)
    }
    if (wasRefusing && !queue.isRefusing) this.#onResponding(queue)
    else this.#schedule(queue)
  }

  /** Asks for everything at once, whatever the nodes were like. Whoever closes waits for the answers. */
  close(): void {
    this.#closingAt = monotonicMillis(this.#quorum.clock)
    for (const queue of this.#byNode.values()) this.#sendAll(queue)
  }

  /** How many values wait for a node. */
  get size(): number {
    let size = 0
    for (const { pending } of this.#byNode.values()) size += pending.size
    return size
  }

  get #isClosing(): boolean {
    return this.#closingAt !== undefined
  }

  #enqueue(queue: NodeQueue, pending: Pending): void {
    if (pending.value.untouched?.has(queue.node) === true) return
    if (this.#isClosing) return this.#sendWhileClosing(queue, pending)
    const { key, value } = pending.value
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
    if (!queue.isRefusing && !this.#quorum.health.isUnreachable(queue.node)) return this.#sendAll(queue)
    // One is enough to find out whether the node answers again.
    for (const [id, pending] of queue.pending) {
      queue.pending.delete(id)
      return this.#send(queue, pending)
    }
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
    this.#quorum.send(new CleanUpRequest(this, pending.value, [node], this.#isClosing, pending), constVoid)
  }

  /** Until its node timeout is over a node may still come back. */
  #sendWhileClosing(queue: NodeQueue, pending: Pending) {
    const { clock, timers } = this.#quorum
    const { nodeTimeoutMillis } = pending.value.settings
    // What was held back while the node was silent has not been asked for at all.
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

/** Where a node that somebody else has written cannot tell, it may. */
const mayOvertake = (node: LockNode, ageMillis: number): boolean => {
  try {
    return Boolean(node.mayOvertake?.(ageMillis))
  } catch {
    return true
  }
}

/** A release that wakes nobody: whoever lost an attempt would wake the next to lose one. */
class CleanUpRequest implements NodeRequest<boolean> {
  readonly operation = "release"
  readonly timeoutMillis: number
  readonly awaitAll = true
  readonly nodes: ReadonlyArray<LockNode>
  readonly isForced: boolean
  readonly #cleanUps: CleanUps
  readonly #value: ClaimedValue
  readonly #pending: Pending | undefined

  constructor(
    cleanUps: CleanUps,
    value: ClaimedValue,
    nodes: ReadonlyArray<LockNode>,
    isForced: boolean,
    pending?: Pending
  ) {
    this.timeoutMillis = value.settings.nodeTimeoutMillis
    this.nodes = nodes
    this.isForced = isForced
    this.#cleanUps = cleanUps
    this.#value = value
    this.#pending = pending
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    return node.release(this.#value.key, this.#value.value)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onAllAnswered({ byNode, nodes }: Tally<boolean>): void {
    for (let index = 0; index < nodes.length; index++) {
      this.#cleanUps.answered(this.#value, nodes[index]!, byNode[index]!, this.#pending)
    }
  }
}
