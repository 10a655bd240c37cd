/**
 * The readers of locks on a node.
 */
import type * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { SharedHolder, SharedHolds, SharedState } from "../../LockNode.ts"
import { fencingCounterTtlMillis, longestValue } from "../nodeContract.ts"
import type { Arguments, RedisClient, Requests } from "./client.ts"
import type { CompanionKeys } from "./keys.ts"
import { count, decodeToken, type Meaning, oneOrZero } from "./replies.ts"
import { sharedScripts as scripts } from "./sharedScripts.ts"

/** Runs with the keys of the readers beside a lock, if the server can keep them there. */
export type WithReaders = <A>(
  key: string,
  run: (keys: Arguments, counter: string) => Effect.Effect<A, NodeError>
) => Effect.Effect<A, NodeError>

export const withReaders = (
  companions: CompanionKeys,
  impossible: (key: string) => Effect.Effect<never, NodeError>
): WithReaders =>
(key, run) =>
  companions.canExist(key)
    ? run([key, companions.of("readers", key), companions.of("turns", key)], companions.of("fencing", key))
    : impossible(key)

/** `durable` is for what must not be lost: readers, and their tokens. */
export const sharedHolds = (
  client: RedisClient,
  durable: Requests,
  withKeys: WithReaders,
  minUptimeMillis: number
): SharedHolds => ({
  acquire: (key, value, expiryMillis, waitMillis = 0) =>
    withKeys(
      key,
      (keys) =>
        durable.script("acquire", oneOrZero, scripts.acquire, keys, [value, expiryMillis, waitMillis, minUptimeMillis])
    ),
  extend: (key, value, expiryMillis, ifPresent = false) =>
    withKeys(
      key,
      (keys) => durable.script("extend", oneOrZero, scripts.extend, keys, [value, expiryMillis, ifPresent ? 0 : 1])
    ),
  release: (key, value) => withKeys(key, (keys) => client.script("release", oneOrZero, scripts.release, keys, [value])),
  downgrade: (key, value, newValue, expiryMillis) =>
    withKeys(
      key,
      (keys) => durable.script("acquire", oneOrZero, scripts.downgrade, keys, [value, newValue, expiryMillis])
    ),
  inspect: (key, value = "") =>
    withKeys(key, (keys) => client.script("inspect", sharedState, scripts.inspect, keys, [value])),
  yieldToReaders: (key, value, graceMillis) =>
    withKeys(key, (keys) => client.script("release", oneOrZero, scripts.yieldToReaders, keys, [value, graceMillis])),
  announce: (key, waitMillis) =>
    withKeys(key, (keys) => client.script("inspect", oneOrZero, scripts.announce, keys, [waitMillis])),
  fencing: {
    acquire: (key, value, expiryMillis, proposal, waitMillis = 0) =>
      withKeys(key, (keys, counter) => {
        const args = [value, expiryMillis, waitMillis, proposal, fencingCounterTtlMillis, minUptimeMillis]
        return durable.script("acquire", decodeToken, scripts.acquireFenced, [...keys, counter], args)
      }),
    raise: (key, value, token) =>
      withKeys(key, (keys, counter) => {
        const args = [value, token, fencingCounterTtlMillis]
        return durable.script("acquire", oneOrZero, scripts.raise, [...keys, counter], args)
      })
  }
})

/** The number of readers, for how long a writer waits, and of some readers the value and the time to live. */
const sharedState: Meaning<SharedState> = (reply) => {
  if (!Array.isArray(reply) || reply.length < 2 || reply.length % 2 === 1) return undefined
  const readers = count(reply[0])
  const writerWaitsMillis = count(reply[1])
  if (readers === undefined || writerWaitsMillis === undefined) return undefined
  const holders: Array<SharedHolder> = []
  for (let index = 2; index < reply.length; index += 2) {
    const [value, ttl]: ReadonlyArray<unknown> = reply.slice(index, index + 2)
    const ttlMillis = count(ttl)
    if (typeof value !== "string" || value.length > longestValue || ttlMillis === undefined) return undefined
    holders.push({ value, ttlMillis })
  }
  return { readers, holders, isWriterWaiting: writerWaitsMillis > 0 }
}
