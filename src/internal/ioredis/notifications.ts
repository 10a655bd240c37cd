/**
 * Waiting lists over ioredis.
 *
 * Turns come over a subscription to a channel of the waiter's own. The first in
 * line watches the key itself by server-assisted client-side caching, since
 * holders that are other libraries know nothing of the list: a GET on one
 * connection makes the server tell another of the next change of that key.
 *
 * @see client tracking: https://redis.io/docs/latest/develop/reference/client-side-caching/
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { Redis, RedisOptions } from "ioredis"
import type { NodeError } from "../../LockError.ts"
import type { LockNode, Notice } from "../../LockNode.ts"
import { masked, quoted, untrusted } from "../base/text.ts"
import { turnChannel } from "../redis/keys.ts"
import { type Meaning, nodeError, oneOrZero, place, wakeUp, wholeNumber } from "../redis/replies.ts"
import { isReplyError } from "./batching.ts"
import { keepConnected, type Kept, sentinelOptions } from "./connection.ts"
import { secretsOf } from "./url.ts"

const invalidations = "__redis__:invalidate"

/** Runs one of our scripts on the lock and its waiting list. */
export type Run = <A extends {}>(
  operation: NodeError["operation"],
  script: "join" | "leave" | "release" | "releaseAndWake",
  name: string,
  meaning: Meaning<A>,
  ...args: ReadonlyArray<string>
) => Effect.Effect<A, NodeError>

/**
 * The waiting lists of a node. `clientFor` gives the client of the server that
 * has the key; the connections for hearing are made after its model. `hasList`
 * tells whether a list can stand beside the key, `secrets` what no error may show.
 */
export const waitingList = (
  id: string,
  run: Run,
  clientFor: (key: string) => Promise<Redis | undefined>,
  prefix: string,
  hasList: (key: string) => boolean,
  secrets: () => ReadonlyArray<string>
): NonNullable<LockNode["waitingList"]> =>
(waiter, hear) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Map<string, Ear>()),
      (ears) =>
        Effect.sync(() => {
          for (const ear of ears.values()) ear.close()
        })
    ),
    (ears) => {
      let told = false
      const earFor = async (key: string): Promise<Ear | undefined> => {
        const client = await clientFor(key)
        if (client === undefined) return undefined
        const { host, path, port } = client.options
        const address = path ?? `${host}:${port}`
        let ear = ears.get(address)
        if (ear === undefined) ears.set(address, ear = new Ear(client, prefix, waiter, hear))
        return ear
      }

      const attempt = <A>(promise: () => Promise<A>): Effect.Effect<A, NodeError> =>
        Effect.callback((resume) => {
          promise().then(
            (value) => resume(Effect.succeed(value)),
            (error) => resume(Effect.fail(nodeError(id, "inspect", error, secrets())))
          )
        })

      const released: Meaning<{ readonly released: boolean; readonly woke: boolean }> = (reply) => {
        const answer = wakeUp(reply)
        if (answer?.mayTell === false) hear({ _tag: "Unsupported", why: "this user may not PUBLISH turns" })
        if (answer?.mayPop === false) hear({ _tag: "Unsupported", why: "this user may not LPOP those that wait" })
        return answer && { released: answer.released, woke: answer.woke }
      }

      return {
        join: Effect.fnUntraced(function*(key, end) {
          if (!hasList(key)) {
            if (!told) {
              hear({ _tag: "Unsupported", why: `in a cluster no list can stand beside the name ${quoted(key)}` })
            }
            told = true
            return { ahead: 0, ttlMillis: Infinity }
          }
          const ear = yield* attempt(() => earFor(key))
          // Join, then look, then sleep: or a release in between is missed.
          if (ear !== undefined) yield* attempt(() => ear.listen())
          const { ahead, ttlMillis } = yield* run("inspect", "join", key, place, waiter, end)
          const isThere = ahead > 0 || ear === undefined || (yield* attempt(() => ear.watch(key)))
          return { ahead, ttlMillis: isThere ? ttlMillis : 0 }
        }),
        leave: (key) => hasList(key) ? Effect.asVoid(run("release", "leave", key, released, key, waiter)) : Effect.void,
        release: (key, value, inLine) =>
          hasList(key)
            ? run("release", "releaseAndWake", key, released, value, key, inLine && ears.size > 0 ? waiter : "")
            : Effect.map(run("release", "release", key, oneOrZero, value), (released) => ({ released, woke: false }))
      }
    }
  )

