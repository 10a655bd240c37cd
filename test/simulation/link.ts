/**
 * The network between one process and one server: a connection at a time. Inside
 * a connection nothing overtakes; a request or only its reply can be lost; when it
 * breaks, what is under way is lost, sent again, or comes through beside what the
 * next connection carries.
 */
import type { Chance } from "./chance.ts"
import type { Process } from "./process.ts"
import type { Server } from "./server.ts"

/** How a link behaves. */
export interface LinkOptions {
  /** Milliseconds one way, mostly near the lower. */
  readonly delay: readonly [min: number, max: number]
  /** In so many cases a message takes up to the given time. */
  readonly slow: { readonly share: number; readonly millis: number }
  /** So many requests, and so many replies, are lost. */
  readonly loss: { readonly request: number; readonly reply: number; readonly notice: number }
  /** Whether requests without a reply are sent again on the next connection. */
  readonly resends: boolean
  /** Whether requests of a broken connection may be executed after those of the next. */
  readonly crosses: boolean
}

/** What a request comes back with. */
export type Reply<A> = { readonly answer: A } | { readonly disconnected: string }

interface Request {
  readonly what: () => string
  readonly execute: () => unknown
  settle: ((reply: Reply<unknown>) => void) | undefined
}

export class Link {
  readonly process: Process
  readonly server: Server
  readonly options: LinkOptions
  /** Faults happen only as long as this is true. */
  isFaulty = true
  /** Why nothing comes through at present: each way a number of partitions. */
  cut = { requests: 0, replies: 0, refusing: 0 }
  #chance: Chance
  #generation = 0
  #lastArrival = 0
  #lastReply = 0
  #connectedAt = 0
  #epoch: number
  /** What is to be sent once more. */
  readonly #unsent: Array<Request> = []
  readonly #pending = new Set<Request>()
  readonly onBroken = new Set<() => void>()

  constructor(process: Process, server: Server, options: LinkOptions) {
    this.process = process
    this.server = server
    this.options = options
    this.#epoch = server.epoch
    this.#chance = process.world.chance.fork()
  }

  /** Sends a request; the function returned forgets who asked, not the request. */
  request<A>(what: () => string, execute: (server: Server) => A, settle: (reply: Reply<A>) => void): () => void {
    if (this.process.dead) return () => {}
    const { world } = this.process
    const request: Request = {
      what,
      execute: () => execute(this.server),
      settle: settle as (reply: Reply<unknown>) => void
    }
    this.#notice()
    if (this.cut.refusing > 0 || !this.server.isUp || world.now < this.#connectedAt) {
      world.log(() => `${this.process.name} -x ${this.server.name} ${what()}: no connection`)
      world.after(this.#chance.between(0.05, 1), () => this.#settle(request, { disconnected: "no connection" }))
    } else {
      world.log(() => `${this.process.name} -> ${this.server.name} ${what()}`)
      this.#pending.add(request)
      this.#send(request)
    }
    return () => {
      request.settle = undefined
    }
  }

  /** A notice from the server, for whoever hears it in the process. */
  notify(what: () => string, hear: () => void): void {
    const { world } = this.process
    const { loss } = this.options
    const generation = this.#generation
    if (this.cut.replies > 0 || (this.isFaulty && this.#chance.in(loss.notice))) {
      return world.log(() => `${this.server.name} .x ${this.process.name} ${what()}: lost`)
    }
    const copies = this.isFaulty && this.#chance.in(loss.notice) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      world.after(this.#delay() * copies, () => {
        if (generation !== this.#generation) return
        world.log(() => `${this.server.name} .> ${this.process.name} ${what()}`)
        this.process.deliver(hear)
      })
    }
  }

  /** The connection breaks, and is made again a while later. */
  break(awayMillis = this.#chance.between(0.5, 20)): void {
    const { world } = this.process
    world.log(() => `${this.process.name} -/- ${this.server.name} the connection breaks`)
    this.#generation++
    this.#lastArrival = this.#lastReply = world.now
    this.#connectedAt = world.now + awayMillis
    const pending = [...this.#pending]
    this.#pending.clear()
    if (this.options.resends) {
      this.#unsent.push(...pending)
      const generation = this.#generation
      // Before anything else goes out on the next connection, or the one after if that breaks too.
      if (awayMillis === 0) this.#resend()
      else world.at(this.#connectedAt, () => generation === this.#generation && this.#resend())
    } else {
      const delay = this.#chance.skewed(0.05, 50)
      world.after(delay, () => {
        for (const request of pending) this.#settle(request, { disconnected: "the connection broke" })
      })
    }
    world.at(this.#connectedAt + this.#chance.between(0.1, 5), () => {
      for (const listener of this.onBroken) this.process.deliver(listener)
    })
  }

  /** The process is gone: what it sent may still arrive. */
  abandon(): void {
    for (const request of [...this.#pending, ...this.#unsent]) request.settle = undefined
  }

  /** Sees that the server was restarted since. */
  #notice() {
    if (this.#epoch === this.server.epoch) return
    this.#epoch = this.server.epoch
    this.break(0)
  }

  #resend() {
    for (const request of this.#unsent.splice(0)) {
      this.process.world.log(() => `${this.process.name} => ${this.server.name} ${request.what()} once more`)
      this.#pending.add(request)
      this.#send(request)
    }
  }

  #send(request: Request) {
    const { server } = this
    const { world } = this.process
    const generation = this.#generation
    if (this.cut.requests > 0 || (this.isFaulty && this.#chance.in(this.options.loss.request))) {
      return world.log(() => `   the request is lost: ${request.what()}`)
    }
    this.#lastArrival = Math.max(this.#lastArrival + 0.001, world.now + this.#delay())
    world.at(this.#lastArrival, () => {
      const isOld = generation !== this.#generation
      // Of a connection that is broken since: lost, unless it was in the server's hands before.
      if (isOld && !(this.options.crosses && this.#chance.in(0.5))) return
      server.receive(() => this.#execute(request, generation))
    })
  }

  #execute(request: Request, generation: number) {
    const { world } = this.process
    const isOld = generation !== this.#generation
    if (isOld && !this.options.crosses) return
    const answer = request.execute()
    const tell = (note: string) =>
      world.log(() => `${this.process.name} <- ${this.server.name} ${request.what()} = ${show(answer)}${note}`)
    if (isOld || this.cut.replies > 0 || (this.isFaulty && this.#chance.in(this.options.loss.reply))) {
      return tell(", and the reply is lost")
    }
    tell("")
    this.#lastReply = Math.max(this.#lastReply + 0.001, world.now + this.#delay())
    world.at(this.#lastReply, () => {
      if (generation !== this.#generation) return
      // Replies come in order: whoever waits for an earlier one waits for ever, and nothing sends it again.
      for (const earlier of this.#pending) {
        this.#pending.delete(earlier)
        if (earlier === request) break
      }
      this.#settle(request, { answer })
    })
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
