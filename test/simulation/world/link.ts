/**
 * The network between one process and one server: one connection at a time. Within
 * a connection nothing is reordered. A request or only its reply can be lost, or be
 * held up by the network or a stopped server and executed late. When a connection
 * is replaced, requests that were written to it and not yet executed are dropped,
 * but the server may still execute the first few of them, even after requests of the
 * new connection, unless it is told to end the old one (CLIENT KILL) before.
 */
import type { Chance } from "./chance.ts"
import type { Process } from "./process.ts"
import type { Server } from "./server.ts"

/** How a link behaves. */
export interface LinkOptions {
  /** Milliseconds one way, mostly near the lower. */
  readonly delay: readonly [min: number, max: number]
  /** The given share of messages takes up to the given time. */
  readonly slow: { readonly share: number; readonly millis: number }
  /** The shares of requests, replies and notices that are lost. */
  readonly loss: { readonly request: number; readonly reply: number; readonly notice: number }
  /** Whether requests without a reply are sent again on the next connection. */
  readonly resends: boolean
  /**
   * After which share of broken connections the first of the unexecuted requests are executed all the same, and how much
   * later than the server can be reached again. Never later than an expiry, which is what the library assumes.
   */
  readonly late: { readonly share: number; readonly millis: number }
  /** Whether a new connection may tell the server to end the one before. */
  readonly kills: boolean
  /** Whether the client itself fails now and then. */
  readonly fails: boolean
  /** Whether the client can be told to give up a connection. */
  readonly reconnects: boolean
}

/** What a request comes back with. */
export type Reply<A> = { readonly answer: A } | { readonly disconnected: string }

interface Request {
  readonly what: () => string
  readonly execute: () => unknown
  /** True time at which it was written to the present connection. */
  sentAt: number
  readonly acknowledgeMillis: number
  settle: ((reply: Reply<unknown>) => void) | undefined
}

/** At most this many requests fit into the buffer that a server reads before it notices that the client is gone. */
const readBuffer = 8

class Connection {
  /** Whether the client has connected and may send. */
  isReady = false
  isOpen = true
  /** Whether the server was told to end it. */
  isKilled = false
  lastArrival = 0
  lastReply = 0
  /** True time at which the last reply came. */
  repliedAt = 0
  readonly epoch: number
  readonly unanswered = new Set<Request>()
  /** Written and not executed yet, in this order. */
  unexecuted: Array<Request> = []

  constructor(epoch: number) {
    this.epoch = epoch
  }
}

export class Link {
  readonly process: Process
  readonly server: Server
  readonly options: LinkOptions
  /** Faults happen only as long as this is true. */
  isFaulty = true
  /** Why nothing comes through at present: each way a number of partitions. */
  readonly cut = { requests: 0, replies: 0, refusing: 0 }
  /** True time at which something last kept requests from being executed and answered. */
  disturbedAt = Number.NEGATIVE_INFINITY
  readonly onBroken = new Set<() => void>()
  readonly #chance: Chance
  #connection: Connection
  #connections = 0
  /** Connections that were replaced with requests on them, and that the server was not told to end. */
  #replaced: Array<Connection> = []
  #hasOvertaken = false
  #holdUps = 0
  #heldUp: Array<() => void> = []
  /** What is to be sent once more. */
  readonly #unsent: Array<Request> = []

  constructor(process: Process, server: Server, options: LinkOptions) {
    this.process = process
    this.server = server
    this.options = options
    this.#chance = process.world.chance.fork()
    this.#connection = new Connection(server.epoch)
    this.#connection.isReady = true
  }

  /** Another one for each connection. */
  get connectionId(): string {
    return `${this.server.name} ${this.#connections}`
  }

  /** Whether whatever is sent now is executed and answered soon. */
  get isSteady(): boolean {
    const { cut, options: { loss, slow } } = this
    const isLossy = this.isFaulty && (this.options.fails || loss.request + loss.reply + slow.share > 0)
    return !isLossy && cut.requests + cut.replies + cut.refusing + this.#holdUps === 0 && this.#connection.isReady &&
      this.#connection.epoch === this.server.epoch && this.server.isUp && !this.server.isPaused
  }

  /** The longest time from a request to its reply, as long as it is steady; a reply may wait for a replica. */
  get roundTripMillis(): number {
    return 2 * (this.options.delay[1] + this.server.replicaLag) + 2
  }

  /** True time since which it has been steady. */
  get steadySince(): number {
    return Math.max(this.disturbedAt, this.server.disturbedAt)
  }

