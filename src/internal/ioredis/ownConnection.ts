/**
 * A connection of the library's own, which reconnects until it is closed.
 *
 * It is open once the server has reported the client id of the connection and has been told to
 * close the previous connections; see `../redis/overtaking.ts` for what could happen otherwise.
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Predicate from "effect/Predicate"
import { Redis, type RedisOptions } from "ioredis"
import type { Socket } from "node:net"
import { Entrance, readiness } from "../redis/entrance.ts"
import { Overtaking } from "../redis/overtaking.ts"
import { batchedPerTick, isReplyError, type SendCommand } from "./batching.ts"
import type { Connection } from "./connection.ts"
import { keepConnected, type Kept } from "./keepConnected.ts"
import { connectMillis, ownOptions, reconnectOnError, retryStrategy } from "./ownOptions.ts"

/** A connection as `CLIENT INFO` shows it. The id is unique only until the server is restarted. */
interface Identity {
  readonly id: number
  readonly address: string
}

const identityOf = (reply: unknown): Identity | undefined => {
  const [, id, address] = /^id=(\d+) addr=(\S+)/.exec(String(reply)) ?? []
  return address === undefined ? undefined : { id: Number(id), address }
}

export class OwnConnection implements Connection {
  readonly client: Redis
  readonly send: SendCommand
  readonly ready: Effect.Effect<boolean>
  readonly reconnect: Effect.Effect<void> = Effect.sync(() => this.#giveUp())
  lastError: unknown
  selectError: unknown
  runId: string | undefined
  readonly #opened: (send: SendCommand) => void
  readonly #overtaking = new Overtaking()
  readonly #kept: Kept
  /** `undefined` while the connection is open or missing. Only the first connection is waited for. */
  #entrance: Entrance | undefined = new Entrance()
  /** The stream of the current or last connection. */
  #stream: Redis["stream"] | undefined
  #identity: Identity | undefined
  /** Whether a command that was sent on it got no reply. */
  #hasLost = false
  /** Earlier connections that the server has yet to close. */
  readonly #replaced = new Set<Identity>()

  /** `opened` sends the first commands of each connection. */
  constructor(options: RedisOptions, opened: (send: SendCommand) => void) {
    const { connectTimeout = connectMillis } = options
    const client = this.client = new Redis({
      ...options,
      ...ownOptions(options),
      connectTimeout,
      reconnectOnError: reconnectOnError(options.reconnectOnError, (error) => {
        this.lastError = error
      })
    } as Omit<RedisOptions, "replyMapping">)
    this.send = batchedPerTick(client)
    this.ready = readiness(
      () => this.entrance(),
      () => client.status === "ready" && this.#entrance === undefined && this.selectError === undefined
    )
    this.#opened = opened
    // Without a listener ioredis prints every failed attempt to reconnect. The votes show that a node fails;
    // `lastError` shows why.
    client.on("error", (error) => {
      this.lastError = error
      // ioredis continues in another database than it should have selected.
      if (isRefusedSelect(error)) this.selectError = error
      // Nothing else may ever happen: if no Sentinel responds, no connection is made or closed.
      this.#enter()
    })
    client.on("connect", () => {
      this.selectError = undefined
    })
    client.on("ready", () => this.#begin())
    client.on("close", () => this.#enter())
    this.#kept = keepConnected(
      client,
      retryStrategy(options.sentinelRetryStrategy ?? undefined),
      (info) => this.#told(info)
    )
    client.connect().catch(constVoid)
  }

  entrance(): Entrance | undefined {
    // ioredis accepts commands a little before it emits "ready".
    if (this.client.stream !== this.#stream && this.client.status === "ready") this.#begin()
    return this.#entrance
  }

  readonly watched: Connection["watched"] = (_name, _args, listener) => listener

  lost(error: unknown): void {
    this.#hasLost = true
    // The server has confirmed a subscription that was never requested.
    if (error instanceof Error && error.message.startsWith("Connection in subscriber mode")) {
      this.client.stream.destroy()
    }
  }

  mayOvertake(ageMillis: number): boolean {
    return this.#overtaking.isPossible(ageMillis)
  }

  isDown(): boolean {
    return this.client.status !== "ready"
  }

  close(): void {
    this.#kept.close()
    // Waiting requests fail, since nothing can be sent any more.
    this.#enter()
  }

  /** Called with what the server says of itself before the connection is used. */
  #told(info: string): void {
    this.runId = /^run_id:(\w+)/m.exec(info)?.[1]
    if (!/^loading:1/m.test(info)) return
    this.lastError = loading
    this.#enter()
  }

  /** Sends the first commands on a new connection. */
  #begin(): void {
    const { stream } = this.client
    if (stream === this.#stream) return
    this.#stream = stream
    this.lastError = undefined
    if (this.selectError !== undefined) return this.#enter()
    this.#entrance ??= new Entrance()
    this.#leave()
    const introduced = (identity: Identity | undefined) => {
      if (stream !== this.client.stream) return
      this.#kept.begun()
      this.#identity = identity
      this.#overtaking.replied()
      for (const replaced of this.#replaced) this.#end(replaced, identity)
      this.#opened(this.send)
      this.#enter()
    }
    this.send("client", ["INFO"], {
      onReply: (reply) => introduced(identityOf(reply)),
      onError: (error) => {
        if (isReplyError(error)) introduced(undefined)
      }
    })
  }

  /** Remembers the previous connection if commands on it got no reply. */
  #leave(): void {
    if (!this.#hasLost) return
    if (this.#identity === undefined) this.#overtaking.begin()
    else this.#replaced.add(this.#identity)
    this.#hasLost = false
    this.#identity = undefined
  }

  #end(replaced: Identity, current: Identity | undefined): void {
    // A smaller id comes from a server that was restarted, or from another server: the old connection is
    // gone.
    if (current !== undefined && current.id <= replaced.id) return void this.#replaced.delete(replaced)
    this.send("client", ["KILL", "ID", replaced.id, "ADDR", replaced.address], {
      onReply: () => this.#replaced.delete(replaced),
      onError: (error) => {
        if (!isReplyError(error)) return
        this.#replaced.delete(replaced)
        this.#overtaking.begin()
        this.#overtaking.replied()
      }
    })
  }

  /** Starts the waiting requests; they are sent or fail. */
  #enter(): void {
    const entrance = this.#entrance
    this.#entrance = undefined
    entrance?.open()
  }

  #giveUp(): void {
    const { status, stream } = this.client
    // A connection that is still being made has its own time limit.
    if (status !== "ready") return
    this.lastError = new Error("the connection was given up because the server did not respond")
    abort(stream)
  }
}

/** What the server would answer to any other command. */
const loading = new Error("LOADING Redis is loading the dataset in memory")

/** Closes a connection at once, and drops what the other end has not received yet. */
const abort = (socket: Socket): void => {
  try {
    socket.resetAndDestroy()
  } catch {
    // TLS and Unix sockets cannot be reset.
    socket.destroy()
  }
}

const isRefusedSelect = (error: unknown) =>
  Predicate.hasProperty(error, "command") && Predicate.hasProperty(error.command, "name") &&
  error.command.name === "select"
