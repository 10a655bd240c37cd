/**
 * Turns an exclusive lock into a shared one.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { LockLost, type NodeError, type NodesUnavailable } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { instantNow } from "../base/clock.ts"
import type { OwnClaim } from "../claim/claim.ts"
import { HeldLock } from "../hold/heldLock.ts"
import type { Downgrading } from "../hold/hold.ts"
import { leaseEndFrom, remainingMillis } from "../lease/lease.ts"
import {
  denied,
  granted,
  isTrue,
  lockOf,
  type NodeRequest,
  nodesUnavailable,
  notGrantedNodes,
  type Tally,
  toVotes
} from "../quorum/ballot.ts"
import type { SharedContext } from "./acquireShared.ts"
import type { RestoreInterruptibility } from "./attempt.ts"

/**
 * The exclusive hold ends before anything is sent, and the shared one begins once a
 * quorum has confirmed it, so that a writer and readers never hold it at the same time. Only nodes that still had
 * the writer's value confirm it: nobody else can have held the lock in between.
 */
export const downgrade = (
  service: SharedContext,
  lock: Downgrading,
  restore: RestoreInterruptibility
): Effect.Effect<HeldLock, LockLost | NodesUnavailable> =>
  Effect.suspend(() => {
    const { cleanUps, nodes, quorum } = service
    const lost = lock.endExclusive()
    if (lost !== undefined) return Effect.fail(lost)
    const claim = service.sharedClaim(lock.claim)
    const start = instantNow(service.clock)
    // Registered as a task, so that closing the service also waits for the clean-up.
    quorum.taskStarted()
    const end = (isGranted: boolean, isTaken = false) => {
      lock.exclusiveEnded(isGranted)
      if (!isGranted) {
        cleanUps.over(lock.claim, nodes)
        cleanUps.over(claim, nodes)
      }
      service.waitQueues.notifyFirst(lock.claim)
      if (isTaken) service.waitQueues.alert(claim.key)
      quorum.taskEnded()
    }
    const voted = Effect.onExitPrimitive(
      restore(quorum.request(new DowngradeRequest(claim, lock.claim.value))),
      (exit) => {
        if (Exit.isFailure(exit)) end(false)
        return undefined
      }
    )
    return Effect.flatMap(voted, (tally): Effect.Effect<HeldLock, LockLost | NodesUnavailable> => {
      const { settings } = claim
      const isGranted = granted(tally) &&
        remainingMillis(service.clock, leaseEndFrom(start, settings.validityMillis)) > 0
      const shared = isGranted ? new HeldLock(service.sharedHolds, claim, start) : undefined
      if (isGranted) cleanUps.over(lock.claim, notGrantedNodes(tally))
      end(isGranted, denied(tally))
      return shared === undefined ? Effect.fail(failure(claim, tally)) : Effect.succeed(shared)
    })
  })

const failure = (claim: OwnClaim, tally: Tally<boolean>): LockLost | NodesUnavailable => {
  if (!granted(tally) && !denied(tally)) return nodesUnavailable(claim, tally)
  const reason = granted(tally) ? "Expired" : "Taken"
  return new LockLost({ ...lockOf(claim), reason, votes: toVotes(tally) })
}

/** Replaces the value of a writer with a reader. */
class DowngradeRequest implements NodeRequest<boolean> {
  readonly operation = "acquire"
  readonly key: string
  readonly conclusive = true
  readonly timeoutMillis: number
  readonly #claim: OwnClaim
  readonly #writer: string

  constructor(claim: OwnClaim, writer: string) {
    this.key = claim.key
    this.timeoutMillis = claim.settings.nodeTimeoutMillis
    this.#claim = claim
    this.#writer = writer
  }

  sendTo(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { key, settings, value } = this.#claim
    return node.shared!.downgrade(key, this.#writer, value, settings.expiryMillis)
  }

  isGranted(answer: boolean): boolean {
    return isTrue(answer)
  }

  onUnsent(node: LockNode): void {
    ;(this.#claim.untouched ??= new Set()).add(node)
  }
}
