/**
 * The health of the nodes, as inferred from their replies.
 *
 * A node that has sent no reply for a node timeout is silent: its server may be
 * stopped, or the network may drop all packets. Whatever is sent to it piles up in
 * buffers and may all be executed later. A silent node therefore gets one request
 * at a time, as a probe; any other request fails immediately without being sent. If
 * the node stays silent, its connection is replaced.
 *
 * A cluster is several servers, of which one may be silent while the others reply, so what is known
 * is kept for each of them: `part` is what answers for the key of a request.
 */
import type { Clock } from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { effectOf } from "../base/callbackEffect.ts"
import { monotonicMillis } from "../base/clock.ts"
import { markUnsent, nodeOf, type NodeServer, partOf, runIds } from "../nodeContract.ts"
import { attributes } from "../telemetry/attributes.ts"
import type { Metrics } from "../telemetry/metrics.ts"
import { isServerError } from "./failures.ts"

/** A connection is replaced after this many consecutive unanswered probes, and at least this much silence. */
const probesBeforeReconnect = 3
const silenceBeforeReconnectMillis = 1000

const unsentErrorMillis = 100

/**
 * For how long a rejection is not logged again, nor its end. A server that refuses one kind of request and allows
 * another, as for lack of a permission, would fail and answer again with every lock.
 */
const repeatedMillis = 60_000

type Part = LockNode | NodeServer

/** What is known about one node, or one of its servers. */
class NodeRecord {
  /** The node's last failure, unless it has replied since. */
  error: NodeError | undefined
  /** The number of the request that produced this state, and its key. */
  request = 0
  key = ""
  /** The number of the last request that had been sent when the node last replied to anything. */
  repliedAt = 0
  /** Since when the node has been silent, on the monotonic clock. */
  silentSince: number | undefined
  /** The number of the request in flight to a silent node. */
  probe: number | undefined
  /** Consecutive timeouts, each of a request that was sent after the previous one had timed out. */
  silentProbes = 0
  reconnecting: Fiber.Fiber<void> | undefined
  /** The errors of requests that are not sent, reused for a while because there may be many. */
  readonly unsentErrors = new Map<NodeError["operation"], NodeError>()
  unsentErrorsSince = 0
  /** Whether the node's state has been reported yet. */
  isKnown = false
  /** The last failure that was logged. */
  logged: { readonly summary: string; readonly at: number } | undefined
  /** The last acquisition that the node rejected, of which key, and when. */
  rejection: { readonly error: NodeError; readonly key: string; readonly at: number } | undefined
  /** Whether the present failure was logged. */
  isLogged = false
}

/** What health tracking needs from the quorum. */
export interface NodeHealthContext {
  readonly clock: Clock
  readonly metrics: Metrics
  log(level: "Warn" | "Info", message: string, about: Record<string, string>): void
  fork<A>(effect: Effect.Effect<A>): Fiber.Fiber<A>
}

export class NodeHealth {
  /** Called when a node that was silent or unreachable replies again. */
  onResponding: (node: LockNode) => void = () => {}
  readonly #context: NodeHealthContext
  readonly #nodes: ReadonlyArray<LockNode>
  readonly #maxFailing: number
  readonly #records = new Map<Part, NodeRecord>()
  /** What failed its last request, of each node of which anything did. */
  readonly #failing = new Map<LockNode, Set<Part>>()
  /** The run ids of servers that were found to be several nodes. */
  readonly #sharedServers = new Set<string>()
  /** The number of unreachable nodes, or servers of these. */
  #unreachable = 0
  #isClosed = false

  /** `maxFailing` is how many nodes may fail while the remaining nodes still form a quorum. */
  constructor(nodes: ReadonlyArray<LockNode>, maxFailing: number, context: NodeHealthContext) {
    this.#context = context
    this.#nodes = nodes
    this.#maxFailing = maxFailing
    context.metrics.quorumMarginChanged(maxFailing)
  }

  /** Whether the last request to the node failed. */
  isFailing(part: Part): boolean {
    return this.#record(part).error !== undefined
  }

  /** Whether the node has sent no reply for a node timeout. */
  isSilent(part: Part): boolean {
    return this.#record(part).silentSince !== undefined
  }

  /** Whether the last request to the node timed out or could not be delivered. */
  isUnreachable(part: Part): boolean {
    return this.unreachableError(part) !== undefined
  }

