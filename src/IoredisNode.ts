/**
 * A node over ioredis: a URL, ioredis options, or an existing client or cluster.
 *
 * `Redsync.layer` opens nodes given as URLs with this module. Use it directly for
 * ioredis options, for an existing client or cluster, and for a node outside a layer.
 * It is imported as `effect-redsync/IoredisNode`, and needs ioredis, an optional peer
 * dependency.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { Cluster, Redis, RedisOptions } from "ioredis"
import { dieWithIllegalArgument, invalidOption, passes } from "./internal/base/arguments.ts"
import * as Node from "./internal/ioredis/node.ts"
import { checkTarget } from "./internal/ioredis/nodeOptions.ts"
import type { LockNode } from "./LockNode.ts"

/**
 * A node with a connection of its own, opened now and closed with the scope.
 *
 * **Details**
 *
 * `target` is a URL (`redis://user:password@host:6379/2`, `rediss://` for TLS,
 * `unix:/path/to.sock`, `redis+sentinel://host,host/name` for the primary that the Sentinels
 * monitor under that name) or ioredis options. The effect does not wait for the connection, and an
 * unreachable server is not a failure: the node keeps trying to connect. Requests made before the
 * first connection wait for it, until the caller interrupts them. Before anything is sent on a new
 * connection, the server is told to close the previous one, which broke or was given up because it
 * did not respond; this needs permission for `CLIENT INFO` and `CLIENT KILL`. If a server answers
 * `READONLY`, the node reconnects to whichever server the address now leads to, at most once a
 * second. A URL that cannot be parsed is a defect, and so is an invalid or unknown option;
 * passwords are masked.
 *
 * **Options of ioredis**
 *
 * Always set, overriding what is given, so that no command is executed after it has
 * timed out and nothing is left when the node is closed:
 *
 * - `enableOfflineQueue`, `autoResendUnfulfilledCommands` and `autoResubscribe` are `false`
 * - `maxRetriesPerRequest` and `disconnectTimeout` are `0`
 * - `lazyConnect` and `enableReadyCheck` are `true`
 *
 * Set unless given:
 *
 * - `connectTimeout`: 5000 ms to connect, and as long again for the server to respond; `0` for no limit
 * - `retryStrategy`: after 50 to 100 ms, and up to a second later on; if it gives up, so does the node, permanently
 * - `maxLoadingRetryTime`: 1000 ms
 * - `sentinelCommandTimeout`: 1000 ms for each Sentinel, before the next is asked
 * - `sentinelRetryStrategy`: like `retryStrategy`, for when no Sentinel knows the primary
 *
 * `reconnectOnError` is called as well, but if it returns `2`, the command is not sent again.
 * `commandTimeout` and `socketTimeout` work as usual; the node timeout of a service applies
 * regardless of them. `keyPrefix`, `db`, `stringNumbers`, `replyMapping` and everything about
 * connecting work as usual too, but `keyPrefix` is not added to channels. `enableAutoPipelining`
 * and `readOnly` change nothing: commands of one tick are sent together anyway, and always to a
 * primary. `monitor` must not be `true`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (target: string | RedisOptions): Effect.Effect<LockNode, never, Scope.Scope> =>
  Effect.suspend(() => {
    const options = checkTarget(target)
    return Predicate.isString(options) ? dieWithIllegalArgument(options) : Node.connect(options)
  })

/**
 * A node over an existing client or cluster of ioredis or iovalkey, which is never
 * closed or reconfigured.
 *
 * **Details**
 *
 * The first requests wait for its connection if the client does not queue (`enableOfflineQueue:
 * false`) or is a cluster; a client with `lazyConnect` is made to connect. A cluster's
 * `enableAutoPipelining` does not apply to locks. A cluster is one node, but a master that does not
 * respond affects only the locks whose keys it has; if it stays silent, the cluster is asked for its
 * slots again. Throws an `IllegalArgumentError` for anything that is not such a client.
 *
 * **Gotchas**
 *
 * With ioredis' own defaults a client sends commands again after a broken connection and queues
 * them while there is none. Locks stay safe, but a node that is down then costs the node timeout
 * instead of failing at once, unless the client has `enableOfflineQueue: false`. After a connection
 * broke, the clean-up of its pending requests is repeated until the keys must have expired, since a
 * server may execute the rest of what it received on the old connection after commands sent on the
 * new one.
 *
 * An ioredis client without a listener for `error` prints every failed attempt to connect with its
 * stack, as an unreachable cluster makes several times a second: give it one, such as
 * `client.on("error", () => {})`. The library logs once that a node does not answer, and why. A
 * client that was closed fails every request at once.
 *
 * If a server sends a reply that no command waits for, or a notification without a
 * channel, ioredis throws an exception that cannot be caught and ends the process.
 * Connections opened by the library are closed before that can happen; an existing
 * client is not protected.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromClient = (client: Redis | Cluster): LockNode => {
  if (!isClient(client)) {
    throw new Cause.IllegalArgumentError(invalidOption("client", client, "it must be an ioredis client or cluster"))
  }
  return Node.viaClient(client)
}

/**
 * Whether a value is a client or cluster of ioredis or iovalkey, from any copy of the package.
 *
 * @category guards
 * @since 0.1.0
 */
export const isClient = (u: unknown): u is Redis | Cluster =>
  passes(() =>
    Predicate.hasProperty(u, "sendCommand") && Predicate.isFunction(u.sendCommand) && Predicate.hasProperty(u, "status")
  )
