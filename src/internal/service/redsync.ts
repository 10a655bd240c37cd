/**
 * The methods of `Redsync`, over the parts of a service.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { FencingToken } from "../../Fencing.ts"
import type { FencedLock, Lock } from "../../Lock.ts"
import type { LockError, LockLost, NodesUnavailable } from "../../LockError.ts"
import type { LockOptions } from "../../LockOptions.ts"
import type { Names, Program, Redsync } from "../../RedsyncService.ts"
import { acquire, tryAcquire } from "../acquire/acquire.ts"
import { acquireAll } from "../acquire/acquireAll.ts"
import { acquireShared, tryAcquireShared } from "../acquire/acquireShared.ts"
import { adopt } from "../acquire/adopt.ts"
import type { RestoreInterruptibility } from "../acquire/attempt.ts"
import { health } from "../admin/health.ts"
import { inspectAndReveal } from "../admin/inspect.ts"
import * as operate from "../admin/unlock.ts"
import { dieWithIllegalArgument } from "../base/arguments.ts"
import { checkName, checkNames, checkPrefix, checkValue, type LockSettings } from "../claim/settings.ts"
import type { HeldLock } from "../hold/heldLock.ts"
import { HeldLocks } from "../hold/heldLocks.ts"
import { guard } from "../lease/guard.ts"
import { inAcquireSpan } from "../telemetry/tracing.ts"
import { ifProgram, releaseWithScope, type Run, use, withName } from "./programs.ts"
import { semaphoreMethods } from "./semaphore.ts"
import { type LockService, unableToShare } from "./service.ts"

/** The public service over the parts of one. */
export const makeRedsync = (service: LockService): Redsync => {
  const plain = waysToHold<Lock, [Lock]>(service, { isFenced: false, isShared: false }, giveLock)
  const fenced = waysToHold<FencedLock, [FencingToken, FencedLock]>(
    service,
    { isFenced: true, isShared: false },
    giveToken
  )
  const shared = waysToHold<Lock, [Lock]>(service, { isFenced: false, isShared: true }, giveLock)
  const fencedShared = waysToHold<FencedLock, [FencingToken, FencedLock]>(
    service,
    { isFenced: true, isShared: true },
    giveToken
  )
  return {
    topology: Effect.sync(() => ({
      nodes: service.nodes.map(({ id }) => id),
      quorum: service.quorum.size,
      prefix: service.prefix
    })),
    withLock: plain.withLock,
    withLockIfAvailable: plain.withLockIfAvailable,
    withLocks: plain.withLocks,
    withFencedLock: fenced.withLock,
    withFencedLockIfAvailable: fenced.withLockIfAvailable,
    withFencedLocks: fenced.withLocks,
    lock: plain.lock,
    tryLock: plain.tryLock,
    fencedLock: fenced.lock,
    tryFencedLock: fenced.tryLock,
    withSharedLock: shared.withLock,
    withSharedLockIfAvailable: shared.withLockIfAvailable,
    withFencedSharedLock: fencedShared.withLock,
    withFencedSharedLockIfAvailable: fencedShared.withLockIfAvailable,
    sharedLock: shared.lock,
    trySharedLock: shared.tryLock,
    fencedSharedLock: fencedShared.lock,
    tryFencedSharedLock: fencedShared.tryLock,
    adopt: plain.adopt,
    adoptFenced: fenced.adopt,
    ...semaphoreMethods(service),
    unlock: (name, value) =>
      Effect.suspend(() => {
        const problem = checkName(name, service.prefix) ?? checkValue(value)
        return problem === undefined
          ? operate.unlock(service, name, value, service.defaults)
          : dieWithIllegalArgument(problem)
      }),
    inspect: (name) => withName(service, name, () => inspectAndReveal(service, name, service.defaults)),
    forceUnlock: (name) => withName(service, name, () => operate.forceUnlock(service, name, service.defaults)),
    health: Effect.suspend(() => health(service, service.defaults)),
    prefixed: (prefix) =>
      Effect.suspend(() => {
        const problem = checkPrefix(prefix) ?? checkPrefix(service.prefix + prefix)
        return problem === undefined
          ? Effect.succeed(makeRedsync(service.prefixed(prefix)))
          : dieWithIllegalArgument(problem)
      })
  }
}

const giveLock = <A, E, R>(run: Run<[Lock], A, E, R>, lock: Lock) => run(lock)

const giveToken = <A, E, R>(run: Run<[FencingToken, FencedLock], A, E, R>, lock: FencedLock) => run(lock.token, lock)

