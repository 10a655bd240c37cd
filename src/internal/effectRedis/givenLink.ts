/**
 * A Redis service that exists already, and is used as it is.
 */
import { constUndefined, constVoid } from "effect/Function"
import type { NodeRedisClient, RedisService, ServiceLink } from "./link.ts"

export class GivenLink implements ServiceLink {
  readonly redis: RedisService
  readonly client: NodeRedisClient | undefined
  readonly send: RedisService["send"]
  readonly entrance = constUndefined
  readonly lost = constVoid
  readonly lastError = undefined

  constructor(redis: RedisService, client: NodeRedisClient | undefined) {
    this.redis = redis
    this.client = client
    this.send = redis.send
  }

  connectionId(): string | undefined {
    return this.client?.socketEpoch?.toString()
  }

  listen(event: "ready" | "invalidate", listener: (key: unknown) => void): () => void {
    this.client?.on(event, listener)
    return () => this.client?.off(event, listener)
  }
}
