/**
 * A fiber that waits for a lock, and the lock it may be given meanwhile.
 */
import type { OwnClaim } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import type { HeldLock } from "../hold/heldLock.ts"
import type { Heir, HoldContext } from "../hold/hold.ts"
import type { Waiter } from "../waiting/waitQueue.ts"
import { PlaceClaim } from "./placeClaim.ts"

interface WaiterContext extends HoldContext {
  claim(name: string, settings: LockSettings): OwnClaim
}

export class AcquireWaiter implements Waiter<PlaceClaim>, Heir {
  readonly name: string
  readonly settings: LockSettings
  wake: (() => void) | undefined
  dueAt = Number.POSITIVE_INFINITY
  readonly #service: WaiterContext
  /** The lock that the previous holder has passed on to it. */
  #given: HeldLock | undefined
  #hasLeft = false

  constructor(service: WaiterContext, name: string, settings: LockSettings) {
    this.#service = service
    this.name = name
    this.settings = settings
  }

  get terms(): LockSettings {
    return this.settings
  }

  get hasLock(): boolean {
    return this.#given !== undefined
  }

  get isAsleep(): boolean {
    return this.wake !== undefined && !this.hasLock
  }

  newClaim(): OwnClaim {
    return this.#service.claim(this.name, this.settings)
  }

  claim(): PlaceClaim {
    return new PlaceClaim(this.#service, this.newClaim())
  }

  give(lock: HeldLock): void {
    if (this.#hasLeft) return void lock.beginRelease()
    this.#given = lock
    // Deferred: the waiter would otherwise hold the lock and pass it on within this very call, and so would
    // the next within that one.
    this.#service.quorum.defer(() => this.wake?.())
  }

  /** The lock that was passed on to it, unless it is lost already. */
  take(): HeldLock | undefined {
    const lock = this.#given
    if (lock === undefined) return undefined
    this.#given = undefined
    if (lock.remainingMillis() > 0) return lock
    lock.beginRelease()
    return undefined
  }

  /** Called when it no longer waits. A lock it has not taken goes to the next waiter. */
  leave(): void {
    this.#hasLeft = true
    this.#given?.beginRelease()
    this.#given = undefined
  }
}
