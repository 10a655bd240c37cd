/**
 * What is asked of the nodes, and about which claim.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { NodeError } from "../../LockError.ts"
import type { KeyState, LockNode } from "../../LockNode.ts"
import { isTrue, type Named, type NodeRequest } from "../quorum/ballot.ts"
import type { LockSettings } from "./settings.ts"
import type { TokenAllocation } from "./tokenAllocation.ts"

/** The value of one attempt under one name. */
export interface Claim extends Named {
  readonly value: string
  readonly settings: LockSettings
  /** How far the nodes have counted, where the lock is to have a fencing token. */
  readonly tokenAllocation?: TokenAllocation | undefined
  /** The nodes that cannot have the value, since nothing that could write it was sent to them. */
  readonly untouched: ReadonlySet<LockNode> | undefined
  /** Nothing that could write the value was sent before, on the monotonic clock. */
  readonly madeAt: number
}

/** Looks at the key. */
export const inspectKey = (node: LockNode, key: string): Effect.Effect<Option.Option<KeyState>, NodeError> =>
  Effect.map(node.inspect(key), checked(isKeyState, "it answered no state of a key"))

/** Why the node would cast no vote on a new lock, if it is one that may not. */
export const askAbstention = (node: LockNode, key: string): Effect.Effect<Option.Option<string>, NodeError> =>
  node.abstention === undefined
    ? Effect.succeedNone
    : Effect.map(node.abstention(key), checked(Predicate.isString, "it answered no reason to abstain"))

const checked = <A>(is: (u: unknown) => u is A, otherwise: string) => (answer: unknown): Option.Option<A> => {
  if (Option.isOption(answer) && (Option.isNone(answer) || is(answer.value))) return answer as Option.Option<A>
  throw new Error(otherwise)
}

const isKeyState = (u: unknown): u is KeyState => {
  if (!Predicate.isObject(u)) return false
  const { bytes, ttlMillis, type, value } = u as Record<keyof KeyState, unknown>
  return Predicate.isString(value) && Predicate.isNumber(ttlMillis) && !Number.isNaN(ttlMillis) &&
    (type === undefined || Predicate.isString(type)) && (bytes === undefined || Predicate.isNumber(bytes))
}

/** A claim of our own, which nobody has heard of yet. */
export class OwnClaim implements Claim {
  readonly name: string
  readonly key: string
  readonly value: string
  readonly settings: LockSettings
  readonly tokenAllocation: TokenAllocation | undefined
  untouched: Set<LockNode> | undefined
  readonly madeAt: number

  constructor(
    name: string,
    key: string,
    value: string,
    settings: LockSettings,
    tokenAllocation: TokenAllocation | undefined,
    madeAt: number
  ) {
    this.name = name
    this.key = key
    this.value = value
    this.settings = settings
    this.tokenAllocation = tokenAllocation
    this.untouched = undefined
    this.madeAt = madeAt
  }
}

/**
 * What is asked most are objects of a class, as is all that is kept until the
 * answer is there: the literals of such objects V8 takes for long-lived in the end,
 * and puts them where only a full collection frees them and all they refer to.
 */
export class AcquireRequest implements NodeRequest<boolean> {
  readonly operation = "acquire"
  readonly timeoutMillis: number
  readonly conclusive: boolean
  readonly #claim: OwnClaim

  constructor(claim: OwnClaim, conclusive: boolean) {
    this.timeoutMillis = claim.settings.nodeTimeoutMillis
    this.conclusive = conclusive
    this.#claim = claim
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { tokenAllocation, key, settings, value } = this.#claim
    return tokenAllocation === undefined
      ? node.acquire(key, value, settings.expiryMillis)
      : tokenAllocation.acquire(node, key, value, settings.expiryMillis)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onUnsent(node: LockNode): void {
    ;(this.#claim.untouched ??= new Set()).add(node)
  }
}

/** Puts a value of ours in the place of the one that a lock was taken with elsewhere. */
export class ReplaceRequest implements NodeRequest<boolean> {
  readonly operation = "acquire"
  readonly conclusive = true
  readonly timeoutMillis: number
  readonly #claim: OwnClaim
  readonly #oldValue: string

  constructor(claim: OwnClaim, oldValue: string) {
    this.timeoutMillis = claim.settings.nodeTimeoutMillis
    this.#claim = claim
    this.#oldValue = oldValue
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { tokenAllocation, key, settings, value } = this.#claim
    return tokenAllocation === undefined
      ? node.replace!(key, this.#oldValue, value, settings.expiryMillis)
      : tokenAllocation.replace(node, key, this.#oldValue, value, settings.expiryMillis)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onUnsent(node: LockNode): void {
    ;(this.#claim.untouched ??= new Set()).add(node)
  }
}

/** Lets the counters be at least the token, where the nodes still have our value. */
export const raiseCounterRequest = ({ tokenAllocation, key, settings, value }: Claim): NodeRequest<boolean> => ({
  operation: "acquire",
  timeoutMillis: settings.nodeTimeoutMillis,
  sendTo: (node) => node.fencing!.raise(key, value, tokenAllocation!.token!),
  isGranted: isTrue
})

/** What a release needs to know of a claim. */
export type ClaimedValue = Pick<Claim, "name" | "key" | "value" | "settings" | "untouched" | "madeAt">

export const releaseRequest = ({ key, settings, value }: ClaimedValue): NodeRequest<boolean> => ({
  operation: "release",
  timeoutMillis: settings.nodeTimeoutMillis,
  sendTo: (node) => node.release(key, value),
  isGranted: isTrue
})

export const isHeldRequest = ({ key, settings, value }: Claim): NodeRequest<boolean> => ({
  operation: "inspect",
  timeoutMillis: settings.nodeTimeoutMillis,
  sendTo: (node) => Effect.map(inspectKey(node, key), Option.exists((state) => state.value === value)),
  isGranted: isTrue,
  conclusive: true
})
