/**
 * A held lock: its lease, its renewals, and how it ends. All transitions of its state are here.
 */
import type { Clock } from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { FencingToken } from "../../Fencing.ts"
import type { Lock } from "../../Lock.ts"
import { LockLost, type NodesUnavailable, type Vote } from "../../LockError.ts"
import type { LockMode } from "../../LockMetrics.ts"
import type { LockNode } from "../../LockNode.ts"
import { type Instant, instantNow, monotonicMillis } from "../base/clock.ts"
import { isHeldRequest, type OwnClaim, raiseCounterRequest } from "../claim/claim.ts"
import type { PermitAllocation } from "../claim/permitAllocation.ts"
import type { LockSettings } from "../claim/settings.ts"
import { downgrade } from "../lease/downgrade.ts"
import { Guardable } from "../lease/guard.ts"
import { leaseEndFrom, remainingMillis, sinceMillis } from "../lease/lease.ts"
import { type Leased, LeaseTimer } from "../lease/leaseTimers.ts"
import { isUnsent } from "../nodeContract.ts"
import { denied, granted, lockOf, nodesUnavailable, type Tally, toVotes, unavailable } from "../quorum/ballot.ts"
import { attributes } from "../telemetry/attributes.ts"
import type { LockMetrics } from "../telemetry/metrics.ts"
import type { Holder } from "../waiting/waitQueue.ts"
import type { Downgrading, Heir, Hold, HoldContext } from "./hold.ts"
import { canReplace, replaceClaim } from "./passing.ts"
import { ReleaseRequest } from "./release.ts"
import { PermitRenewalRequest, RenewalRequest } from "./renewal.ts"

/** Initial backoff after a renewal that missed the quorum; doubles up to the node timeout. */
const initialRenewalBackoffMillis = 50

/**
 * How long after the hand-over a lock is extended to its full lease. A lock held for less time is not
 * extended at all.
 */
const firstRenewalMillis = 30

/** A hold that begins with less than this fraction of its lease is extended early. */
const fullLeaseShare = 0.9

/**
 * The state of a hold. The lock is held in the first three states; each of the other states is
 * final, except that a lost lock may still be released.
 */
type HoldState =
  /** The next renewal is scheduled. */
  | "resting"
  /** A renewal is in progress. */
  | "renewing"
  /** The last renewal missed the quorum. */
  | "backing off"
  | "lost"
  | "released"
  /** Released without a message: the next holder in this service has the lock with the same value. */
  | "passed on"
  /** Given up without a release, so that another process can adopt it. */
  | "detached"
  /** Left to expire, without further renewals. */
  | "abandoned"

export class HeldLock extends Guardable implements Lock, Holder, Hold, Leased, Downgrading {
  readonly #context: HoldContext
  readonly #claim: OwnClaim
  readonly #leaseTimer: LeaseTimer
  readonly #grantedAt: number
  readonly #listeners = new Set<(lost: LockLost) => void>()
  #state: HoldState = "resting"
  #leaseEnd: Instant
  #isLeaseFull: boolean
  #wasExtended = false
  /** What others know, or will be shown, as the value of this lock. */
  #knownValue: string | undefined
  /** The holder that has the value now, if this lock was passed on without a message. */
  #passedTo: Heir | undefined
  #lost: LockLost | undefined
  #released: Deferred.Deferred<boolean> | undefined
  /** The number of renewals that some node has not answered yet. */
  #openRenewals = 0
  /** Pending calls of `detach` and `abandon`, which wait for these renewals. No renewal starts meanwhile. */
  #leaving: Set<() => void> | undefined
  /** The last renewal, if it missed the quorum. */
  #lastMissedRenewal: Tally<boolean> | undefined
  #renewalBackoffMillis = initialRenewalBackoffMillis

