/**
 * The port of a Redis client: all that a node needs of one. Another client becomes
 * a node by implementing `RedisClient`; `node.ts` and `waitingList.ts` do the rest.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import type { Meaning } from "./replies.ts"

export type Arguments = ReadonlyArray<string | number>

/**
 * A Lua script.
 *
 * A client may send only the hash (`EVALSHA`), and the source (`EVAL`) once the server
 * has replied `NOSCRIPT`. The source is then executed after everything that was sent
 * in between, perhaps after a release. It must not set a key that nobody would delete
 * any more, so such a client
 *
 * - does not send the source of a script that `sets` a value if a script that `deletes` that value has been sent since
 *   the hash. Nothing was executed then, and the reply counts as `0`;
 * - sends the source with `argsIfResent`.
 *
 * A client that sends the source at once can ignore all of this.
 */
export interface Script {
  readonly lua: string
  /** The hash of the script, for `EVALSHA`. */
  readonly sha: string
  /** The index of the argument that the script sets the lock's key to. */
  readonly sets: number | undefined
  /** The index of the argument that the lock's key must have as its value for the script to delete it. */
  readonly deletes: number | undefined
  /** The arguments for the source, if the hash has been sent before. */
  readonly argsIfResent: ((args: Arguments) => Arguments) | undefined
}

export const script = (
  lua: string,
  { argsIfResent, deletes, sets }: Partial<Pick<Script, "sets" | "deletes" | "argsIfResent">> = {}
): Script => ({ lua, sha: createHash("sha1").update(lua).digest("hex"), sets, deletes, argsIfResent })

/** How many replicas must acknowledge a write, and within how much time. */
export interface Replicas {
  readonly count: number
  readonly withinMillis: number
}

/**
 * Sends requests to the server that has the key, and reads the replies as `meaning`
 * says.
 *
 * Requests for one key are executed in the order their effects are started,
 * and none is executed twice unless the client says that it `resends`.
 */
export interface Requests {
  /** The first argument is the key. */
  readonly command: <A extends {}>(
    operation: NodeError["operation"],
    meaning: Meaning<A>,
    name: string,
    args: Arguments
  ) => Effect.Effect<A, NodeError>
  /** The first of the keys is the lock's; all are in the same slot of a cluster. */
  readonly script: <A extends {}>(
    operation: NodeError["operation"],
    meaning: Meaning<A>,
    script: Script,
    keys: Arguments,
    args: Arguments
  ) => Effect.Effect<A, NodeError>
}

/** Both keep one order for each key. */
export interface ReplicatedRequests {
  /** These succeed only once the replicas have acknowledged what was written. */
  readonly durable: Requests
  /** These do not wait for replicas. */
  readonly plain: Requests
}

export interface RedisClient extends Requests {
  /** The id of the node, without credentials. */
  readonly id: string
  /** What the node says about its connection. */
  readonly traits: Pick<LockNode, "resends" | "ready" | "reconnect" | "mayOvertake" | "serverOf">
  /** Present for a cluster, with what the client adds in front of every key. */
  readonly cluster?: { readonly keyPrefix: string } | undefined
  /** The id that the server has given itself for this run, once it is known. */
  readonly runId?: (() => string | undefined) | undefined
  /**
   * Identifies the connection to the server, and changes with every new connection. Without it, as
   * for a cluster, and while it returns `undefined`, the node hands no locks over, since the age of
   * a hand-over can only be measured by the clock of one and the same server.
   */
  readonly connectionId?: (() => string | undefined) | undefined
  /** Requests of a node that waits for replicas. Without it the node cannot be used with `replicas`. */
  readonly replicated?: ((replicas: Replicas) => ReplicatedRequests) | undefined
  /**
   * Delivers what is published on a channel, and changes of watched keys, while the
   * scope is open. Without it the node has no waiting lists.
   */
  readonly notifications?:
    | ((channel: string, onNotification: (notification: Notification) => void) => Effect.Effect<
      Notifications,
      never,
      Scope.Scope
    >)
    | undefined
}

/** Notifications from the servers of a node. The connections they need are opened by the first `subscribe`. */
export interface Notifications {
  /** Succeeds once messages published by the server that has the key are delivered. */
  readonly subscribe: (key: string) => Effect.Effect<void, NodeError>
  /** Succeeds once all messages have been delivered that were published before, and none is published any more. */
  readonly unsubscribe?: Effect.Effect<void, NodeError>
  /**
   * Reads the key, whose next change is notified if the server supports it. `false` if
   * there is no such key.
   */
  readonly watchKey: (key: string) => Effect.Effect<boolean, NodeError>
  /**
   * Present for a cluster: whether it has been subscribed to on the server that has the key now, as far as is known.
   * It may turn out with the next request for the key that another server has taken over.
   */
  readonly hears?: (key: string) => boolean
}

/**
 * A message on the channel, where `isCopy` says whether one about this key is delivered twice, since a cluster
 * passes every message on to all its servers; a watched key has changed; notifications may have been
 * lost; or some cannot be delivered, with the reason.
 */
export type Notification =
  | { readonly _tag: "Message"; readonly message: string; readonly isCopy?: (key: string) => boolean }
  | { readonly _tag: "KeyChanged"; readonly key: string }
  | { readonly _tag: "Resync" }
  | { readonly _tag: "Unsupported"; readonly why: string }
