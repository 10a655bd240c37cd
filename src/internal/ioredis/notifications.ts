/**
 * Notifications over ioredis.
 *
 * Keys are watched by server-assisted client-side caching: a read on one connection makes the
 * server notify another connection of the next change of the key, whichever client makes it.
 *
 * @see client tracking: https://redis.io/docs/latest/develop/reference/client-side-caching/
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { Cluster, Redis, RedisOptions } from "ioredis"
import { masked, untrusted } from "../base/text.ts"
import type { Notification, RedisClient } from "../redis/client.ts"
import { toNodeError } from "../redis/errors.ts"
import { nowMillis } from "../redis/realTime.ts"
import { wholeNumber } from "../redis/replies.ts"
import { isReplyError } from "./batching.ts"
import { clientClosed, isClosed } from "./connection.ts"
import { keepConnected, type Kept } from "./keepConnected.ts"
import { sentinelOptions } from "./ownOptions.ts"
import { hasSlots, masterClientOf, masterOf } from "./slots.ts"
import { secretsOf } from "./url.ts"

const invalidationChannel = "__redis__:invalidate"

/** The first pause before a server that refuses to track reads is asked again, twice as long each time, and the longest. */
const refusalMillis = 1000
const longestRefusalMillis = 60_000

/** The notifications of a node; their connections have the options of its client. */
export const notifications =
  (id: string, client: Redis | Cluster): NonNullable<RedisClient["notifications"]> => (channel, onNotification) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => ({ listeners: new Map<string, NotificationListener>(), isClosed: false })),
        (state) =>
          Effect.sync(() => {
            state.isClosed = true
            for (const listener of state.listeners.values()) listener.close()
          })
      ),
      (state) => {
        const { listeners } = state
        const keyPrefix = client.options.keyPrefix ?? ""
        const cluster = client.isCluster ? client as Cluster : undefined
        const listenerOf = cluster && ((key: string) => listeners.get(masterOf(cluster, keyPrefix + key) ?? ""))

        const listenerFor = async (key: string): Promise<NotificationListener | undefined> => {
          if (isClosed(client)) throw clientClosed
          const server = cluster === undefined ? client as Redis : await masterClientOf(cluster, keyPrefix + key)
          // A call that was made before the closing may get here after it.
          if (state.isClosed) return undefined
          const { host, path, port } = server.options
          const address = path ?? `${host}:${port}`
          let listener = listeners.get(address)
          if (listener === undefined) {
            const isGone = () => cluster !== undefined && !hasSlots(cluster, address) && listeners.delete(address)
            const options = { keyPrefix, channel, onNotification, listenerOf, isGone }
            listeners.set(address, listener = new NotificationListener(server, options))
          }
          listener.client = server
          return listener
        }

        const fromPromise = <A>(promise: () => Promise<A>) =>
          Effect.callback<A, ReturnType<typeof toNodeError>>((resume) => {
            promise().then(
              (value) => resume(Effect.succeed(value)),
              (error) => resume(Effect.fail(toNodeError(id, "inspect", error, secretsOf(client))))
            )
          })

        return {
          unsubscribe: fromPromise(async () => {
            await Promise.all([...listeners.values()].map((listener) => listener.unsubscribe()))
          }),
          subscribe: (key) => fromPromise(async () => (await listenerFor(key))?.subscribe()),
          watchKey: (key) => fromPromise(async () => await (await listenerFor(key))?.watchKey(key) ?? true),
          ...(listenerOf !== undefined && { hears: (key: string) => listenerOf(key) !== undefined })
        }
      }
    )

/** Both connections reconnect when they are lost, without sending anything again. */
const listenerOptions = {
  // In RESP3 ioredis drops invalidation messages.
  protocol: 2,
  replyMapping: "legacy",
  lazyConnect: true,
  autoResubscribe: false,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  disconnectTimeout: 0,
  retryStrategy: (times) => Math.min(times * 50, 2000)
} satisfies RedisOptions