  /**
   * `start` is when the successful attempt or adoption was sent. A lock that was handed over has a
   * `leaseEnd` of its own, and is extended soon. A lock that was passed on within this service is
   * given the previous hold, `from`; if the value is the same, it takes over the lease.
   */
  constructor(service: HoldContext, claim: OwnClaim, start: Instant, leaseEnd?: Instant, from?: HeldLock) {
    super()
    const { autoExtend, expiryMillis, validityMillis } = claim.settings
    this.#context = service
    this.#claim = claim
    this.#leaseEnd = leaseEnd ?? leaseEndFrom(start, validityMillis)
    this.#isLeaseFull = this.#leaseEnd.monotonic - start.monotonic >= validityMillis * fullLeaseShare
    this.#grantedAt = start.monotonic
    this.#metrics.holdStarted(this.#permitCount)
    if (from?.claim.value === claim.value) {
      this.#isLeaseFull = from.#isLeaseFull
      this.#wasExtended = from.#wasExtended
      this.#leaseTimer = from.#leaseTimer
      this.#leaseTimer.lock = this
    } else {
      this.#leaseTimer = new LeaseTimer(this)
      const firstRenewal = this.#isLeaseFull ? expiryMillis / 3 : autoExtend ? firstRenewalMillis : 0
      service.leaseTimers.schedule(this.#leaseTimer, firstRenewal)
    }
    if (from === undefined) service.waitQueues.lockHeld(this)
    else service.waitQueues.passedOn(from, this)
  }

  get name(): string {
    return this.#claim.name
  }

  get key(): string {
    return this.#claim.key
  }

  /**
   * The value to show to others; within the library, `claim.value` is read. A value that others may
   * know is not passed on; a lock that was passed on shows a value that is stored nowhere, so that
   * nobody learns the real one from it.
   */
  get value(): string {
    return this.#knownValue ??= (this.#passedTo?.newClaim() ?? this.#claim).value
  }

  reveal(): void {
    this.#knownValue ??= this.#claim.value
  }

  /** What the nodes store. */
  get claim(): OwnClaim {
    return this.#claim
  }

  get mode(): LockMode {
    return this.permits !== undefined ? "permits" : this.settings.isShared ? "shared" : "exclusive"
  }

  get settings(): LockSettings {
    return this.#claim.settings
  }

  get permits(): PermitAllocation | undefined {
    return this.#claim.permits
  }

  get token(): FencingToken | undefined {
    return this.#claim.tokenAllocation?.token ?? this.permits?.tokens[0]
  }

  get names(): string {
    return this.name
  }

  /** Whether the lock is still held, and over the quorum of the given service. */
  isHeldIn({ quorum }: Pick<HoldContext, "quorum">): boolean {
    return this.#context.quorum === quorum && this.#isHeld && this.remainingMillis() > 0
  }

  get remaining(): Effect.Effect<Duration.Duration> {
    return Effect.sync(() => Duration.millis(this.remainingMillis()))
  }

  get extend(): Effect.Effect<void, LockLost | NodesUnavailable> {
    // Check and send in one synchronous step, so that no renewal is sent after the release.
    return Effect.callback((resume) => {
      const lost = this.#notHeld()
      if (lost !== undefined) return resume(Effect.fail(lost))
      this.#renew((tally) => {
        const lost = this.#notHeld()
        resume(
          lost !== undefined
            ? Effect.fail(lost)
            : granted(tally)
            ? Effect.void
            : Effect.fail(nodesUnavailable(this, tally))
        )
      })
    })
  }

  get isHeld(): Effect.Effect<boolean, NodesUnavailable> {
    return Effect.flatMap(
      this.#context.quorum.request(isHeldRequest(this.#claim)),
      (tally) =>
        granted(tally) || denied(tally)
          ? Effect.succeed(granted(tally) && this.#state !== "passed on")
          : Effect.fail(nodesUnavailable(this, tally))
    )
  }

  get release(): Effect.Effect<boolean> {
    return Effect.suspend(() => Deferred.await(this.beginRelease()))
  }

  /**
   * The release as a finalizer: waits unless the lock is already lost or the quorum is down. Finalizers run
   * sequentially, so every lock of a scope would otherwise time out in turn.
   */
  get releaseInFinalizer(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const isInVain = this.checkLease() !== undefined || this.#context.quorum.health.hasLostQuorum(this.key)
      const released = this.beginRelease()
      return isInVain ? Effect.void : Effect.asVoid(Deferred.await(released))
    })
  }

  get detach(): Effect.Effect<string, LockLost> {
    return Effect.flatMap(this.#leave("detached"), () => {
      const lost = this.#state === "detached" ? undefined : this.#notHeld()
      return lost === undefined ? Effect.succeed(this.#claim.value) : Effect.fail(lost)
    })
  }

  get abandon(): Effect.Effect<void> {
    return this.#leave("abandoned")
  }

  get lost(): Effect.Effect<never, LockLost> {
    return Effect.callback((resume) => {
      const lost = this.checkLease()
      if (lost !== undefined) {
        resume(Effect.fail(lost))
        return
      }
      return Effect.sync(this.onLost((lost) => resume(Effect.fail(lost))))
    })
  }

  onLost(listener: (lost: LockLost) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  get clock(): Clock {
    return this.#context.clock
  }

  /** When the lease ends on the monotonic clock; `Infinity` if the lock is not held. */
  get leaseEndsAt(): number {
    return this.#isHeld ? this.#leaseEnd.monotonic : Number.POSITIVE_INFINITY
  }

  detectLoss(): boolean {
    return this.#isHeld && monotonicMillis(this.#context.clock) >= this.#leaseEnd.monotonic &&
      this.checkLease() !== undefined
  }

  /** Milliseconds until the lease ends, 0 once the lock is lost, released or detached. */
  remainingMillis(): number {
    return this.#isHeld || this.#state === "abandoned" ? remainingMillis(this.#context.clock, this.#leaseEnd) : 0
  }

  checkLease(): LockLost | undefined {
    if (this.#isHeld && this.remainingMillis() === 0) this.#expire()
    return this.#lost
  }

  checkHeld(): LockLost | undefined {
    return this.checkLease() ?? (this.remainingMillis() > 0 ? undefined : this.#lossError("Released", []))
  }

  /** Ends the hold and notifies the listeners. Does nothing unless the lock is held. */
  markLost(reason: LockLost["reason"], votes: ReadonlyArray<Vote>): void {
    this.#lose(this.#lossError(reason, votes))
  }

  #lose(lost: LockLost): void {
    if (!this.#isHeld) return
    this.#lost = lost
    const { reason } = lost
    this.#recordEnd("lost")
    const { cleanUps, nodes, quorum, waitQueues } = this.#context
    if (reason !== "Released") {
      // Clean up before the listeners run: a renewal may have restored a missing key, or may still do so.
      cleanUps.over(this.#claim, nodes)
      // Nobody else does: the first in line of other services relies on the holder.
      waitQueues.wakeFirst(this.key)
      if (reason === "Taken") waitQueues.alert(this.key)
      this.#metrics.lockLost(reason)
      quorum.log("Warn", lost.message, { [attributes.lock]: this.name, [attributes.reason]: reason })
    }
    for (const listener of this.#listeners) listener(lost)
    this.#listeners.clear()
    waitQueues.lockEnded(this, false)
  }

  beginRelease(): Deferred.Deferred<boolean> {
    if (this.#released !== undefined) return this.#released
    const released = this.#released = Deferred.makeUnsafe<boolean>()
    // A release after the end of the lease must not hide the loss.
    this.checkLease()
    if (this.#state === "detached" || this.#state === "abandoned") {
      Deferred.doneUnsafe(released, Effect.succeed(false))
      return released
    }
    const { quorum, waitQueues } = this.#context
    const heir = this.#isHeld ? waitQueues.heir(this) : undefined
    if (heir !== undefined && this.#passOnTo(heir, released)) return released
    const wasHeld = this.#isHeld
    const handOver = wasHeld ? waitQueues.releasing(this) : undefined
    // Before anything is sent: the successor may have the lock before we know.
    if (wasHeld) this.#recordEnd("released")
    else this.#state = "released"
    this.#listeners.clear()
    const release = new ReleaseRequest(this.#context, this.#claim, { handOver })
    quorum.send(release, (tally) => {
      if (wasHeld && denied(tally)) waitQueues.alert(this.key)
      waitQueues.lockEnded(this, release.woke)
      Deferred.doneUnsafe(released, Effect.succeed(granted(tally)))
    })
    return released
  }

  /** Passes the lock on to the next waiter in this service; `false` if it must be released instead. */
  #passOnTo(heir: Heir, released: Deferred.Deferred<boolean>): boolean {
    const { clock, waitQueues } = this.#context
    const isReplaced = (answer: boolean) => Deferred.doneUnsafe(released, Effect.succeed(answer))
    const start = instantNow(clock)
    if (this.#isAsGoodFor(heir)) {
      // This hold ends before the next begins, and none of its requests are in flight.
      this.#recordEnd("passed on")
      this.#listeners.clear()
      this.#passedTo = heir
      heir.give(new HeldLock(this.#context, this.#claim.passedOnTo(heir), start, this.#leaseEnd, this))
      isReplaced(true)
      return true
    }
    if (!canReplace(this.#context, this.#claim, heir)) return false
    waitQueues.releasing(this)
    this.#recordEnd("released")
    this.#listeners.clear()
    const to = heir.newClaim()
    replaceClaim(this.#context, {
      from: this.#claim,
      to,
      onReplaced: isReplaced,
      onGranted: () => heir.give(new HeldLock(this.#context, to, start, undefined, this)),
      onGivenUp: (woke) => waitQueues.lockEnded(this, woke)
    })
    return true
  }

  /**
   * Whether the next holder may have the rest of the lease under the same value, so that the nodes
   * need not be asked: nobody can tell one hold from the other, and no renewal is in flight that
   * would clean up.
   */
  #isAsGoodFor({ settings }: Heir): boolean {
    const { autoExtend, driftFactor, expiryMillis, isFenced } = this.settings
    return this.#knownValue === undefined && this.#state === "resting" && this.#openRenewals === 0 &&
      autoExtend && settings.autoExtend && !isFenced && !settings.isFenced &&
      settings.expiryMillis === expiryMillis && settings.driftFactor === driftFactor &&
      this.remainingMillis() > expiryMillis / 2
  }

  /** The shared lock that replaces this exclusive one; `undefined` if this is not an exclusive lock. */
  get [downgrade](): Effect.Effect<Lock, LockLost | NodesUnavailable, Scope.Scope> | undefined {
    return this.mode === "exclusive" ? this.#context.downgrade?.(this) : undefined
  }

  endExclusive(): LockLost | undefined {
    const lost = this.#notHeld()
    if (lost !== undefined) return lost
    this.#context.waitQueues.releasing(this)
    this.#recordEnd("released")
    this.#listeners.clear()
    this.#released = Deferred.makeUnsafe<boolean>()
    return undefined
  }

  exclusiveEnded(isGranted: boolean): void {
    this.#context.waitQueues.lockEnded(this, false)
    Deferred.doneUnsafe(this.#released!, Effect.succeed(isGranted))
  }

  /** Called when the renewal is due, or the lease has ended. */
  onRenewalDue(): void {
    if (this.checkLease() !== undefined || !this.#isHeld) return
    const { nodeTimeoutMillis } = this.settings
    const autoExtend = this.settings.autoExtend || !this.#isLeaseFull
    const remaining = this.remainingMillis()
    const isRenewing = this.#state === "renewing" || this.#leaving !== undefined
    // A renewal is decided within twice the node timeout, so the end of the lease needs a timer only if it is nearer.
    if (!autoExtend || isRenewing || remaining <= 2 * nodeTimeoutMillis) {
      this.#context.leaseTimers.schedule(this.#leaseTimer, remaining)
    }
    if (autoExtend && !isRenewing) this.#renew(constVoid)
  }

  /** Ends the hold, because a closing service no longer watches its lease. */
  closeWithService(): void {
    this.markLost("Released", [])
    this.beginRelease()
  }

  get #permitCount(): number {
    return this.permits?.slots.length ?? 0
  }

  get #metrics(): LockMetrics {
    const { metrics } = this.#context.quorum
    return this.mode === "exclusive" ? metrics : metrics[this.mode]
  }

  get #isHeld(): boolean {
    return this.#state === "resting" || this.#state === "renewing" || this.#state === "backing off"
  }

  /**
   * Whether the lease began before this hold, because the lock was handed over or passed on, and
   * has not been extended since.
   */
  get #isLeaseShort(): boolean {
    return this.#leaseEnd.monotonic - this.#grantedAt < this.settings.validityMillis - 1
  }

  /** The reason why the lock can no longer be extended, if any. */
  #notHeld(): LockLost | undefined {
    return this.checkLease() ??
      (this.#isHeld && this.#leaving === undefined ? undefined : this.#lossError("Released", []))
  }

  #recordEnd(state: HoldState) {
    const { clock, leaseTimers } = this.#context
    this.#state = state
    // If the lock was passed on, the next hold takes the timer over.
    if (state !== "passed on") leaseTimers.cancel(this.#leaseTimer)
    this.#metrics.holdEnded(monotonicMillis(clock) - this.#grantedAt, this.#permitCount)
  }

  /** Sends a renewal, and calls `onDecided` once the votes decide it. */
  #renew(onDecided: (tally: Tally<boolean>) => void): void {
    const start = instantNow(this.#context.clock)
    this.#state = "renewing"
    this.#openRenewals++
    const onSettled = (tally: Tally<boolean>) => this.#onRenewalSettled(tally)
    const { nodes, quorum } = this.#context
    const renewal = this.permits === undefined
      ? new RenewalRequest(this.#claim, onSettled)
      : new PermitRenewalRequest(this.#claim, this.permits, nodes, onSettled)
    quorum.send(renewal, (tally) => {
      this.#onRenewalAnswered(start, tally)
      onDecided(tally)
    })
  }

  /** Has nodes that granted other permits store the held ones, as far as those are free there. */
  topUp(permits: PermitAllocation, nodes: ReadonlyArray<LockNode>): void {
    if (nodes.length === 0 || this.#notHeld() !== undefined) return
    this.#openRenewals++
    const onSettled = (tally: Tally<boolean>) => this.#onRenewalSettled(tally)
    this.#context.quorum.send(new PermitRenewalRequest(this.#claim, permits, nodes, onSettled), constVoid)
  }

  /** Applies the result of a renewal that was sent at `start` to the lease. */
  #onRenewalAnswered(start: Instant, tally: Tally<boolean>): void {
    this.#metrics.renewalEnded(granted(tally) ? "extended" : denied(tally) ? "taken" : "missed")
    if (!this.#isHeld) return
    if (denied(tally)) return this.markLost("Taken", toVotes(tally))
    if (this.checkLease() !== undefined) return
    const { leaseTimers } = this.#context
    if (granted(tally)) {
      const until = leaseEndFrom(start, this.settings.validityMillis)
      // Of two concurrent renewals, the later one may have been answered first.
      if (until.monotonic > this.#leaseEnd.monotonic) this.#leaseEnd = until
      this.#wasExtended = true
      this.#isLeaseFull = true
      this.#lastMissedRenewal = undefined
      this.#renewalBackoffMillis = initialRenewalBackoffMillis
      this.#state = "resting"
      leaseTimers.schedule(this.#leaseTimer, this.settings.expiryMillis / 3)
    } else {
      this.#lastMissedRenewal = tally
      this.#state = "backing off"
      leaseTimers.schedule(this.#leaseTimer, Math.min(this.#renewalBackoffMillis, this.remainingMillis()))
      this.#renewalBackoffMillis = Math.min(this.#renewalBackoffMillis * 2, this.settings.nodeTimeoutMillis)
    }
  }

  /** Called when every node has answered the renewal or timed out. */
  #onRenewalSettled(tally: Tally<boolean>) {
    this.#openRenewals--
    const { cleanUps, quorum } = this.#context
    const { untouched } = this.#claim
    const notConfirmed = tally.nodes.filter((node, index) => {
      const answer = tally.byNode[index]!
      if (Result.isFailure(answer) && isUnsent(answer.failure)) return false
      untouched?.delete(node)
      return Result.isFailure(answer) || !answer.success
    })
    if (this.#state === "lost" || this.#state === "released") {
      // The renewal may have restored the key after the release, if a node executes commands out of order.
      cleanUps.over(this.#claim, notConfirmed)
    } else if (tally.refusals > 0 && this.settings.isFenced && this.#isHeld) {
      quorum.send(raiseCounterRequest(this.#claim), constVoid)
    }
    if (this.#openRenewals === 0) { for (const settled of this.#leaving ?? []) settled() }
  }

  /** Ends the hold without a release, once no renewal is in progress. Does nothing unless the lock is held. */
  #leave(state: "detached" | "abandoned"): Effect.Effect<void> {
    return Effect.callback((resume) => {
      this.checkLease()
      if (!this.#isHeld) return resume(Effect.void)
      const settled = () => {
        this.#leaving = undefined
        this.checkLease()
        if (this.#isHeld) {
          this.#recordEnd(state)
          this.#listeners.clear()
          this.#context.waitQueues.lockLeft(this, this.settings.expiryMillis)
        }
        resume(Effect.void)
      }
      // A lock that is left must last for the requested expiry, counted from the beginning of this hold.
      if (this.#isLeaseShort && this.#state === "resting" && this.#leaving === undefined) this.#renew(constVoid)
      if (this.#openRenewals === 0) return settled()
      const leaving = this.#leaving ??= new Set()
      leaving.add(settled)
      return Effect.sync(() => {
        leaving.delete(settled)
        if (leaving.size > 0 || this.#leaving !== leaving) return
        this.#leaving = undefined
        if (this.#isHeld) this.#context.leaseTimers.schedule(this.#leaseTimer, 0)
      })
    })
  }

  /** Ends the hold, because its lease has ended. */
  #expire(): void {
    const missed = this.#lastMissedRenewal
    const { clock, leaseTimers } = this.#context
    const expired = sinceMillis(clock, this.#leaseEnd)
    const stalled = leaseTimers.stalledMillis(this.#leaseTimer, this.#leaseEnd)
    this.#lose(
      new LockLost({
        ...lockOf(this),
        reason: missed && unavailable(missed) ? "NodesUnavailable" : "Expired",
        votes: missed ? toVotes(missed) : [],
        expiredFor: Duration.millis(expired),
        ...(this.#wasExtended && { lastExtended: Duration.millis(expired + this.settings.validityMillis) }),
        ...(stalled > 0 && { stalledFor: Duration.millis(stalled) })
      })
    )
  }

  #lossError(reason: LockLost["reason"], votes: ReadonlyArray<Vote>) {
    return new LockLost({ ...lockOf(this), reason, votes })
  }
}
