/**
 * Held permits: a held lock with slots.
 */
import type { FencingToken } from "../../Fencing.ts"
import type { Permits } from "../../Permits.ts"
import type { Instant } from "../base/clock.ts"
import type { OwnClaim } from "../claim/claim.ts"
import type { PermitAllocation } from "../claim/permitAllocation.ts"
import { HeldLock } from "./heldLock.ts"
import type { HoldContext } from "./hold.ts"

export class HeldPermits extends HeldLock implements Permits {
  readonly #permits: PermitAllocation

  /** `start` is when the round that granted the permits was sent. */
  constructor(context: HoldContext, claim: OwnClaim, permits: PermitAllocation, start: Instant) {
    super(context, claim, start)
    this.#permits = permits
  }

  get limit(): number {
    return this.#permits.limit
  }

  get slots(): ReadonlyArray<number> {
    return this.#permits.slots
  }

  get slot(): number {
    return this.slots[0]!
  }

  get tokens(): ReadonlyArray<FencingToken> {
    return this.#permits.tokens
  }
}
