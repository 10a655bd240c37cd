/**
 * A held lock from the inside: its lease, its end, its release.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import type { FencingToken } from "../../Fencing.ts"
import type { Lock } from "../../Lock.ts"
import { LockLost, type NodeError, type NodesUnavailable, type Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { type Instant, monotonicMillis, now } from "../base/clock.ts"
import { type Claim, isHeldQuestion, type OwnClaim, raiseQuestion } from "../claim/claim.ts"
import type { Settings } from "../claim/settings.ts"
import type { Fence } from "../claim/tokenAllocation.ts"
import { Guardable } from "../lease/guard.ts"
import { end, remainingMillis } from "../lease/lease.ts"
import { Holding, type Leased } from "../lease/leaseTimers.ts"
import {
  type Answers,
  denied,
  granted,
  isTrue,
  lockOf,
  nodesUnavailable,
  type Question,
  unavailable,
  votes
} from "../quorum/ballot.ts"
import { isUnsent } from "../quorum/failures.ts"
import type { Hold, HoldContext } from "./hold.ts"
import { Release } from "./release.ts"

/** How long after a round that missed the quorum the next one starts; doubled from round to round, to the node timeout. */
const firstPauseMillis = 50

/** A round of extension. A node that got its key back gets its fencing counter back too. */
class Renewal implements Question<boolean> {
  readonly operation = "extend"
  readonly conclusive = true
  readonly timeoutMillis: number
  readonly #lock: HeldLock
  readonly #onSettled: (answers: Answers<boolean>) => void

  constructor(lock: HeldLock, onSettled: (answers: Answers<boolean>) => void) {
    this.timeoutMillis = lock.settings.nodeTimeoutMillis
    this.#lock = lock
    this.#onSettled = onSettled
  }

  ask(node: LockNode): Effect.Effect<boolean, NodeError> {
    const { key, settings, value } = this.#lock
    return node.extend(key, value, settings.expiryMillis)
  }

  isYes(answer: boolean): boolean {
    return isTrue(answer)
  }

  onSettled(answers: Answers<boolean>): void {
    this.#onSettled(answers)
  }
}

/**
 * Where a hold is in its life. From the first three, which are all that is called
 * held, it goes to one of the others, and then only from "lost" to "released".
 */
type HoldState =
  /** The next renewal has its date. */
  | "resting"
  /** A renewal is under way. */
  | "renewing"
  /** The last renewal missed the quorum. */
  | "backing off"
  | "lost"
  | "released"
  /** Given up without a release, for another to adopt. */
  | "detached"
  /** Kept until its lease ends, and extended no more. */
  | "abandoned"

export class HeldLock extends Guardable implements Lock, Claim, Hold, Leased {
  readonly #service: HoldContext
  readonly #claim: OwnClaim
  readonly #holding = new Holding(this)
  readonly #grantedAt: number
  readonly #listeners = new Set<(lost: LockLost) => void>()
  #state: HoldState = "resting"
  #end: Instant
  #lost: LockLost | undefined
  #released: Deferred.Deferred<boolean> | undefined
  /** How many renewals some node has not answered yet. */
  #unsettledRenewals = 0
  /** Those who wait for that: no renewal begins any more. */
  #leaving: Set<() => void> | undefined
  /** The last renewal, if it missed the quorum. */
  #missed: Answers<boolean> | undefined
  #pauseMillis = firstPauseMillis

