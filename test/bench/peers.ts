/**
 * The other libraries, each behind the same word: take the lock, and get what
 * releases it. Used in the way that costs them least: acquire and release,
 * without the extending that their `using` adds.
 */
import type { Redis } from "ioredis"

export interface PeerOptions {
  readonly expiryMillis: number
  /** Whether to go on until the lock is there, at each library's own pace, or to try once. */
  readonly waits: boolean
}

/** Fails where the lock is not to be had. */
export type Take = (name: string) => Promise<() => Promise<unknown>>

export type Peer = (clients: Array<Redis>, options: PeerOptions) => Promise<Take>

interface RedlockLike {
  readonly acquire: (names: Array<string>, millis: number) => Promise<{ readonly release: () => Promise<unknown> }>
  readonly on: (event: "error", listener: () => void) => unknown
}

const redlock = (library: RedlockLike, { expiryMillis }: PeerOptions): Take => {
  // Each refusal is an event as well, which ends the process where nobody listens.
  library.on("error", () => {})
  return async (name) => {
    const lock = await library.acquire([name], expiryMillis)
    return () => lock.release()
  }
}

export const peers = {
  "redlock": async (clients, options) => {
    // @ts-expect-error its package.json does not say where its types are
    const { default: Redlock } = await import("redlock")
    return redlock(new Redlock(clients, { retryCount: options.waits ? -1 : 0 }) as RedlockLike, options)
  },
  "@sesamecare-oss/redlock": async (clients, options) => {
    const { Redlock } = await import("@sesamecare-oss/redlock")
    return redlock(new Redlock(clients, { retryCount: options.waits ? -1 : 0 }), options)
  },
  "redis-semaphore": async (clients, { expiryMillis, waits }) => {
    const { RedlockMutex } = await import("redis-semaphore")
    const options = {
      lockTimeout: expiryMillis,
      acquireTimeout: Number.POSITIVE_INFINITY,
      acquireAttemptsLimit: waits ? Number.POSITIVE_INFINITY : 1
    }
    return async (name) => {
      const mutex = new RedlockMutex(clients, name, options)
      await mutex.acquire()
      return () => mutex.release()
    }
  },
  "redlock-universal": async (clients, { expiryMillis, waits }) => {
    const { createRedlock, IoredisAdapter } = await import("redlock-universal")
    const adapters = clients.map((client) => new IoredisAdapter(client))
    const options = { adapters, ttl: expiryMillis, retryAttempts: waits ? Number.MAX_SAFE_INTEGER : 0 }
    return async (name) => {
      const lock = createRedlock({ ...options, key: name })
      const handle = await lock.acquire()
      return () => lock.release(handle)
    }
  }
} satisfies Record<string, Peer>
