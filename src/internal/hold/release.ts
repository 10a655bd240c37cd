/**
 * The request that ends a hold.
 */
import type * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import type { Value } from "../claim/claim.ts"
import { type Answers, isTrue, type Question } from "../quorum/ballot.ts"
import type { Holder } from "../waiting/waitQueues.ts"
import type { HoldContext } from "./hold.ts"

/** The question that ends a hold. It wakes who is next, too. */
export class Release implements Question<boolean> {
  readonly operation = "release"
  readonly timeoutMillis: number
  readonly nodes: ReadonlyArray<LockNode>
  /** Whether that woke another service. */
  woke = false
  readonly #service: HoldContext
  readonly #lock: Holder & Value

  constructor(service: HoldContext, lock: Holder & Value) {
    this.timeoutMillis = lock.settings.nodeTimeoutMillis
    this.nodes = service.rooms.wakingFirst(lock.key)
    this.#service = service
    this.#lock = lock
  }

  ask(node: LockNode): Effect.Effect<boolean, NodeError> {
    return this.#service.rooms.release(node, this.#lock, this)
  }

  isYes(answer: boolean): boolean {
    return isTrue(answer)
  }

  onSettled(answers: Answers<boolean>): void {
    this.#service.cleanUps.released(this.#lock, answers)
  }
}
