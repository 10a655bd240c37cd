/**
 * A node over Effect's own Redis service.
 *
 * Use it where a program already has an `effect/persistence/Redis`, for
 * instance `NodeRedis` from `@effect/platform-node`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Redis from "effect/persistence/Redis"
import * as Predicate from "effect/Predicate"
import { given } from "./internal/base/arguments.ts"
import { unexpected } from "./internal/nodeContract.ts"
import { nameForbiddenCommand, toNodeError } from "./internal/redis/errors.ts"
import * as Node from "./internal/redis/node.ts"
import type { Meaning } from "./internal/redis/replies.ts"
import type { NodeError } from "./LockError.ts"
import type { LockNode } from "./LockNode.ts"

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
}

/**
 * A node over the given Redis service.
 *
 * **Details**
 *
 * The client decides what happens while the server is down: commands that it queues
 * or sends again cost the node timeout and are cleaned up. Errors of the client are
 * failures of the node, as `NodeError`. Scripts are sent with their source. Waiters
 * rely on their retry schedule: the node has no waiting lists, and it does not wait
 * for `replicas`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (redis: Redis.Redis["Service"], options: Options = {}): LockNode => {
  const read = given(options, ["id"])
  if (Predicate.isString(read)) throw new Cause.IllegalArgumentError(read)
  const { id = "redis" } = read as Options

  const request = <A extends {}>(
    operation: NodeError["operation"],
    meaning: Meaning<A>,
    sent: Effect.Effect<unknown, unknown>
  ): Effect.Effect<A, NodeError> =>
    Effect.matchEffect(sent, {
      onFailure: (error) => Effect.fail(toNodeError(id, operation, error)),
      onSuccess: (reply) => {
        const answer = meaning(reply)
        return answer === undefined ? Effect.fail(unexpected(id, operation, reply)) : Effect.succeed(answer)
      }
    })

  return Node.make({
    id,
    traits: { resends: true },
    command: (operation, meaning, name, args) => request(operation, meaning, redis.send(name, ...args.map(String))),
    // Not `redis.eval`: it may load a script first, and then a release could overtake an extension.
    script: (operation, meaning, { lua }, keys, args) =>
      request(
        operation,
        meaning,
        Effect.mapError(
          redis.send("EVAL", lua, String(keys.length), ...[...keys, ...args].map(String)),
          (error) => nameForbiddenCommand(lua, error)
        )
      )
  })
}
