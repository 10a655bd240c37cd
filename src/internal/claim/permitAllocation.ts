/**
 * The permits of one claim on a semaphore.
 *
 * A permit is a slot that a quorum of nodes grants to the same value, so that no two claims have
 * the same slot and never more than the limit are held. All nodes grant slots in the same order. If
 * claims collide, nodes may grant different slots; the claim then settles on the slots that most
 * nodes have granted, in one or two more rounds.
 */
import type { Clock } from "effect/Clock"
import type * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { FencingToken } from "../../Fencing.ts"
import type { NodeError } from "../../LockError.ts"
import type { LockNode, PermitGrant, PermitHolder, PermitState } from "../../LockNode.ts"
import { mapResult } from "../base/callbackEffect.ts"
import { isToken, mostSlots, unexpected } from "../nodeContract.ts"
import type { NodeRequest, Tally } from "../quorum/ballot.ts"
import { microseconds } from "./tokenAllocation.ts"

/** How many permits of a semaphore are requested. */
export interface PermitSettings {
  readonly limit: number
  readonly permits: number
}

/** The part of a claim that requests about its permits need. */
interface PermitClaim {
  readonly key: string
  readonly value: string
  readonly settings: { readonly nodeTimeoutMillis: number }
}

/**
 * What determines the order of the slots to try: two random numbers from 0 up to but not
 * including 1, and the slot to try first, if one is known to be free.
 */
export interface SlotOrder {
  readonly random: readonly [number, number]
  readonly first?: number | undefined
}

export class PermitAllocation {
  readonly limit: number
  readonly permits: number
  readonly start: number
  readonly step: number
  /** The minimum for the counters of the slots, if the permits have tokens. */
  readonly proposal: number | undefined
  /** The slots, ascending, once they have been granted. */
  slots: ReadonlyArray<number> = []
  /** The token of each slot, at the same index. Empty if the permits have none. */
  tokens: ReadonlyArray<FencingToken> = []

  constructor({ limit, permits }: PermitSettings, { first, random }: SlotOrder, clock: Clock | undefined) {
    this.limit = limit
    this.permits = permits
    this.start = first !== undefined && first < limit ? first : Math.floor(random[0] * limit)
    this.step = coprime(1 + Math.floor(random[1] * (limit - 1)), limit)
    this.proposal = clock && microseconds(clock)
  }

  extend(
    node: LockNode,
    key: string,
    value: string,
    expiryMillis: number
  ): Effect.Effect<ReadonlyArray<number>, NodeError> {
    return checked(node, "extend", node.permits!.extend(key, value, expiryMillis, this.slots), areSlots)
  }
}

/** The next number that is coprime to the limit. */
const coprime = (number: number, limit: number): number => {
  while (divisor(number, limit) > 1) number = number % limit + 1
  return number
}

const divisor = (a: number, b: number): number => b === 0 ? a : divisor(b, a % b)

/** The slots that each node has given to a claim in one round. */
export class SlotVotes {
  readonly #byNode = new Map<LockNode, ReadonlyArray<number>>()

  record(node: LockNode, slots: ReadonlyArray<number>): void {
    this.#byNode.set(node, slots)
  }

  of(node: LockNode): ReadonlyArray<number> | undefined {
    return this.#byNode.get(node)
  }

  /** Whether the node has given exactly these slots. */
  isExact(node: LockNode, slots: ReadonlyArray<number>): boolean {
    const given = this.#byNode.get(node)
    return given?.length === slots.length && slots.every((slot) => given.includes(slot))
  }

