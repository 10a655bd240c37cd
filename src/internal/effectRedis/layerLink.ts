/**
 * A Redis service of the node's own: its layer is built in the background, and again
 * whenever that fails or its client gives up.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import { Entrance, readiness } from "../redis/entrance.ts"
import { messageOf } from "../redis/errors.ts"
import { inRealTime, schedule } from "../redis/realTime.ts"
import type { NodeRedisClient, RedisService, ServiceLink } from "./link.ts"

/** How long building the layer may take before it is given up and begun again. */
const buildLimit = Duration.seconds(10)
/** How long the finalizers of the layer are waited for. */
const closeLimitMillis = 1000

const minPauseMillis = 50
const maxPauseMillis = 2000

/** The service of `@effect/platform-node`, which not every layer provides. */
class NodeRedis extends Context.Service<NodeRedis, { readonly client: NodeRedisClient }>()(
  "@effect/platform-node/NodeRedis"
) {}

export class LayerLink implements ServiceLink {
  redis: RedisService | undefined
  client: NodeRedisClient | undefined
  lastError: unknown
  readonly ready: Effect.Effect<boolean> = readiness(() => this.#entrance, () => this.redis !== undefined)
  readonly reconnect: Effect.Effect<void> = Effect.sync(() =>
    this.#giveUp(new Error("the connection was given up because the server did not respond"))
  )
  /** Only the first attempt to build the layer is waited for. */
  #entrance: Entrance | undefined = new Entrance()
  #builds = 0
  /** Open once the service that was built can no longer be used. */
  readonly #broken = Latch.makeUnsafe()
  readonly #listeners = { ready: new Set<(key: unknown) => void>(), invalidate: new Set<(key: unknown) => void>() }

  get send(): RedisService["send"] | undefined {
    return this.redis?.send
  }

  entrance(): Entrance | undefined {
    return this.#entrance
  }

  connectionId(): string | undefined {
    const epoch = this.client?.socketEpoch
    return epoch === undefined ? undefined : `${this.#builds}.${epoch}`
  }

  lost(error: unknown): void {
    // The client has given up, as node-redis does after a socket timeout.
    if (messageOf(error) === "The client is closed") this.#giveUp(this.lastError ?? error)
  }

  listen(event: "ready" | "invalidate", listener: (key: unknown) => void): () => void {
    this.#listeners[event].add(listener)
    return () => this.#listeners[event].delete(listener)
  }

  /** Builds the layer, and builds it again once its service is broken, until it is interrupted. */
  keep<E, R>(layer: Layer.Layer<Redis.Redis, E, R>): Effect.Effect<never, never, R> {
    let pauseMillis = minPauseMillis
    const once = Effect.acquireUseRelease(
      Scope.make(),
      (scope) =>
        Effect.matchCauseEffect(Effect.timeout(Layer.buildWithScope(Layer.fresh(layer), scope), buildLimit), {
          onFailure: (cause) => {
            this.#failed(Cause.squash(cause))
            return Effect.void
          },
          onSuccess: (context) => {
            this.#opened(context)
            pauseMillis = minPauseMillis
            return this.#broken.await
          }
        }),
      (scope) => this.#close(scope)
    )
    const pause = Effect.suspend(() => {
      const millis = pauseMillis
      pauseMillis = Math.min(millis * 2, maxPauseMillis)
      return Effect.sleep(millis)
    })
    return inRealTime(Effect.forever(Effect.andThen(once, pause)))
  }

  #opened(context: Context.Context<Redis.Redis>): void {
    this.#broken.closeUnsafe()
    this.#builds++
    this.redis = Context.get(context, Redis.Redis)
    const nodeRedis = Context.getOption(context as Context.Context<Redis.Redis | NodeRedis>, NodeRedis)
    const client = this.client = Option.getOrUndefined(nodeRedis)?.client
    client?.on("error", (error) => {
      this.lastError = error
    })
    client?.on("ready", () => this.#tell("ready", undefined))
    client?.on("invalidate", (key) => this.#tell("invalidate", key))
    if (this.#builds > 1) this.#tell("ready", undefined)
    this.#enter()
  }

  #failed(error: unknown): void {
    this.lastError = error
    this.#enter()
  }

  #giveUp(error: unknown): void {
    this.#failed(error)
    this.redis = undefined
    this.#broken.openUnsafe()
  }

  /** Starts the waiting requests; they are sent or fail. */
  #enter(): void {
    const entrance = this.#entrance
    this.#entrance = undefined
    entrance?.open()
  }

  #tell(event: "ready" | "invalidate", key: unknown): void {
    for (const listener of this.#listeners[event]) listener(key)
  }

  #close(scope: Scope.Closeable): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { client } = this
      this.redis = this.client = undefined
      if (client !== undefined) destroy(client)
      const closing = Effect.runFork(Scope.close(scope, Exit.void))
      return Effect.callback<void>((resume) => {
        const cancel = schedule(closeLimitMillis, () => resume(Effect.void))
        closing.addObserver(() => {
          cancel()
          resume(Effect.void)
        })
      })
    })
  }
}

/** Closes a client of node-redis; its own finalizer would wait for replies, which may never come. */
const destroy = (client: NodeRedisClient): void => {
  const close = () => {
    if (Predicate.hasProperty(client, "destroy") && Predicate.isFunction(client.destroy)) client.destroy()
  }
  // A client that is closed while it connects leaves that connection open.
  client.on("ready", close)
  close()
}
