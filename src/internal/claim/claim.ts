/**
 * A claim, and the requests that are sent to the nodes about it.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { NodeError } from "../../LockError.ts"
import type { KeyState, LockNode, SharedState } from "../../LockNode.ts"
import { effectOf } from "../base/callbackEffect.ts"
import type { Instant } from "../base/clock.ts"
import { isTrue, type Named, type NodeRequest } from "../quorum/ballot.ts"
import { hasSlotsRequest, type PermitAllocation, raiseTokensRequest } from "./permitAllocation.ts"
import type { LockSettings } from "./settings.ts"
import type { TokenAllocation } from "./tokenAllocation.ts"

/** A value that may be stored under a name: it exists before the lock is granted and after it is lost. */
export interface Claim extends Named {
  readonly value: string
  readonly settings: LockSettings
  /** The allocation of the fencing token, if the lock is fenced. */
  readonly tokenAllocation?: TokenAllocation | undefined
  /** The permits, if it is a claim on a semaphore instead of a lock. */
  readonly permits?: PermitAllocation | undefined
  /** The nodes that cannot store the value, because no command that could write it was sent to them. */
  readonly untouched: ReadonlySet<LockNode> | undefined
  /** No command that could write the value was sent before this instant of the monotonic clock. */
  readonly madeAt: number
}

/** Reads the key. Throws if a custom node replies with anything but a `KeyState`. */
export const inspectKey = (node: LockNode, key: string): Effect.Effect<Option.Option<KeyState>, NodeError> =>
  Effect.map(effectOf(node.inspect(key)), checked(isKeyState, "its answer is not the state of a key"))

/**
 * Reads which readers share the lock, or only the reader with the given value. Throws if a custom
 * node replies with anything but a `SharedState`.
 */
export const inspectReaders = (node: LockNode, key: string, value?: string): Effect.Effect<SharedState, NodeError> =>
  Effect.map(effectOf(node.shared!.inspect(key, value)), (state) => {
    if (isSharedState(state)) return state
    throw new Error("its answer is not a list of readers")
  })

const isSharedState = (u: unknown): u is SharedState => {
  if (!Predicate.isObject(u)) return false
  const { holders, isWriterWaiting, readers } = u as Record<keyof SharedState, unknown>
  return Predicate.isNumber(readers) && Predicate.isBoolean(isWriterWaiting) && Array.isArray(holders) &&
    holders.every((holder: unknown) =>
      Predicate.isObject(holder) && Predicate.isString(holder["value"]) && Predicate.isNumber(holder["ttlMillis"])
    )
}

/** The reason why the node would abstain from voting on a new lock, if any. */
export const askAbstention = (node: LockNode, key: string): Effect.Effect<Option.Option<string>, NodeError> =>
  node.abstention === undefined
    ? Effect.succeedNone
    : Effect.map(effectOf(node.abstention(key)), checked(Predicate.isString, "its answer is not a reason to abstain"))

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

/** A claim with a fresh value of this service. */
export class OwnClaim implements Claim {
  readonly name: string
  readonly key: string
  readonly value: string
  readonly settings: LockSettings
  readonly tokenAllocation: TokenAllocation | undefined
  readonly permits: PermitAllocation | undefined
  untouched: Set<LockNode> | undefined
  /** Whether some nodes lack the value because they did not have the value that it replaced. */
  isWorn = false
  readonly madeAt: number

  constructor(
    name: string,
    key: string,
    value: string,
    settings: LockSettings,
    tokenAllocation: TokenAllocation | undefined,
    madeAt: number,
    permits?: PermitAllocation
  ) {
    this.name = name
    this.key = key
    this.value = value
    this.settings = settings
    this.tokenAllocation = tokenAllocation
    this.permits = permits
    this.untouched = undefined
    this.madeAt = madeAt
  }

  /** A claim with the same value for the next holder in this service. Nothing changes on the nodes. */
  passedOnTo({ name, settings }: { readonly name: string; readonly settings: LockSettings }): OwnClaim {
    const passedOn = new OwnClaim(name, this.key, this.value, settings, undefined, this.madeAt)
    passedOn.untouched = this.untouched
    passedOn.isWorn = this.isWorn
    return passedOn
  }

  /** A claim with the same value, for a lock with the settings of the waiter that takes it. */
  heldWith(settings: LockSettings): OwnClaim {
    const { key, madeAt, name, tokenAllocation, value } = this
    return new OwnClaim(name, key, value, settings, settings.isFenced ? tokenAllocation : undefined, madeAt)
  }
}

/** How long the nodes remember that a refused reader waits. On most schedules the reader asks again well before that. */
const readerWaitMillis = 1000

/** Where the value of a lock is kept on a node: in its key, or among the readers. */
export const storeOf = (
  node: LockNode,
  { isShared }: Pick<LockSettings, "isShared">
): Pick<LockNode, "extend" | "release"> => isShared ? node.shared! : node

/**
 * Frequent requests, and whatever is kept until they are answered, are class
 * instances: V8 eventually pretenures the equivalent object literals, and only a
 * full collection then frees them and everything they reference.
 */
export class AcquireRequest implements NodeRequest<boolean> {
  readonly operation = "acquire"
  readonly key: string
  readonly timeoutMillis: number
  readonly conclusive: boolean
  readonly #claim: OwnClaim

