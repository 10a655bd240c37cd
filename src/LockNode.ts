/**
 * What a node must be able to do.
 *
 * A node is one independent store of lock keys: usually a Redis server. A lock is held by the
 * client whose value a quorum of nodes stores. Any implementation of the five required operations
 * of {@link LockNode} can serve as a node; see `IoredisNode`, `RedisNode` and `MemoryNode` for
 * those that come with the library. All else here is optional.
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
 * Each operation is atomic on the node and works on one key. Implementations need no timeout: the
 * caller interrupts them after the node timeout. An interrupted or failed operation may still take
 * effect later, but operations on one key must take effect in the order they were started.
 * A function that throws, or returns anything but an effect with such an answer, only costs its node
 * the vote.
 *
 * **Gotchas**
 *
 * Nodes must not share data: two nodes on the same server would have two votes. They must not
 * replicate to each other either.
 *
 * @category models
 * @since 0.1.0
 */
export interface LockNode {
  /**
   * The name shown in errors and logs, unique among the nodes of a service. It never carries
   * credentials. Services stand in the same line of waiters if their nodes have the same ids. If
   * the ids differ, for instance by another host name for the same server, the services still wait,
   * but in no common order.
   */
  readonly id: string

  /**
   * Sets the key to the value, to expire after the given milliseconds, if there
   * is no such key: `SET key value NX PX expiry`. `true` if it did, `false` if the key existed.
   */
  readonly acquire: (key: string, value: string, expiryMillis: number) => Effect.Effect<boolean, NodeError>

  /**
   * If the key has the value, sets its time to live to the given milliseconds and
   * answers `true`. If there is no such key, sets it as `acquire` would, so that a
   * lock is not worn down by a rolling restart, but still answers `false`. With `ifPresent` a missing key is not set.
   */
  readonly extend: (
    key: string,
    value: string,
    expiryMillis: number,
    ifPresent?: boolean
  ) => Effect.Effect<boolean, NodeError>

  /**
   * If the key has the value, deletes it. `false` if it has another value or does
   * not exist.
   */
  readonly release: (key: string, value: string) => Effect.Effect<boolean, NodeError>

  /**
   * Reads the key without modifying it: `None` if there is no such key.
   */
  readonly inspect: (key: string) => Effect.Effect<Option.Option<KeyState>, NodeError>

  /**
   * Deletes the key, whoever holds it. `false` if it does not exist.
   */
  readonly remove: (key: string) => Effect.Effect<boolean, NodeError>

  /**
   * If the key has the value, sets it to the new value, to expire after the given milliseconds, and
   * answers `true`; otherwise changes nothing. This is how a lock is adopted: the old value no
   * longer extends or releases anything. A service cannot adopt locks if a node lacks this
   * operation.
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
   * the clean-up after a refused attempt covers this node too. Without it nothing is cleaned up on
   * a node that refused.
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
   * Gives up a connection that does not respond and opens another. Pending requests
   * on it fail. A cluster, of which one server does not respond, may instead find out whether another
   * has taken over. Without it, reconnecting is left to the client.
   */
  readonly reconnect?: Effect.Effect<void>

  /**
   * Whether a command that was sent within the last `ageMillis` milliseconds, by default at any
   * time, may still be executed after a command that is sent now, because a connection with
   * unanswered commands was replaced since, and the server could not be made to close it. A release
   * then proves nothing, since the write that it undoes may be executed later. This holds until a
   * minute after the first reply on a later connection, because a responsive server reads what it
   * has received on all connections. Without it, commands never overtake each other.
   */
  readonly mayOvertake?: (ageMillis?: number) => boolean

  /**
   * Which server has the key, if the node is several servers, as a cluster is. A server that does
   * not answer then says nothing about the others. `undefined` if that is not known at the moment.
   * Without it the node is one server.
   */
  readonly serverOf?: (key: string) => string | undefined

  /**
   * Fencing counters, kept beside the keys. Without it the node cannot be used
   * with fencing tokens.
   */
  readonly fencing?: FencingCounters

  /**
   * Numbered permits of semaphores. Without it the node cannot be used with
   * semaphores.
   */
  readonly permits?: PermitStore

  /**
   * Shared locks: readers that hold a key together. Without it the node cannot be
   * used with shared locks.
   */
  readonly shared?: SharedHolds