  /** True time at which the first request was sent since the last reply came, if there is one. */
  get silentSince(): number | undefined {
    const { repliedAt, unanswered } = this.#connection
    for (const { sentAt } of unanswered) if (sentAt >= repliedAt) return sentAt
    return undefined
  }

  /**
   * How many requests of the given true time or later have had no reply, and are kept by the client whether anybody waits
   * for them or not.
   */
  inFlightFrom(at: number): number {
    let count = 0
    for (const { sentAt } of this.#connection.unanswered) if (sentAt >= at) count++
    return count
  }

  /** Whether the server may still execute what was sent before after what is sent now. */
  get mayOvertake(): boolean {
    return this.#hasOvertaken && !this.options.kills
  }

  /**
   * Sends a request, whose reply the server keeps back until a replica has it; the function returned forgets who asked,
   * not the request.
   */
  request<A>(
    what: () => string,
    execute: (server: Server) => A,
    settle: (reply: Reply<A>) => void,
    acknowledgeMillis = 0
  ): () => void {
    if (this.process.dead) return () => {}
    const { world } = this.process
    const request: Request = {
      what,
      execute: () => execute(this.server),
      sentAt: world.now,
      acknowledgeMillis,
      settle: settle as (reply: Reply<unknown>) => void
    }
    // The server was restarted since: a write finds that out.
    if (this.#connection.epoch !== this.server.epoch) this.break(0)
    const connection = this.#connection
    if (this.cut.refusing > 0 || !connection.isReady) {
      world.log(() => `${this.process.name} -x ${this.server.name} ${what()}: no connection`)
      world.after(this.#chance.between(0.05, 1), () => this.#settle(request, { disconnected: "no connection" }))
    } else {
      world.log(() => `${this.process.name} -> ${this.server.name} ${what()}`)
      connection.unanswered.add(request)
      this.#write(connection, request)
    }
    return () => {
      request.settle = undefined
    }
  }

  /** A notice from the server, for whoever hears it in the process. */
  notify(what: () => string, hear: () => void): void {
    const { world } = this.process
    const { loss } = this.options
    const connection = this.#connection
    if (this.cut.replies > 0 || (this.isFaulty && this.#chance.in(loss.notice))) {
      return world.log(() => `${this.server.name} .x ${this.process.name} ${what()}: lost`)
    }
    const copies = this.isFaulty && this.#chance.in(loss.notice) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      world.after(this.#delay() * copies, () =>
        this.#onceFree(() => {
          if (!connection.isOpen) return
          world.log(() => `${this.server.name} .> ${this.process.name} ${what()}`)
          this.process.deliver(hear)
        }))
    }
  }

