/**
 * The request that extends a hold.
 */
import type * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { mapResult } from "../base/callbackEffect.ts"
import { type ClaimedValue, storeOf } from "../claim/claim.ts"
import { type PermitAllocation, SlotVotes } from "../claim/permitAllocation.ts"
import { isTrue, type NodeRequest, type Tally } from "../quorum/ballot.ts"

/** Extends the keys of a held lock. A node that has lost its key restores it, which is not a vote. */
export class RenewalRequest implements NodeRequest<boolean> {
  readonly operation = "extend"
  readonly key: string
  readonly conclusive = true
  readonly timeoutMillis: number
  protected readonly lock: ClaimedValue
  readonly #onAllAnswered: (tally: Tally<boolean>) => void

  constructor(lock: ClaimedValue, onAllAnswered: (tally: Tally<boolean>) => void) {
    this.key = lock.key
    this.timeoutMillis = lock.settings.nodeTimeoutMillis
    this.lock = lock
    this.#onAllAnswered = onAllAnswered
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { key, settings, value } = this.lock
    return storeOf(node, settings).extend(key, value, settings.expiryMillis)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onAllAnswered(tally: Tally<boolean>): void {
    this.#onAllAnswered(tally)
  }
}

/**
 * Extends the permits of a held semaphore, or has the nodes store exactly these. A node that
 * confirms some of them votes for those: a quorum must confirm each.
 */
export class PermitRenewalRequest extends RenewalRequest {
  readonly nodes: ReadonlyArray<LockNode>
  readonly #permits: PermitAllocation
  readonly #confirmed = new SlotVotes()

  constructor(
    lock: ClaimedValue,
    permits: PermitAllocation,
    nodes: ReadonlyArray<LockNode>,
    onAllAnswered: (tally: Tally<boolean>) => void
  ) {
    super(lock, onAllAnswered)
    this.nodes = nodes
    this.#permits = permits
  }

  override sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { key, settings, value } = this.lock
    return mapResult(
      this.#permits.extend(node, key, value, settings.expiryMillis),
      Result.map((slots) => {
        this.#confirmed.record(node, slots)
        return this.#confirmed.isExact(node, this.#permits.slots)
      })
    )
  }

  count(tally: Tally<boolean>): { readonly grants: number; readonly refusals: number } {
    return this.#confirmed.countFor(this.#permits.slots, tally)
  }
}
