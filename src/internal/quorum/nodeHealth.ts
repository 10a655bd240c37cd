/**
 * How the nodes are, as their answers tell.
 *
 * A node that has answered nothing for a node timeout is silent: its server may
 * be stopped, or the network may drop everything. What is sent to it meanwhile
 * piles up in buffers, and may all be executed later. So a silent node gets one
 * request at a time, as a probe; every other request fails at once, unsent. If
 * it stays silent, its connection is given up and a new one is made.
 */
import type { Clock } from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { monotonicMillis } from "../base/clock.ts"
import { markUnsent } from "../nodeContract.ts"
import type { Metrics } from "../telemetry/metrics.ts"
import { isServerError } from "./failures.ts"

/** After so many probes in a row without any answer, and so much time, the connection is given up. */
const probesBeforeReconnect = 3
const silenceBeforeReconnectMillis = 1000

const unsentErrorMillis = 100

/** What is known of one node. */
class NodeRecord {
  /** What the node last failed with, unless it has answered since. */
  error: NodeError | undefined
  /** The number of the request that told so. */
  request = 0
  /** The number of the last request that had been sent when a reply came, whatever it replied to. */
  repliedAt = 0
  /** Since when there has been no reply, on the monotonic clock, if the node is silent. */
  silentSince: number | undefined
  /** The number of the request that a silent node has been sent, until it is settled. */
  probe: number | undefined
  /** How many requests in a row have timed out, of which each was sent after the one before it had. */
  silentProbes = 0
  reconnecting: Fiber.Fiber<void> | undefined
  /** What it does not get fails like this: one error for some time, since there may be many. */
  readonly unsentErrors = new Map<NodeError["operation"], NodeError>()
  unsentErrorsSince = 0
  /** Whether anything has been reported of it yet. */
  isKnown = false
}

/** What becomes known of a node is told to these. */
export interface NodeHealthContext {
  readonly clock: Clock
  readonly metrics: Metrics
  log(level: "Warn" | "Info", message: string, about: Record<string, string>): void
  fork<A>(effect: Effect.Effect<A>): Fiber.Fiber<A>
}

export class NodeHealth {
  /** Called when a node that was silent or unreachable has answered again. */
  onResponding: (node: LockNode) => void = () => {}
  readonly #context: NodeHealthContext
  readonly #maxFailing: number
  readonly #records = new Map<LockNode, NodeRecord>()
  /** How many nodes do not answer. */
  #unreachable = 0
  #isClosed = false

  /** `mostFailing` is how many nodes may fail while the others still make a quorum. */
  constructor(nodes: ReadonlyArray<LockNode>, maxFailing: number, context: NodeHealthContext) {
    this.#context = context
    this.#maxFailing = maxFailing
    for (const node of nodes) this.#records.set(node, new NodeRecord())
  }

  /** Whether the node failed when it was last asked. */
  isFailing(node: LockNode): boolean {
    return this.#record(node).error !== undefined
  }

  /** Whether the node has not answered for a node timeout. */
  isSilent(node: LockNode): boolean {
    return this.#record(node).silentSince !== undefined
  }

  /** Whether the node did not answer when it was last asked, or could not be reached. */
  isUnreachable(node: LockNode): boolean {
    return this.unreachableError(node) !== undefined
  }

  /** How it failed, if it did not answer when it was last asked, or could not be reached. */
  unreachableError(node: LockNode): NodeError | undefined {
    const { error } = this.#record(node)
    return severity(error) === 2 ? error : undefined
  }

