/**
 * The reply to `INFO`, which ioredis awaits before it uses a new connection.
 */
import type { Redis } from "ioredis"

type InfoCallback = (error: Error | null | undefined, reply?: unknown) => void

/** The server does not permit `INFO`, or does not have it any more; a lock does not need it. */
const refusal = /^(?:NOPERM|ERR unknown command) /i

/**
 * Has a client use connections to servers that refuse `INFO`: ioredis would print a line for each of them, or never be
 * ready. `told` is given each reply, also those by which a server says that it is still loading its data, for which
 * ioredis waits without a word.
 */
export const checkReadiness = (client: Redis, told: (info: string) => void): void => {
  const info = client.info.bind(client) as (callback: InfoCallback) => Promise<unknown>
  const tolerant = (callback: InfoCallback) =>
    info((error, reply) => {
      if (error && refusal.test(error.message)) return callback(null, "")
      if (typeof reply === "string") told(reply)
      callback(error, reply)
    })
  client.info = tolerant as unknown as Redis["info"]
}