interface ListenerOptions {
  readonly keyPrefix: string
  readonly channel: string
  readonly onNotification: (notification: Notification) => void
  /** Present for a cluster: the listener of the master that has the key, if there is one. */
  readonly listenerOf: ((key: string) => NotificationListener | undefined) | undefined
  /** Whether the server has left the cluster, or has no keys there any more; the listener is then forgotten. */
  readonly isGone: () => boolean
}

/** A lazily opened pair of connections to one server: one subscribes, and reads on the other are tracked. */
class NotificationListener {
  /** The client of the server, which a cluster replaces. */
  client: Redis
  readonly #options: ListenerOptions
  readonly #kept = new Map<Redis, Kept>()
  /** The socket of the client when each of the connections was made. */
  readonly #madeBeside = new Map<Redis, Redis["stream"]>()
  #subscribingConnection: Redis | undefined
  #subscribed: Promise<void> | undefined
  #trackingConnection: Redis | undefined
  #tracking: Promise<void> | undefined
  #trackingBegun: (() => void) | undefined
  /** The subscribing connection's client id on the server, to which invalidation messages are redirected. */
  #id: number | undefined
  #isSubscribed = false
  /** Whether keys may have been read that were not watched. */
  #hasMissed = false
  /** Until when the server is not asked to track reads again, and how often in a row it has refused. */
  #untrackedUntil = Number.NEGATIVE_INFINITY
  #refusals = 0
  #isClosed = false

  constructor(client: Redis, options: ListenerOptions) {
    this.client = client
    this.#options = options
  }

