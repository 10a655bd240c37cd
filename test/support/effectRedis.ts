/** Nodes over Effect's Redis service, of node-redis. */
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { Layer, Logger } from "effect"
import { RedisNode } from "../../src/index.ts"

export type NodeRedisOptions = NonNullable<Parameters<typeof NodeRedis.layer>[0]>

/** A client's layer, which says nothing of each attempt to connect. */
export const clientLayer = (url: string, options: NodeRedisOptions = {}) =>
  Layer.provide(NodeRedis.layer({ disableOfflineQueue: true, ...options, url }), Logger.layer([]))

/** As the guide recommends it. */
export const nodeOver = (url: string, options: NodeRedisOptions = {}) =>
  RedisNode.fromLayer(new URL(url).host, clientLayer(url, options))

export const tracked: NodeRedisOptions = { emitInvalidate: true }
