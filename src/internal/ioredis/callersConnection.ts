/**
 * The connection of an existing client or cluster, which is used as it is.
 */
import * as Effect from "effect/Effect"
import { constFalse, constVoid } from "effect/Function"
import type { Cluster, Redis } from "ioredis"
import type { Arguments } from "../redis/client.ts"
import { Entrance, readiness } from "../redis/entrance.ts"
import { Overtaking } from "../redis/overtaking.ts"
import { type ReplyListener, type SendCommand, viaClient } from "./batching.ts"
import { clientClosed, type Connection, isClosed } from "./connection.ts"
import { readSlots } from "./slots.ts"

export class CallersConnection implements Connection {
  readonly client: Redis | Cluster
  readonly send: SendCommand
  readonly watched: Connection["watched"]
  readonly ready: Effect.Effect<boolean>
  readonly selectError = undefined
  readonly lost = constVoid
  /** A master that does not respond may have been replaced, of which the client of a cluster hears from the others. */
  readonly reconnect?: Effect.Effect<void>
  readonly #overtaking = new Overtaking()
  #entrance: Entrance | undefined
  #isKnown = false
  #unanswered = 0
  /** Commands in flight for each key of a cluster, in the order in which they were sent. */
  readonly #byKey = new Map<string, Array<object>>()
  /** The sockets in use at the last check. */
  #streams: ReadonlyArray<unknown> = []

  constructor(client: Redis | Cluster) {
    this.client = client
    if (client.isCluster) this.reconnect = Effect.promise(() => readSlots(client as Cluster))
    const send = viaClient(client)
    this.watched = (name, args, listener) => this.#watch(name, args, listener)
    this.send = (name, args, listener) => send(name, args, this.#watch(name, args, listener))
    this.ready = readiness(
      () => this.entrance(),
      () => this.#queues() ? !isClosed(client) : client.status === "ready"
    )
  }

  get lastError(): unknown {
    return isClosed(this.client) ? clientClosed : undefined
  }

  /**
   * A client without an offline queue must be connected before anything is sent. A
   * cluster has two queues, one for pipelines and one for single commands, which would
   * not keep the order.
   */
  entrance(): Entrance | undefined {
    if (this.#isKnown) return this.#entrance
    this.#isKnown = true
    const { client } = this
    if (this.#queues() && !client.isCluster) return undefined
    // Queued commands keep their order, however many attempts to connect it takes.
    const closed = ["end", "disconnecting"]
    const ends = this.#queues() ? ["ready", ...closed] : ["ready", "close", "reconnecting", ...closed]
    if (ends.includes(client.status)) return undefined
    const entrance = this.#entrance = new Entrance()
    const open = () => {
      for (const event of ends) client.off(event, open)
      this.#entrance = undefined
      entrance.open()
    }
    for (const event of ends) client.on(event, open)
    if (client.status === "wait") client.connect().catch(constVoid)
    return entrance
  }

  mayOvertake(ageMillis: number): boolean {
    this.#look()
    return this.#overtaking.isPossible(ageMillis)
  }

  /** The client decides what happens to commands. One that was closed may keep them without an end. */
  isDown(): boolean {
    return isClosed(this.client)
  }

  #watch(name: string, args: Arguments, listener: ReplyListener): ReplyListener {
    this.#look()
    this.#unanswered++
    const leave = this.client.isCluster
      ? this.#queue(String(args[name === "evalsha" || name === "eval" ? 2 : 0]))
      : constFalse
    return {
      onReply: (reply) => {
        this.#settled()
        if (leave()) this.#overtaking.begin()
        this.#overtaking.replied()
        listener.onReply(reply)
      },
      onError: (error) => {
        this.#settled()
        leave()
        listener.onError(error)
      }
    }
  }

  /**
   * A cluster client may send a command again, behind later ones for the same key. The
   * returned function removes the command, and tells whether an earlier one for the key
   * is still in flight.
   */
  #queue(key: string): () => boolean {
    const earlier = this.#byKey.get(key) ?? []
    const self = {}
    earlier.push(self)
    this.#byKey.set(key, earlier)
    return () => {
      const index = earlier.indexOf(self)
      earlier.splice(index, 1)
      if (earlier.length === 0) this.#byKey.delete(key)
      return index > 0
    }
  }

  #queues(): boolean {
    return this.client.options.enableOfflineQueue !== false
  }

  #settled(): void {
    this.#look()
    this.#unanswered--
  }

  /** Checks whether a connection was replaced; event listeners would modify the client. */
  #look(): void {
    const { client } = this
    const streams = client.isCluster
      ? (client as Cluster).nodes().map(({ stream }) => stream)
      : [(client as Redis).stream]
    const isReplaced = this.#streams.some((stream) => stream != null && !streams.includes(stream as Redis["stream"]))
    if (isReplaced && this.#unanswered > 0) this.#overtaking.begin()
    this.#streams = streams
  }
}