  /** Fulfilled once messages are delivered; rejected if the server refuses. */
  subscribe(): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error("The service is closed"))
    // A connection that only receives never notices that its server is unreachable. The client has, if it reconnected.
    for (const [connection, stream] of this.#madeBeside) {
      if (stream !== this.client.stream) connection.disconnect(true)
    }
    return this.#subscribed ??= new Promise((resolve, reject) => {
      const connection = this.#subscribingConnection = this.#connect(async () => {
        const isFirst = this.#id === undefined
        const id = await connection.client("ID")
        await connection.subscribe(this.#options.channel)
        this.#id = id
        this.#isSubscribed = true
        await this.#enableTracking()
        if (!isFirst) this.#options.onNotification({ _tag: "Resync" })
        resolve()
      }, (error) => {
        this.#subscribed = undefined
        this.#close(connection)
        reject(error)
      })
      connection.on("close", () => {
        const wasSubscribed = this.#isSubscribed
        this.#isSubscribed = false
        if (this.#isClosed || this.#options.listenerOf === undefined) return
        if (this.#options.isGone()) this.close()
        // Another server may take over, and this one may never come back.
        if (wasSubscribed) this.#notify({ _tag: "Resync" })
      })
      connection.on("messageBuffer", (channel: Buffer, message: unknown) => this.#onMessage(String(channel), message))
    })
  }

  /** Reads the key, whose next change will be notified. `false` if there is no such key. */
  async watchKey(key: string): Promise<boolean> {
    await this.subscribe()
    if (nowMillis() < this.#untrackedUntil || this.#isClosed) return true
    this.#tracking ??= new Promise((resolve) => {
      this.#trackingBegun = resolve
      const connection = this.#trackingConnection = this.#connect(() => this.#enableTracking(), () => resolve())
      // Nobody waits for a connection that the server closes.
      connection.on("close", () => {
        this.#hasMissed = true
        resolve()
      })
    })
    await this.#tracking
    if (this.#trackingConnection === undefined) return true
    // Any command that reads the key is tracked; `PTTL` does not fetch the value. If it fails, the key may
    // exist.
    return this.#trackingConnection.pttl(key).then((millis) => wholeNumber(millis) !== -2, () => true)
  }

  /** Fulfilled once everything has been delivered that was published before. */
  async unsubscribe(): Promise<void> {
    if (this.#isSubscribed) await this.#subscribingConnection?.unsubscribe(this.#options.channel)
  }

  close(): void {
    this.#isClosed = true
    for (const { close } of this.#kept.values()) close()
  }

  #close(connection: Redis): void {
    this.#kept.get(connection)?.close()
    this.#kept.delete(connection)
    this.#madeBeside.delete(connection)
  }

  /**
   * Called whenever one of the two connections is ready; the call for the later one enables
   * tracking. If a connection is lost meanwhile, this is called again once it is ready, so neither
   * connection closes the other: they could go on closing each other forever.
   */
  async #enableTracking(): Promise<void> {
    const connection = this.#trackingConnection
    if (connection?.status !== "ready" || !this.#isSubscribed) return
    try {
      await this.#subscribingConnection?.subscribe(invalidationChannel)
      await connection.client("TRACKING", "ON", "REDIRECT", this.#id!)
      this.#refusals = 0
      if (this.#hasMissed) this.#options.onNotification({ _tag: "Resync" })
    } catch (error) {
      if (!isReplyError(error) || error.message.startsWith("ERR The client ID")) return
      if (connection === this.#trackingConnection) this.#trackingRefused(connection, error)
    }
    this.#hasMissed = true
    this.#trackingBegun?.()
  }

  /** Continues without tracking for a while: the server may have refused only for the moment. */
  #trackingRefused(connection: Redis, { message }: Error): void {
    this.#untrackedUntil = nowMillis() + Math.min(longestRefusalMillis, refusalMillis * 2 ** this.#refusals++)
    this.#trackingConnection = this.#tracking = undefined
    this.#close(connection)
    this.#options.onNotification({ _tag: "Unsupported", why: untrusted(masked(message, secretsOf(this.client))) })
  }

  /** A connection like the client's, which reconnects when it is lost; `ready` runs on each one. */
  #connect(ready: () => Promise<void>, refused: (error: unknown) => void): Redis {
    const connection = this.client.duplicate({
      ...listenerOptions,
      ...sentinelOptions(this.client.options),
      keyPrefix: this.#options.keyPrefix
    })
    connection.on("error", constVoid)
    const kept = keepConnected(connection)
    this.#kept.set(connection, kept)
    connection.on("close", () => this.#madeBeside.delete(connection))
    connection.on("ready", () => {
      this.#madeBeside.set(connection, this.client.stream)
      ready().then(
        kept.begun,
        // If this connection or the other one is lost in between, it starts again.
        (error: unknown) => isReplyError(error) ? refused(error) : connection.disconnect(true)
      )
    })
    connection.connect().catch(constVoid)
    return connection
  }

  #onMessage(channel: string, message: unknown) {
    for (const notification of this.#notificationsOf(channel, message)) this.#notify(notification)
  }

  /** An exception here would end the process. */
  #notify(notification: Notification) {
    try {
      this.#options.onNotification(notification)
    } catch {
      // A notification may be lost.
    }
  }

  #notificationsOf(channel: string, message: unknown): Array<Notification> {
    if (channel !== invalidationChannel) {
      return [{ _tag: "Message", message: String(message), isCopy: (key) => this.#isDeliveredElsewhere(key) }]
    }
    // All keys were flushed, or some have changed. No server sends anything else, but a user who may publish there can.
    if (message === null) return [{ _tag: "Resync" }]
    if (!Array.isArray(message)) return []
    return message.map((key) => ({ _tag: "KeyChanged", key: String(key).slice(this.#options.keyPrefix.length) }))
  }

  /** Whether the connection to the master that has the key delivers messages about it, as all masters of a cluster do. */
  #isDeliveredElsewhere(key: string): boolean {
    const listener = this.#options.listenerOf?.(key)
    return listener !== undefined && listener !== this && listener.#isSubscribed
  }
}