  /**
   * The same node, which does not vote on new locks while its server has been up for less than the
   * given milliseconds: `acquire` then fails as `"Abstained"` and writes nothing. The server itself
   * has to check, in the same atomic step, so that no restart can happen in between. Without it the
   * node cannot be used with delayed restarts.
   */
  readonly delayedRestart?: (minUptimeMillis: number) => LockNode

  /**
   * Why the node would not vote on a new lock now, `None` if it would. Present on a
   * node with delayed restarts; takes a key, since in a cluster keys are on different
   * servers.
   */
  readonly abstention?: (key: string) => Effect.Effect<Option.Option<string>, NodeError>

  /**
   * The same node, which grants a lock, an extension or a token only once the given
   * number of replicas have acknowledged it, and fails if they have not done so within
   * the given milliseconds. Then a promoted replica has every lock that counts.
   * Without it the node cannot be used with `replicas`.
   */
  readonly replicas?: (count: number, withinMillis: number) => LockNode

  /**
   * The node's waiting lists from the point of view of one service; notifications
   * are delivered while the scope is open. Any connections this requires are opened
   * by the first `join`. Without it waiters rely on their schedule alone.
   *
   * All values of the service begin with the last 12 characters of `waiterId`; the part before them
   * is shared by all services that contend. A notification about a value goes to the service that
   * the value's first 12 characters stand for.
   */
  readonly waitingList?: (
    waiterId: string,
    onNotice: (notice: Notice) => void
  ) => Effect.Effect<WaitingList, never, Scope.Scope>
}

/**
 * A counter next to each key: the source of fencing tokens.
 *
 * **Details**
 *
 * Each operation is atomic on the node, together with the key. A counter is forgotten an hour after
 * it was last written. It never takes a value that cannot be a fencing token: an operation that
 * would lead to such a value fails as `"Rejected"` and writes nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface FencingCounters {
  /**
   * Like `LockNode.acquire`. If that sets the key, the counter becomes the larger of the proposal
   * and itself plus one, and is the answer. `None` if the key existed; the counter is then
   * unchanged.
   */
  readonly acquire: (
    key: string,
    value: string,
    expiryMillis: number,
    proposal: number
  ) => Effect.Effect<Option.Option<number>, NodeError>

  /**
   * If the key has the value, raises the counter to at least the token, and only then answers `true`.
   */
  readonly raise: (key: string, value: string, token: number) => Effect.Effect<boolean, NodeError>

  /**
   * Like `LockNode.replace`. If that replaces the value, the counter changes as in `acquire`, and
   * is the answer. `None` if the key has another value or does not exist; the counter is then
   * unchanged. Without it locks cannot be adopted with a token.
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
 * Shared locks: the readers that hold a key together, each with a value of its own
 * and for its own time.
 *
 * **Details**
 *
 * While there are readers, the key has a constant value, `"redsync:shared"`, so that to all other
 * clients it is held until the last reader has expired. Everything stored about readers is void
 * once the key has another value, or none. An expired reader no longer counts, even if others
 * remain.
 *
 * Each operation is atomic on the node, together with the key. That a reader or writer waits is
 * remembered for a given time, and only decides who is next.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedHolds {
  /**
   * Makes the value a reader, to expire after the given milliseconds: `true` if the key was free or
   * held by readers. `false` if a writer holds it, or if a writer waits, unless the last writer
   * left the key to readers a moment ago. If the answer is `false`, the node remembers for
   * `waitMillis`, 0 by default, that a reader waits.
   */
  readonly acquire: (
    key: string,
    value: string,
    expiryMillis: number,
    waitMillis?: number
  ) => Effect.Effect<boolean, NodeError>

  /**
   * If the value is a reader, sets its time to live and answers `true`. If it is not, makes it a
   * reader if the key is free or held by readers, but still answers `false`; with `ifPresent` it is
   * not made one. Waiting writers make no difference.
   */
  readonly extend: (
    key: string,
    value: string,
    expiryMillis: number,
    ifPresent?: boolean
  ) => Effect.Effect<boolean, NodeError>

  /** Removes the reader, and the key with the last reader. `false` if the value is not a reader. */
  readonly release: (key: string, value: string) => Effect.Effect<boolean, NodeError>

  /**
   * If the key has the value of a writer, makes the new value the only reader instead, and answers
   * `true`. If the key is free or held by readers, makes the new value a reader, but answers
   * `false`, since another writer may have held the key in between.
   */
  readonly downgrade: (
    key: string,
    value: string,
    newValue: string,
    expiryMillis: number
  ) => Effect.Effect<boolean, NodeError>

  /** Reads the readers without modifying anything: all of them, or only the one with the given value. */
  readonly inspect: (key: string, value?: string) => Effect.Effect<SharedState, NodeError>

  /**
   * Releases the key of a writer: `false` if it has another value or does not exist. If a reader is
   * known to wait, the key is kept for readers for the given milliseconds, during which readers are
   * admitted even if a writer waits.
   */
  readonly yieldToReaders: (key: string, value: string, graceMillis: number) => Effect.Effect<boolean, NodeError>

  /** Remembers for the given milliseconds that a writer waits; 0 forgets it. Answers `true`. */
  readonly announce: (key: string, waitMillis: number) => Effect.Effect<boolean, NodeError>

  /** Fencing tokens of readers. Without it the node cannot be used with fenced shared locks. */
  readonly fencing?: SharedCounters
}