  /** The failure of the last request to the node, if it timed out or could not be delivered. */
  unreachableError(part: Part): NodeError | undefined {
    const { error } = this.#record(part)
    return severity(error) === 2 ? error : undefined
  }

  /** The failure of the last request to acquire a lock on the node. */
  acquireError(part: Part): NodeError | undefined {
    const { error } = this.#record(part)
    return error?.operation === "acquire" ? error : undefined
  }

  /**
   * Why the node last rejected an acquisition of this key, if that was since then, in milliseconds of the monotonic
   * clock, even if it has refused one later: the key may only have been there because of an attempt that was then
   * rejected too, as where a replica is missing.
   */
  rejectionSince(part: Part, key: string, millis: number): NodeError | undefined {
    const { rejection } = this.#record(part)
    return rejection?.key === key && rejection.at >= millis ? rejection.error : undefined
  }

  /** Whether the last requests for the key's servers failed on so many nodes that no quorum is left. */
  hasLostQuorum(key: string): boolean {
    return this.#nodes.filter((node) => this.isFailing(partOf(node, key))).length > this.#maxFailing
  }

  /** Whether any node is unreachable. */
  get hasUnreachable(): boolean {
    return this.#unreachable > 0
  }

  /** The error of a request that must not be sent, because the node is silent and already has a probe in flight. */
  unsentError(part: Part, request: number, operation: NodeError["operation"]): NodeError | undefined {
    const record = this.#record(part)
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
      error = markUnsent(new NodeError({ node: nodeOf(part).id, operation, reason: "Disconnected", cause }))
      record.unsentErrors.set(operation, error)
    }
    return error
  }

  /** Records a reply that arrived after the timeout of its request. `sent` is the number of the last request sent. */
  recordLateReply(part: Part, sent: number): void {
    const record = this.#record(part)
    record.repliedAt = sent
    this.#endSilence(part, record)
  }

  /**
   * Records the reply to a request that was sent at `sentAt`, or its failure with
   * `error`. Updates the state of the node, and logs each change of state once.
   * `sent` is the number of the last request sent.
   */
  recordAnswer(
    part: Part,
    request: number,
    { key, operation }: { readonly key: string; readonly operation: NodeError["operation"] },
    error: NodeError | undefined,
    sentAt: number,
    sent: number
  ): void {
    const record = this.#record(part)
    const isProbe = record.probe === request
    if (isProbe) record.probe = undefined
    if (error?.reason === "Timeout") this.#timedOut(part, record, request, sentAt, isProbe)
    else if (error?.reason === "Disconnected") this.#clearSilence(record)
    else if (error !== undefined && !isServerError(error)) {
      // An error raised by the client itself does not make an unreachable node any better.
      if (severity(record.error) === 2) return
    } else {
      record.repliedAt = sent
      this.#endSilence(part, record)
    }
    // The outcome of an old request says nothing if a newer one has completed.
    if (record.request > request) return
    if (error?.reason === "Rejected" && operation === "acquire") {
      record.rejection = { error, key, at: monotonicMillis(this.#context.clock) }
    }
    const was = record.error
    // A rejected inspect or remove, perhaps for lack of an ACL permission, does not affect locking.
    if (error?.reason === "Rejected" && (operation === "inspect" || operation === "remove")) return
    // A server that rejects one operation may allow another, which does not clear the rejection.
    if (error === undefined && was !== undefined && severity(was) === 1 && was.operation !== operation) return
    record.request = request
    record.key = key
    const node = nodeOf(part)
    const isFirst = !record.isKnown
    record.isKnown = true
    if (error === undefined && (isFirst || was !== undefined)) this.#compareServer(node)
    const isWorse = severity(error) > severity(was) || (error?.reason === "Abstained" && was?.reason !== "Abstained")
    if (error !== undefined && isWorse) {
      const { reason, summary } = error
      const now = monotonicMillis(this.#context.clock)
      const { logged } = record
      record.isLogged = reason !== "Rejected" || summary !== logged?.summary || now - logged.at >= repeatedMillis
      if (record.isLogged) {
        record.logged = { summary, at: now }
        const about = { [attributes.node]: node.id, [attributes.reason]: reason }
        this.#context.log("Warn", `Lock node ${part.id} ${summary}`, about)
      }
    }
    this.#setError(part, record, error, isFirst)
    if (error === undefined) this.#endReplaced(node, part, sent)
  }

  /** The only place where the state of a node, or of one of its servers, changes. */
  #setError(part: Part, record: NodeRecord, error: NodeError | undefined, isFirst: boolean): void {
    const { metrics } = this.#context
    const node = nodeOf(part)
    const was = record.error
    record.error = error
    const failing = this.#failing.get(node)
    const wasUp = failing === undefined
    if (error === undefined) failing?.delete(part)
    else if (wasUp) this.#failing.set(node, new Set([part]))
    else failing.add(part)
    if (failing?.size === 0) this.#failing.delete(node)
    const isUp = !this.#failing.has(node)
    if (isFirst || isUp !== wasUp) metrics.nodeUp(node.id, isUp)
    if (isUp !== wasUp && !this.#isClosed) metrics.quorumMarginChanged(isUp ? 1 : -1)
    this.#unreachable += Number(severity(error) === 2) - Number(severity(was) === 2)
    if (error === undefined && was !== undefined && record.isLogged) {
      this.#context.log("Info", `Lock node ${part.id} answers again`, { [attributes.node]: node.id })
    }
    if (severity(was) === 2 && severity(error) < 2) this.onResponding(node)
  }

  /**
   * Ends the failure of a server whose keys are on another one now, which has just answered: after a failover, the
   * server itself may never answer again. The same goes for a node of which it was not known which server has the key.
   */
  #endReplaced(node: LockNode, part: Part, sent: number): void {
    for (const other of this.#failing.get(node) ?? []) {
      const record = this.#record(other)
      if (other === part || partOf(node, record.key) !== part) continue
      this.#clearSilence(record)
      // What it was sent before says nothing any more.
      record.request = record.repliedAt = sent
      this.#setError(other, record, undefined, false)
    }
  }

  /** Stops replacing connections. */
  close(): void {
    this.#isClosed = true
    this.#context.metrics.quorumMarginChanged(this.#failing.size - this.#maxFailing)
    for (const { reconnecting } of this.#records.values()) reconnecting?.interruptUnsafe()
  }

  /** Logs, once for each server, that other nodes are the same server. */
  #compareServer(node: LockNode): void {
    const runId = runIds.get(node)?.()
    if (runId === undefined || this.#sharedServers.has(runId)) return
    const same = this.#nodes.filter((other) => runIds.get(other)?.() === runId).map(({ id }) => id)
    if (same.length < 2) return
    this.#sharedServers.add(runId)
    const message = `Lock nodes ${same.join(" and ")} are the same server, which has ${same.length} votes`
    this.#context.log("Warn", message, { [attributes.node]: node.id })
  }

  #timedOut(part: Part, record: NodeRecord, request: number, sentAt: number, isProbe: boolean) {
    // The node was slow, but has replied to something since this request was sent.
    if (record.repliedAt >= request) return
    // Only a probe is further evidence: other requests were in flight together with the first.
    if (record.silentSince === undefined || isProbe) record.silentProbes++
    record.silentSince ??= sentAt
    const { clock } = this.#context
    const node = nodeOf(part)
    if (
      this.#isClosed || node.reconnect === undefined || record.reconnecting !== undefined ||
      record.silentProbes < probesBeforeReconnect ||
      monotonicMillis(clock) - record.silentSince < silenceBeforeReconnectMillis
    ) return
    record.silentProbes = 0
    record.reconnecting = this.#context.fork(Effect.exit(effectOf(node.reconnect))) as Fiber.Fiber<never>
    record.reconnecting.addObserver(() => {
      record.reconnecting = undefined
    })
  }

  #endSilence(part: Part, record: NodeRecord) {
    if (record.silentSince === undefined) return
    this.#clearSilence(record)
    this.onResponding(nodeOf(part))
  }

  #clearSilence(record: NodeRecord) {
    record.silentSince = record.probe = undefined
    record.silentProbes = 0
  }

  #record(part: Part): NodeRecord {
    let record = this.#records.get(part)
    if (record === undefined) this.#records.set(part, record = new NodeRecord())
    return record
  }
}

/** A node that replies with an error is healthier than one that does not reply. */
const severity = (error: NodeError | undefined): 0 | 1 | 2 =>
  error === undefined ? 0 : error.reason === "Rejected" || error.reason === "Abstained" ? 1 : 2
