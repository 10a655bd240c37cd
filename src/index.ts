/**
 * The distributed lock for Effect programs: Redlock over independent Redis
 * servers, as a scoped resource with typed errors.
 *
 * The modules come as namespaces, the everyday functions by name.
 *
 * @since 0.1.0
 */

/** @since 0.1.0 */
export * as Fencing from "./Fencing.ts"
/** @since 0.1.0 */
export * as IoredisNode from "./IoredisNode.ts"
/** @since 0.1.0 */
export * as Lock from "./Lock.ts"
/** @since 0.1.0 */
export * as LockError from "./LockError.ts"
/** @since 0.1.0 */
export * as LockMetrics from "./LockMetrics.ts"
/** @since 0.1.0 */
export * as LockNode from "./LockNode.ts"
/** @since 0.1.0 */
export * as MemoryNode from "./MemoryNode.ts"
/** @since 0.1.0 */
export * as RedisNode from "./RedisNode.ts"
/** @since 0.1.0 */
export * as Redsync from "./Redsync.ts"

/** @since 0.1.0 */
export { ErrFailed, LockLost, NodeError, NodesUnavailable } from "./LockError.ts"
/** @since 0.1.0 */
export {
  adopt,
  adoptFenced,
  fencedLock,
  forceUnlock,
  inspect,
  lock,
  retryPolicy,
  tryLock,
  unlock,
  withFencedLock,
  withLock,
  withLockIfAvailable,
  withLocks
} from "./Redsync.ts"
