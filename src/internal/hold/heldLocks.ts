/**
 * Several locks held as one.
 */
import * as Effect from "effect/Effect"
import type { LockLost } from "../../LockError.ts"
import type { Settings } from "../claim/settings.ts"
import { Guardable } from "../lease/guard.ts"
import type { HeldLock } from "./heldLock.ts"
import type { Hold } from "./hold.ts"

export class HeldLocks extends Guardable implements Hold {
  readonly locks: ReadonlyArray<HeldLock>
  readonly token = undefined

  constructor(locks: ReadonlyArray<HeldLock>) {
    super()
    this.locks = locks
  }

  get names(): ReadonlyArray<string> {
    return this.locks.map(({ name }) => name)
  }

  get settings(): Settings {
    return this.locks[0]!.settings
  }

  check(): LockLost | undefined {
    for (const lock of this.locks) {
      const lost = lock.check()
      if (lost !== undefined) return lost
    }
    return undefined
  }

  isLostNow(): boolean {
    return this.locks.some((lock) => lock.isLostNow())
  }

  onLost(listener: (lost: LockLost) => void): () => void {
    const listeners = this.locks.map((lock) => lock.onLost(listener))
    return () => listeners.forEach((forget) => forget())
  }

  startRelease(): void {
    for (const lock of this.locks) lock.startRelease()
  }

  get release(): Effect.Effect<unknown> {
    return Effect.forEach(this.locks, ({ release }) => release, { discard: true })
  }
}
