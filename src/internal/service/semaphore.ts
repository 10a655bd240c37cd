/**
 * The methods of `Redsync` for permits.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { LockError, LockLost, NodesUnavailable } from "../../LockError.ts"
import type { FencedPermits, PermitOptions, Permits } from "../../Permits.ts"
import type { Program, Redsync } from "../../RedsyncService.ts"
import { acquirePermits, tryAcquirePermits } from "../acquire/acquirePermits.ts"
import type { RestoreInterruptibility } from "../acquire/attempt.ts"
import { forceReleasePermits, inspectPermits } from "../admin/permits.ts"
import { dieWithIllegalArgument } from "../base/arguments.ts"
import { untrusted } from "../base/text.ts"
import { checkName, type PermitLockSettings } from "../claim/settings.ts"
import type { HeldPermits } from "../hold/heldPermits.ts"
import { guard } from "../lease/guard.ts"
import { inAcquireSpan } from "../telemetry/tracing.ts"
import { ifProgram, releaseWithScope, type Run, use, withName } from "./programs.ts"
import type { LockService } from "./service.ts"

type Methods =
  | "withPermits"
  | "withPermitsIfAvailable"
  | "withFencedPermits"
  | "withFencedPermitsIfAvailable"
  | "permits"
  | "tryPermits"
  | "fencedPermits"
  | "tryFencedPermits"
  | "inspectPermits"
  | "forceReleasePermits"

export const semaphoreMethods = (service: LockService): Pick<Redsync, Methods> => {
  const plain = waysToHold<Permits>(service, false)
  const fenced = waysToHold<FencedPermits>(service, true)

  /** Checks the name, and that all nodes support permits. */
  const onAll = <A, E, R>(name: string, f: () => Effect.Effect<A, E, R>) =>
    withName(service, name, () => {
      const problem = unable(service)
      return problem === undefined ? f() : dieWithIllegalArgument(problem)
    })

  return {
    withPermits: plain.withPermits,
    withPermitsIfAvailable: plain.withPermitsIfAvailable,
    withFencedPermits: fenced.withPermits,
    withFencedPermitsIfAvailable: fenced.withPermitsIfAvailable,
    permits: plain.permits,
    tryPermits: plain.tryPermits,
    fencedPermits: fenced.permits,
    tryFencedPermits: fenced.tryPermits,
    inspectPermits: (name) => onAll(name, () => inspectPermits(service, name, service.defaults)),
    forceReleasePermits: (name) => onAll(name, () => forceReleasePermits(service, name, service.defaults))
  }
}

/** Why the nodes cannot be used with semaphores, if they cannot. */
const unable = ({ nodes }: LockService): string | undefined => {
  const node = nodes.find(({ permits }) => permits === undefined)
  return node === undefined
    ? undefined
    : `effect-redsync: the node ${untrusted(node.id)} does not support semaphores; every node must.`
}

/** All ways to hold permits: with or without fencing tokens. */
const waysToHold = <P extends Permits>(service: LockService, isFenced: boolean) => {
  /** Permits have tokens if and only if their settings are fenced. */
  const ofKind = (permits: HeldPermits) => permits as Permits as P

  const withSettings = <A, E, R>(
    name: string,
    options: PermitOptions,
    f: (settings: PermitLockSettings, restore: RestoreInterruptibility) => Effect.Effect<A, E, R>
  ) =>
    Effect.uninterruptibleMask((restore) => {
      const settings = checkName(name, service.prefix) ?? service.permitSettings(options)
      const problem = Predicate.isString(settings) ? settings : unable(service)
      return problem === undefined
        ? f({ ...settings as PermitLockSettings, isFenced }, restore)
        : dieWithIllegalArgument(problem)
    })

  const hold = <A, E, R>(run: Run<[P], A, E, R>, permits: HeldPermits, restore: RestoreInterruptibility) =>
    use(permits, restore(guard(permits, run(ofKind(permits)))))

  const acquireOne = (name: string, settings: PermitLockSettings, restore: RestoreInterruptibility) =>
    inAcquireSpan(service, name, settings, (settings) => acquirePermits(service, name, settings, restore))

  const tryOne = (name: string, settings: PermitLockSettings, restore: RestoreInterruptibility) =>
    inAcquireSpan(service, name, settings, (settings) => tryAcquirePermits(service, name, settings, restore))

  return {
    withPermits: <A, E, R>(
      name: string,
      program: Program<[permits: P], A, E, R>,
      options: PermitOptions
    ): Effect.Effect<A, E | LockError | LockLost, R> =>
      ifProgram(
        program,
        (run) =>
          withSettings(name, options, (settings, restore) =>
            Effect.flatMap(acquireOne(name, settings, restore), (permits) =>
              hold(run, permits, restore)))
      ),

    withPermitsIfAvailable: <A, E, R>(
      name: string,
      program: Program<[permits: P], A, E, R>,
      options: PermitOptions
    ): Effect.Effect<Option.Option<A>, E | NodesUnavailable | LockLost, R> =>
      ifProgram(program, (run) =>
        withSettings(name, options, (settings, restore) =>
          Effect.flatMap(
            tryOne(name, settings, restore),
            Option.match({
              onNone: () => Effect.succeedNone,
              onSome: (permits) => Effect.asSome(hold(run, permits, restore))
            })
          ))),

    permits: (name: string, options: PermitOptions): Effect.Effect<P, LockError, Scope.Scope> =>
      withSettings(
        name,
        options,
        (settings, restore) => Effect.map(Effect.tap(acquireOne(name, settings, restore), releaseWithScope), ofKind)
      ),

    tryPermits: (
      name: string,
      options: PermitOptions
    ): Effect.Effect<Option.Option<P>, NodesUnavailable, Scope.Scope> =>
      withSettings(name, options, (settings, restore) =>
        Effect.map(
          Effect.tap(
            tryOne(name, settings, restore),
            Option.match({ onNone: () => Effect.void, onSome: releaseWithScope })
          ),
          Option.map(ofKind)
        ))
  }
}
