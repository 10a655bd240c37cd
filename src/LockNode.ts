/**
 * What a node must be able to do.
 *
 * A node is one independent store of lock keys: usually a Redis server. A lock
 * is held by whoever has its value on a quorum of nodes. Anything that can do
 * the five operations below is a node; see `IoredisNode`, `RedisNode` and
 * `MemoryNode` for those that come with the library.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { NodeError } from "./LockError.ts"

/**
 * One independent store of lock keys.
 *
 * **Details**
 *
 * Each operation is atomic on the node and works on one key. None needs a
 * time limit of its own: whoever asks interrupts it when the node timeout is
 * over. An interrupted or failed operation may still take effect later, but
 * operations on one key must take effect in the order in which they were
 * started.
 *
 * **Gotchas**
 *
 * Nodes must not share data: two nodes that are one server count twice where
 * they should count once. They must not replicate to each other either.
 *
 * @category models
 * @since 0.1.0
 */
export interface LockNode {
  /**
   * The name shown in errors and logs, unique among the nodes of a service.
   * It never carries credentials.
   */
  readonly id: string

  /**
   * Sets the key to the value, to expire after the given milliseconds, if there
   * is no such key: `SET key value NX PX expiry`. `true` if it did, `false` if
   * the key was there.
   */
  readonly acquire: (key: string, value: string, expiryMillis: number) => Effect.Effect<boolean, NodeError>

  /**
   * If the key has the value, lets it expire the given milliseconds from now.
   * `false` if it has another value or is not there.
   */
  readonly extend: (key: string, value: string, expiryMillis: number) => Effect.Effect<boolean, NodeError>

  /**
   * If the key has the value, deletes it. `false` if it has another value or is
   * not there.
   */
  readonly release: (key: string, value: string) => Effect.Effect<boolean, NodeError>

  /**
   * Looks at the key without changing it: none where there is no such key.
   */
  readonly inspect: (key: string) => Effect.Effect<Option.Option<KeyState>, NodeError>

  /**
   * Deletes the key, whoever holds it. `false` if it is not there.
   */
  readonly remove: (key: string) => Effect.Effect<boolean, NodeError>

  /**
   * `true` if the client may send a command twice after a broken connection.
   * Then a `false` from `acquire` does not prove that nothing was written, and
   * the clean-up after a refused attempt covers this node too. Without it a
   * node that refused is left alone.
   */
  readonly resends?: boolean

  /**
   * Succeeds once the node has been tried for the first time, with whether it
   * answered. A layer waits for a quorum of these, so that its first lock is not
   * refused because connections are still being made. Without it the node is
   * taken to be ready.
   */
  readonly ready?: Effect.Effect<boolean>
}

/**
 * What a node stores under a key.
 *
 * **Details**
 *
 * `value` is the random value of the holder, `ttlMillis` how long the key still
 * has, `Infinity` for a key without expiry. `type` is Redis' name for the type
 * of the key; where it is not `"string"`, which is the default, `value` is empty.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyState {
  readonly value: string
  readonly ttlMillis: number
  readonly type?: string
}