  /** The number of votes for each slot, those with the most votes first. */
  ranked(tally: Tally<boolean>): Array<[slot: number, votes: number]> {
    const votes = new Map<number, number>()
    for (const node of answered(tally)) {
      for (const slot of this.#byNode.get(node) ?? []) votes.set(slot, (votes.get(slot) ?? 0) + 1)
    }
    return [...votes].sort(([, a], [, b]) => b - a)
  }

  /** Counts the votes for these slots; the slot with the fewest votes decides. */
  countFor(
    slots: ReadonlyArray<number>,
    tally: Tally<boolean>
  ): { readonly grants: number; readonly refusals: number } {
    const nodes = answered(tally)
    const given = nodes.map((node) => new Set(this.#byNode.get(node)))
    const grants = Math.min(...slots.map((slot) => given.filter((of) => of.has(slot)).length))
    return { grants, refusals: nodes.length - grants }
  }
}

export const answered = ({ byNode, nodes }: Tally<boolean>): Array<LockNode> =>
  nodes.filter((_, index) => {
    const answer = byNode[index]
    return answer !== undefined && Result.isSuccess(answer)
  })

/** Raises the counters of the slots to at least the tokens on the nodes that still have them for our value. */
export const raiseTokensRequest = (
  { key, settings, value }: PermitClaim,
  { slots, tokens }: PermitAllocation
): NodeRequest<boolean> => {
  const votes = new SlotVotes()
  return {
    operation: "acquire",
    key,
    timeoutMillis: settings.nodeTimeoutMillis,
    sendTo: (node) =>
      mapResult(
        checked(node, "acquire", node.permits!.raise(key, value, slots, tokens), areSlots),
        Result.map((raised) => {
          votes.record(node, raised)
          return raised.length === slots.length
        })
      ),
    isGranted: (answer) => answer,
    count: (tally) => votes.countFor(slots, tally)
  }
}

/** Reads which values have which slots: all values, or only the given one. */
export const inspectPermits = (node: LockNode, key: string, value?: string): Effect.Effect<PermitState, NodeError> =>
  checked(node, "inspect", node.permits!.inspect(key, value), isState)

/** Whether a quorum of nodes still has each of the slots for the value. */
export const hasSlotsRequest = (
  { key, settings, value }: PermitClaim,
  { slots }: PermitAllocation
): NodeRequest<boolean> => {
  const votes = new SlotVotes()
  return {
    operation: "inspect",
    key,
    timeoutMillis: settings.nodeTimeoutMillis,
    sendTo: (node) =>
      mapResult(
        inspectPermits(node, key, value),
        Result.map(({ holders }) => {
          const held = holders.find((holder) => holder.value === value)?.slots ?? []
          votes.record(node, held)
          return slots.every((slot) => held.includes(slot))
        })
      ),
    isGranted: (answer) => answer,
    count: (tally) => votes.countFor(slots, tally),
    conclusive: true
  }
}

/** A custom node may reply with anything: an invalid reply is a failure of that node. */
export const checked = <A>(
  node: LockNode,
  operation: NodeError["operation"],
  effect: Effect.Effect<A, NodeError>,
  is: (answer: unknown) => boolean
): Effect.Effect<A, NodeError> =>
  mapResult(
    effect,
    Result.flatMap((answer): Result.Result<A, NodeError> =>
      is(answer) ? Result.succeed(answer) : Result.fail(unexpected(node.id, operation, answer))
    )
  )

const areSlots = (u: unknown): u is ReadonlyArray<number> =>
  Array.isArray(u) && u.every((slot) => Number.isInteger(slot) && slot >= 0 && slot < mostSlots) &&
  new Set(u).size === u.length

export const isGrant = ({ limit, permits, proposal }: PermitAllocation) => (u: unknown): boolean => {
  if (!Predicate.isObject(u)) return false
  const { free, lastLimit, slots, tokens, ttlMillis } = u as Record<keyof PermitGrant, unknown>
  return areSlots(slots) && slots.length <= permits && slots.every((slot) => slot < limit) &&
    Array.isArray(tokens) && tokens.every(isToken) && tokens.length === (proposal === undefined ? 0 : slots.length) &&
    [free, lastLimit, ttlMillis].every(Number.isFinite)
}

const isState = (u: unknown): boolean => {
  if (!Predicate.isObject(u)) return false
  const { holders, limit } = u as Record<keyof PermitState, unknown>
  return Number.isFinite(limit) && Array.isArray(holders) && holders.every((holder) => {
    if (!Predicate.isObject(holder)) return false
    const { slots, ttlMillis, value } = holder as Record<keyof PermitHolder, unknown>
    return Predicate.isString(value) && areSlots(slots) && Number.isFinite(ttlMillis)
  })
}
