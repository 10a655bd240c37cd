/**
 * A node over Effect's own Redis service.
 *
 * Use it where a program already has an `effect/persistence/Redis`, for
 * instance `NodeRedis` from `@effect/platform-node`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Redis from "effect/persistence/Redis"
import { counterMillis, unexpected } from "./internal/nodeContract.ts"
import { keyBeside } from "./internal/redis/keys.ts"
import {
  abstention,
  count,
  keyState,
  type Meaning,
  nodeError,
  okOrNull,
  oneOrZero,
  tokenOrZero
} from "./internal/redis/replies.ts"
import * as scripts from "./internal/redis/scripts.ts"
import type { NodeError } from "./LockError.ts"
import type { LockNode } from "./LockNode.ts"

/**
 * A node over the given Redis service.
 *
 * **Details**
 *
 * `id` is the name shown in errors, `"redis"` by default; give each node its own
 * where there are several. The client decides what happens while the server is
 * away; the node timeout bounds it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (redis: Redis.Redis["Service"], id: string = "redis"): LockNode => operations(redis, id, 0)

const operations = (redis: Redis.Redis["Service"], id: string, minUptimeMillis: number): LockNode => {
  const call = <A extends {}>(
    operation: NodeError["operation"],
    effect: Effect.Effect<unknown, Redis.RedisError>,
    meaning: Meaning<A>
  ): Effect.Effect<A, NodeError> =>
    Effect.matchEffect(effect, {
      onFailure: (error) => Effect.fail(nodeError(id, operation, error)),
      onSuccess: (reply) => {
        const answer = meaning(reply)
        return answer === undefined ? Effect.fail(unexpected(id, operation, reply)) : Effect.succeed(answer)
      }
    })

  // Not `redis.eval`: it may load a script first, and then a release could overtake an extension.
  const run = (lua: string, key: string, ...args: ReadonlyArray<string | number>) =>
    redis.send("EVAL", lua, "1", key, ...args.map(String))

  const runCounting = (lua: string, key: string, ...args: ReadonlyArray<string | number>) =>
    redis.send("EVAL", lua, "2", key, keyBeside("fencing", key), ...args.map(String))

  return {
    id,
    resends: true,
    acquire: (key, value, expiryMillis) =>
      minUptimeMillis > 0
        ? call("acquire", run(scripts.acquire, key, value, expiryMillis, minUptimeMillis), oneOrZero)
        : call("acquire", redis.send("SET", key, value, "NX", "PX", String(expiryMillis)), okOrNull),
    extend: (key, value, expiryMillis, ifPresent = false) =>
      call("extend", run(scripts.extend, key, value, expiryMillis, ifPresent ? 0 : 1), oneOrZero),
    release: (key, value) => call("release", run(scripts.release, key, value), oneOrZero),
    inspect: (key) => call("inspect", run(scripts.inspect, key), keyState),
    remove: (key) => call("remove", redis.send("DEL", key), oneOrZero),
    replace: (key, value, newValue, expiryMillis) =>
      call("acquire", run(scripts.replace, key, value, newValue, expiryMillis), oneOrZero),
    fencing: {
      acquire: (key, value, expiryMillis, proposal) => {
        const args = [value, expiryMillis, proposal, counterMillis, minUptimeMillis]
        return call("acquire", runCounting(scripts.acquireFenced, key, ...args), tokenOrZero)
      },
      raise: (key, value, token) =>
        call("acquire", runCounting(scripts.raise, key, value, token, counterMillis), oneOrZero),
      replace: (key, value, newValue, expiryMillis, proposal) => {
        const args = [value, newValue, expiryMillis, proposal, counterMillis]
        return call("acquire", runCounting(scripts.replaceFenced, key, ...args), tokenOrZero)
      }
    },
    delayedRestart: (millis) => operations(redis, id, millis),
    ...(minUptimeMillis > 0 && {
      abstention: (key) =>
        Effect.map(call("inspect", run(scripts.uptime, key), count), (up) => abstention(up, minUptimeMillis))
    })
  }
}
