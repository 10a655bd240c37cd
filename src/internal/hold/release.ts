/**
 * The request that ends a hold.
 */
import type * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import type { ClaimedValue } from "../claim/claim.ts"
import { isTrue, type NodeRequest, type Tally } from "../quorum/ballot.ts"
import type { Holder } from "../waiting/waitQueues.ts"
import type { HoldContext } from "./hold.ts"

/** The question that ends a hold. It wakes who is next, too. */
export class ReleaseRequest implements NodeRequest<boolean> {
  readonly operation = "release"
  readonly timeoutMillis: number
  readonly nodes: ReadonlyArray<LockNode>
  /** Whether that woke another service. */
  woke = false
  readonly #service: HoldContext
  readonly #lock: Holder & ClaimedValue

  constructor(service: HoldContext, lock: Holder & ClaimedValue) {
    this.timeoutMillis = lock.settings.nodeTimeoutMillis
    this.nodes = service.rooms.wakingFirst(lock.key)
    this.#service = service
    this.#lock = lock
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    return this.#service.rooms.release(node, this.#lock, this)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onAllAnswered(tally: Tally<boolean>): void {
    this.#service.cleanUps.released(this.#lock, tally)
  }
}
