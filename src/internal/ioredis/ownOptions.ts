/**
 * The options of the library's own clients: what is always set, and the callbacks of
 * the user, whose exceptions would end the process.
 */
import * as Effect from "effect/Effect"
import { constFalse } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import type { RedisOptions } from "ioredis"
import { handled } from "../base/arguments.ts"
import { withoutPlace } from "../redis/errors.ts"
import { nowMillis } from "../redis/realTime.ts"

/** The default limit for connecting, and for the server to respond on the connection. */
export const connectMillis = 5000

const replicaReply = /^(?:READONLY|MASTERDOWN) /

/** A server may become a replica for good, or the address may lead to one; reconnecting must not become a storm. */
const readOnlyPauseMillis = 1000

/** The delay before the next attempt to connect, with jitter. */
export const retryDelay = (times: number): number => {
  const longest = Math.min(100 * 2 ** (times - 1), 1000)
  return Effect.runSync(Random.nextBetween(longest / 2, longest))
}

/** Calls a function of the user's. What it throws, now or later, would end the process. */
const called = <A>(given: () => A, otherwise: () => A): A => {
  try {
    return handled(given())
  } catch {
    return otherwise()
  }
}

const longestDelay = 2 ** 31 - 1

/** The given strategy. A delay that is too long for a timer would be no delay at all. */
export const retryStrategy = (
  given: RedisOptions["retryStrategy"] = retryDelay
): (times: number) => number | null =>
(times) => {
  if (given === null) return null
  const delay = called<unknown>(() => given(times), () => retryDelay(times))
  if (!Predicate.isNumber(delay)) return null
  return delay >= 0 && delay <= longestDelay ? delay : retryDelay(times)
}

/** No command is executed after it was given up: none is queued without a connection, and none is sent twice. */
export const ownOptions = (options: RedisOptions) => ({
  lazyConnect: true,
  // Detects an unusable connection before anything else is sent on it.
  enableReadyCheck: true,
  // Nothing is in flight any more when we disconnect; ioredis would keep the process alive for a closed connection.
  disconnectTimeout: 0,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  retryStrategy: retryStrategy(options.retryStrategy),
  maxLoadingRetryTime: options.maxLoadingRetryTime ?? 1000,
  ...sentinelOptions(options)
})

/** The Sentinels are asked one after the other, each for at most a second. */
export const sentinelOptions = (options: RedisOptions) =>
  options.sentinels && {
    sentinelCommandTimeout: options.sentinelCommandTimeout ?? 1000,
    // ioredis would sleep, even after it is closed; `keepConnected` tries again instead.
    sentinelRetryStrategy: () => null
  }

/**
 * Reconnects when a server that has become a replica refuses a write: the address may
 * lead to another server by now. Never returns 2, which would send the command again.
 */
export const reconnectOnError = (given: RedisOptions["reconnectOnError"], because: (error: Error) => void) => {
  let last = -Infinity
  const isReadOnly = (error: Error) => {
    if (!replicaReply.test(withoutPlace(error.message)) || nowMillis() - last < readOnlyPauseMillis) {
      return false
    }
    last = nowMillis()
    return true
  }
  return (error: Error): boolean => {
    const reconnects = isReadOnly(error) || (given != null && Boolean(called<unknown>(() => given(error), constFalse)))
    if (reconnects) because(error)
    return reconnects
  }
}
