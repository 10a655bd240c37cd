/**
 * The connection of a node over ioredis: when requests may be sent on it, and what
 * happens to those that were sent on the connections it has replaced.
 */
import type * as Effect from "effect/Effect"
import type { Cluster, Redis } from "ioredis"
import type { Arguments } from "../redis/client.ts"
import type { Entrance } from "../redis/entrance.ts"
import type { ReplyListener, SendCommand } from "./batching.ts"

export interface Connection {
  readonly client: Redis | Cluster
  readonly send: SendCommand
  /** The last error of the connection. */
  readonly lastError: unknown
  /** Why the server refused to select the database; the connection must not be used. */
  readonly selectError: unknown
  /** Succeeds once the first attempt to connect has ended, with whether it succeeded. */
  readonly ready: Effect.Effect<boolean>
  /** Where to wait until requests may be sent; `undefined` if they may be sent now, or there is no connection. */
  readonly entrance: () => Entrance | undefined
  /** Observes the reply to a command that is sent by other means than `send`. */
  readonly watched: (name: string, args: Arguments, listener: ReplyListener) => ReplyListener
  /** Called when a command has failed without a reply. */
  readonly lost: (error: unknown) => void
  readonly mayOvertake: (ageMillis: number) => boolean
  /** Whether every request would fail at once, unsent. */
  readonly isDown: () => boolean
  readonly reconnect?: Effect.Effect<void>
  /** The id that the server has given itself for this run, once it is known. */
  readonly runId?: string | undefined
}

/** Whether a client was closed by its owner. A cluster that is closed before it is connected never ends. */
export const isClosed = ({ status }: Redis | Cluster): boolean => status === "end" || status === "disconnecting"

export const clientClosed = new Error("the client was closed")
