/**
 * What is asked of the nodes, and how their votes are counted.
 */
import type * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type NodeError, NodesUnavailable, type Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"

/** What is asked of every node. */
export interface Question<A> {
  readonly operation: NodeError["operation"]
  readonly timeoutMillis: number
  ask(node: LockNode): Effect.Effect<A, NodeError>
  isYes(answer: A): boolean
  /** Whether to wait for every answer instead of for a decision. */
  readonly all?: boolean
  /** Whether a refusal has to tell "not ours" from "too few nodes", for which it may have to wait longer. */
  readonly conclusive?: boolean
  /** Those to ask; all nodes by default. */
  readonly nodes?: ReadonlyArray<LockNode>
  /** Whether even a silent node is asked that has not answered another question yet. */
  readonly isForced?: boolean
  /** Called when every node has answered or timed out, whatever was decided before. */
  onSettled?(answers: Answers<A>): void
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
export class Answers<A> {
  readonly nodes: ReadonlyArray<LockNode>
  readonly quorum: number
  readonly byNode: Array<Result.Result<A, NodeError> | undefined>
  yes = 0
  no = 0
  failed = 0

  constructor(nodes: ReadonlyArray<LockNode>, quorum: number, byNode: Array<Result.Result<A, NodeError> | undefined>) {
    this.nodes = nodes
    this.quorum = quorum
    this.byNode = byNode
  }

  /** Those there are now. */
  copy(): Answers<A> {
    const copy = new Answers(this.nodes, this.quorum, this.byNode.slice())
    copy.yes = this.yes
    copy.no = this.no
    copy.failed = this.failed
    return copy
  }
}

/** A quorum said yes. */
export const granted = <A>(answers: Answers<A>): boolean => answers.yes >= answers.quorum

/** So many did what `count` counts that the others cannot make a quorum. */
export const prevents = <A>(answers: Answers<A>, count: number) => count > answers.nodes.length - answers.quorum

/** So many said no that no quorum of yes is possible, whatever the others say. */
export const denied = <A>(answers: Answers<A>): boolean => prevents(answers, answers.no)

/** So many failed that no quorum is possible, whatever the others say. */
export const unavailable = <A>(answers: Answers<A>): boolean => prevents(answers, answers.failed)

/** The answers to a yes-or-no question as votes for an error. */
export const votes = (answers: Answers<boolean>): Array<Vote> =>
  answers.nodes.map(({ id: node }, index) => {
    const answer = answers.byNode[index]
    if (answer === undefined) return { _tag: "Pending", node }
    if (Result.isFailure(answer)) return { _tag: "Failed", node, error: answer.failure }
    return { _tag: answer.success ? "Granted" : "Refused", node }
  })

/** Those that did not say yes, so far. */
export const notGrantedNodes = (answers: Answers<boolean>): Array<LockNode> =>
  answers.nodes.filter((_, index) => {
    const answer = answers.byNode[index]
    return answer === undefined || Result.isFailure(answer) || !answer.success
  })

export const nodesUnavailable = (
  claim: Named,
  answers: Answers<boolean>
): NodesUnavailable => new NodesUnavailable({ ...lockOf(claim), quorum: answers.quorum, votes: votes(answers) })
