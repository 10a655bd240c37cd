/**
 * A server that answers nonsense: a proxy before a real one, which knows the truth.
 *
 * What is done to a command follows from the seed, the number of the connection
 * and that of the command on it, and from nothing else. Every kind of nonsense is
 * bytes on the wire; the client has to find out what they are.
 *
 * One that does not lie may say anything but a yes that is not so: it is broken,
 * not malicious. What such servers say must never give a lock to two.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"
import { Chance } from "../simulation/world/chance.ts"
import { garbled, type Kind, nonsense } from "./nonsense.ts"
import { frameEnd, isUnasked, Splitter, words } from "./resp.ts"

/** What may be done to the reply of a command. */
export type Deed =
  /** Nonsense instead of the reply. */
  | "replace"
  /** The same, and the command is not even executed. */
  | "pretend"
  | "garble"
  /** Nonsense before or after the reply. */
  | "extra"
  /** No reply, and replies to later commands come as if nothing had been. */
  | "drop"
  | "repeat"
  /** Late, and all that come after it are. */
  | "delay"
  /** In pieces. */
  | "split"
  /** Nothing any more, on this connection. */
  | "mute"
  /** The same, and nothing is read either. */
  | "deaf"
  /** The connection ends before the reply, in the middle of it or after it. */
  | "close"

/** What may be wrong with a connection as a whole. */
export type Trait =
  | "ended at once"
  | "greeting"
  | "mute"
  | "only errors"
  | "no scripts"
  | "talks unasked"
  | "endless string"
  | "closes soon"

export interface Style {
  /** The share of commands to which something is done. */
  readonly hostility: number
  readonly deeds: ReadonlyArray<Deed>
  readonly kinds: ReadonlyArray<Kind>
  /** The share of connections with a trait. */
  readonly odd: number
  readonly traits: ReadonlyArray<Trait>
  /** The share of connections that are left alone until they are ready. */
  readonly polite: number
  /** Whether RESP3 is refused. */
  readonly resp2: boolean
  /** Whether a yes may be said where the truth is no. */
  readonly lies: boolean
}

export interface Upstream {
  readonly host: string
  readonly port: number
}

const ignore = () => {}

export class Hostile {
  readonly seed: number
  readonly node: number
  readonly style: Style
  readonly upstream: Upstream
  readonly connections = new Set<Connection>()
  /** What was asked and what was done, in the order in which it happened. */
  readonly exchange: Array<string> = []
  readonly counts = { connections: 0, mostOpen: 0, commands: 0, mostInFlight: 0, deeds: 0 }
  readonly #say: (line: string) => void
  #server: Server | undefined

  constructor(seed: number, node: number, style: Style, upstream: Upstream, say: (line: string) => void = ignore) {
    this.#say = say
    this.seed = seed
    this.node = node
    this.style = style
    this.upstream = upstream
  }

  listen(): Promise<number> {
    const server = this.#server = createServer((socket) => {
      const connection = new Connection(this, socket, this.counts.connections++)
      this.connections.add(connection)
      this.counts.mostOpen = Math.max(this.counts.mostOpen, this.open.length)
      socket.on("close", () => this.connections.delete(connection))
    })
    return new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port))
    })
  }

  note(line: string): void {
    this.exchange.push(line)
    this.#say(line)
  }

  get open(): ReadonlyArray<Connection> {
    return [...this.connections].filter(({ isOpen }) => isOpen)
  }

  /** Reads on where it had stopped, so that it sees which connections are closed. */
  listenAgain(): void {
    for (const connection of this.connections) connection.hear()
  }

  close(): Promise<void> {
    for (const connection of this.connections) connection.end()
    return new Promise((resolve) => this.#server?.close(() => resolve()) ?? resolve())
  }
}

/** A command on its way: what is to be done, and the reply once it is there. */
interface Slot {
  readonly name: string
  readonly deed: Deed | undefined
  readonly chance: Chance
  readonly label: string
  reply: Buffer | undefined
}

const refused = Buffer.from("-ERR nonsense\r\n")
const noReply = Buffer.alloc(0)