/** Connections for hearing come back when they are lost, and forget what was under way. */
const hearing = {
  // In RESP3 ioredis drops the notices of invalidation.
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

/** Two connections to one server, opened when they are first needed: one hears, the other looks. */
class Ear {
  readonly #client: Redis
  readonly #prefix: string
  readonly #waiter: string
  readonly #hear: (notice: Notice) => void
  readonly #kept = new Map<Redis, Kept>()
  /** The client's own connection as it was when each of those for hearing was made. */
  readonly #madeBeside = new Map<Redis, Redis["stream"]>()
  #subscriber: Redis | undefined
  #listening: Promise<void> | undefined
  #tracker: Redis | undefined
  #tracking: Promise<void> | undefined
  #tracked: (() => void) | undefined
  /** The subscriber's client id on the server, to which the tracker's notices go. */
  #id: number | undefined
  /** Whether the subscriber is subscribed. */
  #isHearing = false
  #hasTracked = false
  /** Whether the server refuses to track. */
  #unable = false

  constructor(client: Redis, prefix: string, waiter: string, hear: (notice: Notice) => void) {
    this.#client = client
    this.#prefix = prefix
    this.#waiter = waiter
    this.#hear = hear
  }

  /** Fulfilled once notices are heard; rejected if the server refuses that. */
  listen(): Promise<void> {
    // Whoever only hears never notices that the way to the server is gone. The client has, if it was connected anew.
    for (const [connection, stream] of this.#madeBeside) {
      if (stream !== this.#client.stream) connection.disconnect(true)
    }
    return this.#listening ??= new Promise((resolve, reject) => {
      const subscriber = this.#subscriber = this.#connect(async () => {
        const isFirst = this.#id === undefined
        const id = await subscriber.client("ID")
        await subscriber.subscribe(turnChannel(this.#waiter))
        this.#id = id
        this.#isHearing = true
        await this.#track()
        if (!isFirst) this.#hear({ _tag: "Resync" })
        resolve()
      }, (error) => {
        this.#listening = undefined
        this.#close(subscriber)
        reject(error)
      })
      subscriber.on("close", () => {
        this.#isHearing = false
      })
      subscriber.on("messageBuffer", (channel: Buffer, message: unknown) => this.#message(String(channel), message))
    })
  }

  /** Looks at the key, of whose next change there will be notice. `false` if there is no such key. */
  async watch(key: string): Promise<boolean> {
    if (this.#unable) return true
    this.#tracking ??= new Promise((resolve) => {
      this.#tracked = resolve
      this.#tracker = this.#connect(() => this.#track(), () => resolve())
    })
    await this.#tracking
    if (this.#unable || this.#tracker === undefined) return true
    // Any command that reads the key will do, and this one fetches nothing of it. Where it fails, nothing is known.
    return this.#tracker.pttl(key).then((millis) => wholeNumber(millis) !== -2, () => true)
  }

  close(): void {
    for (const { close } of this.#kept.values()) close()
  }

  #close(connection: Redis): void {
    this.#kept.get(connection)?.close()
    this.#kept.delete(connection)
    this.#madeBeside.delete(connection)
  }

  /**
   * Called whenever one of the two connections is there: the later one makes the
   * server track. If one is lost meanwhile it is called again, so neither gives the
   * other up: they would go on doing so in turns.
   */
  async #track(): Promise<void> {
    const tracker = this.#tracker
    if (tracker?.status !== "ready" || !this.#isHearing) return
    try {
      await this.#subscriber?.subscribe(invalidations)
      await tracker.client("TRACKING", "ON", "REDIRECT", this.#id!)
    } catch (error) {
      if (!isReplyError(error) || error.message.startsWith("ERR The client ID")) return
      this.#unable = true
      this.#close(tracker)
      this.#hear({ _tag: "Unsupported", why: untrusted(masked(error.message, secretsOf(this.#client))) })
    }
    if (this.#hasTracked) this.#hear({ _tag: "Resync" })
    this.#hasTracked = true
    this.#tracked?.()
  }

  /** A connection of the same kind that comes back when it is lost; `ready` runs each time it is there. */
  #connect(ready: () => Promise<void>, refused: (error: unknown) => void): Redis {
    const connection = this.#client.duplicate({
      ...hearing,
      ...sentinelOptions(this.#client.options),
      keyPrefix: this.#prefix
    })
    connection.on("error", constVoid)
    const kept = keepConnected(connection)
    this.#kept.set(connection, kept)
    connection.on("close", () => this.#madeBeside.delete(connection))
    connection.on("ready", () => {
      this.#madeBeside.set(connection, this.#client.stream)
      ready().then(
        kept.begun,
        // One that breaks in between, or whose counterpart did, begins anew.
        (error: unknown) => isReplyError(error) ? refused(error) : connection.disconnect(true)
      )
    })
    connection.connect().catch(constVoid)
    return connection
  }

  /** What is thrown here would end the process. */
  #message(channel: string, message: unknown) {
    for (const notice of this.#noticesOf(channel, message)) {
      try {
        this.#hear(notice)
      } catch {
        // A notice may be lost.
      }
    }
  }

  #noticesOf(channel: string, message: unknown): Array<Notice> {
    if (channel !== invalidations) return [{ _tag: "WakeUp", key: String(message) }]
    // All keys were flushed, or some have changed. Anything else no server says, but somebody who may publish there.
    if (message === null) return [{ _tag: "Resync" }]
    if (!Array.isArray(message)) return []
    return message.map((key) => ({ _tag: "KeyChanged", key: String(key).slice(this.#prefix.length) }))
  }
}
