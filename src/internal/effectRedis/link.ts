/**
 * What a node sends its commands on: Effect's Redis service, or a connection reserved from it.
 */
import type * as Redis from "effect/persistence/Redis"
import type { Entrance } from "../redis/entrance.ts"

export type RedisService = Redis.Redis["Service"]

/**
 * The part of a node-redis client that a node uses.
 *
 * @category models
 * @since 0.1.0
 */
export interface NodeRedisClient {
  /** Adds a listener for an event. */
  readonly on: (event: string, listener: (...args: ReadonlyArray<unknown>) => void) => unknown
  /** Removes a listener. */
  readonly off: (event: string, listener: (...args: ReadonlyArray<unknown>) => void) => unknown
  /** Whether it emits an event when a key that it watches changes. */
  readonly options?: { readonly emitInvalidate?: boolean | undefined } | undefined
  /** Counts its connections. */
  readonly socketEpoch?: number | undefined
}

export interface Link {
  /** Where to wait until commands can be sent; `undefined` if they can be sent now, or there is no connection. */
  readonly entrance: () => Entrance | undefined
  /** `undefined` if there is no connection. */
  readonly send: RedisService["send"] | undefined
  /** Why there is no connection. */
  readonly lastError: unknown
  /** Called when a command has failed without a reply. */
  readonly lost: (error: unknown) => void
}

/** The link of a node, which can also subscribe, and reserve a connection. */
export interface ServiceLink extends Link {
  readonly redis: RedisService | undefined
  /** The client behind the service, if it is known. */
  readonly client: NodeRedisClient | undefined
  /** Identifies the current connection of a client that counts its connections. */
  readonly connectionId: () => string | undefined
  /**
   * Listens to the client: `ready` on every new connection, `invalidate` with a key that has
   * changed. The returned function stops listening.
   */
  readonly listen: (event: "ready" | "invalidate", listener: (key: unknown) => void) => () => void
}
