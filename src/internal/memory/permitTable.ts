/**
 * The holders of one semaphore, as a node keeps them.
 */
import type { PermitGrant, PermitRequest, PermitSettlement, PermitState } from "../../LockNode.ts"
import { extendedRound } from "../nodeContract.ts"

interface Holder {
  readonly slots: ReadonlyArray<number>
  readonly expiresAt: number
  /** The round that settled the slots. */
  readonly round: number
}

/**
 * Increments the counters of the new slots, and returns those of all slots; `undefined` if a
 * counter cannot be incremented.
 */
export type CountTokens = (
  slots: ReadonlyArray<number>,
  isNew: (slot: number) => boolean
) => ReadonlyArray<number> | undefined

/** Every call is given the time in milliseconds, which never goes back. */
export class PermitTable {
  readonly #holders = new Map<string, Holder>()
  /** The value that has each slot. */
  readonly #taken = new Map<number, string>()
  #limit = 0

  acquire(value: string, request: PermitRequest, count: CountTokens, now: number): PermitGrant | undefined {
    this.#expire(now)
    const { expiryMillis, limit, permits, start, step } = request
    const mine = this.#holders.get(value)
    if (mine !== undefined) return this.#grant(mine.slots, count(mine.slots, () => false), limit, now)
    if (this.#taken.size + permits > limit) return this.#grant([], [], limit, now)
    const slots: Array<number> = []
    for (let tried = 0, slot = start; slots.length < permits && tried < limit; tried++, slot = (slot + step) % limit) {
      if (!this.#taken.has(slot)) slots.push(slot)
    }
    if (slots.length < permits) return this.#grant([], [], limit, now)
    const tokens = count(slots, () => true)
    if (tokens === undefined) return undefined
    this.#hold(value, slots, now + expiryMillis, 1)
    return this.#grant(slots, tokens, limit, now)
  }

  settle(value: string, settlement: PermitSettlement, count: CountTokens, now: number): PermitGrant | undefined {
    this.#expire(now)
    const { expiryMillis, limit, round, slots: wanted } = settlement
    const mine = this.#holders.get(value)
    if (mine !== undefined && mine.round >= round) {
      return this.#grant(mine.slots, count(mine.slots, () => false), limit, now)
    }
    const slots = wanted.filter((slot) => (this.#taken.get(slot) ?? value) === value)
    const tokens = count(slots, (slot) => !this.#taken.has(slot))
    if (tokens === undefined) return undefined
    this.release(value, now)
    if (slots.length > 0) this.#hold(value, slots, now + expiryMillis, round)
    return this.#grant(slots, tokens, limit, now)
  }

  extend(
    value: string,
    expiryMillis: number,
    wanted: ReadonlyArray<number>,
    ifPresent: boolean,
    now: number
  ): ReadonlyArray<number> {
    this.#expire(now)
    const kept = wanted.filter((slot) => this.#taken.get(slot) === value)
    const slots = ifPresent ? kept : wanted.filter((slot) => (this.#taken.get(slot) ?? value) === value)
    this.release(value, now)
    if (slots.length > 0) this.#hold(value, slots, now + expiryMillis, extendedRound)
    return kept
  }

  release(value: string, now: number): boolean {
    this.#expire(now)
    for (const slot of this.#holders.get(value)?.slots ?? []) this.#taken.delete(slot)
    return this.#holders.delete(value)
  }

  slotsOf(value: string, now: number): ReadonlyArray<number> {
    this.#expire(now)
    return this.#holders.get(value)?.slots ?? []
  }

  inspect(value: string | undefined, now: number): PermitState {
    this.#expire(now)
    return {
      limit: this.#limit,
      holders: [...this.#holders]
        .filter(([holder]) => value === undefined || holder === value)
        .map(([holder, { expiresAt, slots }]) => ({ value: holder, slots, ttlMillis: Math.ceil(expiresAt - now) }))
    }
  }

  /** How many slots are taken, as of the last call that was given the time. */
  get taken(): number {
    return this.#taken.size
  }

  takenAt(now: number): number {
    this.#expire(now)
    return this.taken
  }

  /** The limit stated by whoever last took slots, 0 if none are taken. */
  limitAt(now: number): number {
    return this.isEmpty(now) ? 0 : this.#limit
  }

  isEmpty(now: number): boolean {
    this.#expire(now)
    return this.#holders.size === 0
  }

  #grant(
    slots: ReadonlyArray<number>,
    tokens: ReadonlyArray<number> | undefined,
    limit: number,
    now: number
  ): PermitGrant | undefined {
    if (tokens === undefined) return undefined
    const lastLimit = this.#limit
    if (slots.length > 0) this.#limit = limit
    const soonest = Math.min(...[...this.#holders.values()].map(({ expiresAt }) => expiresAt))
    return {
      slots,
      tokens,
      free: limit - this.#taken.size,
      lastLimit,
      ttlMillis: Number.isFinite(soonest) ? Math.ceil(soonest - now) : 0
    }
  }

  #hold(value: string, slots: ReadonlyArray<number>, expiresAt: number, round: number): void {
    this.#holders.set(value, { slots, expiresAt, round })
    for (const slot of slots) this.#taken.set(slot, value)
  }

  #expire(now: number): void {
    for (const [value, { expiresAt, slots }] of this.#holders) {
      if (expiresAt > now) continue
      this.#holders.delete(value)
      for (const slot of slots) this.#taken.delete(slot)
    }
  }
}
