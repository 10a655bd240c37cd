/**
 * The value with which a service stands in line: the lock may be handed over to it without an attempt of ours.
 */
import { constVoid } from "effect/Function"
import type { LockNode } from "../../LockNode.ts"
import { type Instant, instantNow } from "../base/clock.ts"
import { type OwnClaim, TopUpRequest } from "../claim/claim.ts"
import type { HoldContext } from "../hold/hold.ts"
import { ReleaseRequest } from "../hold/release.ts"
import type { LineClaim } from "../waiting/placeInLine.ts"

export class PlaceClaim implements LineClaim {
  readonly claim: OwnClaim
  readonly #service: HoldContext

  constructor(service: HoldContext, claim: OwnClaim) {
    this.#service = service
    this.claim = claim
  }

  get value(): string {
    return this.claim.value
  }

  get isFenced(): boolean {
    return this.claim.tokenAllocation !== undefined
  }

  counted(node: LockNode, token: number): void {
    this.claim.tokenAllocation?.counted(node, token)
  }

  topUp(
    nodes: ReadonlyArray<LockNode>,
    onVote: (node: LockNode, sentAt: Instant, expiryMillis: number) => void,
    onSettled: () => void
  ): void {
    const { clock, quorum } = this.#service
    quorum.send(new TopUpRequest(this.claim, nodes, instantNow(clock), onVote, onSettled), constVoid)
  }

  giveUp(nodes: ReadonlyArray<LockNode>, wakes: boolean): void {
    if (nodes.length === 0) return
    const { cleanUps, quorum } = this.#service
    if (wakes) quorum.send(new ReleaseRequest(this.#service, this.claim, { nodes }), constVoid)
    else cleanUps.over(this.claim, nodes)
  }
}
