/**
 * Passes a lock on to the next waiter of the same service, in one round of requests:
 * each node that has the value of the one replaces it with that of the other.
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
 * Whether every node can replace the value, and the next can be given a token. A server that may
 * have lost locks has to abstain, but replacing is never abstained from. Since a value is only
 * stored where the previous one was, the nodes become fewer: once a node lacks it, a release lets
 * the next waiter ask all of them.
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
  /** Whether a quorum has replaced the value. */
  readonly onReplaced: (isReplaced: boolean) => void
  readonly onGranted: () => void
  /** Deletes what is left of either; whether another service was woken. */
  readonly onGivenUp: (woke: boolean) => void
}

/** The hold of the one has ended. The lock is granted to the other as it is in an attempt: by a quorum, and in time. */
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

/** Takes no longer than a release. Where the answer is missing, the earlier value may be left, and is deleted. */
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