/** A well-formed yes to one of the questions about a lock, in all the types in which a number or a text may come. */
const isYes = (bytes: Buffer) =>
  /^(?:[:(,+]\+?0*[1-9]\d*|\$\d+\r\n0*[1-9]\d*|\+OK|\$2\r\nOK|=6\r\n.{4}OK|#t)\r\n$/.test(bytes.toString("latin1"))

/** What may be taken for a yes once it is no longer clear to which command a reply belongs. */
const mayBeYes = (bytes: Buffer) => /[:(,]\+?0*[1-9]|OK|#t|\d\r\n\+?0*[1-9]/.test(bytes.toString("latin1"))

const isWhole = (bytes: Buffer) => frameEnd(bytes, 0) === bytes.length && !isUnasked(bytes)

/** What clients send before they are ready. */
const isHandshake = (name: string) =>
  /^(?:hello|auth|select|info|client setinfo|client setname|client id|script load|subscribe)$/.test(name)

class Connection {
  readonly number: number
  readonly #server: Hostile
  readonly #socket: Socket
  readonly #upstream: Socket
  readonly #trait: Trait | undefined
  readonly #isPolite: boolean
  /** In the order of the commands; a reply goes out once those before it have. */
  readonly #slots: Array<Slot> = []
  readonly #unanswered: Array<Slot> = []
  readonly #timers = new Set<NodeJS.Timeout>()
  #commands = 0
  /** Commands that came after it had fallen silent. */
  #ignored = 0
  #isReady = false
  #isBusy = false
  #isMute = false
  #isClosed = false
  /** Whether the client is to be gone. */
  #isOver = false
  /** Whether it is no longer clear to which command a reply belongs. */
  #isDoubtful = false

  constructor(server: Hostile, socket: Socket, number: number) {
    this.#server = server
    this.#socket = socket
    this.number = number
    const { style, upstream } = server
    const chance = this.#chance(0)
    this.#isPolite = chance.in(style.polite)
    this.#trait = chance.in(style.odd) && style.traits.length > 0 ? chance.pick(style.traits) : undefined
    const asked = new Splitter()
    const answered = new Splitter()
    this.#upstream = connect(upstream)
    this.#upstream.on("error", ignore)
    this.#upstream.on("data", (data) => {
      for (const frame of answered.push(data)) this.#answered(frame)
    })
    socket.setNoDelay()
    socket.on("error", ignore)
    socket.on("data", (data) => {
      for (const frame of asked.push(data)) this.#asked(frame)
    })
    socket.on("close", () => {
      for (const timer of this.#timers) clearTimeout(timer)
      this.#upstream.destroy()
    })
    if (this.#trait !== undefined) this.#begin(this.#trait, chance)
  }

  hear(): void {
    this.#isOver = true
    this.#socket.resume()
  }

  /** One that could not be reset is destroyed, and says so in no event. */
  get isOpen(): boolean {
    return !this.#socket.destroyed
  }

  end(): void {
    this.#socket.destroy()
  }

  #chance(command: number): Chance {
    const { node, seed } = this.#server
    return new Chance(seed, (node * 1009 + this.number) * 100_003 + command)
  }

  #begin(trait: Trait, chance: Chance) {
    this.#note("-", "connected", trait)
    switch (trait) {
      case "ended at once":
        return this.#close(chance)
      case "greeting":
        this.#isDoubtful = true
        return this.#send(nonsense(chance, this.#server.style.kinds))
      case "mute":
        this.#isMute = true
        return
      case "talks unasked":
        return this.#talk(chance, chance.int(1, 40))
      case "endless string":
        this.#isDoubtful = true
        this.#send(Buffer.from(`$${chance.pick([100_000_000, 2_000_000_000])}\r\n`))
        return this.#goOn(chance.int(1, 40))
      case "closes soon":
        return this.#after(chance.int(1, 200), () => this.#close(chance))
      default:
        return
    }
  }

  #talk(chance: Chance, times: number) {
    if (times === 0) return
    this.#after(chance.int(1, 20), () => {
      const bytes = nonsense(chance, this.#server.style.kinds)
      if (frameEnd(bytes, 0) !== bytes.length || bytes[0] !== 0x3e) this.#isDoubtful = true
      this.#send(bytes)
      this.#talk(chance, times - 1)
    })
  }

  #goOn(times: number) {
    if (times === 0) return
    this.#after(5, () => {
      this.#socket.write(Buffer.alloc(65_536, "x"))
      this.#goOn(times - 1)
    })
  }

  #asked(frame: Buffer) {
    const { counts, style } = this.#server
    counts.commands++
    const command = words(frame)
    const verb = command[0]?.toLowerCase() ?? ""
    const name = verb === "client" || verb === "script" ? `${verb} ${command[1]?.toLowerCase()}` : verb
    const index = ++this.#commands
    const chance = this.#chance(index)
    if (!isHandshake(name)) this.#isReady = true
    const isLeftAlone = this.#isPolite && !this.#isReady
    const deed = isLeftAlone || !chance.in(style.hostility) ? undefined : chance.pick(style.deeds)
    const slot: Slot = { name, deed, chance, label: `${this.number}.${index}`, reply: undefined }
    this.#slots.push(slot)
    if (this.#isMute) this.#ignored++
    counts.mostInFlight = Math.max(counts.mostInFlight, this.#slots.length + this.#ignored)
    const instead = this.#instead(slot)
    if (instead === undefined) {
      this.#unanswered.push(slot)
      this.#upstream.write(frame)
      return
    }
    slot.reply = instead
    this.#flush()
  }

  /** What is answered without asking the real server. */
  #instead({ chance, deed, name }: Slot): Buffer | undefined {
    const { style } = this.#server
    if (name === "hello" && style.resp2) {
      return Buffer.from("-ERR unknown command 'HELLO', with args beginning with: '3'\r\n")
    }
    if (deed === "pretend") return noReply
    const isOfOurs = name === "evalsha" || name === "eval" || name === "set"
    if (this.#trait === "only errors" && isOfOurs) return nonsense(chance, ["error"])
    if (this.#trait === "no scripts" && (name === "evalsha" || name === "eval")) {
      return Buffer.from("-NOSCRIPT No matching script. Please use EVAL.\r\n")
    }
    return undefined
  }

  #answered(frame: Buffer) {
    if (isUnasked(frame)) return this.#send(this.#isDoubtful ? this.#honest(frame, frame) : frame)
    const slot = this.#unanswered.shift()
    if (slot === undefined) return
    slot.reply = frame
    this.#flush()
  }

  #flush() {
    while (!this.#isBusy && this.#slots[0]?.reply !== undefined) this.#perform(this.#slots.shift()!)
  }

  #perform({ chance, deed, label, name, reply = noReply }: Slot) {
    const { kinds } = this.#server.style
    if (deed !== undefined) this.#server.counts.deeds++
    const say = (bytes: Buffer) => {
      const honest = this.#honest(bytes, reply)
      this.#note(label, name, deed, honest)
      return this.#send(honest)
    }
    switch (deed) {
      case undefined:
        return say(reply)
      case "replace":
      case "pretend":
        return say(nonsense(chance, kinds))
      case "garble":
        return say(garbled(chance, reply))
      case "extra":
        return say(
          Buffer.concat(chance.in(0.5) ? [nonsense(chance, kinds), reply] : [reply, nonsense(chance, kinds)])
        )
      case "repeat":
        return say(Buffer.concat([reply, reply]))
      case "drop":
        this.#isDoubtful = true
        return this.#note(label, name, deed)
      case "mute":
        this.#isMute = true
        return this.#note(label, name, deed)
      case "deaf":
        this.#isMute = true
        if (!this.#isOver) this.#socket.pause()
        return this.#note(label, name, deed)
      case "delay": {
        this.#isBusy = true
        return this.#after(chance.skewedInt(1, 300), () => {
          this.#isBusy = false
          say(reply)
          this.#flush()
        })
      }
      case "split": {
        this.#isBusy = true
        const honest = this.#honest(reply, reply)
        this.#note(label, name, deed, honest)
        return this.#inPieces(chance, honest, () => {
          this.#isBusy = false
          this.#flush()
        })
      }
      case "close":
        this.#note(label, name, deed)
        this.#send(reply.subarray(0, chance.in(0.3) ? reply.length : chance.int(0, reply.length)))
        return this.#close(chance)
    }
  }

  #inPieces(chance: Chance, bytes: Buffer, done: () => void) {
    if (bytes.length === 0) return done()
    const size = chance.skewedInt(1, Math.max(1, bytes.length / 2))
    this.#send(bytes.subarray(0, size))
    this.#after(chance.pick([0, 0, 1, 5]), () => this.#inPieces(chance, bytes.subarray(size), done))
  }

  /** The bytes, unless they say yes where the reply does not, or might be taken for it. */
  #honest(bytes: Buffer, reply: Buffer): Buffer {
    if (this.#server.style.lies) return bytes
    if (bytes !== reply && !isWhole(bytes)) this.#isDoubtful = true
    if (this.#isDoubtful) return mayBeYes(bytes) ? refused : bytes
    return bytes !== reply && isYes(bytes) && !isYes(reply) ? refused : bytes
  }

  #send(bytes: Buffer) {
    if (!this.#isMute && bytes.length > 0 && this.#socket.writable) this.#socket.write(bytes)
  }

  #close(chance: Chance) {
    if (this.#isClosed) return
    this.#isClosed = this.#isMute = true
    if (chance.in(0.5)) this.#socket.end()
    else this.#socket.resetAndDestroy()
  }

  #after(millis: number, run: () => void) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      run()
    }, millis)
    this.#timers.add(timer)
  }

  #note(label: string, name: string, what: string | undefined, bytes?: Buffer) {
    const shown = what === undefined || bytes === undefined
      ? ""
      : ` ${JSON.stringify(bytes.toString("latin1", 0, 100))}`
    this.#server.note(`${this.#server.node}.${label} ${name}: ${what ?? "as it is"}${shown}`)
  }
}
