/**
 * What is asked of the nodes, and how their votes are counted.
 */
import type * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type NodeError, NodesUnavailable, type Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"

/** What is asked of every node. */
export interface NodeRequest<A> {
  readonly operation: NodeError["operation"]
  readonly timeoutMillis: number
  sendTo(node: LockNode): Effect.Effect<A, NodeError>
  isGranted(answer: A): boolean
  /** Whether to wait for every answer instead of for a decision. */
  readonly awaitAll?: boolean
  /** Whether a refusal has to tell "not ours" from "too few nodes", for which it may have to wait longer. */
  readonly conclusive?: boolean
  /** Those to ask; all nodes by default. */
  readonly nodes?: ReadonlyArray<LockNode>
  /** Whether even a silent node is asked that has not answered another question yet. */
  readonly isForced?: boolean
  /** Called when every node has answered or timed out, whatever was decided before. */
  onAllAnswered?(tally: Tally<A>): void
  /** Called when it turns out that a node was not sent the question. */
  onUnsent?(node: LockNode): void
}

/** A lock by its name, and by its key on the nodes: the name behind the service's prefix. */
export interface Named {
  readonly name: string
  readonly key: string
}

/** How errors tell which lock they are about. */
export const lockOf = (
  { key, name }: Named
): { readonly lock: string; readonly prefix?: string } =>
  key.length === name.length ? { lock: name } : { lock: name, prefix: key.slice(0, -name.length) }

/** What a node that somebody else has written answers may be anything. */
export const isTrue = (answer: unknown): boolean => {
  if (answer === true || answer === false) return answer
  throw new Error("it answered neither true nor false")
}

/** The answers so far: by node, in the order of the nodes, `undefined` where one is still to come. */
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

  /** Those there are now. */
  snapshot(): Tally<A> {
    const snapshot = new Tally(this.nodes, this.quorum, this.byNode.slice())
    snapshot.grants = this.grants
    snapshot.refusals = this.refusals
    snapshot.failures = this.failures
    return snapshot
  }
}

/** A quorum said yes. */
export const granted = <A>(tally: Tally<A>): boolean => tally.grants >= tally.quorum

/** So many did what `count` counts that the others cannot make a quorum. */
export const rulesOutQuorum = <A>(tally: Tally<A>, count: number) => count > tally.nodes.length - tally.quorum

/** So many said no that no quorum of yes is possible, whatever the others say. */
export const denied = <A>(tally: Tally<A>): boolean => rulesOutQuorum(tally, tally.refusals)

/** So many failed that no quorum is possible, whatever the others say. */
export const unavailable = <A>(tally: Tally<A>): boolean => rulesOutQuorum(tally, tally.failures)

/** The answers to a yes-or-no question as votes for an error. */
export const toVotes = (tally: Tally<boolean>): Array<Vote> =>
  tally.nodes.map(({ id: node }, index) => {
    const answer = tally.byNode[index]
    if (answer === undefined) return { _tag: "Pending", node }
    if (Result.isFailure(answer)) return { _tag: "Failed", node, error: answer.failure }
    return { _tag: answer.success ? "Granted" : "Refused", node }
  })

/** Those that did not say yes, so far. */
export const notGrantedNodes = (tally: Tally<boolean>): Array<LockNode> =>
  tally.nodes.filter((_, index) => {
    const answer = tally.byNode[index]
    return answer === undefined || Result.isFailure(answer) || !answer.success
  })

export const nodesUnavailable = (
  claim: Named,
  tally: Tally<boolean>
): NodesUnavailable => new NodesUnavailable({ ...lockOf(claim), quorum: tally.quorum, votes: toVotes(tally) })
