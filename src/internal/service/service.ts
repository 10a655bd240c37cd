/**
 * The parts of a service: the state that all of its locks share.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import { WebCrypto } from "effect/crypto/WebCrypto"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constFalse, constVoid } from "effect/Function"
import * as Latch from "effect/Latch"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import type { Lock } from "../../Lock.ts"
import type { LockLost, NodesUnavailable } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import type { LockOptions } from "../../LockOptions.ts"
import type { AcquireWaiter } from "../acquire/acquireWaiter.ts"
import { downgrade } from "../acquire/downgrade.ts"
import type { PlaceClaim } from "../acquire/placeClaim.ts"
import { dieWithIllegalArgument, given } from "../base/arguments.ts"
import { effectOf } from "../base/callbackEffect.ts"
import { monotonicMillis } from "../base/clock.ts"
import { untrusted } from "../base/text.ts"
import { type Claim, OwnClaim } from "../claim/claim.ts"
import { CleanUps } from "../claim/cleanUps.ts"
import { PermitAllocation, type SlotOrder } from "../claim/permitAllocation.ts"
import {
  checkPermits,
  lockOptions,
  type LockSettings,
  type PermitLockSettings,
  permitOptions,
  resolveSettings
} from "../claim/settings.ts"
import { TokenAllocation } from "../claim/tokenAllocation.ts"
import { Values } from "../claim/values.ts"
import type { Downgrading, HoldContext } from "../hold/hold.ts"
import { ReleaseRequest } from "../hold/release.ts"
import { LeaseTimers } from "../lease/leaseTimers.ts"
import type { Tally } from "../quorum/ballot.ts"
import { Quorum } from "../quorum/quorum.ts"
import { PermitQueues } from "../waiting/permitQueues.ts"
import { ReaderQueues } from "../waiting/readerQueues.ts"
import { WaitQueues } from "../waiting/waitQueues.ts"
import { releaseWithScope } from "./programs.ts"

/** Why the nodes cannot be used with shared locks, if they cannot. */
export const unableToShare = (
  nodes: ReadonlyArray<LockNode>,
  { isFenced }: Pick<LockSettings, "isFenced">
): string | undefined => {
  const node = nodes.find(({ shared }) => (isFenced ? shared?.fencing : shared) === undefined)
  const what = isFenced ? "fenced shared locks" : "shared locks"
  return node === undefined
    ? undefined
    : `effect-redsync: the node ${untrusted(node.id)} does not support ${what}; every node must.`
}

const connectTimeout = Duration.seconds(2)

/** Whether the node answered when it was first tried. */
const isReady = ({ ready = Effect.succeed(true) }: LockNode): Effect.Effect<boolean> =>
  Effect.matchCause(effectOf(ready), { onFailure: constFalse, onSuccess: Boolean })

/** What services with different prefixes have in common. */
interface Shared {
  readonly nodes: ReadonlyArray<LockNode>
  readonly clock: Clock.Clock
  readonly quorum: Quorum
  readonly cleanUps: CleanUps
  readonly leaseTimers: LeaseTimers
  readonly waitQueues: WaitQueues<Tally<boolean>, PlaceClaim, AcquireWaiter>
  readonly permitQueues: PermitQueues
  readonly permitHolds: HoldContext
  readonly readerQueues: ReaderQueues
  readonly sharedHolds: HoldContext
  readonly values: Values
  /** Whether debug messages are logged. */
  readonly logsDebug: boolean
  readonly options: LockOptions
  readonly defaults: LockSettings
}

export class LockService implements Shared {
  readonly nodes: ReadonlyArray<LockNode>
  readonly clock: Clock.Clock
  readonly quorum: Quorum
  readonly cleanUps: CleanUps
  readonly leaseTimers: LeaseTimers
  readonly waitQueues: WaitQueues<Tally<boolean>, PlaceClaim, AcquireWaiter>
  readonly permitQueues: PermitQueues
  readonly permitHolds: HoldContext
  readonly readerQueues: ReaderQueues
  readonly sharedHolds: HoldContext
  readonly values: Values
  readonly logsDebug: boolean
  readonly options: LockOptions
  readonly defaults: LockSettings
  /** What precedes every name in its key. */
  readonly prefix: string

  private constructor(shared: Shared, prefix: string) {
    this.nodes = shared.nodes
    this.clock = shared.clock
    this.quorum = shared.quorum
    this.cleanUps = shared.cleanUps
    this.leaseTimers = shared.leaseTimers
    this.waitQueues = shared.waitQueues
    this.permitQueues = shared.permitQueues
    this.permitHolds = shared.permitHolds
    this.readerQueues = shared.readerQueues
    this.sharedHolds = shared.sharedHolds
    this.values = shared.values
    this.logsDebug = shared.logsDebug
    this.options = shared.options
    this.defaults = shared.defaults
    this.prefix = prefix
  }

