/**
 * Sends single commands to a server in any state, for diagnosis; never for locking.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Redis, type RedisOptions } from "ioredis"
import { NodeError } from "../../LockError.ts"
import { toNodeError } from "../redis/errors.ts"
import { guardReplies } from "./replyGuard.ts"
import { nodeAddress, secretsOf } from "./url.ts"

export interface Probe {
  readonly id: string
  readonly call: (command: string, ...args: ReadonlyArray<string>) => Effect.Effect<unknown, NodeError>
}

/** The limit for connecting and for a reply. */
const probeTimeout = "3 seconds"

/** Opens a connection, which is closed with the scope. If it cannot be made, the calls fail. */
export const make = (options: RedisOptions): Effect.Effect<Probe, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const client = new Redis({
          ...options,
          lazyConnect: true,
          enableReadyCheck: false,
          protocol: 2,
          disableClientInfo: true,
          disconnectTimeout: 0,
          retryStrategy: () => null,
          sentinelRetryStrategy: () => null
        } as Omit<RedisOptions, "replyMapping">)
        guardReplies(client)
        const probe = { client, lastError: undefined as unknown }
        // The reason; the promises only report that there is no connection.
        client.on("error", (error) => probe.lastError ??= error)
        const connected = client.connect()
        connected.catch(() => {})
        return { probe, connected }
      }),
      ({ probe }) => Effect.sync(() => probe.client.disconnect())
    ),
    ({ connected, probe }) => {
      const id = nodeAddress(options)
      return {
        id,
        call: (command, ...args) =>
          Effect.tryPromise({
            try: () => connected.then(() => probe.client.call(command, ...args)),
            catch: (error) => toNodeError(id, "inspect", probe.lastError ?? error, secretsOf(probe.client))
          }).pipe(Effect.timeoutOrElse({
            duration: probeTimeout,
            orElse: () => Effect.fail(new NodeError({ node: id, operation: "inspect", reason: "Timeout" }))
          }))
      }
    }
  )
