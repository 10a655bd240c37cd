/**
 * A client of the library's own behind Sentinels.
 */
import { constVoid } from "effect/Function"
import type { Redis } from "ioredis"
import { schedule } from "../redis/realTime.ts"
import { guardReplies } from "./replyGuard.ts"

/** Not public in ioredis; the clients that ask the Sentinels cannot be reached in any other way. */
interface SentinelConnector {
  connectToSentinel?: (endpoint: unknown, options?: object) => Redis
}

/** Connects again if no Sentinel knows the primary. The returned function closes the connections to Sentinels. */
export const keepSentinels = (client: Redis, delayAfter: (times: number) => number | null): () => void => {
  const sentinels = new Set<Redis>()
  let isClosed = false
  let isGivenUp = false
  let times = 0
  let stop = constVoid
  const { connector } = client as unknown as { readonly connector: SentinelConnector }
  const connectToSentinel = connector.connectToSentinel?.bind(connector)
  if (connectToSentinel !== undefined) {
    connector.connectToSentinel = (endpoint, options) => {
      // ioredis may call this after it was closed, and nothing would catch an error: it gets a closed client.
      const sentinel = connectToSentinel(endpoint, {
        ...options,
        // In RESP3 a subscription is answered by a push message, which is not a reply.
        protocol: 2,
        disconnectTimeout: 0,
        ...isClosed && { lazyConnect: true }
      })
      if (isClosed) {
        sentinel.disconnect()
        return sentinel
      }
      guardReplies(sentinel)
      sentinels.add(sentinel)
      sentinel.once("end", () => sentinels.delete(sentinel))
      return sentinel
    }
  }
  client.on("ready", () => {
    times = 0
  })
  client.on("connecting", () => {
    isGivenUp = false
  })
  client.on("close", () => {
    // If it ends now, the retry strategy has given up.
    isGivenUp = true
  })
  client.on("end", () => {
    const delay = isClosed || isGivenUp ? null : delayAfter(++times)
    if (delay !== null) stop = schedule(delay, () => void client.connect().catch(constVoid))
  })
  return () => {
    isClosed = true
    stop()
    for (const sentinel of sentinels) sentinel.disconnect()
  }
}