/**
 * Fencing tokens of readers, from the counters that count writers.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedCounters {
  /**
   * Like `SharedHolds.acquire`. If that makes the value a reader, the answer is the counter, which
   * is not changed; if there is no counter, it becomes the proposal. Otherwise `None`.
   */
  readonly acquire: (
    key: string,
    value: string,
    expiryMillis: number,
    proposal: number,
    waitMillis?: number
  ) => Effect.Effect<Option.Option<number>, NodeError>

  /** If the value is a reader, raises the counter to at least the token, and only then answers `true`. */
  readonly raise: (key: string, value: string, token: number) => Effect.Effect<boolean, NodeError>
}

/**
 * The readers of one key.
 *
 * `readers` is their number, and `holders` lists some of them, at most a hundred. New readers are
 * refused while `isWriterWaiting`.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedState {
  readonly readers: number
  readonly holders: ReadonlyArray<SharedHolder>
  readonly isWriterWaiting: boolean
}

/**
 * One reader: its `value`, and `ttlMillis`, its remaining time to live.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedHolder {
  readonly value: string
  readonly ttlMillis: number
}

/**
 * Semaphores: for each key, which slots are taken, by which value, and until when.
 *
 * **Details**
 *
 * A slot is a number from 0. A value has one or more slots, all of which expire
 * together, and no slot has two values. An expired value has none: it is neither
 * extended nor released. A semaphore and a lock of the same key are independent.
 *
 * Each operation is atomic on the node. Each slot has a fencing counter of its own, which counts up
 * if a proposal is given.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitStore {
  /**
   * Takes as many free slots as requested, or none if fewer are free, or if more slots than the
   * limit would then be taken, including those that others took with another limit. A value that
   * already has slots keeps them, and they are the answer.
   */
  readonly acquire: (key: string, value: string, request: PermitRequest) => Effect.Effect<PermitGrant, NodeError>

  /**
   * Exchanges the slots of the value: takes those of the given slots that are free, keeps those
   * that it has, gives up all others, and renews the expiry of all. Does nothing if the value's
   * slots were settled in the same or a later round, or extended, since commands may overtake each
   * other.
   */
  readonly settle: (key: string, value: string, settlement: PermitSettlement) => Effect.Effect<PermitGrant, NodeError>

  /**
   * Sets the expiry of those of the given slots that the value has to the given milliseconds from
   * now, and answers with those slots. Takes the other given slots if they are free, without
   * including them in the answer, and gives up all slots that are not given. With `ifPresent` it
   * takes none.
   */
  readonly extend: (
    key: string,
    value: string,
    expiryMillis: number,
    slots: ReadonlyArray<number>,
    ifPresent?: boolean
  ) => Effect.Effect<ReadonlyArray<number>, NodeError>

  /** Gives up all slots of the value. `false` if it has none. */
  readonly release: (key: string, value: string) => Effect.Effect<boolean, NodeError>

  /**
   * Raises the counters of those of the given slots that the value has to at least the tokens, and
   * answers with those slots.
   */
  readonly raise: (
    key: string,
    value: string,
    slots: ReadonlyArray<number>,
    tokens: ReadonlyArray<number>
  ) => Effect.Effect<ReadonlyArray<number>, NodeError>

  /** Reads which values have which slots, without modifying anything: all values, or only the given one. */
  readonly inspect: (key: string, value?: string) => Effect.Effect<PermitState, NodeError>

  /** Takes the slots from all values. `false` if none has any. Counters are kept. */
  readonly remove: (key: string) => Effect.Effect<boolean, NodeError>
}

