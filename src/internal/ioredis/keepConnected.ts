/**
 * Keeps the library's own clients connected until they are closed.
 */
import { constVoid } from "effect/Function"
import type { Redis } from "ioredis"
import { schedule } from "../redis/realTime.ts"
import { connectMillis, retryDelay } from "./ownOptions.ts"
import { checkReadiness } from "./readyCheck.ts"
import { guardReplies } from "./replyGuard.ts"
import { keepSentinels } from "./sentinels.ts"

export interface Kept {
  /** To be called on each connection once the server has responded to the first commands. */
  readonly begun: () => void
  /** Closes the client and everything it has opened. */
  readonly close: () => void
}

/**
 * Keeps a client connected; it must not have been connected before. A connection on which the
 * server does not respond is closed after the client's `connectTimeout`. `told` is given what the
 * server says of itself on each connection, before it is used.
 */
export const keepConnected = (
  client: Redis,
  sentinelDelay: (times: number) => number | null = retryDelay,
  told: (info: string) => void = constVoid
): Kept => {
  const { connectTimeout = connectMillis } = client.options
  let stop = constVoid
  const watch = () => {
    // 0 means no limit.
    if (!connectTimeout) return
    const { stream } = client
    const { bytesRead } = stream
    stop()
    stop = schedule(connectTimeout, () => {
      if (stream.bytesRead !== bytesRead) return watch()
      stream.destroy(new Error("the connection was made, but the server does not respond"))
    })
  }
  guardReplies(client)
  checkReadiness(client, told)
  client.on("connect", watch)
  client.on("close", () => stop())
  const closeSentinels = client.options.sentinels ? keepSentinels(client, sentinelDelay) : constVoid
  return {
    begun: () => stop(),
    close: () => {
      stop()
      client.disconnect()
      closeSentinels()
    }
  }
}
