/**
 * Connections over ioredis: when something may be sent on them, and what becomes
 * of what was sent on those that were replaced.
 *
 * A server reads the rest of a broken connection whenever it comes to it, perhaps
 * after what was sent on the next one. Seen with a server that was stopped and
 * continued: of 1,000 SETs with the DELs behind them, 315 keys were left, since
 * what it had read of the old connection was executed and the rest never read. So
 * the server is told to end the old connection before anything else is sent.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { constFalse, constVoid } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import { type Cluster, Redis, type RedisOptions } from "ioredis"
import type { Socket } from "node:net"
import type { NodeError } from "../../LockError.ts"
import { type CallbackEffect, type OnResult, toEffect } from "../base/callbackEffect.ts"
import { monotonicMillis } from "../base/clock.ts"
import { withoutPlace } from "../redis/replies.ts"
import { type Arguments, isReplyError, type Listener, type Send, throughClient, together } from "./batching.ts"
import { guardReplies } from "./replyGuard.ts"

/** What happens on sockets happens in real time, whichever the program's clock is. */
const clock = Context.get(Context.empty(), Clock.Clock)

/** Does something after a while; the returned function makes it not happen any more. */
const after = (millis: number, run: () => void): () => void => {
  const fiber = Effect.runFork(Effect.andThen(Effect.sleep(millis), Effect.sync(run)))
  return () => fiber.interruptUnsafe()
}

export interface Connection {
  readonly client: Redis | Cluster
  readonly send: Send
  /** What the connection last failed with. */
  readonly lastError: unknown
  /** Why this connection must not be used. */
  readonly refused: unknown
  /** Succeeds once the first try to connect has ended, with whether it worked. */
  readonly ready: Effect.Effect<boolean>
  /** Where to wait until something may be sent; `undefined` where it may be at once, or there is no connection. */
  readonly entrance: () => Entrance | undefined
  /** Hears for the listener of a command that is sent in another way than by `send`. */
  readonly watched: (name: string, args: Arguments, listener: Listener) => Listener
  /** A command has failed, and there was no reply to it. */
  readonly lost: (error: unknown) => void
  readonly mayOvertake: (ageMillis: number) => boolean
  /** Whether whatever is sent would fail at once, unsent. */
  readonly isDown: () => boolean
  readonly reconnect?: Effect.Effect<void>
}

/** Those that wait for a connection, let in in the order in which they came. */
export class Entrance {
  readonly #waiting = new Set<() => void>()

  /** The returned function gives the place up. */
  wait(enter: () => void): () => void {
    this.#waiting.add(enter)
    return () => this.#waiting.delete(enter)
  }

  /** Starts what is to be sent when it is its turn. What is interrupted before is never sent. */
  start<A>(call: CallbackEffect<A>, done: OnResult<A>): void {
    let answer: Effect.Effect<A, NodeError> | undefined
    let resume = (given: Effect.Effect<A, NodeError>) => {
      answer = given
    }
    const leave = this.wait(() => {
      try {
        call.start((given) => resume(toEffect(given)))
      } catch (error) {
        resume(Effect.die(error))
      }
    })
    done(Effect.callback((resumed) => {
      if (answer !== undefined) return resumed(answer)
      resume = resumed
      return Effect.sync(leave)
    }))
  }

  open(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const enter of waiting) enter()
  }
}

const readiness = (entrance: () => Entrance | undefined, isOpen: () => boolean): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const enter = () => resume(Effect.sync(isOpen))
    const waiting = entrance()
    if (waiting === undefined) return enter()
    return Effect.sync(waiting.wait(enter))
  })

/** For how long after the first reply on a new connection the server may still come to what it had read of the old one. */
const overtakingMillis = 60_000

/** Whether what was sent on connections that are gone may still be executed. */
class Overtaking {
  #until = 0
  /** What was sent later was sent on the new connection. */
  #begunAt = 0

  begin(): void {
    this.#until = Infinity
    this.#begunAt = monotonicMillis(clock)
  }

