/**
 * A node over ioredis: its connection as a `RedisClient`.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Cluster, Redis, RedisOptions } from "ioredis"
import type { LockNode } from "../../LockNode.ts"
import { dieWithIllegalArgument } from "../base/arguments.ts"
import { masked, untrusted } from "../base/text.ts"
import * as Node from "../redis/node.ts"
import { CallersConnection } from "./callersConnection.ts"
import { loadScripts, makeCalls, requestsOver } from "./calls.ts"
import type { Connection } from "./connection.ts"
import { notifications } from "./notifications.ts"
import { OwnConnection } from "./ownConnection.ts"
import { replicated } from "./replicas.ts"
import { masterOf } from "./slots.ts"
import { nodeAddress, secretsOf, startupAddressOf } from "./url.ts"

/** A node with a connection of its own, which is closed with the scope. */
export const connect = (options: RedisOptions): Effect.Effect<LockNode, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(open(options), (connection) => Effect.sync(() => connection.close())),
    (connection) => nodeOver(connection, {})
  )

/** ioredis reads some options when a client is made, and functions among them may throw. */
const open = (options: RedisOptions): Effect.Effect<OwnConnection> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(new OwnConnection(options, loadScripts))
    } catch (error) {
      const why = masked(error instanceof Error ? error.message : String(error), secretsOf({ options }))
      return dieWithIllegalArgument(
        `effect-redsync: ioredis rejects the options of a node: ${untrusted(why)}`
      )
    }
  })

/** A node over an existing client. */
export const viaClient = (client: Redis | Cluster): LockNode =>
  nodeOver(new CallersConnection(client), { resends: true })

const nodeOver = (connection: Connection, { resends }: Pick<LockNode, "resends">): LockNode => {
  const { client, ready, reconnect, send } = connection
  const calls = makeCalls(idOf(client), connection)
  const plain = requestsOver(calls, send)
  const keyPrefix = client.options.keyPrefix ?? ""
  return Node.make({
    id: calls.id,
    traits: {
      ...(resends !== undefined && { resends }),
      ready,
      ...(reconnect !== undefined && { reconnect }),
      mayOvertake: (ageMillis = Infinity) => connection.mayOvertake(ageMillis),
      ...(client.isCluster && { serverOf: (key) => masterOf(client as Cluster, keyPrefix + key) })
    },
    cluster: client.isCluster ? { keyPrefix } : undefined,
    connectionId: client.isCluster ? undefined : connectionIdOf(client as Redis),
    runId: () => connection.runId,
    ...plain,
    replicated: (replicas) => ({ durable: requestsOver(calls, replicated(connection, replicas)), plain }),
    notifications: notifications(calls.id, client)
  })
}

/** Numbers the client's connections. */
const connectionIdOf = (client: Redis) => {
  let stream: Redis["stream"] | undefined
  let connections = 0
  return () => {
    if (client.stream !== stream) {
      stream = client.stream
      connections++
    }
    return String(connections)
  }
}

/** The id of a client's node. */
const idOf = (client: Redis | Cluster): string => {
  if (!client.isCluster) return nodeAddress((client as Redis).options)
  // Known before the cluster is connected, unlike its nodes.
  const { startupNodes } = client as unknown as { readonly startupNodes: ReadonlyArray<unknown> }
  return `cluster ${startupNodes.map(startupAddressOf).join(",")}`
}
