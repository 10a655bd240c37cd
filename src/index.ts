/**
 * Distributed locks for Effect programs: Redlock over independent Redis servers, as scoped
 * resources with typed errors.
 *
 * Modules are exported as namespaces; the most common functions and types are also exported by
 * name. Nodes over ioredis have an entry point of their own, `effect-redsync/IoredisNode`, since
 * ioredis is optional.
 *
 * @since 0.1.0
 */
import * as LockModule from "./Lock.ts"
import * as LockErrorModule from "./LockError.ts"
import * as RedsyncModule from "./Redsync.ts"

/**
 * Fencing tokens: the resource's side of a lock.
 *
 * @since 0.1.0
 */
export * as Fencing from "./Fencing.ts"

/**
 * Work that only one of many instances does: leader election, and cron jobs whose runs each take
 * place once.
 *
 * @since 0.1.0
 */
export * as Leader from "./Leader.ts"

/**
 * What can be done with a held lock: `guard` and `downgrade`. As a type, a held lock.
 *
 * @since 0.1.0
 */
export const Lock = LockModule
/**
 * A held lock.
 *
 * @since 0.1.0
 */
export type Lock = LockModule.Lock

/**
 * What can go wrong with a lock, as tagged errors. As a type, the errors of an acquisition.
 *
 * @since 0.1.0
 */
export const LockError = LockErrorModule
/**
 * Why a lock could not be acquired: `ErrFailed` or `NodesUnavailable`.
 *
 * @since 0.1.0
 */
export type LockError = LockErrorModule.LockError

/**
 * What the library measures, as Effect metrics.
 *
 * @since 0.1.0
 */
export * as LockMetrics from "./LockMetrics.ts"

/**
 * Nodes inside this process, for tests and experiments.
 *
 * @since 0.1.0
 */
export * as MemoryNode from "./MemoryNode.ts"

/**
 * Nodes over Effect's own Redis service.
 *
 * @since 0.1.0
 */
export * as RedisNode from "./RedisNode.ts"

/**
 * The service, its layers, retry schedules, and every function for locks. As a type, the service.
 *
 * @since 0.1.0
 */
export const Redsync = RedsyncModule
/**
 * Locks over one set of nodes: the service, for signatures.
 *
 * @since 0.1.0
 */
export type Redsync = RedsyncModule.Redsync

/** @since 0.1.0 */
export type { FencingToken } from "./Fencing.ts"
/** @since 0.1.0 */
export { Keyed } from "./Keyed.ts"
/**
 * Semaphores: at most a given number of permits of a name are held at once.
 *
 * @since 0.1.0
 */
export * as Semaphore from "./Semaphore.ts"

/** @since 0.1.0 */
export type { FencedLock } from "./Lock.ts"
/** @since 0.1.0 */
export { ErrFailed, LockLost, NodeError, NodesUnavailable, type Vote } from "./LockError.ts"
/** @since 0.1.0 */
export type { LockNode } from "./LockNode.ts"
/** @since 0.1.0 */
export {
  adopt,
  adoptFenced,
  type ConfigOptions,
  defaultRetry,
  fencedLock,
  fencedSharedLock,
  forceUnlock,
  type Health,
  health,
  inspect,
  type Inspection,
  lock,
  type LockOptions,
  type MemoryOptions,
  type NodeHealth,
  type NodeInput,
  type NodeView,
  retryPolicy,
  type RetryPolicyOptions,
  type ServiceOptions,
  sharedLock,
  tryFencedLock,
  tryFencedSharedLock,
  tryLock,
  trySharedLock,
  unlock,
  withFencedLock,
  withFencedLockIfAvailable,
  withFencedLocks,
  withFencedSharedLock,
  withFencedSharedLockIfAvailable,
  withLock,
  withLockIfAvailable,
  withLocks,
  withSharedLock,
  withSharedLockIfAvailable
} from "./Redsync.ts"
/** @since 0.1.0 */
export {
  type DistributedSemaphore,
  type FencedPermits,
  fencedPermits,
  forceReleasePermits,
  inspectPermits,
  type PermitInspection,
  type PermitOptions,
  type Permits,
  permits,
  semaphore,
  type SemaphoreOptions,
  tryFencedPermits,
  tryPermits,
  withFencedPermits,
  withFencedPermitsIfAvailable,
  withPermits,
  withPermitsIfAvailable
} from "./Semaphore.ts"