  constructor(claim: OwnClaim, conclusive: boolean) {
    this.key = claim.key
    this.timeoutMillis = claim.settings.nodeTimeoutMillis
    this.conclusive = conclusive
    this.#claim = claim
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { tokenAllocation, key, settings: { expiryMillis, isShared }, value } = this.#claim
    if (isShared) {
      const waitMillis = this.conclusive ? 0 : readerWaitMillis
      return tokenAllocation === undefined
        ? node.shared!.acquire(key, value, expiryMillis, waitMillis)
        : tokenAllocation.join(node, key, value, expiryMillis, waitMillis)
    }
    return tokenAllocation === undefined
      ? node.acquire(key, value, expiryMillis)
      : tokenAllocation.acquire(node, key, value, expiryMillis)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onUnsent(node: LockNode): void {
    ;(this.#claim.untouched ??= new Set()).add(node)
  }
}

/**
 * Asks nodes that have not handed the lock over, or whose notification was lost: each sets the key,
 * or extends it if the key has the value. `onVote` is called for each node that does so, with the
 * time of the request.
 */
export class TopUpRequest implements NodeRequest<boolean> {
  readonly operation = "acquire"
  readonly key: string
  readonly timeoutMillis: number
  readonly nodes: ReadonlyArray<LockNode>
  readonly awaitAll = true
  readonly #claim: OwnClaim
  readonly #sentAt: Instant
  readonly #onVote: (node: LockNode, sentAt: Instant, expiryMillis: number) => void
  readonly #onSettled: () => void

  constructor(
    claim: OwnClaim,
    nodes: ReadonlyArray<LockNode>,
    sentAt: Instant,
    onVote: (node: LockNode, sentAt: Instant, expiryMillis: number) => void,
    onSettled: () => void
  ) {
    this.key = claim.key
    this.timeoutMillis = claim.settings.nodeTimeoutMillis
    this.nodes = nodes
    this.#claim = claim
    this.#sentAt = sentAt
    this.#onVote = onVote
    this.#onSettled = onSettled
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { tokenAllocation, key, settings: { expiryMillis }, value } = this.#claim
    const requests = tokenAllocation === undefined
      ? [node.acquire(key, value, expiryMillis), node.extend(key, value, expiryMillis, true)]
      // A vote without a counter would be worthless: the token might be smaller than that of another lock.
      : [
        tokenAllocation.acquire(node, key, value, expiryMillis),
        ...node.fencing!.replace === undefined ? [] : [tokenAllocation.replace(node, key, value, value, expiryMillis)]
      ]
    return Effect.map(Effect.all(requests.map(effectOf), { concurrency: "unbounded" }), (answers) => {
      const isVote = answers.map(isTrue).includes(true)
      if (isVote) this.#onVote(node, this.#sentAt, expiryMillis)
      return isVote
    })
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onAllAnswered(): void {
    this.#onSettled()
  }
}

/** Replaces the value of a lock that was acquired elsewhere with one of ours. */
export class ReplaceRequest implements NodeRequest<boolean> {
  readonly operation = "acquire"
  readonly key: string
  readonly conclusive: boolean = true
  readonly timeoutMillis: number
  readonly #claim: OwnClaim
  readonly #oldValue: string

  constructor(claim: OwnClaim, oldValue: string, timeoutMillis: number = claim.settings.nodeTimeoutMillis) {
    this.key = claim.key
    this.timeoutMillis = timeoutMillis
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

/** Raises the counters to at least the token on the nodes that still store our value. */
export const raiseCounterRequest = (claim: Claim): NodeRequest<boolean> => {
  const { tokenAllocation, key, permits, settings, value } = claim
  return permits !== undefined ? raiseTokensRequest(claim, permits) : {
    operation: "acquire",
    key,
    timeoutMillis: settings.nodeTimeoutMillis,
    sendTo: (node) => (settings.isShared ? node.shared! : node).fencing!.raise(key, value, tokenAllocation!.token!),
    isGranted: isTrue
  }
}

/** The part of a claim that a release needs. */
export type ClaimedValue = Pick<Claim, "name" | "key" | "value" | "settings" | "untouched" | "madeAt" | "permits">

/** Deletes the value on a node. */
export const releaseOn = (
  node: LockNode,
  { key, permits, settings, value }: Pick<ClaimedValue, "key" | "value" | "permits" | "settings">
): Effect.Effect<boolean, NodeError> =>
  (permits === undefined ? storeOf(node, settings) : node.permits!).release(key, value)

export const releaseRequest = (claimed: ClaimedValue): NodeRequest<boolean> => ({
  operation: "release",
  key: claimed.key,
  timeoutMillis: claimed.settings.nodeTimeoutMillis,
  sendTo: (node) => releaseOn(node, claimed),
  isGranted: isTrue
})

export const isHeldRequest = (claim: Claim): NodeRequest<boolean> => {
  const { key, permits, settings, value } = claim
  return permits !== undefined ? hasSlotsRequest(claim, permits) : {
    operation: "inspect",
    key,
    timeoutMillis: settings.nodeTimeoutMillis,
    sendTo: (node) =>
      settings.isShared
        ? Effect.map(inspectReaders(node, key, value), ({ holders }) => holders.length > 0)
        : Effect.map(inspectKey(node, key), Option.exists((state) => state.value === value)),
    isGranted: isTrue,
    conclusive: true
  }
}
