/**
 * A node over Redis, whichever client carries the requests.
 */
import * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { quoted } from "../base/text.ts"
import { abstentionReason, fencingCounterTtlMillis } from "../nodeContract.ts"
import type { Arguments, RedisClient, Replicas } from "./client.ts"
import { toNodeError } from "./errors.ts"
import { companionKeys } from "./keys.ts"
import { count, decodeKeyState, decodeToken, okOrNull, oneOrZero } from "./replies.ts"
import { scriptsByName as scripts } from "./scriptsByName.ts"
import { waitingList } from "./waitingList.ts"

/** What must be certain before the node grants anything. */
interface Demands {
  readonly minUptimeMillis?: number
  readonly replicas?: Replicas
}

export const make = (client: RedisClient, demands: Demands = {}): LockNode => {
  const { cluster, id, replicated, traits } = client
  const { minUptimeMillis = 0, replicas } = demands
  const companions = companionKeys(cluster)

  /** For all that a lock must not lose: its key, its expiry, its token. */
  const durable = replicas === undefined || replicated === undefined ? client : replicated(replicas)

  const withCounter = <A>(
    key: string,
    run: (keys: Arguments) => Effect.Effect<A, NodeError>
  ): Effect.Effect<A, NodeError> => {
    if (companions.canExist(key)) return run([key, companions.of("fencing", key)])
    const error = new Error(
      `ERR a cluster cannot keep a fencing counter for the name ${quoted(key)}, which has a "}" but no hash tag`
    )
    return Effect.fail(toNodeError(id, "acquire", error))
  }

  return {
    ...traits,
    id,
    acquire: (key, value, expiryMillis) =>
      minUptimeMillis > 0
        ? durable.script("acquire", oneOrZero, scripts.acquire, [key], [value, expiryMillis, minUptimeMillis])
        : durable.command("acquire", okOrNull, "set", [key, value, "PX", expiryMillis, "NX"]),
    extend: (key, value, expiryMillis, ifPresent = false) =>
      durable.script("extend", oneOrZero, scripts.extend, [key], [value, expiryMillis, ifPresent ? 0 : 1]),
    release: (key, value) => client.script("release", oneOrZero, scripts.release, [key], [value]),
    inspect: (key) => client.script("inspect", decodeKeyState, scripts.inspect, [key], []),
    remove: (key) => client.command("remove", oneOrZero, "del", [key]),
    replace: (key, value, newValue, expiryMillis) =>
      durable.script("acquire", oneOrZero, scripts.replace, [key], [value, newValue, expiryMillis]),
    fencing: {
      acquire: (key, value, expiryMillis, proposal) =>
        withCounter(key, (keys) => {
          const args = [value, expiryMillis, proposal, fencingCounterTtlMillis, minUptimeMillis]
          return durable.script("acquire", decodeToken, scripts.acquireFenced, keys, args)
        }),
      raise: (key, value, token) =>
        withCounter(
          key,
          (keys) => durable.script("acquire", oneOrZero, scripts.raise, keys, [value, token, fencingCounterTtlMillis])
        ),
      replace: (key, value, newValue, expiryMillis, proposal) =>
        withCounter(key, (keys) => {
          const args = [value, newValue, expiryMillis, proposal, fencingCounterTtlMillis]
          return durable.script("acquire", decodeToken, scripts.replaceFenced, keys, args)
        })
    },
    delayedRestart: (millis) => make(client, { ...demands, minUptimeMillis: millis }),
    ...(minUptimeMillis > 0 && {
      abstention: (key) =>
        Effect.map(
          client.script("inspect", count, scripts.uptime, [key], []),
          (upMillis) => abstentionReason(upMillis, minUptimeMillis)
        )
    }),
    ...(replicated !== undefined && {
      replicas: (count, withinMillis) => make(client, { ...demands, replicas: { count, withinMillis } })
    }),
    ...(client.notifications !== undefined && {
      waitingList: waitingList(client, client.notifications, companions)
    })
  }
}
