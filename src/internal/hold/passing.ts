/**
 * Passes a lock on to the next waiter of the same service, in one round of requests: each node that
 * stores the value of the holder replaces it with that of the waiter.
 */
import type { LockNode } from "../../LockNode.ts"
import { instantNow } from "../base/clock.ts"
import { type OwnClaim, raiseCounterRequest, ReplaceRequest } from "../claim/claim.ts"
import type { CleanUps } from "../claim/cleanUps.ts"
import { clockError } from "../claim/tokenAllocation.ts"
import { leaseEndFrom, remainingMillis } from "../lease/lease.ts"
import { granted, type Tally } from "../quorum/ballot.ts"
import type { Heir, HoldContext } from "./hold.ts"
import { ReleaseRequest } from "./release.ts"

/**
 * Whether every node can replace the value, and the next holder can be given a token. A server that
 * may have lost locks has to abstain, but no server abstains from replacing. Since a value is only
 * stored where the previous one was, the nodes that store it become fewer; so once a node lacks it,
 * the lock is released instead, and the next waiter asks all nodes.
 */
export const canReplace = (
  { nodes, quorum }: HoldContext,
  { isWorn, key }: OwnClaim,
  { name, settings }: Heir
): boolean =>
  !isWorn && nodes.every((node: LockNode) =>
    node.abstention === undefined && (settings.isFenced ? node.fencing : node)?.replace !== undefined
  ) && !(settings.isFenced && clockError(quorum, { name, key }) !== undefined)

interface Replacing {
  readonly from: OwnClaim
  readonly to: OwnClaim
  /** Called with whether a quorum has replaced the value. */
  readonly onReplaced: (isReplaced: boolean) => void
  readonly onGranted: () => void
  /** Called when the lock was released instead, with whether another service was woken. */
  readonly onGivenUp: (woke: boolean) => void
}

/**
 * Replaces the value after the previous hold has ended. The lock is granted as in an attempt: by a
 * quorum, and in time.
 */
export const replaceClaim = (
  service: HoldContext,
  { from, onGivenUp, onGranted, onReplaced, to }: Replacing
): void => {
  const { cleanUps, clock, quorum } = service
  const end = leaseEndFrom(instantNow(clock), to.settings.validityMillis)
  const conclude = (tally: Tally<boolean>) => {
    if (granted(tally) && remainingMillis(clock, end) > 0) return onGranted()
    const release = new ReleaseRequest(service, to)
    quorum.send(release, () => onGivenUp(release.woke))
  }
  quorum.send(new PassOnRequest(cleanUps, from, to), (tally) => {
    onReplaced(granted(tally))
    const isAgreed = !granted(tally) || to.tokenAllocation === undefined || to.tokenAllocation.chooseToken(tally)
    if (isAgreed) conclude(tally)
    else quorum.send(raiseCounterRequest(to), conclude)
  })
}

/**
 * Takes no longer than a release. A node that has not answered may still store the previous value,
 * which is deleted.
 */
class PassOnRequest extends ReplaceRequest {
  override readonly conclusive = false
  readonly #cleanUps: CleanUps
  readonly #from: OwnClaim
  readonly #to: OwnClaim

  constructor(cleanUps: CleanUps, from: OwnClaim, to: OwnClaim) {
    super(to, from.value, from.settings.nodeTimeoutMillis)
    this.#cleanUps = cleanUps
    this.#from = from
    this.#to = to
  }

  override isGranted(answer: boolean): boolean {
    const isGranted = super.isGranted(answer)
    if (!isGranted) this.#to.isWorn = true
    return isGranted
  }

  onAllAnswered(tally: Tally<boolean>): void {
    this.#cleanUps.released(this.#from, tally)
  }
}
