/**
 * What is asked of the nodes, and about which claim.
 */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type { NodeError } from "../LockError.ts"
import type { LockNode } from "../LockNode.ts"
import type { Fence } from "./fence.ts"
import type { Settings } from "./options.ts"
import type { Answers } from "./quorum.ts"

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
  /** Called when every node has answered or timed out, whatever was decided before. */
  onSettled?(answers: Answers<A>): void
}

/** The value of one attempt under one name. */
export interface Claim {
  readonly name: string
  readonly value: string
  readonly settings: Settings
  /** How far the nodes have counted, where the lock is to have a fencing token. */
  readonly fence?: Fence | undefined
}

/**
 * What is asked most are objects of a class, as is all that is kept until the
 * answer is there: the literals of such objects V8 takes for long-lived in the end,
 * and puts them where only a full collection frees them and all they refer to.
 */
export class Acquire implements Question<boolean> {
  readonly operation = "acquire"
  readonly timeoutMillis: number
  readonly conclusive: boolean
  readonly #claim: Claim

  constructor(claim: Claim, conclusive: boolean) {
    this.timeoutMillis = claim.settings.nodeTimeoutMillis
    this.conclusive = conclusive
    this.#claim = claim
  }

  ask(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { fence, name, settings, value } = this.#claim
    return fence === undefined
      ? node.acquire(name, value, settings.expiryMillis)
      : fence.acquire(node, name, value, settings.expiryMillis)
  }

  isYes(answer: boolean): boolean {
    return answer
  }
}

/** Lets the counters be at least the token, where the nodes still have our value. */
export const raiseQuestion = ({ fence, name, settings, value }: Claim): Question<boolean> => ({
  operation: "acquire",
  timeoutMillis: settings.nodeTimeoutMillis,
  ask: (node) => node.fencing!.raise(name, value, fence!.token!),
  isYes: identity
})

export const extendQuestion = ({ name, settings, value }: Claim): Question<boolean> => ({
  operation: "extend",
  timeoutMillis: settings.nodeTimeoutMillis,
  ask: (node) => node.extend(name, value, settings.expiryMillis),
  isYes: identity,
  conclusive: true
})

/** For a lock that may be gone, and must not come back. */
export const adoptQuestion = ({ name, settings, value }: Claim): Question<boolean> => ({
  operation: "extend",
  timeoutMillis: settings.nodeTimeoutMillis,
  ask: (node) => node.extend(name, value, settings.expiryMillis, true),
  isYes: identity,
  conclusive: true
})

export const releaseQuestion = ({ name, settings, value }: Claim): Question<boolean> => ({
  operation: "release",
  timeoutMillis: settings.nodeTimeoutMillis,
  ask: (node) => node.release(name, value),
  isYes: identity
})

export const isHeldQuestion = ({ name, settings, value }: Claim): Question<boolean> => ({
  operation: "inspect",
  timeoutMillis: settings.nodeTimeoutMillis,
  ask: (node) => Effect.map(node.inspect(name), Option.exists((state) => state.value === value)),
  isYes: identity,
  conclusive: true
})