/** All ways to hold locks of one kind: shared or not, with or without a fencing token. */
const waysToHold = <L extends Lock, Held extends ReadonlyArray<unknown>>(
  service: LockService,
  kind: Pick<LockSettings, "isFenced" | "isShared">,
  give: <A, E, R>(run: Run<Held, A, E, R>, lock: L) => Effect.Effect<A, E, R>
) => {
  /** A lock is fenced if and only if its settings are. */
  const ofKind = (lock: HeldLock) => lock as Lock as L

  const settingsOf = (options: LockOptions | undefined): LockSettings | string => {
    const settings = service.settings(options)
    if (Predicate.isString(settings)) return settings
    if (kind.isShared) return unableToShare(service.nodes, kind) ?? { ...settings, ...kind }
    if (!kind.isFenced) return settings
    const unable = service.nodes.find((node) => node.fencing === undefined)
    return unable === undefined
      ? { ...settings, ...kind }
      : `effect-redsync: the node ${unable.id} does not support fencing tokens; for fenced locks, every node must.`
  }

  const withSettings = <A, E, R>(
    name: string,
    options: LockOptions | undefined,
    f: (settings: LockSettings, restore: RestoreInterruptibility) => Effect.Effect<A, E, R>
  ) =>
    Effect.uninterruptibleMask((restore) => {
      const settings = checkName(name, service.prefix) ?? settingsOf(options)
      return Predicate.isString(settings) ? dieWithIllegalArgument(settings) : f(settings, restore)
    })

  const hold = <A, E, R>(run: Run<Held, A, E, R>, lock: HeldLock, restore: RestoreInterruptibility) =>
    use(lock, restore(guard(lock, give(run, ofKind(lock)))))

  const acquireOne = (name: string, settings: LockSettings, restore: RestoreInterruptibility) =>
    inAcquireSpan(
      service,
      name,
      settings,
      (settings) => (kind.isShared ? acquireShared : acquire)(service, name, settings, restore)
    )

  const tryOne = (name: string, settings: LockSettings, restore: RestoreInterruptibility) =>
    inAcquireSpan(
      service,
      name,
      settings,
      (settings) => (kind.isShared ? tryAcquireShared : tryAcquire)(service, name, settings, restore)
    )

  return {
    withLock: <A, E, R>(
      name: string,
      program: Program<Held, A, E, R>,
      options?: LockOptions
    ): Effect.Effect<A, E | LockError | LockLost, R> =>
      ifProgram(
        program,
        (run) =>
          withSettings(name, options, (settings, restore) =>
            Effect.flatMap(acquireOne(name, settings, restore), (lock) =>
              hold(run, lock, restore)))
      ),

    withLockIfAvailable: <A, E, R>(
      name: string,
      program: Program<Held, A, E, R>,
      options?: LockOptions
    ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R> =>
      ifProgram(program, (run) =>
        withSettings(name, options, (settings, restore) =>
          Effect.flatMap(
            tryOne(name, settings, restore),
            Option.match({
              onNone: () => Effect.succeedNone,
              onSome: (lock) => Effect.asSome(hold(run, lock, restore))
            })
          ))),

    withLocks: <A, E, R>(
      names: Names,
      program: Program<[locks: ReadonlyArray<L>], A, E, R>,
      options?: LockOptions
    ): Effect.Effect<A, E | LockError | LockLost, R> =>
      ifProgram(program, (run) =>
        Effect.uninterruptibleMask((restore) => {
          const inOrder = checkNames(names, service.prefix)
          if (Predicate.isString(inOrder)) return dieWithIllegalArgument(inOrder)
          const settings = settingsOf(options)
          if (Predicate.isString(settings)) return dieWithIllegalArgument(settings)
          const acquired = inAcquireSpan(service, inOrder, settings, (settings) =>
            acquireAll(service, inOrder, settings, restore))
          return Effect.flatMap(acquired, (held) => {
            const byName = new Map(held.map((lock) => [lock.name, lock]))
            const locks = inOrder.map((name) =>
              byName.get(name)!
            )
            const hold = new HeldLocks(locks)
            return use(hold, restore(guard(hold, run(locks.map(ofKind)))))
          })
        })),

    lock: (name: string, options?: LockOptions): Effect.Effect<L, LockError, Scope.Scope> =>
      withSettings(
        name,
        options,
        (settings, restore) => Effect.map(Effect.tap(acquireOne(name, settings, restore), releaseWithScope), ofKind)
      ),

    tryLock: (
      name: string,
      options?: LockOptions
    ): Effect.Effect<Option.Option<L>, NodesUnavailable, Scope.Scope> =>
      withSettings(name, options, (settings, restore) =>
        Effect.map(
          Effect.tap(
            tryOne(name, settings, restore),
            Option.match({ onNone: () => Effect.void, onSome: releaseWithScope })
          ),
          Option.map(ofKind)
        )),

    adopt: (
      name: string,
      value: string,
      options?: LockOptions
    ): Effect.Effect<L, LockLost | NodesUnavailable, Scope.Scope> =>
      withSettings(name, options, (settings, restore) => {
        const unable = service.nodes.find((node) => (kind.isFenced ? node.fencing : node)?.replace === undefined)
        const problem = unable === undefined
          ? checkValue(value)
          : `effect-redsync: the node ${unable.id} does not support replace; to adopt a lock, every node must.`
        return problem === undefined
          ? Effect.map(Effect.tap(adopt(service, name, value, settings, restore), releaseWithScope), ofKind)
          : dieWithIllegalArgument(problem)
      })
  }
}
