/**
 * Nodes over Effect's own Redis service.
 *
 * Use them if a program already has an `effect/persistence/Redis`, for
 * instance `NodeRedis` from `@effect/platform-node`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { dieWithIllegalArgument, given, invalidOption, passes } from "./internal/base/arguments.ts"
import { GivenLink } from "./internal/effectRedis/givenLink.ts"
import { LayerLink } from "./internal/effectRedis/layerLink.ts"
import type { NodeRedisClient } from "./internal/effectRedis/link.ts"
import { nodeOver, scopedNode } from "./internal/effectRedis/node.ts"
import type { LockNode } from "./LockNode.ts"

/**
 * The part of a node-redis client that is used.
 *
 * **Details**
 *
 * The `client` of platform-node's `NodeRedis` service is such a client. The node listens to its
 * events, but never closes or reconfigures it. With `emitInvalidate` the server notifies it when a
 * lock is released by means other than this library.
 *
 * @category models
 * @since 0.1.0
 */
export type { NodeRedisClient as Client } from "./internal/effectRedis/link.ts"

/**
 * Options of a node over Effect's Redis service.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * The name shown in errors and logs, unique among the nodes of a service.
   *
   * @default "redis"
   */
  readonly id?: string | undefined

  /** The client behind the service, such as `(yield* NodeRedis.NodeRedis).client`. */
  readonly client?: NodeRedisClient | undefined
}

/**
 * A node over the given Redis service, which is used unchanged.
 *
 * **Details**
 *
 * The client decides what happens while the server is down: commands that it queues or sends again
 * cost the node timeout and are cleaned up, so give node-redis `disableOfflineQueue: true`. Errors
 * of the client become failures of the node, as `NodeError`. Scripts are sent with their source
 * each time (`EVAL`).
 *
 * The first waiter opens a subscription, which is a connection of its own. Locks are handed over to
 * the next in line only if `client` is given and counts its connections, as node-redis 6 does;
 * without it the next in line is woken and asks the nodes. A release by another library is noticed
 * at once if the client has `emitInvalidate`, which needs permission for `CLIENT TRACKING`;
 * otherwise on the waiter's schedule. Use such a client for nothing else, since the server notifies
 * it about every key that was read on it.
 *
 * Invalid arguments throw an `IllegalArgumentError` that names the argument.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (redis: Redis.Redis["Service"], options: Options = {}): LockNode => {
  const read = isRedis(redis) ? checkOptions(options) : invalidOption("redis", redis, "it must be a Redis service")
  if (Predicate.isString(read)) throw new Cause.IllegalArgumentError(read)
  return nodeOver(read.id, new GivenLink(redis, read.client), Context.empty())
}

/**
 * A node over the Redis service in the context. Like that of {@link make}, but can also wait for
 * `replicas`.
 *
 * **Details**
 *
 * With `replicas` the node sends all its commands on one connection, which it reserves until the
 * scope closes, since `WAIT` applies to a connection. It then does not hand locks over.
 *
 * Invalid options die with an `IllegalArgumentError` that names the option.
 *
 * @category constructors
 * @since 0.1.0
 */
export const node = (options: Options = {}): Effect.Effect<LockNode, never, Redis.Redis | Scope.Scope> =>
  Effect.suspend(() => {
    const read = checkOptions(options)
    if (Predicate.isString(read)) return dieWithIllegalArgument(read)
    return Effect.flatMap(Redis.Redis, (redis) => scopedNode(read.id, new GivenLink(redis, read.client)))
  })

/**
 * A node over a Redis service of its own, built from the given layer and closed with the
 * scope.
 *
 * **When to use**
 *
 * Use it for several servers: a layer of `NodeRedis` fails if its server is down when
 * it is built, and gives up after a socket timeout; this node does not.
 *
 * **Details**
 *
 * The layer is built in the background, for this node alone, and built again after 50 ms, doubling
 * to 2 seconds, whenever that fails or takes more than 10 seconds, when its client gives up for
 * good, and when the server has not responded for a second or more. Requests wait for the first
 * attempt, and fail as `Disconnected` while there is no connection. The layer's own errors appear
 * only in those of the node; `NodeRedis` logs each connection that fails as a warning of its own.
 *
 * If the layer provides `NodeRedis`, its client is used as the option `client` of {@link make}
 * would be. The node waits for `replicas` as {@link node} does.
 *
 * When the scope closes, a client of `NodeRedis` is closed at once, and other
 * finalizers of the layer are waited for, for at most a second. An invalid argument is a
 * defect that names it.
 *
 * **Example** (Three servers)
 *
 * ```ts
 * import { NodeRedis } from "@effect/platform-node"
 * import { RedisNode, Redsync } from "effect-redsync"
 *
 * const node = (host: string) =>
 *   RedisNode.fromLayer(
 *     host,
 *     NodeRedis.layer({ url: `redis://${host}:6379`, disableOfflineQueue: true, emitInvalidate: true })
 *   )
 *
 * const layer = Redsync.layer({ nodes: [node("a"), node("b"), node("c")] })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromLayer = <E, R>(
  id: string,
  layer: Layer.Layer<Redis.Redis, E, R>
): Effect.Effect<LockNode, never, R | Scope.Scope> =>
  Effect.suspend(() => {
    const read = passes(() => Layer.isLayer(layer))
      ? checkOptions({ id })
      : invalidOption("layer", layer, "it must be a Layer of a Redis service")
    if (Predicate.isString(read)) return dieWithIllegalArgument(read)
    return Effect.gen(function*() {
      const link = new LayerLink()
      yield* Effect.forkScoped(link.keep(layer))
      return yield* scopedNode(read.id, link)
    })
  })

interface CheckedOptions {
  readonly id: string
  readonly client: NodeRedisClient | undefined
}

const checkOptions = (options: unknown): CheckedOptions | string => {
  const read = given(options, ["id", "client"])
  if (Predicate.isString(read)) return read
  const { client, id = "redis" } = read
  if (!Predicate.isString(id) || id === "") return invalidOption("id", id, "it must be a non-empty string")
  return client === undefined || isEmitter(client)
    ? { id, client: client as NodeRedisClient | undefined }
    : invalidOption("client", client, "it must be a client of node-redis")
}

const isRedis = (u: unknown): boolean => passes(() => Predicate.hasProperty(u, "send") && Predicate.isFunction(u.send))

const isEmitter = (u: unknown): boolean =>
  passes(() =>
    Predicate.hasProperty(u, "on") && Predicate.isFunction(u.on) && Predicate.hasProperty(u, "off") &&
    Predicate.isFunction(u.off)
  )
