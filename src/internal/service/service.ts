/**
 * What a `Redsync` service is made of, and the clean-up that all of its locks
 * share.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import { WebCrypto } from "effect/crypto/WebCrypto"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constFalse } from "effect/Function"
import * as Latch from "effect/Latch"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import type { webcrypto } from "node:crypto"
import type { LockNode } from "../../LockNode.ts"
import type { LockOptions } from "../../LockOptions.ts"
import { given } from "../base/arguments.ts"
import { monotonicMillis } from "../base/clock.ts"
import { OwnClaim } from "../claim/claim.ts"
import { CleanUps } from "../claim/cleanUps.ts"
import { lockOptions, type LockSettings, resolveSettings } from "../claim/settings.ts"
import { TokenAllocation } from "../claim/tokenAllocation.ts"
import { LeaseTimers } from "../lease/leaseTimers.ts"
import type { Tally } from "../quorum/ballot.ts"
import { Quorum } from "../quorum/quorum.ts"
import { Rooms } from "../waiting/waitQueues.ts"

/** How many random bytes a value has of its own, behind those that all values of a service share. */
const randomBytes = 12

const serviceIdBytes = 9

const connectTimeout = Duration.seconds(2)

/** Whether the node has answered when it was tried for the first time. */
const isReady = ({ ready = Effect.succeed(true) }: LockNode): Effect.Effect<boolean> =>
  Effect.matchCause(ready, { onFailure: constFalse, onSuccess: Boolean })

export class LockService {
  readonly nodes: ReadonlyArray<LockNode>
  readonly clock: Clock.Clock
  readonly quorum: Quorum
  readonly cleanUps: CleanUps
  readonly leaseTimers: LeaseTimers
  readonly rooms: Rooms<Tally<boolean>>
  /** Whether what is said at debug level is heard. */
  readonly logsDebug: boolean
  readonly #crypto: Pick<webcrypto.Crypto, "getRandomValues">
  /** What stands before every name to make a key. */
  readonly prefix: string
  /** The beginning of every value of this service: whoever sees a value knows whose it is. */
  readonly id: string
  readonly #random = Buffer.alloc(256 * randomBytes)
  #unused = this.#random.length
  readonly #options: LockOptions
  readonly #defaults: LockSettings

  constructor(
    nodes: ReadonlyArray<LockNode>,
    quorum: number,
    prefix: string,
    options: LockOptions,
    defaults: LockSettings,
    context: Context.Context<never>
  ) {
    this.nodes = nodes
    this.prefix = prefix
    this.#options = options
    this.#defaults = defaults
    this.clock = Context.get(context, Clock.Clock)
    this.#crypto = Context.get(context, WebCrypto)
    this.id = Buffer.from(this.#crypto.getRandomValues(new Uint8Array(serviceIdBytes))).toString("base64")
    this.quorum = new Quorum(nodes, quorum, context)
    this.cleanUps = new CleanUps(this.quorum)
    this.leaseTimers = new LeaseTimers(this.clock, this.quorum.timers)
    this.rooms = new Rooms<Tally<boolean>>(this.quorum)
    this.logsDebug = !LogLevel.isGreaterThan(Context.get(context, References.MinimumLogLevel), "Debug")
  }

  /** The settings of one lock, or what is wrong with its options. */
  settings(options: unknown): LockSettings | string {
    if (options === undefined) return this.#defaults
    const read = given(options, lockOptions)
    return typeof read === "string" ? read : resolveSettings({ ...this.#options, ...read }, this.#defaults.retry)
  }

  /** What a lock of this name is called on the nodes. */
  key(name: string): string {
    return this.prefix + name
  }

  /** A claim of our own, which nobody has heard of yet. */
  claim(name: string, settings: LockSettings): OwnClaim {
    const allocation = settings.isFenced ? new TokenAllocation(this.clock) : undefined
    return new OwnClaim(name, this.key(name), this.#value(), settings, allocation, monotonicMillis(this.clock))
  }

  /** The service's id and 12 fresh random bytes in base64. The bytes are drawn for many at once, and used once. */
  #value(): string {
    if (this.#unused === this.#random.length) {
      this.#crypto.getRandomValues(this.#random)
      this.#unused = 0
    }
    return this.id + this.#random.toString("base64", this.#unused, this.#unused += randomBytes)
  }

  /** Waits until a quorum of the nodes is ready or each has been tried, but never for long. */
  readonly ready: Effect.Effect<void> = Effect.suspend(() => {
    const enough = Latch.makeUnsafe()
    let ready = 0
    const count = (answered: boolean) =>
      Effect.sync(() => answered && ++ready === this.quorum.size && enough.openUnsafe())
    return Effect.forEach(this.nodes, (node) => Effect.flatMap(isReady(node), count), {
      concurrency: "unbounded",
      discard: true
    }).pipe(Effect.raceFirst(enough.await), Effect.timeoutOption(connectTimeout), Effect.asVoid)
  })

  /** Ends every hold, waits for pending clean-ups, and leaves nothing running. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.rooms.close()
    this.leaseTimers.close()
    this.cleanUps.close()
    return this.quorum.close
  })
}
