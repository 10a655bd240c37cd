/**
 * The request that extends a hold.
 */
import type * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import type { ClaimedValue } from "../claim/claim.ts"
import { isTrue, type NodeRequest, type Tally } from "../quorum/ballot.ts"

/** Extends the keys of a held lock. A node that has lost its key restores it, which is not a vote. */
export class RenewalRequest implements NodeRequest<boolean> {
  readonly operation = "extend"
  readonly conclusive = true
  readonly timeoutMillis: number
  readonly #lock: ClaimedValue
  readonly #onAllAnswered: (tally: Tally<boolean>) => void

  constructor(lock: ClaimedValue, onAllAnswered: (tally: Tally<boolean>) => void) {
    this.timeoutMillis = lock.settings.nodeTimeoutMillis
    this.#lock = lock
    this.#onAllAnswered = onAllAnswered
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { key, settings, value } = this.#lock
    return node.extend(key, value, settings.expiryMillis)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onAllAnswered(tally: Tally<boolean>): void {
    this.#onAllAnswered(tally)
  }
}
