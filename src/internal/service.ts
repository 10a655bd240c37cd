/**
 * What a `Redsync` service is made of, and the clean-up that all of its locks
 * share.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import { WebCrypto } from "effect/crypto/WebCrypto"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import type { webcrypto } from "node:crypto"
import type { LockNode } from "../LockNode.ts"
import type { LockOptions } from "../Redsync.ts"
import { Holdings } from "./holdings.ts"
import { monotonicMillis } from "./lease.ts"
import { given, lockOptions, resolve, type Settings } from "./options.ts"
import { type Claim, releaseQuestion } from "./questions.ts"
import { failedNodes, Quorum } from "./quorum.ts"
import { Rooms } from "./rooms.ts"

const firstCleanUpPauseMillis = 100
const connectPatience = Duration.seconds(2)

export class Service {
  readonly nodes: ReadonlyArray<LockNode>
  readonly clock: Clock.Clock
  readonly quorum: Quorum
  readonly holdings: Holdings
  readonly rooms: Rooms
  /** Whether what is said at debug level is heard. */
  readonly logsDebug: boolean
  readonly #crypto: Pick<webcrypto.Crypto, "getRandomValues">
  readonly #random = Buffer.alloc(256 * 16)
  #unused = this.#random.length
  readonly #options: LockOptions
  readonly #defaults: Settings

  constructor(
    nodes: ReadonlyArray<LockNode>,
    quorum: number,
    options: LockOptions,
    defaults: Settings,
    context: Context.Context<never>
  ) {
    this.nodes = nodes
    this.#options = options
    this.#defaults = defaults
    this.clock = Context.get(context, Clock.Clock)
    this.#crypto = Context.get(context, WebCrypto)
    this.quorum = new Quorum(nodes, quorum, context)
    this.holdings = new Holdings(this.clock, this.quorum.timers)
    this.rooms = new Rooms(this.quorum)
    this.logsDebug = !LogLevel.isGreaterThan(Context.get(context, References.MinimumLogLevel), "Debug")
  }

  /** The settings of one lock, or what is wrong with its options. */
  settings(options: unknown): Settings | string {
    if (options === undefined) return this.#defaults
    const read = given(options, lockOptions)
    return typeof read === "string" ? read : resolve({ ...this.#options, ...read }, this.#defaults.retry)
  }

  /** A fresh random value: 16 bytes in base64. The bytes are drawn for many at once, and used once. */
  randomValue(): string {
    if (this.#unused === this.#random.length) {
      this.#crypto.getRandomValues(this.#random)
      this.#unused = 0
    }
    return this.#random.toString("base64", this.#unused, this.#unused += 16)
  }

  /**
   * Deletes a claim's value on these nodes, in the background. Those that fail
   * are asked again, ever more rarely, until the key has expired by itself.
   */
  cleanUp(claim: Claim, nodes: ReadonlyArray<LockNode>): void {
    if (nodes.length === 0) return
    this.quorum.start(
      { ...releaseQuestion(claim), nodes, onSettled: (answers) => this.cleanUpLater(claim, failedNodes(answers)) },
      () => {}
    )
  }

  /** The same for nodes that have just failed. */
  cleanUpLater(claim: Claim, nodes: ReadonlyArray<LockNode>): void {
    if (nodes.length === 0) return
    const goneAt = monotonicMillis(this.clock) + claim.settings.expiryMillis
    const tryAgain = (nodes: ReadonlyArray<LockNode>, pauseMillis: number): Effect.Effect<void> =>
      Effect.flatMap(this.quorum.pause(pauseMillis), (open) => {
        if (!open || monotonicMillis(this.clock) > goneAt) return Effect.void
        return Effect.flatMap(this.quorum.ask({ ...releaseQuestion(claim), nodes, all: true }), (answers) => {
          const failed = failedNodes(answers)
          return failed.length === 0 ? Effect.void : tryAgain(failed, pauseMillis * 2)
        })
      })
    this.quorum.background(tryAgain(nodes, firstCleanUpPauseMillis))
  }

  /** Waits until a quorum of the nodes is ready or each has been tried, but never for long. */
  readonly ready: Effect.Effect<void> = Effect.suspend(() => {
    const enough = Latch.makeUnsafe()
    let ready = 0
    const count = (answered: boolean) =>
      Effect.sync(() => answered && ++ready === this.quorum.size && enough.openUnsafe())
    return Effect.forEach(this.nodes, (node) => Effect.flatMap(node.ready ?? Effect.succeed(true), count), {
      concurrency: "unbounded",
      discard: true
    }).pipe(Effect.raceFirst(enough.await), Effect.timeoutOption(connectPatience), Effect.asVoid)
  })

  /** Ends every hold, waits for pending clean-ups, and leaves nothing running. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.rooms.close()
    this.holdings.close()
    return this.quorum.close
  })
}
