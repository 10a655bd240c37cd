/**
 * A held lock from the inside: its lease, its end, its release.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { FencingToken } from "../Fencing.ts"
import type { Lock } from "../Lock.ts"
import { LockLost, type NodeError, type NodesUnavailable, type Vote } from "../LockError.ts"
import type { LockNode } from "../LockNode.ts"
import type { Fence } from "./fence.ts"
import { Holding } from "./holdings.ts"
import { end, type Instant, monotonicMillis, now, remainingMillis } from "./lease.ts"
import type { Settings } from "./options.ts"
import { type Claim, extendQuestion, isHeldQuestion, type Question, raiseQuestion } from "./questions.ts"
import { type Answers, denied, failedNodes, granted, nodesUnavailable, unavailable, votes } from "./quorum.ts"
import type { Service } from "./service.ts"

/** How long after a round that missed the quorum the next one starts; doubled from round to round, to the node timeout. */
const firstPauseMillis = 50

/** The question that ends a hold. It wakes who is next, too. */
class Release implements Question<boolean> {
  readonly operation = "release"
  readonly timeoutMillis: number
  readonly nodes: ReadonlyArray<LockNode>
  /** Whether that woke another service. */
  woke = false
  readonly #service: Service
  readonly #lock: HeldLock

  constructor(service: Service, lock: HeldLock) {
    this.timeoutMillis = lock.settings.nodeTimeoutMillis
    this.nodes = service.rooms.wakingFirst(lock.name)
    this.#service = service
    this.#lock = lock
  }

  ask(node: LockNode): Effect.Effect<boolean, NodeError> {
    return this.#service.rooms.release(node, this.#lock, this)
  }

  isYes(answer: boolean): boolean {
    return answer
  }

  onSettled(answers: Answers<boolean>): void {
    if (answers.failed > 0) this.#service.cleanUpLater(this.#lock, failedNodes(answers))
  }
}

/** One lock or several, held as one: the loss of any is the loss of all. */
export interface Hold {
  readonly names: string | ReadonlyArray<string>
  readonly settings: Settings
  readonly token: FencingToken | undefined
  /** The loss, if it is lost by now. */
  check(): LockLost | undefined
  /** Whether this very look finds it lost. It costs a look at one clock; the other is looked at every second. */
  isLostNow(): boolean
  /** Calls the listener if it is lost; returns how to forget the listener. */
  onLost(listener: (lost: LockLost) => void): () => void
  /** Sends the release, once, and goes on in the background until every node has done it. */
  startRelease(): void
  readonly release: Effect.Effect<unknown>
}

export class HeldLocks implements Hold {
  readonly locks: ReadonlyArray<HeldLock>
  readonly token = undefined

  constructor(locks: ReadonlyArray<HeldLock>) {
    this.locks = locks
  }

  get names(): ReadonlyArray<string> {
    return this.locks.map(({ name }) => name)
  }

  get settings(): Settings {
    return this.locks[0]!.settings
  }

  check(): LockLost | undefined {
    for (const lock of this.locks) {
      const lost = lock.check()
      if (lost !== undefined) return lost
    }
    return undefined
  }

  isLostNow(): boolean {
    return this.locks.some((lock) => lock.isLostNow())
  }

  onLost(listener: (lost: LockLost) => void): () => void {
    const listeners = this.locks.map((lock) => lock.onLost(listener))
    return () => listeners.forEach((forget) => forget())
  }

  startRelease(): void {
    for (const lock of this.locks) lock.startRelease()
  }

  get release(): Effect.Effect<unknown> {
    return Effect.forEach(this.locks, ({ release }) => release, { discard: true })
  }
}

export class HeldLock implements Lock, Claim, Hold {
  readonly name: string
  readonly value: string
  readonly settings: Settings
  readonly fence: Fence | undefined
  readonly #service: Service
  readonly #holding = new Holding(this)
  readonly #grantedAt: number
  #end: Instant
  #lost: LockLost | undefined
  #released: Deferred.Deferred<boolean> | undefined
  /** Whether a round of extension is under way. */
  #extending = false
  /** The last round, if it missed the quorum. */
  #missed: Answers<boolean> | undefined
  #pauseMillis = firstPauseMillis
  readonly #listeners = new Set<(lost: LockLost) => void>()