  /** There was a reply on a new connection: the server reads what it has. */
  replied(): void {
    if (this.#until === Infinity) this.#until = monotonicMillis(clock) + overtakingMillis
  }

  isPossible(ageMillis: number): boolean {
    if (this.#until === 0) return false
    const now = monotonicMillis(clock)
    return now < this.#until && now - ageMillis <= this.#begunAt
  }
}

// -----------------------------------------------------------------------------
// connections of our own
// -----------------------------------------------------------------------------

/** How long a connection may take to be made, and the server to say something on it, unless set. */
const connectMillis = 5000

const replicaSays = /^(?:READONLY|MASTERDOWN) /

/** A server may become another's replica, or the address lead to one, and stay so: no storm of new connections. */
const readOnlyPauseMillis = 1000

/** After how many milliseconds to try again, not at the same moment as all others. */
const retryDelay = (times: number): number => {
  const longest = Math.min(100 * 2 ** (times - 1), 1000)
  return Effect.runSync(Random.nextBetween(longest / 2, longest))
}

/** Calls a function of the caller's. What it throws, at once or later, would end the process. */
const called = <A>(given: () => A, otherwise: () => A): A => {
  try {
    const answer = given()
    if (Predicate.isPromiseLike(answer)) answer.then(constVoid, constVoid)
    return answer
  } catch {
    return otherwise()
  }
}

const longestDelay = 2 ** 31 - 1

/** As given. A delay that is no time would be none. */
const retryStrategy = (
  given: RedisOptions["retryStrategy"] = retryDelay
): (times: number) => number | null =>
(times) => {
  if (given === null) return null
  const delay = called<unknown>(() => given(times), () => retryDelay(times))
  if (!Predicate.isNumber(delay)) return null
  return delay >= 0 && delay <= longestDelay ? delay : retryDelay(times)
}

/** As `CLIENT INFO` tells it: the number is unique only until the server is restarted. */
interface Identity {
  readonly id: number
  readonly address: string
}

const identityOf = (reply: unknown): Identity | undefined => {
  const [, id, address] = /^id=(\d+) addr=(\S+)/.exec(String(reply)) ?? []
  return address === undefined ? undefined : { id: Number(id), address }
}

/**
 * A connection of our own, which comes back by itself until it is closed.
 *
 * It is open once the server has told what it calls it and was told to end the
 * ones before.
 */
export class OwnConnection implements Connection {
  readonly client: Redis
  readonly send: Send
  readonly ready: Effect.Effect<boolean>
  readonly reconnect: Effect.Effect<void> = Effect.sync(() => this.#giveUp())
  lastError: unknown
  refused: unknown
  readonly #opened: (send: Send) => void
  readonly #overtaking = new Overtaking()
  readonly #kept: Kept
  /** `undefined` while the connection is open or there is none, except that the first is waited for. */
  #entrance: Entrance | undefined = new Entrance()
  /** Of the connection that is open or was the last to be. */
  #stream: Redis["stream"] | undefined
  #identity: Identity | undefined
  /** Something that was sent on it was never answered. */
  #hasLost = false
  /** Those before it, which the server has yet to be told to end. */
  readonly #replaced = new Set<Identity>()

  /** `opened` is called with what is sent first on each connection. */
  constructor(options: RedisOptions, opened: (send: Send) => void) {
    const { connectTimeout = connectMillis } = options
    const client = this.client = new Redis({
      ...options,
      ...ownOptions(options),
      connectTimeout,
      reconnectOnError: reconnectOnError(options.reconnectOnError, (error) => {
        this.lastError = error
      })
    } as Omit<RedisOptions, "replyMapping">)
    this.send = together(client)
    this.ready = readiness(
      () => this.entrance(),
      () => client.status === "ready" && this.#entrance === undefined && this.refused === undefined
    )
    this.#opened = opened
    // Without a listener ioredis prints every failed reconnect. The votes tell when a node fails, this tells why.
    client.on("error", (error) => {
      this.lastError = error
      // ioredis goes on without the database it was to select: the locks would be in another one.
      if (isRefusedSelect(error)) this.refused = error
      // There may be no end of trying: with Sentinels, none of which answers, a connection is never closed.
      this.#enter()
    })
    client.on("connect", () => {
      this.refused = undefined
    })
    client.on("ready", () => this.#begin())
    client.on("close", () => this.#enter())
    this.#kept = keepConnected(client, retryStrategy(options.sentinelRetryStrategy ?? undefined))
    client.connect().catch(constVoid)
  }

  entrance(): Entrance | undefined {
    // ioredis says that it is ready a little after it has begun to take commands.
    if (this.client.stream !== this.#stream && this.client.status === "ready") this.#begin()
    return this.#entrance
  }

  readonly watched: Connection["watched"] = (_name, _args, listener) => listener

  lost(error: unknown): void {
    this.#hasLost = true
    // Where the server says that it has subscribed, which nobody asked for.
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
    // They fail, now that nothing can be sent any more.
    this.#enter()
  }

  /** The first commands on a new connection. */
  #begin(): void {
    const { stream } = this.client
    if (stream === this.#stream) return
    this.#stream = stream
    this.lastError = undefined
    if (this.refused !== undefined) return this.#enter()
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
      replied: (reply) => introduced(identityOf(reply)),
      failed: (error) => {
        if (isReplyError(error)) introduced(undefined)
      }
    })
  }

  /** Remembers the connection before, if it was replaced with commands on it that were not answered. */
  #leave(): void {
    if (!this.#hasLost) return
    if (this.#identity === undefined) this.#overtaking.begin()
    else this.#replaced.add(this.#identity)
    this.#hasLost = false
    this.#identity = undefined
  }

  #end(replaced: Identity, current: Identity | undefined): void {
    // A server that was restarted, or is another, counts from the beginning and knows nothing of the old connection.
    if (current !== undefined && current.id <= replaced.id) return void this.#replaced.delete(replaced)
    this.send("client", ["KILL", "ID", replaced.id, "ADDR", replaced.address], {
      replied: () => this.#replaced.delete(replaced),
      failed: (error) => {
        if (!isReplyError(error)) return
        this.#replaced.delete(replaced)
        this.#overtaking.begin()
        this.#overtaking.replied()
      }
    })
  }

  /** Lets those in that wait, to be sent or to fail. */
  #enter(): void {
    const entrance = this.#entrance
    this.#entrance = undefined
    entrance?.open()
  }

  #giveUp(): void {
    const { status, stream } = this.client
    // One that is still being made has its time limit.
    if (status !== "ready") return
    this.lastError = new Error("the connection was given up, since nothing was answered on it")
    abort(stream)
  }
}

/** Ends a connection at once, and drops what the other end has not taken yet. */
const abort = (socket: Socket): void => {
  try {
    socket.resetAndDestroy()
  } catch {
    // TLS and Unix sockets cannot be reset.
    socket.destroy()
  }
}

/** No command is executed after we gave up on it: nothing is queued while there is no connection or sent twice. */
const ownOptions = (options: RedisOptions) => ({
  lazyConnect: true,
  // Tells a connection that is not what it should be before anything else is sent on it.
  enableReadyCheck: true,
  // Nothing is under way any more when we disconnect; ioredis would keep the process alive for a closed connection.
  disconnectTimeout: 0,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  retryStrategy: retryStrategy(options.retryStrategy),
  maxLoadingRetryTime: options.maxLoadingRetryTime ?? 1000,
  ...sentinelOptions(options)
})

/** Asking one Sentinel after the other, none of which takes longer than a second. */
export const sentinelOptions = (options: RedisOptions) =>
  options.sentinels && {
    sentinelCommandTimeout: options.sentinelCommandTimeout ?? 1000,
    // ioredis would sleep, and not wake up when it is closed: `keepConnected` tries again.
    sentinelRetryStrategy: () => null
  }

/**
 * Where the address now leads to another server than this one, which has become a
 * replica. Never 2, which would send the command again.
 */
const reconnectOnError = (given: RedisOptions["reconnectOnError"], because: (error: Error) => void) => {
  let last = -Infinity
  const isReadOnly = (error: Error) => {
    if (!replicaSays.test(withoutPlace(error.message)) || monotonicMillis(clock) - last < readOnlyPauseMillis) {
      return false
    }
    last = monotonicMillis(clock)
    return true
  }
  return (error: Error): boolean => {
    const reconnects = isReadOnly(error) || (given != null && Boolean(called<unknown>(() => given(error), constFalse)))
    if (reconnects) because(error)
    return reconnects
  }
}

const isRefusedSelect = (error: unknown) =>
  Predicate.hasProperty(error, "command") && Predicate.hasProperty(error.command, "name") &&
  error.command.name === "select"

/** What a client with Sentinels has that is not public: nobody else knows the clients that ask them. */
interface SentinelConnector {
  connectToSentinel?: (endpoint: unknown, options?: object) => Redis
}

/** A client of ours that comes back until it is closed. */
export interface Kept {
  /** To be called on each connection once the server has said all that is needed of it. */
  readonly begun: () => void
  /** Closes it, and with it all that it has opened. */
  readonly close: () => void
}

/**
 * Keeps a client of ours, which is not connected yet: a connection on which the
 * server says nothing is ended instead of waited for without end.
 */
export const keepConnected = (
  client: Redis,
  sentinelDelay: (times: number) => number | null = retryDelay
): Kept => {
  const { connectTimeout = connectMillis } = client.options
  let stop = constVoid
  const watch = () => {
    // No limit is wanted.
    if (!connectTimeout) return
    const { stream } = client
    const { bytesRead } = stream
    stop()
    stop = after(connectTimeout, () => {
      if (stream.bytesRead !== bytesRead) return watch()
      stream.destroy(new Error("the connection was made, but the server says nothing"))
    })
  }
  guardReplies(client)
  client.on("connect", watch)
  client.on("close", () => stop())
  const closeSentinels = client.options.sentinels ? keepSentinels(client, sentinelDelay) : constVoid
  return {
    begun: () => stop(),
    close: () => {
      stop()
      client.disconnect()
      closeSentinels()
    }
  }
}

/** Tries again when no Sentinel knew a server, and closes those that are being asked. */
const keepSentinels = (client: Redis, delayAfter: (times: number) => number | null): () => void => {
  const sentinels = new Set<Redis>()
  let isClosed = false
  let isGivenUp = false
  let times = 0
  let stop = constVoid
  const { connector } = client as unknown as { readonly connector: SentinelConnector }
  const connectToSentinel = connector.connectToSentinel?.bind(connector)
  if (connectToSentinel !== undefined) {
    connector.connectToSentinel = (endpoint, options) => {
      // ioredis may come to it after closing, where nobody would hear of a throw: it gets one that is closed.
      const sentinel = connectToSentinel(endpoint, {
        ...options,
        disconnectTimeout: 0,
        ...isClosed && { lazyConnect: true }
      })
      if (isClosed) {
        sentinel.disconnect()
        return sentinel
      }
      guardReplies(sentinel)
      sentinels.add(sentinel)
      sentinel.once("end", () => sentinels.delete(sentinel))
      return sentinel
    }
  }
  client.on("ready", () => {
    times = 0
  })
  client.on("connecting", () => {
    isGivenUp = false
  })
  client.on("close", () => {
    // If it ends now, it is because the retry strategy says so.
    isGivenUp = true
  })
  client.on("end", () => {
    const delay = isClosed || isGivenUp ? null : delayAfter(++times)
    if (delay !== null) stop = after(delay, () => void client.connect().catch(constVoid))
  })
  return () => {
    isClosed = true
    stop()
    for (const sentinel of sentinels) sentinel.disconnect()
  }
}

// -----------------------------------------------------------------------------
// clients of the caller's
// -----------------------------------------------------------------------------

/** A client or cluster that is used as it is. */
export class CallersConnection implements Connection {
  readonly client: Redis | Cluster
  readonly send: Send
  readonly watched: Connection["watched"]
  readonly ready: Effect.Effect<boolean>
  readonly lastError = undefined
  readonly refused = undefined
  readonly lost = constVoid
  readonly #overtaking = new Overtaking()
  #entrance: Entrance | undefined
  #isKnown = false
  #unanswered = 0
  /** Those under way for each key of a cluster, in the order in which they came. */
  readonly #byKey = new Map<string, Array<object>>()
  /** What commands were sent on when it was last looked at. */
  #streams: ReadonlyArray<unknown> = []

  constructor(client: Redis | Cluster) {
    this.client = client
    const send = throughClient(client)
    this.watched = (name, args, listener) => this.#watch(name, args, listener)
    this.send = (name, args, listener) => send(name, args, this.#watch(name, args, listener))
    this.ready = readiness(() => this.entrance(), () => this.#queues() || client.status === "ready")
  }

  /**
   * A client that does not queue what is sent before it is connected has to be waited
   * for. A cluster queues, but in two queues, one for pipelines and one for all else.
   */
  entrance(): Entrance | undefined {
    if (this.#isKnown) return this.#entrance
    this.#isKnown = true
    const { client } = this
    if (this.#queues() && !client.isCluster) return undefined
    // What is queued goes in the order it came once the connection is there, however often that is tried.
    const ends = this.#queues() ? ["ready", "end"] : ["ready", "close", "end", "reconnecting"]
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

  /** What becomes of what is sent is the client's own affair. */
  isDown(): boolean {
    return false
  }

  #watch(name: string, args: Arguments, listener: Listener): Listener {
    this.#look()
    this.#unanswered++
    const leave = this.client.isCluster
      ? this.#queue(String(args[name === "set" || name === "del" ? 0 : 2]))
      : constFalse
    return {
      replied: (reply) => {
        this.#settled()
        if (leave()) this.#overtaking.begin()
        this.#overtaking.replied()
        listener.replied(reply)
      },
      failed: (error) => {
        this.#settled()
        leave()
        listener.failed(error)
      }
    }
  }

  /**
   * A cluster client sends commands again when it finds fit, and those that came later
   * meanwhile. The returned function tells whether one for the key that came before is
   * still under way.
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

  /** Looks whether a connection was replaced: listening on the client would change it. */
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
