/**
 * A request to the nodes, and the tally of their votes.
 */
import type * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type NodeError, NodesUnavailable, type Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"

/** A request that is sent to every node, and whose replies are counted as votes. */
export interface NodeRequest<A> {
  readonly operation: NodeError["operation"]
  /** The key it is about: a node may be several servers, each with keys of its own. */
  readonly key: string
  readonly timeoutMillis: number
  sendTo(node: LockNode): Effect.Effect<A, NodeError>
  isGranted(answer: A): boolean
  /**
   * Counts the votes if several things are requested, of which a node may grant only some: the
   * grants are those of the thing with the fewest, the refusals those of the thing with the most.
   * Without it each node's answer is one vote.
   */
  count?(tally: Tally<A>): { readonly grants: number; readonly refusals: number }
  /** Whether to wait for the replies of all nodes instead of deciding as soon as the votes allow. */
  readonly awaitAll?: boolean
  /** Whether a negative outcome must distinguish a refusal from too few replies, which may take longer. */
  readonly conclusive?: boolean
  /** The nodes to send to; all by default. */
  readonly nodes?: ReadonlyArray<LockNode>
  /** Whether to send even to a silent node that already has a request in flight. */
  readonly isForced?: boolean
  /** Called when every node has replied or timed out, which may be after the decision. */
  onAllAnswered?(tally: Tally<A>): void
  /** Called when it turns out that the request was never sent to a node. */
  onUnsent?(node: LockNode): void
}

/** A lock's name, and its key on the nodes: the name with the service's prefix. */
export interface Named {
  readonly name: string
  readonly key: string
  /** How many permits are concerned, if this is the name of a semaphore; `0` stands for all held permits. */
  readonly permits?: { readonly permits: number; readonly limit?: number } | undefined
}

interface ErrorFields {
  readonly lock: string
  readonly prefix?: string
  readonly permits?: number
  readonly limit?: number
}

/** The fields by which an error names its lock, or its permits. */
export const lockOf = ({ key, name, permits: wanted }: Named): ErrorFields => {
  const about = key.length === name.length ? { lock: name } : { lock: name, prefix: key.slice(0, -name.length) }
  if (wanted === undefined) return about
  const { limit, permits } = wanted
  return { ...about, permits, ...limit !== undefined && { limit } }
}

/** A custom node may reply with anything: throws unless the reply is a boolean. */
export const isTrue = (answer: unknown): boolean => {
  if (answer === true || answer === false) return answer
  throw new Error("it answered neither true nor false")
}

/**
 * The replies so far, in the order of the nodes; `undefined` while a node has not replied. If the
 * request counts the votes itself, `grants` and `refusals` may belong to different things.
 */
export class Tally<A> {
  readonly nodes: ReadonlyArray<LockNode>
  readonly quorum: number
  readonly byNode: Array<Result.Result<A, NodeError> | undefined>
  grants = 0
  refusals = 0
  failures = 0

  constructor(nodes: ReadonlyArray<LockNode>, quorum: number, byNode: Array<Result.Result<A, NodeError> | undefined>) {
    this.nodes = nodes
    this.quorum = quorum
    this.byNode = byNode
  }

  /** A copy that later replies do not change. */
  snapshot(): Tally<A> {
    const snapshot = new Tally(this.nodes, this.quorum, this.byNode.slice())
    snapshot.grants = this.grants
    snapshot.refusals = this.refusals
    snapshot.failures = this.failures
    return snapshot
  }
}

/** Whether a quorum granted the request. */
export const granted = <A>(tally: Tally<A>): boolean => tally.grants >= tally.quorum

/** Whether too few nodes are left for a quorum without `count` of them. */
export const rulesOutQuorum = <A>(tally: Tally<A>, count: number) => count > tally.nodes.length - tally.quorum

/** Whether so many nodes refused that no quorum can grant the request. */
export const denied = <A>(tally: Tally<A>): boolean => rulesOutQuorum(tally, tally.refusals)

/** Whether so many nodes failed that no quorum can be reached. */
export const unavailable = <A>(tally: Tally<A>): boolean => rulesOutQuorum(tally, tally.failures)

/** The tally as the votes of an error. */
export const toVotes = (tally: Tally<boolean>): Array<Vote> =>
  tally.nodes.map(({ id: node }, index) => {
    const answer = tally.byNode[index]
    if (answer === undefined) return { _tag: "Pending", node }
    if (Result.isFailure(answer)) return { _tag: "Failed", node, error: answer.failure }
    return { _tag: answer.success ? "Granted" : "Refused", node }
  })

/** The nodes that have not granted the request so far. */
export const notGrantedNodes = (tally: Tally<boolean>): Array<LockNode> =>
  tally.nodes.filter((_, index) => {
    const answer = tally.byNode[index]
    return answer === undefined || Result.isFailure(answer) || !answer.success
  })

export const nodesUnavailable = (
  claim: Named,
  tally: Tally<boolean>
): NodesUnavailable => new NodesUnavailable({ ...lockOf(claim), quorum: tally.quorum, votes: toVotes(tally) })