  /**
   * A service over nodes that are open. `options` are the defaults of its locks, and `defaults` the same,
   * validated.
   */
  static make(
    nodes: ReadonlyArray<LockNode>,
    size: number,
    prefix: string,
    options: LockOptions,
    defaults: LockSettings,
    context: Context.Context<never>
  ): LockService {
    const clock = Context.get(context, Clock.Clock)
    const quorum = new Quorum(nodes, size, context)
    const readerQueues = new ReaderQueues(quorum, {
      wake: (key) => shared.waitQueues.wake(key),
      alert: (key) => shared.waitQueues.alert(key),
      watch: (key, onAnswer) => shared.waitQueues.watch(key, onAnswer)
    })
    const parts = {
      nodes,
      clock,
      quorum,
      cleanUps: new CleanUps(quorum),
      leaseTimers: new LeaseTimers(clock, quorum.timers)
    }
    const waitQueues = new WaitQueues<Tally<boolean>, PlaceClaim, AcquireWaiter>(quorum, (node, key, value) => {
      const claimed = { name: key, key, value, settings: defaults, untouched: undefined, madeAt: -Infinity }
      quorum.send(new ReleaseRequest(shared, claimed, { nodes: [node] }), constVoid)
    })
    const permitQueues = waitQueues.permitQueues = new PermitQueues(quorum, waitQueues.lists)
    const shared: Shared = {
      ...parts,
      waitQueues,
      permitQueues,
      permitHolds: { ...parts, waitQueues: permitQueues },
      readerQueues,
      sharedHolds: { ...parts, waitQueues: readerQueues },
      values: new Values(Context.get(context, WebCrypto)),
      logsDebug: !LogLevel.isGreaterThan(Context.get(context, References.MinimumLogLevel), "Debug"),
      options,
      defaults
    }
    shared.waitQueues.readers = readerQueues
    return new LockService(shared, prefix)
  }

  /** The same service with a further prefix appended to this one's. */
  prefixed(prefix: string): LockService {
    return new LockService(this, this.prefix + prefix)
  }

  /** The settings of one lock, or why its options are invalid. */
  settings(options: unknown): LockSettings | string {
    if (options === undefined) return this.defaults
    const read = given(options, lockOptions)
    return typeof read === "string" ? read : resolveSettings({ ...this.options, ...read }, this.defaults.retry)
  }

  /** The settings of one acquisition of permits, or why its options are invalid. */
  permitSettings(options: unknown): PermitLockSettings | string {
    const read = given(options, permitOptions)
    if (typeof read === "string") return read
    const { limit, permits, ...rest } = read
    const checked = checkPermits(limit, permits)
    if (typeof checked === "string") return checked
    const settings = resolveSettings({ ...this.options, ...rest }, this.defaults.retry)
    return typeof settings === "string" ? settings : { ...settings, ...checked }
  }

  /** The key of a lock of this name on the nodes. */
  key(name: string): string {
    return this.prefix + name
  }

  /** A claim of our own, which has not been sent to any node. */
  claim(name: string, settings: LockSettings): OwnClaim {
    const allocation = settings.isFenced ? new TokenAllocation(this.clock) : undefined
    return new OwnClaim(name, this.key(name), this.values.next(), settings, allocation, monotonicMillis(this.clock))
  }

  sharedClaim({ key, name, settings, tokenAllocation }: Claim): OwnClaim {
    const shared = { ...settings, isShared: true }
    return new OwnClaim(name, key, this.values.next(), shared, tokenAllocation, monotonicMillis(this.clock))
  }

  /** Turns an exclusive lock into a shared one, and releases the shared one when the scope closes. */
  downgrade(lock: Downgrading): Effect.Effect<Lock, LockLost | NodesUnavailable, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) => {
      const problem = unableToShare(this.nodes, lock.claim.settings)
      return problem === undefined
        ? Effect.tap(downgrade(this, lock, restore), releaseWithScope)
        : dieWithIllegalArgument(problem)
    })
  }

  /** A claim of our own on permits, which has not been sent to any node. */
  permitClaim(name: string, settings: PermitLockSettings, order: SlotOrder): OwnClaim {
    const permits = new PermitAllocation(settings, order, settings.isFenced ? this.clock : undefined)
    return new OwnClaim(
      name,
      this.key(name),
      this.values.next(),
      settings,
      undefined,
      monotonicMillis(this.clock),
      permits
    )
  }

  /** Waits until a quorum of the nodes is ready or each has been tried, but not for longer than `connectTimeout`. */
  get ready(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const enough = Latch.makeUnsafe()
      let ready = 0
      const count = (answered: boolean) =>
        Effect.sync(() => answered && ++ready === this.quorum.size && enough.openUnsafe())
      return Effect.forEach(this.nodes, (node) => Effect.flatMap(isReady(node), count), {
        concurrency: "unbounded",
        discard: true
      }).pipe(Effect.raceFirst(enough.await), Effect.timeoutOption(connectTimeout), Effect.asVoid)
    })
  }

  /** Ends every hold, waits for pending clean-ups, and leaves nothing running. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.waitQueues.close()
      this.permitQueues.close()
      this.readerQueues.close()
      this.leaseTimers.close()
      this.cleanUps.close()
      return this.quorum.close
    })
  }
}
