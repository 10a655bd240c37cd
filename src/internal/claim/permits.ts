/**
 * The rounds in which a claim acquires its permits.
 */
import type * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { FencingToken } from "../../Fencing.ts"
import type { NodeError, Vote } from "../../LockError.ts"
import type { LockNode, PermitGrant } from "../../LockNode.ts"
import { mapResult } from "../base/callbackEffect.ts"
import { type NodeRequest, type Tally, toVotes } from "../quorum/ballot.ts"
import type { OwnClaim } from "./claim.ts"
import { answered, checked, isGrant, type PermitAllocation, SlotVotes } from "./permitAllocation.ts"

/** A round of requests that take slots. */
abstract class TakeRequest implements NodeRequest<boolean> {
  readonly operation = "acquire"
  readonly key: string
  readonly timeoutMillis: number
  readonly conclusive: boolean
  readonly claim: OwnClaim
  readonly allocation: PermitAllocation
  readonly votes = new SlotVotes()
  /** Called when a node has answered. */
  onGrant: ((node: LockNode) => void) | undefined
  readonly #grants = new Map<LockNode, PermitGrant>()

  constructor(claim: OwnClaim, allocation: PermitAllocation, conclusive: boolean) {
    this.key = claim.key
    this.timeoutMillis = claim.settings.nodeTimeoutMillis
    this.conclusive = conclusive
    this.claim = claim
    this.allocation = allocation
  }

  /** The slots to settle on, if they are not granted. */
  abstract wanted(tally: Tally<boolean>): ReadonlyArray<number>
  protected abstract take(node: LockNode): Effect.Effect<PermitGrant, NodeError>
  abstract count(tally: Tally<boolean>): { readonly grants: number; readonly refusals: number }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    return mapResult(
      checked(node, "acquire", this.take(node), isGrant(this.allocation)),
      Result.map((grant) => {
        this.#grants.set(node, grant)
        this.votes.record(node, grant.slots)
        this.onGrant?.(node)
        return grant.slots.length > 0
      })
    )
  }

  isGranted(answer: boolean): boolean {
    return answer
  }

  /** The slots that a quorum has given, ascending. */
  granted(tally: Tally<boolean>): ReadonlyArray<number> {
    return [...this.wanted(tally)].sort((a, b) => a - b)
  }

  /** Chooses a token for each slot; true if the counters of all nodes that gave the slot have reached it. */
  chooseTokens(tally: Tally<boolean>): boolean {
    const { allocation } = this
    const counters = allocation.slots.map((slot) =>
      answered(tally).flatMap((node) => {
        const { slots, tokens } = this.#grants.get(node)!
        const index = slots.indexOf(slot)
        return index === -1 ? [] : [tokens[index]!]
      })
    )
    allocation.tokens = counters.map((counted) => Math.max(...counted) as FencingToken)
    return counters.every((counted) => counted.every((count) => count === counted[0]))
  }

  /** Milliseconds until slots may expire on a node that refused; `Infinity` if unknown. */
  get ttlMillis(): number {
    const ttls = [...this.#grants.values()].flatMap(({ slots, ttlMillis }) =>
      slots.length === 0 && ttlMillis > 0 ? [ttlMillis] : []
    )
    return Math.min(...ttls)
  }

  /** A limit that others use, if it is not ours. */
  get otherLimit(): number | undefined {
    return [...this.#grants.values()].map(({ lastLimit }) => lastLimit)
      .find((limit) => limit > 0 && limit !== this.allocation.limit)
  }

  /** The votes for an error, in which a node with too few free permits says how many it has. */
  errorVotes(tally: Tally<boolean>): Array<Vote> {
    return toVotes(tally).map((vote, index) => {
      const grant = this.#grants.get(tally.nodes[index]!)
      return vote._tag === "Refused" && grant !== undefined ? { ...vote, free: Math.max(0, grant.free) } : vote
    })
  }
}

/** The first round: as many slots as requested, whichever are free. */
export class AcquirePermitsRequest extends TakeRequest {
  /** Whether a later round has been sent. */
  isSettled = false

  protected take(node: LockNode): Effect.Effect<PermitGrant, NodeError> {
    const { key, settings, value } = this.claim
    const { limit, permits, proposal, start, step } = this.allocation
    const request = { expiryMillis: settings.expiryMillis, limit, permits, start, step, proposal }
    return node.permits!.acquire(key, value, request)
  }

  /** The slots with the most votes. */
  wanted(tally: Tally<boolean>): ReadonlyArray<number> {
    return this.votes.ranked(tally).slice(0, this.allocation.permits).map(([slot]) => slot)
  }

  count(tally: Tally<boolean>) {
    const nodes = answered(tally)
    return {
      // The votes of the last slot needed to make up the number requested.
      grants: this.votes.ranked(tally)[this.allocation.permits - 1]?.[1] ?? 0,
      refusals: nodes.filter((node) => this.votes.of(node)?.length === 0).length
    }
  }

  onUnsent(node: LockNode): void {
    if (this.isSettled) return
    ;(this.claim.untouched ??= new Set()).add(node)
  }
}

/** A later round: these slots, and no others. */
export class SettlePermitsRequest extends TakeRequest {
  readonly slots: ReadonlyArray<number>
  readonly round: number

  constructor(first: AcquirePermitsRequest, slots: ReadonlyArray<number>, round: number) {
    super(first.claim, first.allocation, first.conclusive)
    this.slots = slots
    this.round = round
    first.isSettled = true
    // It may reach a node that the first round was not sent to.
    this.claim.untouched = undefined
  }

  protected take(node: LockNode): Effect.Effect<PermitGrant, NodeError> {
    const { key, settings, value } = this.claim
    const { limit, proposal } = this.allocation
    const { round, slots } = this
    return node.permits!.settle(key, value, { expiryMillis: settings.expiryMillis, limit, slots, round, proposal })
  }

  wanted(): ReadonlyArray<number> {
    return this.slots
  }

  count(tally: Tally<boolean>) {
    return this.votes.countFor(this.slots, tally)
  }
}

export type TakePermitsRequest = AcquirePermitsRequest | SettlePermitsRequest