/**
 * What is requested of one node for a permit of a semaphore.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitRequest {
  /** How long the permit lasts unless it is extended. */
  readonly expiryMillis: number
  /** How many slots the semaphore has. */
  readonly limit: number
  /** How many of them are requested. */
  readonly permits: number
  /**
   * Slots are tried in the order `start`, `start + step` … modulo the limit, so that all nodes give
   * the same slots.
   */
  readonly start: number
  /** Coprime to the limit. */
  readonly step: number
  /** Each slot's counter becomes the larger of this and itself plus one. Absent if no tokens are needed. */
  readonly proposal?: number | undefined
}

/**
 * The slots a value should have.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitSettlement {
  /** How long the permit lasts unless it is extended. */
  readonly expiryMillis: number
  /** How many slots the semaphore has. */
  readonly limit: number
  /** All the slots it should have; it loses any others. */
  readonly slots: ReadonlyArray<number>
  /** The number of this request among those for the value, from 2. */
  readonly round: number
  /**
   * The counter of each slot that is newly taken becomes the larger of this and itself plus one.
   * Absent if no tokens are needed.
   */
  readonly proposal?: number | undefined
}

/**
 * Which slots a value has on a node.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitGrant {
  /** The slots, in no particular order. Empty if the request was refused. */
  readonly slots: ReadonlyArray<number>
  /** The counter of each of the slots. Empty if no tokens were requested. */
  readonly tokens: ReadonlyArray<number>
  /** The limit less the number of slots taken; negative if others have a larger limit. */
  readonly free: number
  /** The limit stated by whoever last took slots before this request, `0` if unknown. */
  readonly lastLimit: number
  /** Milliseconds until slots may expire, `0` if unknown. */
  readonly ttlMillis: number
}

/**
 * The values that have slots of a semaphore on one node.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitState {
  /** The limit stated by whoever last took slots, `0` if unknown. */
  readonly limit: number
  /** The values whose slots have not expired. */
  readonly holders: ReadonlyArray<PermitHolder>
}

/**
 * The `slots` of one `value`, which keeps them for `ttlMillis`.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitHolder {
  readonly value: string
  readonly slots: ReadonlyArray<number>
  readonly ttlMillis: number
}

/**
 * The queue of waiters for a key, stored next to the key on the node.
 *
 * **Details**
 *
 * It is a hint: a notification may be lost, arrive late or twice, at no cost but time, since
 * waiters also make attempts on their own schedule. A service has one entry in the list of a key,
 * however many of its fibers wait for it. A list is forgotten a minute after the last join; waiters
 * join again, keeping their position, well within that.
 *
 * @category models
 * @since 0.1.0
 */
export interface WaitingList {
  /**
   * Appends or prepends the entry, or leaves it where it is, and reads the key. If the
   * entry is the first, the holder of the key is notified (`Successor`); if nobody receives that,
   * the service is notified of the next change of the key (`KeyChanged`). An entry to remove, which
   * the service has given up, is removed first.
   */
  readonly join: (
    key: string,
    entry: LineEntry,
    place: "front" | "back",
    remove?: LineEntry
  ) => Effect.Effect<LinePosition, NodeError>

  /**
   * Removes the entry, and deletes the key if it has the entry's value. If the key is
   * free then, wakes the next in line; otherwise, if the entry was the first, notifies the holder
   * and the new first. `true` if the key had the entry's value: then the lock may have been handed
   * over on other nodes too.
   */
  readonly leave: (key: string, entry: LineEntry) => Effect.Effect<boolean, NodeError>

  /**
   * Releases the key like `LockNode.release`, and removes the given entry, if any. If the key is
   * then free, wakes the next in line. `isVacant` is `true` if there was neither a key nor anybody
   * in line.
   */
  readonly release: (
    key: string,
    value: string,
    entry: LineEntry | undefined
  ) => Effect.Effect<
    { readonly released: boolean; readonly woke: boolean; readonly isVacant?: boolean },
    NodeError
  >

