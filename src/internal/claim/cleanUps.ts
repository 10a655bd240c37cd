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
import { type Answers, isTrue, type Question } from "../quorum/ballot.ts"
import { isOfServer, isUnsent } from "../quorum/failures.ts"
import type { Quorum } from "../quorum/quorum.ts"
import type { Value } from "./claim.ts"

const firstPauseMillis = 100

const longestPauseMillis = 1000

const closingPauseMillis = 50
const mostPending = 4096

/** A value that may be on a node. */
class Pending {
  readonly value: Value
  /** When the node was first heard after the value's time was over, on the monotonic clock. */
  heardAt: number | undefined
  /** Whether a release has been sent since the value's time was over. */
  isAsked: boolean

  constructor(value: Value, isAsked: boolean) {
    this.value = value
    this.isAsked = isAsked
  }
}

/** What waits for one node. */
class WaitingForNode {
  readonly node: LockNode
  readonly pending = new Map<string, Pending>()
  pauseMillis = firstPauseMillis
  timer: Timer | undefined
  /** Whether the last one that was asked for again was refused. */
  isRefusing = false

  constructor(node: LockNode) {
    this.node = node
  }
}

export class CleanUps {
  readonly #quorum: Quorum
  readonly #byNode = new Map<LockNode, WaitingForNode>()
  /** When the service began to close, on the monotonic clock. */
  #closingAt: number | undefined

  constructor(quorum: Quorum) {
    this.#quorum = quorum
    for (const node of quorum.nodes) this.#byNode.set(node, new WaitingForNode(node))
    quorum.health.onHeard = (node) => this.#heard(this.#byNode.get(node)!)
  }

  /** Deletes the value on these nodes, where it can be. */
  over(value: Value, nodes: ReadonlyArray<LockNode>): void {
    const { health } = this.#quorum
    const asked: Array<LockNode> = []
    for (const node of nodes) {
      if (value.untouched?.has(node) === true) continue
      // On a silent node a release would only stand behind what is to be undone.
      if (health.isSilent(node) && !this.#isClosing) this.#wait(this.#byNode.get(node)!, new Pending(value, false))
      else asked.push(node)
    }
    if (asked.length > 0) this.#quorum.start(new CleanUp(this, value, asked, this.#isClosing), constVoid)
  }

  /** A release of the value that was not sent by this class has been answered, or has failed. */
  released(value: Value, { byNode, nodes }: Answers<boolean>): void {
    for (let index = 0; index < nodes.length; index++) this.answered(value, nodes[index]!, byNode[index]!)
  }

  /** A node has answered a release, or has failed to. */
  answered(value: Value, node: LockNode, answer: Result.Result<boolean, NodeError>, pending?: Pending): void {
    const now = monotonicMillis(this.#quorum.clock)
    const isGone = Result.isSuccess(answer) && !mayOvertake(node, now - value.madeAt)
    if (isGone && pending === undefined) return
    const waiting = this.#byNode.get(node)!
    const isRefused = Result.isFailure(answer) && answer.failure.reason === "Rejected"
    const wasRefusing = waiting.isRefusing
    if (isRefused && pending !== undefined) waiting.isRefusing = true
    else if (Result.isSuccess(answer)) waiting.isRefusing = false
    if (!isGone) {
      const again = pending ?? new Pending(value, !(Result.isFailure(answer) && isUnsent(answer.failure)))
      const isHeard = Result.isSuccess(answer) || isOfServer(answer.failure)
      if (isHeard) again.heardAt ??= now
      const isExpired = again.heardAt !== undefined && now >= again.heardAt + value.settings.expiryMillis
      // Whoever closes does not wait for a server to change its mind.
      if (!isExpired && !(isHeard && this.#isClosing)) this.#wait(waiting, again)
    }
    if (wasRefusing && !waiting.isRefusing) this.#heard(waiting)
    else this.#schedule(waiting)
  }

  /** Asks for everything at once, whatever the nodes were like. Whoever closes waits for the answers. */
  close(): void {
    this.#closingAt = monotonicMillis(this.#quorum.clock)
    for (const waiting of this.#byNode.values()) this.#askAll(waiting)
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

  #wait(waiting: WaitingForNode, pending: Pending): void {
    if (pending.value.untouched?.has(waiting.node) === true) return
    if (this.#isClosing) return this.#askWhileClosing(waiting, pending)
    const { key, value } = pending.value
    const id = `${key}\n${value}`
    if (!waiting.pending.has(id)) waiting.pending.set(id, pending)
    if (waiting.pending.size > mostPending) waiting.pending.delete(waiting.pending.keys().next().value!)
    this.#schedule(waiting)
  }

  #schedule(waiting: WaitingForNode) {
    if (waiting.timer !== undefined || waiting.pending.size === 0) return
    waiting.timer = this.#quorum.timers.after(waiting.pauseMillis, () => this.#due(waiting))
    waiting.pauseMillis = Math.min(waiting.pauseMillis * 2, longestPauseMillis)
  }

  #due(waiting: WaitingForNode) {
    waiting.timer = undefined
    if (!waiting.isRefusing && !this.#quorum.health.isUnreachable(waiting.node)) return this.#askAll(waiting)
    // One is enough to find out whether the node answers again.
    for (const [id, pending] of waiting.pending) {
      waiting.pending.delete(id)
      return this.#ask(waiting, pending)
    }
  }

  #heard(waiting: WaitingForNode) {
    waiting.pauseMillis = firstPauseMillis
    this.#askAll(waiting)
  }

  #askAll(waiting: WaitingForNode) {
    waiting.timer?.takeOut()
    waiting.timer = undefined
    const all = [...waiting.pending.values()]
    waiting.pending.clear()
    for (const pending of all) this.#ask(waiting, pending)
  }

  #ask({ node }: WaitingForNode, pending: Pending) {
    pending.isAsked = true
    this.#quorum.start(new CleanUp(this, pending.value, [node], this.#isClosing, pending), constVoid)
  }

  /** Until its node timeout is over a node may still come back. */
  #askWhileClosing(waiting: WaitingForNode, pending: Pending) {
    const { clock, timers } = this.#quorum
    const { nodeTimeoutMillis } = pending.value.settings
    // What was held back while the node was silent has not been asked for at all.
    if (!pending.isAsked) return this.#ask(waiting, pending)
    const pauseMillis = Math.min(closingPauseMillis, nodeTimeoutMillis / 2)
    if (monotonicMillis(clock) + pauseMillis > this.#closingAt! + nodeTimeoutMillis) return
    this.#quorum.begin()
    timers.after(pauseMillis, () => {
      this.#ask(waiting, pending)
      this.#quorum.end()
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
class CleanUp implements Question<boolean> {
  readonly operation = "release"
  readonly timeoutMillis: number
  readonly all = true
  readonly nodes: ReadonlyArray<LockNode>
  readonly isForced: boolean
  readonly #cleanUps: CleanUps
  readonly #value: Value
  readonly #pending: Pending | undefined

  constructor(
    cleanUps: CleanUps,
    value: Value,
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

  ask(node: LockNode): Effect.Effect<boolean, NodeError> {
    return node.release(this.#value.key, this.#value.value)
  }

  isYes(answer: boolean): boolean {
    return isTrue(answer)
  }

  onSettled({ byNode, nodes }: Answers<boolean>): void {
    for (let index = 0; index < nodes.length; index++) {
      this.#cleanUps.answered(this.#value, nodes[index]!, byNode[index]!, this.#pending)
    }
  }
}
