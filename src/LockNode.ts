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
import type * as Scope from "effect/Scope"
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
   * If the key has the value, lets it expire the given milliseconds from now,
   * and only then answers `true`. If there is no such key, sets it as `acquire`
   * would, so that a lock does not erode as servers come back empty one by one;
   * the answer is `false` all the same. With `onlyIfThere` it is not set again.
   */
  readonly extend: (
    key: string,
    value: string,
    expiryMillis: number,
    onlyIfThere?: boolean
  ) => Effect.Effect<boolean, NodeError>

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
   * If the key has the value, sets it to the new value, to expire after the given
   * milliseconds, and only then answers `true`; otherwise changes nothing. With it
   * a lock is adopted: the old value no longer extends or releases anything.
   * Without it locks cannot be adopted where this is one of the nodes.
   */
  readonly replace?: (
    key: string,
    value: string,
    newValue: string,
    expiryMillis: number
  ) => Effect.Effect<boolean, NodeError>

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
   * refused because connections are still being made; a failure counts as no answer.
   * Without it the node is taken to be ready.
   */
  readonly ready?: Effect.Effect<boolean>

  /**
   * Gives up the connection, on which nothing is answered, and opens another.
   * What is under way on it fails. Without it a connection is left to the client.
   */
  readonly reconnect?: Effect.Effect<void>

  /**
   * Whether what was sent so many milliseconds ago, or before, may still be executed
   * after what is sent now: a connection has been replaced since while there were
   * commands on it without a reply, and the server could not be told to end it. A release then proves nothing, since
   * what it was to undo may come after it. It is so until a minute after the first
   * reply on a later connection: a server that answers reads what it has received of
   * all connections. Without it, it is never so.
   */
  readonly mayOvertake?: (ageMillis?: number) => boolean

  /**
   * Fencing counters, kept beside the keys. Without it the node cannot be used
   * with fencing tokens.
   */
  readonly fencing?: FencingCounters

  /**
   * The same node, which casts no vote on new locks while its server has been up
   * for less than so many milliseconds: `acquire` then fails as `"Abstained"` and
   * writes nothing. The server itself has to look, in the same atomic step, so
   * that no restart comes in between. Without it the node cannot be used with
   * delayed restarts.
   */
  readonly delayedRestart?: (leastUptimeMillis: number) => LockNode

  /**
   * Why the node would cast no vote on a new lock now, none if it would. There
   * on a node that delays restarts; given a key, since in a cluster each has its
   * server.
   */
  readonly abstention?: (key: string) => Effect.Effect<Option.Option<string>, NodeError>

  /**
   * The same node, which says yes to a lock, an extension or a token only once so
   * many replicas have it, and fails if they have not acknowledged it within the
   * given milliseconds. Then a replica that takes over knows of every lock that
   * counts. Without it the node cannot be used with `replicas`.
   */
  readonly replicas?: (count: number, withinMillis: number) => LockNode

  /**
   * The node's waiting lists as one waiter sees them, which hears for as long as
   * the scope is open. What that takes, such as connections, is opened by the
   * first `join`. Without it waiting is done by the schedule alone.
   */
  readonly waitingList?: (
    waiter: string,
    hear: (notice: Notice) => void
  ) => Effect.Effect<WaitingList, never, Scope.Scope>
}

/**
 * A counter beside each key, from which fencing tokens come.
 *
 * **Details**
 *
 * Each operation is atomic on the node, together with the key. A counter is
 * forgotten an hour after it was last written. It takes no value that could not be
 * a fencing token: an operation that would lead to one fails as `"Rejected"` and
 * writes nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface FencingCounters {
  /**
   * `acquire`, and where that does it, counts up: the counter becomes the larger
   * of the proposal and itself plus one, and is the answer. None if the key was
   * there; then the counter is left alone.
   */
  readonly acquire: (
    key: string,
    value: string,
    expiryMillis: number,
    proposal: number
  ) => Effect.Effect<Option.Option<number>, NodeError>

  /**
   * If the key has the value, lets the counter be at least the token, and only
   * then answers `true`.
   */
  readonly raise: (key: string, value: string, token: number) => Effect.Effect<boolean, NodeError>

  /**
   * `replace`, and where that does it, counts up and answers as `acquire` does. None
   * if the key has another value or is not there; then the counter is left alone.
   * Without it locks cannot be adopted together with a token.
   */
  readonly replace?: (
    key: string,
    value: string,
    newValue: string,
    expiryMillis: number,
    proposal: number
  ) => Effect.Effect<Option.Option<number>, NodeError>
}

/**
 * The order in which waiters wait for a key, kept beside the key on the node.
 *
 * **Details**
 *
 * It is a hint: a notice may be lost, come late or come twice, at no cost but
 * time, since waiters attempt on their schedule too. A waiter is a process, or
 * rather a service in it; it stands in the list of a key once, however many of
 * its fibers wait for it. A list is forgotten a minute after the last join.
 *
 * @category models
 * @since 0.1.0
 */
export interface WaitingList {
  /**
   * Stands in line for the key, or keeps the place it has, and looks at the key.
   * The first in line is given notice of every change of the key from then on,
   * whoever makes it.
   */
  readonly join: (key: string, place: "front" | "back") => Effect.Effect<Place, NodeError>

  /**
   * Takes the waiter out of the list. If the key is free, the first in line is
   * told that it is its turn.
   */
  readonly leave: (key: string) => Effect.Effect<void, NodeError>

  /**
   * `release`, and if the key is free then, tells the first in line that it is
   * its turn. Takes the waiter itself out of the list first if it is `listed`.
   */
  readonly release: (
    key: string,
    value: string,
    listed: boolean
  ) => Effect.Effect<{ readonly released: boolean; readonly woke: boolean }, NodeError>
}

/**
 * A place in a waiting list: how many wait before, and for how long the key in
 * the way still has to live, `0` if there is none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly ahead: number
  readonly ttlMillis: number
}

/**
 * What a waiter hears: that it is its turn for a key, for which it is then no
 * longer in the list; that a key it watches has changed; that notices may have
 * been lost, so that it should look again; or that the node cannot give notice of
 * some of this, and why.
 *
 * @category models
 * @since 0.1.0
 */
export type Notice =
  | { readonly _tag: "Turn"; readonly key: string }
  | { readonly _tag: "Changed"; readonly key: string }
  | { readonly _tag: "Missed" }
  | { readonly _tag: "Unable"; readonly why: string }

/**
 * What a node stores under a key.
 *
 * **Details**
 *
 * `value` is the random value of the holder, `ttlMillis` how long the key still
 * has, `Infinity` for a key without expiry. `type` is Redis' name for the type
 * of the key; where it is not `"string"`, which is the default, `value` is empty.
 * So it is where a string is too long to be the value of a lock: `bytes` is there
 * then, and is its length.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyState {
  readonly value: string
  readonly ttlMillis: number
  readonly type?: string
  readonly bytes?: number
}
