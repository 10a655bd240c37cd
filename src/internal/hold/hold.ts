/**
 * The interface of a hold, and what it needs from its service.
 */
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { FencingToken } from "../../Fencing.ts"
import type { Lock } from "../../Lock.ts"
import type { LockLost, NodesUnavailable } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import type { Claim, OwnClaim } from "../claim/claim.ts"
import type { CleanUps } from "../claim/cleanUps.ts"
import type { PermitAllocation } from "../claim/permitAllocation.ts"
import type { LockSettings } from "../claim/settings.ts"
import type { Guardable } from "../lease/guard.ts"
import type { LeaseTimers } from "../lease/leaseTimers.ts"
import type { Tally } from "../quorum/ballot.ts"
import type { Quorum } from "../quorum/quorum.ts"
import type { LineClaim } from "../waiting/placeInLine.ts"
import type { Holder } from "../waiting/waitQueue.ts"
import type { WaitQueues } from "../waiting/waitQueues.ts"

/** What a hold needs from its service. */
export interface HoldContext {
  readonly clock: Clock.Clock
  readonly nodes: ReadonlyArray<LockNode>
  readonly quorum: Quorum
  readonly cleanUps: CleanUps
  readonly leaseTimers: LeaseTimers
  /** The queues of waiters for what is held. */
  readonly waitQueues: HoldQueues
  /** Turns an exclusive lock into a shared one. */
  downgrade?(lock: Downgrading): Effect.Effect<Lock, LockLost | NodesUnavailable, Scope.Scope>
}

/** An exclusive lock that becomes a shared one. */
export interface Downgrading {
  readonly claim: Claim
  /** Ends the exclusive hold, without a release. Fails if it is no longer held. */
  endExclusive(): LockLost | undefined
  /** Called when the nodes have answered, with whether the lock is shared now. */
  exclusiveEnded(isGranted: boolean): void
}

/** A waiter of this service that a lock can be passed on to. */
export interface Heir {
  readonly name: string
  readonly settings: LockSettings
  /** A claim with a fresh value. */
  newClaim(): OwnClaim
  /** Gives it the lock. If it no longer waits, the lock is released. */
  give(lock: Hold): void
}

/** What a hold, and its release, report to the queues of waiters. */
export interface HoldQueues extends
  Pick<
    WaitQueues<Tally<boolean>, LineClaim>,
    | "lockHeld"
    | "lockEnded"
    | "lockLeft"
    | "passedOn"
    | "releaseOrder"
    | "releasing"
    | "release"
    | "transfer"
    | "wakeFirst"
    | "alert"
  >
{
  /** The next waiter of this service, if the lock may be passed on to it without being free in between. */
  heir(holder: Holder): Heir | undefined
}

/** One or several locks held as a unit: losing any of them loses all. */
export interface Hold extends Guardable {
  readonly names: string | ReadonlyArray<string>
  readonly settings: LockSettings
  readonly token: FencingToken | undefined
  readonly permits?: PermitAllocation | undefined
  /** Sends the release, at most once. Nodes that have not replied are retried in the background. */
  beginRelease(): void
  readonly release: Effect.Effect<unknown>
}