  /** `start` is when the granting attempt, or the adoption, was sent. */
  constructor(service: HoldContext, claim: OwnClaim, start: Instant) {
    super()
    this.#service = service
    this.#claim = claim
    this.#end = end(start, claim.settings.validityMillis)
    this.#grantedAt = start.monotonic
    service.quorum.metrics.held()
    service.holdings.set(this.#holding, claim.settings.expiryMillis / 3)
    service.rooms.hold(this)
  }

  get name(): string {
    return this.#claim.name
  }

  get key(): string {
    return this.#claim.key
  }

  get value(): string {
    return this.#claim.value
  }

  get settings(): Settings {
    return this.#claim.settings
  }

  get fence(): Fence | undefined {
    return this.#claim.fence
  }

  get untouched(): ReadonlySet<LockNode> | undefined {
    return this.#claim.untouched
  }

  get madeAt(): number {
    return this.#claim.madeAt
  }

  get token(): FencingToken | undefined {
    return this.fence?.token
  }

  get names(): string {
    return this.name
  }

  /** Whether it is still held, in this very service. */
  isHeldIn(service: object): boolean {
    return this.#service === service && this.#isHeld && this.remainingMillis() > 0
  }

  get remaining(): Effect.Effect<Duration.Duration> {
    return Effect.sync(() => Duration.millis(this.remainingMillis()))
  }

  get extend(): Effect.Effect<void, LockLost | NodesUnavailable> {
    // Looks and sends in one step: nothing may be written behind a release.
    return Effect.callback((resume) => {
      const lost = this.#notHeld()
      if (lost !== undefined) return resume(Effect.fail(lost))
      this.#renew((answers) => {
        const lost = this.#notHeld()
        resume(
          lost !== undefined
            ? Effect.fail(lost)
            : granted(answers)
            ? Effect.void
            : Effect.fail(nodesUnavailable(this, answers))
        )
      })
    })
  }

  get isHeld(): Effect.Effect<boolean, NodesUnavailable> {
    return Effect.flatMap(
      this.#service.quorum.ask(isHeldQuestion(this)),
      (answers) =>
        granted(answers) || denied(answers)
          ? Effect.succeed(granted(answers))
          : Effect.fail(nodesUnavailable(this, answers))
    )
  }

  get release(): Effect.Effect<boolean> {
    return Effect.suspend(() => Deferred.await(this.startRelease()))
  }

  /**
   * The release as a finalizer: waits for it, unless the lock is lost anyway or too few nodes answer. A scope closes one
   * lock after the other, and each would wait for the same nodes.
   */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const isInVain = this.check() !== undefined || this.#service.quorum.health.hasLostQuorum
      const released = this.startRelease()
      return isInVain ? Effect.void : Effect.asVoid(Deferred.await(released))
    })
  }

  get detach(): Effect.Effect<string, LockLost> {
    return Effect.flatMap(this.#leave("detached"), () => {
      const lost = this.#state === "detached" ? undefined : this.#notHeld()
      return lost === undefined ? Effect.succeed(this.value) : Effect.fail(lost)
    })
  }

  get abandon(): Effect.Effect<void> {
    return this.#leave("abandoned")
  }

  get lost(): Effect.Effect<never, LockLost> {
    return Effect.callback((resume) => {
      const lost = this.check()
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

  isLostNow(): boolean {
    return this.#isHeld && monotonicMillis(this.#service.clock) >= this.#end.monotonic && this.check() !== undefined
  }

  /** Milliseconds to the end of the lease, zero once lost, released or detached. */
  remainingMillis(): number {
    return this.#isHeld || this.#state === "abandoned" ? remainingMillis(this.#service.clock, this.#end) : 0
  }

  check(): LockLost | undefined {
    if (this.#isHeld && this.remainingMillis() === 0) {
      const missed = this.#missed
      this.lose(missed && unavailable(missed) ? "NodesUnavailable" : "Expired", missed ? votes(missed) : [])
    }
    return this.#lost
  }

  /** Ends the hold: whoever waits for `lost` hears of it. Nothing happens to a lock that is no longer held. */
  lose(reason: LockLost["reason"], votes: ReadonlyArray<Vote>): void {
    if (!this.#isHeld) return
    const lost = this.#lost = this.#loss(reason, votes)
    this.#recordEnd("lost")
    const { cleanUps, nodes, quorum, rooms } = this.#service
    if (reason !== "Released") {
      // Before anybody hears of it: a renewal may have restored the key where it was missing, or may yet do so.
      cleanUps.over(this, nodes)
      quorum.metrics.lost(reason)
      quorum.log("Warn", lost.message, { "redsync.name": this.name, "redsync.reason": reason })
    }
    for (const listener of this.#listeners) listener(lost)
    this.#listeners.clear()
    rooms.ended(this, false)
  }

  startRelease(): Deferred.Deferred<boolean> {
    if (this.#released !== undefined) return this.#released
    const released = this.#released = Deferred.makeUnsafe<boolean>()
    // A release that comes too late must not hide the loss.
    this.check()
    if (this.#state === "detached" || this.#state === "abandoned") {
      Deferred.doneUnsafe(released, Effect.succeed(false))
      return released
    }
    if (this.#isHeld) this.#recordEnd("released")
    else this.#state = "released"
    this.#listeners.clear()
    const { quorum, rooms } = this.#service
    const release = new Release(this.#service, this)
    quorum.start(release, (answers) => {
      rooms.ended(this, release.woke)
      Deferred.doneUnsafe(released, Effect.succeed(granted(answers)))
    })
    return released
  }

  /** Called when it is time to extend, or the lease has ended. */
  due(): void {
    if (this.check() !== undefined || !this.#isHeld) return
    const { autoExtend, nodeTimeoutMillis } = this.settings
    const remaining = this.remainingMillis()
    const isRenewing = this.#state === "renewing" || this.#leaving !== undefined
    // A renewal is decided within twice the node timeout, so the end of the lease has to be watched only if it is nearer.
    if (!autoExtend || isRenewing || remaining <= 2 * nodeTimeoutMillis) {
      this.#service.holdings.set(this.#holding, remaining)
    }
    if (autoExtend && !isRenewing) this.#renew(constVoid)
  }

  /** Nobody would watch over it any more: the service closes. */
  closeWithService(): void {
    this.lose("Released", [])
    this.startRelease()
  }

  get #isHeld(): boolean {
    return this.#state === "resting" || this.#state === "renewing" || this.#state === "backing off"
  }

  /** Why it can no longer be extended, if it cannot. */
  #notHeld(): LockLost | undefined {
    return this.check() ?? (this.#isHeld && this.#leaving === undefined ? undefined : this.#loss("Released", []))
  }

  #recordEnd(state: HoldState) {
    const { clock, holdings, quorum } = this.#service
    this.#state = state
    holdings.delete(this.#holding)
    quorum.metrics.ended(monotonicMillis(clock) - this.#grantedAt)
  }

  /** Sends a renewal, and calls `decided` once its votes have been counted. */
  #renew(decided: (answers: Answers<boolean>) => void): void {
    const start = now(this.#service.clock)
    this.#state = "renewing"
    this.#unsettledRenewals++
    this.#service.quorum.start(new Renewal(this, (answers) => this.#renewalSettled(answers)), (answers) => {
      this.#renewalAnswered(start, answers)
      decided(answers)
    })
  }

  /** What a renewal, sent at `start`, means for the lease. */
  #renewalAnswered(start: Instant, answers: Answers<boolean>): void {
    this.#service.quorum.metrics.extended(granted(answers) ? "extended" : denied(answers) ? "taken" : "missed")
    if (!this.#isHeld) return
    if (denied(answers)) return this.lose("Taken", votes(answers))
    if (this.check() !== undefined) return
    const { holdings } = this.#service
    if (granted(answers)) {
      const until = end(start, this.settings.validityMillis)
      // Of two that were under way at once the later one may have been answered first.
      if (until.monotonic > this.#end.monotonic) this.#end = until
      this.#missed = undefined
      this.#pauseMillis = firstPauseMillis
      this.#state = "resting"
      holdings.set(this.#holding, this.settings.expiryMillis / 3)
    } else {
      this.#missed = answers
      this.#state = "backing off"
      holdings.set(this.#holding, Math.min(this.#pauseMillis, this.remainingMillis()))
      this.#pauseMillis = Math.min(this.#pauseMillis * 2, this.settings.nodeTimeoutMillis)
    }
  }

  /** Every node has answered a renewal, or has had its time. */
  #renewalSettled(answers: Answers<boolean>) {
    this.#unsettledRenewals--
    const { cleanUps, quorum } = this.#service
    const { untouched } = this.#claim
    const notConfirmed = answers.nodes.filter((node, index) => {
      const answer = answers.byNode[index]!
      if (Result.isFailure(answer) && isUnsent(answer.failure)) return false
      untouched?.delete(node)
      return Result.isFailure(answer) || !answer.success
    })
    if (this.#state === "lost" || this.#state === "released") {
      // It may have restored the key behind the release, where what is sent later may be executed earlier.
      cleanUps.over(this, notConfirmed)
    } else if (answers.no > 0 && this.fence !== undefined && this.#isHeld) {
      quorum.start(raiseQuestion(this), constVoid)
    }
    if (this.#unsettledRenewals === 0) { for (const settled of this.#leaving ?? []) settled() }
  }

  /** Once no renewal is under way, ends the hold without a release. Nothing happens to a lock that is no longer held. */
  #leave(state: "detached" | "abandoned"): Effect.Effect<void> {
    return Effect.callback((resume) => {
      this.check()
      if (!this.#isHeld) return resume(Effect.void)
      const settled = () => {
        this.#leaving = undefined
        this.check()
        if (this.#isHeld) {
          this.#recordEnd(state)
          this.#listeners.clear()
          this.#service.rooms.ended(this, false)
        }
        resume(Effect.void)
      }
      if (this.#unsettledRenewals === 0) return settled()
      const leaving = this.#leaving ??= new Set()
      leaving.add(settled)
      return Effect.sync(() => {
        leaving.delete(settled)
        if (leaving.size > 0 || this.#leaving !== leaving) return
        this.#leaving = undefined
        if (this.#isHeld) this.#service.holdings.set(this.#holding, 0)
      })
    })
  }

  #loss(reason: LockLost["reason"], votes: ReadonlyArray<Vote>) {
    return new LockLost({ ...lockOf(this), reason, votes })
  }
}
