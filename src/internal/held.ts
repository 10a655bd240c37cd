/**
 * A held lock from the inside: its lease, its end, its release.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type { Lock } from "../Lock.ts"
import { LockLost, type NodesUnavailable, type Vote } from "../LockError.ts"
import { end, type Instant, now, remainingMillis } from "./lease.ts"
import type { Settings } from "./options.ts"
import {
  type Claim,
  denied,
  extendQuestion,
  failedNodes,
  granted,
  nodesUnavailable,
  type Question,
  releaseQuestion,
  votes
} from "./quorum.ts"
import type { Service } from "./service.ts"

export class HeldLock implements Lock {
  readonly name: string
  readonly value: string
  readonly settings: Settings
  readonly #service: Service
  #end: Instant
  #lost: LockLost | undefined
  #released: Deferred.Deferred<boolean> | undefined
  readonly #listeners = new Set<(lost: LockLost) => void>()

  /** `start` is when the granting attempt, or the confirming extension, was sent. */
  constructor(service: Service, claim: Claim, start: Instant) {
    this.name = claim.name
    this.value = claim.value
    this.settings = claim.settings
    this.#service = service
    this.#end = end(start, claim.settings.validityMillis)
    service.holdings.add(this)
  }

  get remaining(): Effect.Effect<Duration.Duration> {
    return Effect.sync(() => Duration.millis(this.remainingMillis()))
  }

  get extend(): Effect.Effect<void, LockLost | NodesUnavailable> {
    return Effect.suspend(() => {
      if (this.#released !== undefined) return Effect.fail(this.#loss("Expired", []))
      const lost = this.check()
      return lost === undefined ? this.#extend() : Effect.fail(lost)
    })
  }

  get isHeld(): Effect.Effect<boolean, NodesUnavailable> {
    const question: Question<boolean> = {
      operation: "inspect",
      timeoutMillis: this.settings.nodeTimeoutMillis,
      ask: (node) => Effect.map(node.inspect(this.name), Option.exists(({ value }) => value === this.value)),
      isYes: identity
    }
    return Effect.flatMap(
      this.#service.quorum.ask(question),
      (answers) =>
        granted(answers) || denied(answers)
          ? Effect.succeed(granted(answers))
          : Effect.fail(nodesUnavailable(this.name, answers))
    )
  }

  get release(): Effect.Effect<boolean> {
    return Effect.suspend(() => Deferred.await(this.startRelease()))
  }

  /** The release as a finalizer: waits for it, unless the lock is lost anyway. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const lost = this.check()
      const released = this.startRelease()
      return lost === undefined ? Effect.asVoid(Deferred.await(released)) : Effect.void
    })
  }

  get lost(): Effect.Effect<never, LockLost> {
    return Effect.callback((resume) => {
      const lost = this.check()
      if (lost !== undefined) {
        resume(Effect.fail(lost))
        return
      }
      const listener = (lost: LockLost) => resume(Effect.fail(lost))
      this.#listeners.add(listener)
      return Effect.sync(() => this.#listeners.delete(listener))
    })
  }

  /** Milliseconds to the end of the lease, zero once lost or released. */
  remainingMillis(): number {
    return this.#lost === undefined && this.#released === undefined
      ? remainingMillis(this.#service.clock, this.#end)
      : 0
  }

  /** The loss, if the lock is lost by now. */
  check(): LockLost | undefined {
    if (this.#lost === undefined && this.#released === undefined && this.remainingMillis() === 0) {
      this.lose("Expired", [])
    }
    return this.#lost
  }

  /** Ends the hold: whoever waits for `lost` hears of it. Nothing happens to a lock that is released or lost. */
  lose(reason: LockLost["reason"], votes: ReadonlyArray<Vote>): void {
    if (this.#lost !== undefined || this.#released !== undefined) return
    this.#lost = this.#loss(reason, votes)
    this.#service.holdings.delete(this)
    for (const listener of this.#listeners) listener(this.#lost)
    this.#listeners.clear()
  }

  /** Sends the release, once, and goes on in the background until every node has done it. */
  startRelease(): Deferred.Deferred<boolean> {
    if (this.#released !== undefined) return this.#released
    const released = this.#released = Deferred.makeUnsafe<boolean>()
    this.#service.holdings.delete(this)
    this.#listeners.clear()
    this.#service.quorum.start(
      {
        ...releaseQuestion(this),
        onSettled: (answers) => this.#service.cleanUpLater(this, failedNodes(answers))
      },
      (answers) => Deferred.doneUnsafe(released, Effect.succeed(granted(answers)))
    )
    return released
  }

  #extend(): Effect.Effect<void, LockLost | NodesUnavailable> {
    const start = now(this.#service.clock)
    const asked = this.#service.quorum.ask(extendQuestion(this))
    return Effect.flatMap(asked, (answers): Effect.Effect<void, LockLost | NodesUnavailable> => {
      if (this.#released !== undefined) return Effect.fail(this.#loss("Expired", []))
      if (denied(answers)) {
        this.lose("Taken", votes(answers))
        this.#service.cleanUp(this, this.#service.nodes)
      }
      const lost = this.check()
      if (lost !== undefined) return Effect.fail(lost)
      if (!granted(answers)) return Effect.fail(nodesUnavailable(this.name, answers))
      this.#end = end(start, this.settings.validityMillis)
      this.#service.holdings.add(this)
      return Effect.void
    })
  }

  #loss(reason: LockLost["reason"], votes: ReadonlyArray<Vote>) {
    return new LockLost({ name: this.name, reason, votes })
  }
}
