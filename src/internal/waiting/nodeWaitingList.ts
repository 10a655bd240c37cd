/**
 * The waiting lists of one node, and until when which of its abilities is not used, because the
 * node refuses it or does not answer. A node that is several servers has one of these for each.
 *
 * A node may refuse everything for a moment, as a server that is out of memory does, so the first
 * pause is a second; it doubles with each refusal in a row of the same request, up to a minute.
 */
import * as Hash from "effect/Hash"
import type { NodeError } from "../../LockError.ts"
import type { LockNode, PermitLine, WaitingList } from "../../LockNode.ts"
import { monotonicMillis } from "../base/clock.ts"
import { nodeOf, type NodeServer, partOf } from "../nodeContract.ts"
import { attributes } from "../telemetry/attributes.ts"
import type { WaitingContext } from "./context.ts"

/** How long a list is not used if its node does not answer; the first pause after a refusal. */
export const retryMillis = 1000

/** The longest pause before something that a node refuses is tried again. */
const longestRetryMillis = 60_000

/** What a node may refuse, while it grants the other requests. */
type Request = "join" | "release" | "permitJoin" | "transfer"

/** What is not used after a refusal, and what the log says then. */
type Ability = "lists" | "permitLines" | "handOver"

const withoutAbility: Record<Ability, string> = {
  lists: "has no waiting lists, so waiters poll",
  permitLines: "has no lines for permits, so waiters for permits poll",
  handOver: "does not hand locks over, so waiters are only woken"
}

export class NodeWaitingList {
  readonly node: LockNode
  readonly list: WaitingList
  /** All nodes, this one first. */
  readonly nodesOwnFirst: ReadonlyArray<LockNode>
  readonly #part: LockNode | NodeServer
  readonly #context: WaitingContext
  readonly #hash: number
  /** Until when an ability that the node has refused is not used, on the monotonic clock. */
  readonly #refusedUntil: { [A in Ability]?: number } = {}
  /** How often in a row the node has refused each request. */
  readonly #refusals = { join: 0, release: 0, permitJoin: 0, transfer: 0 }
  /** Until when another list is used instead, because this node did not answer. */
  #unreachableUntil = Number.NEGATIVE_INFINITY

  /** The lists of the node's other servers. */
  readonly #others = new Map<LockNode | NodeServer, NodeWaitingList>()

  constructor(part: LockNode | NodeServer, list: WaitingList, context: WaitingContext) {
    const node = nodeOf(part)
    this.node = node
    this.#part = part
    this.list = list
    this.nodesOwnFirst = [node, ...context.nodes.filter((other) => other !== node)]
    this.#context = context
    this.#hash = Hash.string(node.id)
  }

  /** The lists of the server that has the key. */
  at(key: string): NodeWaitingList {
    const part = partOf(this.node, key)
    if (part === this.#part) return this
    let other = this.#others.get(part)
    if (other === undefined) this.#others.set(part, other = new NodeWaitingList(part, this.list, this.#context))
    return other
  }

  /** Its rank among the lists for a name, given the hash of the name. */
  rank(name: number): number {
    const mixed = Math.imul(name ^ this.#hash, 0x9e3779b1)
    return Math.imul(mixed ^ (mixed >>> 15), 0x85ebca77)
  }

  /** Whether the node is not known to refuse its waiting lists. */
  get isSupported(): boolean {
    return this.#uses("lists")
  }

  /** Whether waiters for locks can stand in line here. */
  get isUsable(): boolean {
    return this.isSupported && this.#isReachable
  }

  /**
   * The lines of semaphores, if waiters for permits can stand in line here. A node may refuse them
   * though it has waiting lists for locks, and vice versa.
   */
  get permitLine(): PermitLine | undefined {
    return this.#uses("permitLines") && this.#isReachable ? this.list.permits : undefined
  }

  /** What hands locks over, if the node does that. */
  get handOver(): WaitingList["handOver"] {
    return this.isSupported && this.#uses("handOver") ? this.list.handOver : undefined
  }

  /** Called when the node has granted a request. */
  granted(request: Request): void {
    this.#refusals[request] = 0
  }

  /** Called when the node has refused to let a waiter for a lock join, or did not answer. */
  joinFailed(error: NodeError | undefined): void {
    this.#unreachableUntil = this.#now + retryMillis
    if (error?.reason === "Rejected") this.#refused("lists", "join", error)
  }

  /** Called when the node has refused to let a waiter for permits join, or did not answer. */
  permitJoinFailed(error: NodeError | undefined): void {
    if (error?.reason === "Rejected") this.#refused("permitLines", "permitJoin", error)
    else this.joinFailed(error)
  }

  /** Called when the node has refused a release that wakes the next in line, but not a plain one. */
  releaseRefused(error: NodeError): void {
    this.#refused("lists", "release", error)
  }

  /** Called when the node has refused to hand a lock over, but not to release it. */
  transferRefused(error: NodeError): void {
    this.#refused("handOver", "transfer", error)
  }

  /** Called when the node has a new connection. */
  renewed(): void {
    this.#unreachableUntil = Number.NEGATIVE_INFINITY
    for (const other of this.#others.values()) other.renewed()
  }

  #refused(ability: Ability, request: Request, { summary }: NodeError) {
    const isFirst = this.#refusedUntil[ability] === undefined
    this.#refusedUntil[ability] = this.#now + Math.min(longestRetryMillis, retryMillis * 2 ** this.#refusals[request]++)
    if (!isFirst) return
    const message = `Lock node ${this.#part.id} ${withoutAbility[ability]}: it ${summary}`
    this.#context.log("Warn", message, { [attributes.node]: this.node.id })
  }

  #uses(ability: Ability): boolean {
    const until = this.#refusedUntil[ability]
    return until === undefined || this.#now >= until
  }

  get #isReachable(): boolean {
    return this.#now >= this.#unreachableUntil && !this.#context.isFailing(this.#part)
  }

  get #now(): number {
    return monotonicMillis(this.#context.clock)
  }
}