  /** The network keeps everything for a while, both ways, and then delivers it in order. */
  holdUp(millis: number): void {
    const { world } = this.process
    world.log(() => `everything between ${this.process.name} and ${this.server.name} is held up`)
    this.#holdUps++
    world.after(millis, () => {
      this.disturbedAt = world.now
      if (--this.#holdUps > 0) return
      world.log(() => `${this.process.name} and ${this.server.name} reach each other again`)
      for (const pass of this.#heldUp.splice(0)) pass()
    })
  }

  /** The connection breaks, or the client gives it up; it is made again a while later. */
  break(awayMillis = this.#chance.between(0.5, 20)): void {
    const { process: { name, world }, server } = this
    const old = this.#connection
    world.log(() => `${name} -/- ${server.name} the connection breaks`)
    old.isOpen = false
    this.disturbedAt = world.now
    this.#connections++
    this.#connection = new Connection(server.epoch)
    if (old.unexecuted.length > 0 && old.epoch === server.epoch) this.#leave(old)
    const pending = [...old.unanswered]
    old.unanswered.clear()
    if (this.options.resends) {
      this.#unsent.push(...pending)
    } else {
      world.after(this.#chance.skewed(0.05, 50), () => {
        for (const request of pending) this.#settle(request, { disconnected: "the connection broke" })
      })
    }
    this.#connectAfter(this.#connection, awayMillis)
  }

  /** The process is gone: what it sent may still arrive. */
  abandon(): void {
    for (const request of [...this.#connection.unanswered, ...this.#unsent]) request.settle = undefined
  }

  /** What was written to a replaced connection: the server may still find and execute the first part of it. */
  #leave(old: Connection) {
    const { world } = this.process
    this.#hasOvertaken = true
    this.#replaced.push(old)
    const kept = this.#chance.in(this.options.late.share)
      ? old.unexecuted.slice(0, this.#chance.int(1, Math.min(readBuffer, old.unexecuted.length)))
      : []
    old.unexecuted = []
    if (kept.length === 0) return
    const late = () => {
      if (old.isKilled || old.epoch !== this.server.epoch) return
      for (const { execute, what } of kept) {
        const answer = execute()
        world.log(() =>
          `${this.process.name} >> ${this.server.name} ${what()} = ${show(answer)}, from before the break`
        )
      }
    }
    // At once where the server finds it in its buffers, a little later where the network still has it.
    const millis = this.#chance.in(0.5) ? 0 : this.#chance.between(0, this.options.late.millis)
    this.#onceFree(() =>
      this.server.receive(() => millis === 0 ? late() : world.after(millis, () => this.server.receive(late)))
    )
  }

  /** Connecting takes a round trip, with which the server is told to end the connections before. */
  #connectAfter(connection: Connection, millis: number) {
    const { world } = this.process
    world.after(millis, () => {
      if (this.#connection !== connection || this.process.dead) return
      if (connection.epoch !== this.server.epoch) return this.break(0)
      const again = () => this.#connectAfter(connection, this.#chance.between(20, 100))
      if (!this.server.isUp || this.cut.refusing > 0) return again()
      // A handshake that is not answered is tried again.
      const giveUpAt = world.now + 300
      world.at(giveUpAt, () => {
        if (this.#connection === connection && !connection.isReady) this.break(1)
      })
      if (this.cut.requests + this.cut.replies > 0) return
      world.after(this.#delay(), () =>
        this.#onceFree(() =>
          this.server.receive(() => {
            if (!connection.isOpen) return
            if (this.options.kills) { for (const old of this.#replaced.splice(0)) old.isKilled = true }
            world.after(this.#delay(), () => this.#onceFree(() => this.#connected(connection)))
          })
        ))
    })
  }

  #connected(connection: Connection) {
    if (!connection.isOpen || this.process.dead || connection.epoch !== this.server.epoch) return
    this.process.world.log(() => `${this.process.name} --- ${this.server.name} connected again`)
    connection.isReady = true
    this.disturbedAt = this.process.world.now
    for (const request of this.#unsent.splice(0)) {
      this.process.world.log(() => `${this.process.name} => ${this.server.name} ${request.what()} once more`)
      connection.unanswered.add(request)
      this.#write(connection, request)
    }
    for (const listener of this.onBroken) this.process.deliver(listener)
  }

  #onceFree(pass: () => void) {
    if (this.#holdUps > 0) this.#heldUp.push(pass)
    else pass()
  }

  #write(connection: Connection, request: Request) {
    const { world } = this.process
    request.sentAt = world.now
    if (this.cut.requests > 0 || (this.isFaulty && this.#chance.in(this.options.loss.request))) {
      return world.log(() => `   the request is lost: ${request.what()}`)
    }
    connection.unexecuted.push(request)
    connection.lastArrival = Math.max(connection.lastArrival + 0.001, world.now + this.#delay())
    world.at(connection.lastArrival, () =>
      this.#onceFree(() =>
        this.server.receive(() => {
          const index = connection.unexecuted.indexOf(request)
          if (index === -1 || connection.epoch !== this.server.epoch) return
          connection.unexecuted.splice(index, 1)
          this.#execute(connection, request)
        })
      ))
  }

  #execute(connection: Connection, request: Request) {
    const { world } = this.process
    const answer = request.execute()
    const tell = (note: string) =>
      world.log(() => `${this.process.name} <- ${this.server.name} ${request.what()} = ${show(answer)}${note}`)
    if (this.cut.replies > 0 || (this.isFaulty && this.#chance.in(this.options.loss.reply))) {
      return tell(", and the reply is lost")
    }
    tell("")
    const isNo = answer === false
    const repliesAt = world.now + (isNo ? 0 : request.acknowledgeMillis) + this.#delay()
    connection.lastReply = Math.max(connection.lastReply + 0.001, repliesAt)
    world.at(connection.lastReply, () =>
      this.#onceFree(() => {
        if (!connection.isOpen || connection.epoch !== this.server.epoch) return
        connection.repliedAt = world.now
        // Replies come in order: whoever waits for an earlier one waits for ever, and nothing sends it again.
        for (const earlier of connection.unanswered) {
          connection.unanswered.delete(earlier)
          if (earlier === request) break
        }
        this.#settle(request, { answer })
      }))
  }

  #settle(request: Request, reply: Reply<unknown>) {
    if (request.settle !== undefined) this.process.deliver(() => request.settle?.(reply))
  }

  #delay(): number {
    const [min, max] = this.options.delay
    const { share, millis } = this.options.slow
    return this.isFaulty && this.#chance.in(share)
      ? this.#chance.between(max, millis)
      : this.#chance.skewed(min, max)
  }
}

const show = (answer: unknown): string => JSON.stringify(answer) ?? "done"
