/**
 * Several locks held as a unit.
 */
import * as Effect from "effect/Effect"
import type { LockLost } from "../../LockError.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { LockSettings } from "../claim/settings.ts"
import { Guardable } from "../lease/guard.ts"
import type { HeldLock } from "./heldLock.ts"
import type { Hold } from "./hold.ts"

export class HeldLocks extends Guardable implements Hold {
  readonly locks: ReadonlyArray<HeldLock>
  readonly token = undefined
  /** No lease ends before this instant of the monotonic clock, since extensions only move the ends further away. */
  #nextEndAt = Number.NEGATIVE_INFINITY

  constructor(locks: ReadonlyArray<HeldLock>) {
    super()
    this.locks = locks
  }

  get names(): ReadonlyArray<string> {
    return this.locks.map(({ name }) => name)
  }

  get settings(): LockSettings {
    return this.locks[0]!.settings
  }

  checkLease(): LockLost | undefined {
    return firstOf(this.locks, (lock) => lock.checkLease())
  }

  checkHeld(): LockLost | undefined {
    return firstOf(this.locks, (lock) => lock.checkHeld())
  }

  /** Called before every step of the program, so it rarely looks at every lock. */
  detectLoss(): boolean {
    const [first] = this.locks
    if (first === undefined || monotonicMillis(first.clock) < this.#nextEndAt) return false
    const isLost = this.locks.some((lock) => lock.detectLoss())
    this.#nextEndAt = Number.POSITIVE_INFINITY
    for (const { leaseEndsAt } of this.locks) this.#nextEndAt = Math.min(this.#nextEndAt, leaseEndsAt)
    return isLost
  }

  onLost(listener: (lost: LockLost) => void): () => void {
    const listeners = this.locks.map((lock) => lock.onLost(listener))
    return () => listeners.forEach((remove) => remove())
  }

  beginRelease(): void {
    for (const lock of this.locks) lock.beginRelease()
  }

  get release(): Effect.Effect<unknown> {
    return Effect.forEach(this.locks, ({ release }) => release, { discard: true })
  }
}

const firstOf = (locks: ReadonlyArray<HeldLock>, check: (lock: HeldLock) => LockLost | undefined) => {
  for (const lock of locks) {
    const lost = check(lock)
    if (lost !== undefined) return lost
  }
  return undefined
}
