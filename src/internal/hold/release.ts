/**
 * The request that ends a hold: the lock is handed over to the next in line, or released.
 */
import type * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import type { ClaimedValue } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import { proposalOf } from "../claim/tokenAllocation.ts"
import { isTrue, type NodeRequest, type Tally } from "../quorum/ballot.ts"
import type { HandOverOrder } from "../waiting/waitQueues.ts"
import type { HoldContext } from "./hold.ts"

/**
 * The time to live of a key that is handed over: a frozen successor blocks the lock for this long;
 * a running one soon extends the lease.
 */
const handOverMillis = ({ expiryMillis, nodeTimeoutMillis }: LockSettings): number =>
  Math.min(expiryMillis, Math.max(1000, Math.ceil(2 * nodeTimeoutMillis)))

interface ReleaseOptions {
  readonly handOver?: Pick<HandOverOrder, "successor" | "chain"> | undefined
  /** The nodes to release on; all by default. */
  readonly nodes?: ReadonlyArray<LockNode>
}

/** Releases the lock and wakes the next in line, or hands the lock over to it. */
export class ReleaseRequest implements NodeRequest<boolean> {
  readonly operation = "release"
  readonly key: string
  readonly timeoutMillis: number
  readonly nodes: ReadonlyArray<LockNode>
  /** Whether another service was woken, or has the lock now. */
  woke = false
  readonly #service: HoldContext
  readonly #lock: ClaimedValue
  readonly #order: HandOverOrder | undefined
  readonly #onReleased = ({ woke }: { readonly woke: boolean }): void => {
    this.woke ||= woke
  }

  constructor(service: HoldContext, lock: ClaimedValue, { handOver, nodes }: ReleaseOptions = {}) {
    const { settings } = lock
    this.key = lock.key
    this.timeoutMillis = settings.nodeTimeoutMillis
    this.nodes = nodes ?? service.waitQueues.releaseOrder(lock.key)
    this.#service = service
    this.#lock = lock
    this.#order = handOver && {
      ...handOver,
      expiryMillis: handOverMillis(settings),
      proposal: handOver.successor.fenced ? proposalOf(service.clock) : 0
    }
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { waitQueues } = this.#service
    return this.#order === undefined
      ? waitQueues.release(node, this.#lock, this.#onReleased)
      : waitQueues.transfer(node, this.#lock, this.#order, this.#onReleased)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onAllAnswered(tally: Tally<boolean>): void {
    this.#service.cleanUps.released(this.#lock, tally)
  }
}