  /**
   * Notifies every service that listens that what is stored under this name may be lost (`Lost`):
   * the holder has found its key missing, and the list may have gone with it. Without this
   * operation, waiters find out when they next look.
   */
  readonly alert?: (key: string) => Effect.Effect<void, NodeError>

  /**
   * Notifies the holder of the key that readers wait (`ReadersWait`), and this service of the next
   * change of the key (`KeyChanged`). `false` if there is no such key. Without it waiting readers
   * rely on their schedule.
   */
  readonly watch?: (key: string) => Effect.Effect<boolean, NodeError>

  /**
   * Like `SharedHolds.yieldToReaders`. If the key is then kept for readers, notifies the first in
   * line (`First`); if the key is free, wakes the first in line.
   */
  readonly yieldToReaders?: (
    key: string,
    value: string,
    graceMillis: number
  ) => Effect.Effect<{ readonly released: boolean; readonly woke: boolean }, NodeError>

  /**
   * The number of entries in the list, which may include entries of services that are gone. Without
   * it `inspect` cannot say how many services wait.
   */
  readonly length?: (key: string) => Effect.Effect<number, NodeError>

  /** Hands a lock over to the next in line. Without it the next in line is woken and asks the nodes. */
  readonly handOver?: HandOver | undefined

  /** The lines of waiters for permits of semaphores. Without it they rely on their schedule. */
  readonly permits?: PermitLine | undefined
}

/**
 * The queue of services that wait for permits, stored next to the semaphore.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitLine {
  /**
   * Appends or prepends the entry, or leaves it where it is. `true` if it is the first
   * and its permits are free already.
   */
  readonly join: (
    key: string,
    entry: PermitEntry,
    limit: number,
    place: "front" | "back"
  ) => Effect.Effect<boolean, NodeError>

  /** Removes the entry, and wakes the first in line once its permits are free (`PermitsFree`). */
  readonly leave: (key: string, entry: PermitEntry) => Effect.Effect<void, NodeError>

  /**
   * Gives up the slots of the value, as `PermitStore.release` does. Then, as long as the
   * permits of the first in line are free, removes it and wakes it (`PermitsFree`). Nobody
   * is woken before the first.
   */
  readonly release: (key: string, value: string) => Effect.Effect<boolean, NodeError>
}

/**
 * One service in the line of a semaphore: a value of its own, which is not that of a
 * holder, and how many permits it needs.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermitEntry {
  /**
   * The value with which the waiter will request permits. It begins with the id of the service,
   * which says where to send the wake-up.
   */
  readonly value: string
  /** How many permits it waits for. */
  readonly permits: number
}

/**
 * One service in the waiting list of a key.
 *
 * `value` is a value of its own, under which it will hold the lock if it is handed over, and
 * `fenced` whether it then needs a fencing token. `mode` is what it waits for, and `weight` how
 * much of it, `1` for a lock.
 *
 * @category models
 * @since 0.1.0
 */
export interface LineEntry {
  readonly value: string
  readonly mode: "exclusive"
  readonly weight: number
  readonly fenced: boolean
}

/**
 * Handing a lock over to the next in line, which then holds it without asking.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandOver {
  /**
   * Makes sure that notifications are delivered, and reads the clock of the server
   * that has the key.
   */
  readonly listen: (key: string) => Effect.Effect<NodeTime, NodeError>

  /**
   * From now on nothing is handed over to this service. Succeeds once everything that was handed
   * over before has been delivered.
   */
  readonly stopListening: () => Effect.Effect<void, NodeError>

  /**
   * If the key has the value, takes the successor's entry out of the list, sets the key to the
   * successor's value, to expire after the given milliseconds, and notifies the successor
   * (`HandedOver`) and the next in line (`First`). If the successor does not receive that, or the
   * server has not been up for as long as the delayed restart requires, it deletes the key and
   * wakes the next in line instead. Nothing happens to a key that has another value; if the key is
   * free, the next in line is woken. `isVacant` is `true` if there was neither a key nor anybody in
   * line.
   *
   * A fenced successor gets the token that `FencingCounters.acquire` would answer with; if the
   * counter cannot count any further, the key is deleted and the next in line is woken.
   */
  readonly transfer: (
    key: string,
    value: string,
    successor: LineEntry,
    terms: HandOverTerms
  ) => Effect.Effect<
    { readonly released: boolean; readonly woke: boolean; readonly handedOver: boolean; readonly isVacant?: boolean },
    NodeError
  >
}