  /** Whether so many nodes failed when they were last asked that no quorum is left. */
  get hasLostQuorum(): boolean {
    let failing = 0
    for (const { error } of this.#records.values()) if (error !== undefined) failing++
    return failing > this.#maxFailing
  }

  /** Whether some node is known not to answer. */
  get hasUnreachable(): boolean {
    return this.#unreachable > 0
  }

  /** The failure of a request that is not to be sent, since the node is silent and has one already. */
  unsentError(node: LockNode, request: number, operation: NodeError["operation"]): NodeError | undefined {
    const record = this.#record(node)
    if (record.silentSince === undefined) return undefined
    if (record.probe === undefined) {
      record.probe = request
      return undefined
    }
    const now = monotonicMillis(this.#context.clock)
    if (now - record.unsentErrorsSince > unsentErrorMillis) {
      record.unsentErrorsSince = now
      record.unsentErrors.clear()
    }
    let error = record.unsentErrors.get(operation)
    if (error === undefined) {
      const seconds = ((now - record.silentSince) / 1000).toFixed(1)
      const cause = new Error(`it has not answered anything for ${seconds} s`)
      error = markUnsent(new NodeError({ node: node.id, operation, reason: "Disconnected", cause }))
      record.unsentErrors.set(operation, error)
    }
    return error
  }

  /** A reply has come, too late for its request. `sent` is the number of the last request that was sent. */
  recordLateReply(node: LockNode, sent: number): void {
    const record = this.#record(node)
    record.repliedAt = sent
    this.#endSilence(node, record)
  }

  /**
   * A request, sent at `sentAt`, was answered, or failed with `error`. Keeps the
   * state of the node, and logs once when it changes. `sent` is the number of the
   * last request that was sent.
   */
  recordAnswer(
    node: LockNode,
    request: number,
    operation: NodeError["operation"],
    error: NodeError | undefined,
    sentAt: number,
    sent: number
  ): void {
    const record = this.#record(node)
    const isProbe = record.probe === request
    if (isProbe) record.probe = undefined
    if (error?.reason === "Timeout") this.#timedOut(node, record, request, sentAt, isProbe)
    else if (error?.reason === "Disconnected") this.#clearSilence(record)
    else if (error !== undefined && !isServerError(error)) {
      // What the client fails with by itself is news only of a server that answers.
      if (severity(record.error) === 2) return
    } else {
      record.repliedAt = sent
      this.#endSilence(node, record)
    }
    // A late answer to an old request tells nothing about a node that has answered a newer one.
    if (record.request > request) return
    const was = record.error
    // A look that is refused, for lack of a right perhaps, keeps no lock from working.
    if (error?.reason === "Rejected" && (operation === "inspect" || operation === "remove")) return
    // A server that refuses one operation may well allow another, and is no better for it.
    if (error === undefined && was !== undefined && severity(was) === 1 && was.operation !== operation) return
    const isFirst = !record.isKnown
    record.isKnown = true
    record.error = error
    record.request = request
    if (was === undefined && error === undefined) {
      if (isFirst) this.#context.metrics.nodeUp(node.id, true)
      return
    }
    this.#unreachable += Number(severity(error) === 2) - Number(severity(was) === 2)
    if (isFirst || (was === undefined) !== (error === undefined)) {
      this.#context.metrics.nodeUp(node.id, error === undefined)
    }
    const isWorse = severity(error) > severity(was) || (error?.reason === "Abstained" && was?.reason !== "Abstained")
    const about = { "redsync.node": node.id }
    if (error !== undefined && isWorse) this.#context.log("Warn", `Lock node ${node.id} ${error.summary}`, about)
    if (error === undefined && was !== undefined) {
      this.#context.log("Info", `Lock node ${node.id} answers again`, about)
    }
    if (severity(was) === 2 && severity(error) < 2) this.onResponding(node)
  }

  /** Gives up no connection any more. */
  close(): void {
    this.#isClosed = true
    for (const { reconnecting } of this.#records.values()) reconnecting?.interruptUnsafe()
  }

  #timedOut(node: LockNode, record: NodeRecord, request: number, sentAt: number, isProbe: boolean) {
    // It was slow, but has answered something since this was sent.
    if (record.repliedAt >= request) return
    // What was sent together with the first is no further proof.
    if (record.silentSince === undefined || isProbe) record.silentProbes++
    record.silentSince ??= sentAt
    const { clock } = this.#context
    if (
      this.#isClosed || node.reconnect === undefined || record.reconnecting !== undefined ||
      record.silentProbes < probesBeforeReconnect ||
      monotonicMillis(clock) - record.silentSince < silenceBeforeReconnectMillis
    ) return
    record.silentProbes = 0
    record.reconnecting = this.#context.fork(Effect.exit(node.reconnect)) as Fiber.Fiber<never>
    record.reconnecting.addObserver(() => {
      record.reconnecting = undefined
    })
  }

  #endSilence(node: LockNode, record: NodeRecord) {
    if (record.silentSince === undefined) return
    this.#clearSilence(record)
    this.onResponding(node)
  }

  #clearSilence(record: NodeRecord) {
    record.silentSince = record.probe = undefined
    record.silentProbes = 0
  }

  #record(node: LockNode): NodeRecord {
    let record = this.#records.get(node)
    if (record === undefined) this.#records.set(node, record = new NodeRecord())
    return record
  }
}

/** A node that answers with an error is better off than one that does not answer. */
const severity = (error: NodeError | undefined): 0 | 1 | 2 =>
  error === undefined ? 0 : error.reason === "Rejected" || error.reason === "Abstained" ? 1 : 2