  /** `start` is when the granting attempt, or the confirming extension, was sent. */
  constructor(service: Service, claim: Claim, start: Instant) {
    this.name = claim.name
    this.value = claim.value
    this.settings = claim.settings
    this.fence = claim.fence
    this.#service = service
    this.#end = end(start, claim.settings.validityMillis)
    this.#grantedAt = start.monotonic
    service.quorum.metrics.held()
    service.holdings.set(this.#holding, claim.settings.expiryMillis / 3)
    service.rooms.hold(this)
  }

  get token(): FencingToken | undefined {
    return this.fence?.token
  }

  get names(): string {
    return this.name
  }

  /** Whether it is still held, in this very service. */
  isHeldIn(service: Service): boolean {
    return this.#service === service && this.remainingMillis() > 0
  }

  get remaining(): Effect.Effect<Duration.Duration> {
    return Effect.sync(() => Duration.millis(this.remainingMillis()))
  }

  get extend(): Effect.Effect<void, LockLost | NodesUnavailable> {
    return Effect.suspend(() => {
      const lost = this.check() ?? (this.#released && this.#loss("Expired", []))
      return lost === undefined ? this.#extend() : Effect.fail(lost)
    })
  }

  get isHeld(): Effect.Effect<boolean, NodesUnavailable> {
    return Effect.flatMap(
      this.#service.quorum.ask(isHeldQuestion(this)),
      (answers) =>
        granted(answers) || denied(answers)
          ? Effect.succeed(granted(answers))
          : Effect.fail(nodesUnavailable(this.name, answers))
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
      const isInVain = this.check() !== undefined || this.#service.quorum.isCutOff
      const released = this.startRelease()
      return isInVain ? Effect.void : Effect.asVoid(Deferred.await(released))
    })
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
    return this.#lost === undefined && this.#released === undefined &&
      monotonicMillis(this.#service.clock) >= this.#end.monotonic && this.check() !== undefined
  }

  /** Milliseconds to the end of the lease, zero once lost or released. */
  remainingMillis(): number {
    return this.#lost === undefined && this.#released === undefined
      ? remainingMillis(this.#service.clock, this.#end)
      : 0
  }

  check(): LockLost | undefined {
    if (this.#lost === undefined && this.#released === undefined && this.remainingMillis() === 0) {
      const missed = this.#missed
      this.lose(missed && unavailable(missed) ? "NodesUnavailable" : "Expired", missed ? votes(missed) : [])
    }
    return this.#lost
  }

  /** Ends the hold: whoever waits for `lost` hears of it. Nothing happens to a lock that is released or lost. */
  lose(reason: LockLost["reason"], votes: ReadonlyArray<Vote>): void {
    if (this.#lost !== undefined || this.#released !== undefined) return
    this.#lost = this.#loss(reason, votes)
    const { quorum } = this.#service
    quorum.metrics.lost(reason)
    quorum.log("Warn", this.#lost.message, { "redsync.name": this.name, "redsync.reason": reason })
    this.#ended()
    this.#service.holdings.delete(this.#holding)
    for (const listener of this.#listeners) listener(this.#lost)
    this.#listeners.clear()
    this.#service.rooms.ended(this, false)
  }

  startRelease(): Deferred.Deferred<boolean> {
    if (this.#released !== undefined) return this.#released
    // A release that comes too late must not hide the loss.
    this.check()
    if (this.#lost === undefined) this.#ended()
    const released = this.#released = Deferred.makeUnsafe<boolean>()
    this.#service.holdings.delete(this.#holding)
    this.#listeners.clear()
    const release = new Release(this.#service, this)
    this.#service.quorum.start(release, (answers) => {
      this.#service.rooms.ended(this, release.woke)
      Deferred.doneUnsafe(released, Effect.succeed(granted(answers)))
    })
    return released
  }

  #ended() {
    const { clock, quorum } = this.#service
    quorum.metrics.ended(monotonicMillis(clock) - this.#grantedAt)
  }

  /** Called when it is time to extend, or the lease has ended. */
  due(): void {
    if (this.check() !== undefined || this.#released !== undefined) return
    const { autoExtend, nodeTimeoutMillis } = this.settings
    const remaining = this.remainingMillis()
    // A round is decided within twice the node timeout, so the end of the lease has to be watched only if it is nearer.
    if (!autoExtend || this.#extending || remaining <= 2 * nodeTimeoutMillis) {
      this.#service.holdings.set(this.#holding, remaining)
    }
    if (!autoExtend || this.#extending) return
    this.#extending = true
    const start = now(this.#service.clock)
    this.#service.quorum.start(this.#extendQuestion(), (answers) => {
      this.#extending = false
      this.#extended(start, answers)
    })
  }

  /** What a round of extension, sent at `start`, means for the lease. */
  #extended(start: Instant, answers: Answers<boolean>): void {
    const { metrics } = this.#service.quorum
    metrics.extended(granted(answers) ? "extended" : denied(answers) ? "taken" : "missed")
    if (this.#released !== undefined || this.#lost !== undefined) return
    if (denied(answers)) {
      // Where the key was missing the round has set it again. Deleted before anybody hears of the loss and releases.
      this.#service.cleanUp(this, this.#service.nodes)
      return this.lose("Taken", votes(answers))
    }
    if (this.check() !== undefined) return
    const { holdings } = this.#service
    if (granted(answers)) {
      this.#end = end(start, this.settings.validityMillis)
      this.#missed = undefined
      this.#pauseMillis = firstPauseMillis
      holdings.set(this.#holding, this.settings.expiryMillis / 3)
    } else {
      this.#missed = answers
      holdings.set(this.#holding, Math.min(this.#pauseMillis, this.remainingMillis()))
      this.#pauseMillis = Math.min(this.#pauseMillis * 2, this.settings.nodeTimeoutMillis)
    }
  }

  /** A node that got its key back gets its fencing counter back too. */
  #extendQuestion(): Question<boolean> {
    const question = extendQuestion(this)
    return this.fence === undefined ? question : {
      ...question,
      onSettled: (answers) => {
        if (answers.no > 0) this.#service.quorum.start(raiseQuestion(this), () => {})
      }
    }
  }

  #extend(): Effect.Effect<void, LockLost | NodesUnavailable> {
    const start = now(this.#service.clock)
    const asked = this.#service.quorum.ask(this.#extendQuestion())
    return Effect.flatMap(asked, (answers): Effect.Effect<void, LockLost | NodesUnavailable> => {
      this.#extended(start, answers)
      const lost = this.#lost ?? (this.#released && this.#loss("Expired", []))
      if (lost !== undefined) return Effect.fail(lost)
      return granted(answers) ? Effect.void : Effect.fail(nodesUnavailable(this.name, answers))
    })
  }

  #loss(reason: LockLost["reason"], votes: ReadonlyArray<Vote>) {
    return new LockLost({ lock: this.name, reason, votes })
  }
}