/**
 * The lock is handed over for `expiryMillis`. `proposal` is the smallest fencing token, should the
 * successor need one. `chain` is passed on to the successor.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandOverTerms {
  readonly expiryMillis: number
  readonly proposal: number
  readonly chain: HandOverChain
}

/**
 * The number of hand-overs since the lock was last free, `length`, and how long ago the
 * first of them was, `millis`.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandOverChain {
  readonly length: number
  readonly millis: number
}

/**
 * A reading of a server's clock, in `millis`. Readings can be compared if `clock` is
 * the same.
 *
 * @category models
 * @since 0.1.0
 */
export interface NodeTime {
  readonly millis: number
  readonly clock: string
}

/**
 * A position in a waiting list: the number of entries `ahead`, and `ttlMillis`, the time to live of
 * the blocking key, `0` if it does not exist. `time` is the server's clock when it answered, if the
 * node can tell. `isOurs` is `true` if the key has the entry's value: the lock was handed over, and
 * the entry is no longer in the list.
 *
 * @category models
 * @since 0.1.0
 */
export interface LinePosition {
  readonly ahead: number
  readonly ttlMillis: number
  readonly time?: NodeTime | undefined
  readonly isOurs?: boolean
  /** Readers hold the lock, or it is kept for them. */
  readonly isShared?: boolean
}

/**
 * A notification.
 *
 * - `WakeUp`: it is the turn of the entry with this value, which is no longer in the
 *   list; `next` is the entry behind it
 * - `Successor`: the first in line for the lock that is held with this value
 * - `First`: the entry with this value is the first in line now; the key lives for
 *   `ttlMillis`, `0` if the list should be joined again to find out
 * - `HandedOver`: the key was set to this value, at the given time and for `ttlMillis`;
 *   `next` is the first in line, if the node has the list
 * - `ReadersWait`: readers wait for the lock that is held with this value
 * - `KeyChanged`: a key that the service watches has changed
 * - `Lost`: what is stored under the name, waiting lists included, may be lost
 * - `PermitsFree`: the permits of the entry with this value may be free, `slot` among
 *   them if known, and the entry is no longer in the line of the semaphore
 * - `Resync`: notifications may have been lost
 * - `Unsupported`: the node cannot deliver some notifications, with the reason
 *
 * @category models
 * @since 0.1.0
 */
export type Notice =
  | { readonly _tag: "WakeUp"; readonly key: string; readonly value: string; readonly next: LineEntry | undefined }
  | {
    readonly _tag: "Successor"
    readonly key: string
    readonly value: string
    readonly successor: LineEntry | undefined
  }
  | { readonly _tag: "First"; readonly key: string; readonly value: string; readonly ttlMillis: number }
  | HandedOver
  | { readonly _tag: "ReadersWait"; readonly key: string; readonly value: string }
  | { readonly _tag: "KeyChanged"; readonly key: string }
  | { readonly _tag: "Lost"; readonly key: string }
  | { readonly _tag: "PermitsFree"; readonly key: string; readonly value: string; readonly slot: number | undefined }
  | { readonly _tag: "Resync" }
  | { readonly _tag: "Unsupported"; readonly why: string }

/**
 * A node handed a lock over: `key` has the successor's `value` and lives for `ttlMillis` from
 * `time`. `chain` is that of the terms, `next` is first in line behind the successor, and `token`
 * is what the node counted for a fenced successor.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandedOver {
  readonly _tag: "HandedOver"
  readonly key: string
  readonly value: string
  readonly ttlMillis: number
  readonly time: NodeTime
  readonly chain: HandOverChain
  readonly next: LineEntry | undefined
  readonly token: number | undefined
}

/**
 * What a node stores under a key.
 *
 * **Details**
 *
 * `value` is the random value of the holder, `ttlMillis` the remaining time to live,
 * `Infinity` for a key without expiry. `type` is Redis' name for the type of the
 * key; if it is not `"string"`, which is the default, `value` is empty. It is also
 * empty for a string that is too long to be the value of a lock; then `bytes` is
 * its length.
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
