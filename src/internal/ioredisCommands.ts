/**
 * Sending commands with ioredis.
 */
import { type Cluster, Command, type Redis } from "ioredis"
import { tracingChannel } from "node:diagnostics_channel"

type Arguments = ReadonlyArray<string | number>

/** Hears what comes of a command: one of the two, once. */
export interface Listener {
  readonly replied: (reply: unknown) => void
  readonly failed: (error: unknown) => void
}

/** Sends a command. */
export type Send = (name: string, args: Arguments, listener: Listener) => void

/** By a client of the caller's, in whichever way it sends its commands. */
export const throughClient = (client: Redis | Cluster): Send => (name, args, listener) =>
  listen(client.call(name, ...args), listener)

export const listen = (reply: Promise<unknown>, listener: Listener): void => {
  reply.then((reply) => listener.replied(reply), (error) => listener.failed(error))
}

/**
 * On a connection of our own. A write to the socket for every command would be
 * most of the work where many locks are under way: those of one tick go together.
 * A command that is sent in any other way while the connection is ready would
 * overtake them, and get the reply of another.
 */
export const together = (client: Redis): Send => {
  let stream: Redis["stream"] | undefined
  let chunks = ""

  const flush = () => {
    // One that was ended or broke meanwhile has had its commands rejected.
    if (stream?.writable === true) {
      const isAscii = Buffer.byteLength(chunks) === chunks.length
      // The same bytes, with less work.
      stream.write(chunks, isAscii ? "latin1" : "utf8")
    }
    stream = undefined
    chunks = ""
  }

  const tick = {
    write: (chunk: string | Buffer) => {
      if (stream === undefined) process.nextTick(flush)
      stream = client.stream
      // With a prefix that is a buffer they all are.
      if (typeof chunk === "string") chunks += chunk
      else stream.write(chunk)
    }
  } as unknown as Redis["stream"]

  return (name, args, listener) => {
    const { commandTimeout, keyPrefix } = client.options
    if (!keyPrefix && commandTimeout === undefined && traced.hasSubscribers === false) {
      void client.sendCommand(new PlainCommand(name, args, listener) as unknown as Command, tick)
      return
    }
    const command = new Command(name, args as Array<string | number>, {
      replyEncoding: "utf8",
      ...(keyPrefix !== undefined && { keyPrefix })
    })
    void client.sendCommand(command, tick)
    listen(command.promise, listener)
  }
}

/** What ioredis tells tracers, for which a command needs a promise. */
const traced = tracingChannel("ioredis:command")

/** Without its constructor, which prepares each command for all that can be done with any. */
const Bare = function() {} as unknown as new() => Pick<Command, "name" | "args">
Bare.prototype = Command.prototype

/** A command that is sent, and answered by a string, a number or an array of such, and nothing else. */
class PlainCommand extends Bare {
  override readonly name: string
  override args: Array<string>
  isTraced = false
  readonly #listener: Listener
  #outcome: unknown
  #hasFailed = false

  constructor(name: string, args: Arguments, listener: Listener) {
    super()
    this.name = name
    this.args = args as Array<string>
    this.#listener = listener
  }

  toWritable(): string {
    const { args, name } = this
    let text = `*${args.length + 1}${announce(name)}${name}`
    for (const arg of args) {
      const word = String(arg)
      text += announce(word)
      text += word
    }
    return text + "\r\n"
  }

  resolve(reply: unknown): void {
    this.#outcome = reply
    settled(this)
  }

  reject(error: unknown): void {
    this.#outcome = error
    this.#hasFailed = true
    settled(this)
  }

  tell(): void {
    if (this.#hasFailed) this.#listener.failed(this.#outcome)
    else this.#listener.replied(decoded(this.#outcome))
  }
}

const announcements = Array.from({ length: 128 }, (_, length) => `\r\n$${length}\r\n`)

/** Ends the word before, and says how long the next one is. */
const announce = (word: string): string => announcements[byteLength(word)] ?? `\r\n$${byteLength(word)}\r\n`

/** Words are short, and nearly always ASCII. */
const byteLength = (word: string): number => {
  for (let index = 0; index < word.length; index++) {
    if (word.charCodeAt(index) > 0x7f) return Buffer.byteLength(word)
  }
  return word.length
}

const decoded = (reply: unknown): unknown =>
  Buffer.isBuffer(reply) ? reply.toString() : Array.isArray(reply) ? reply.map(decoded) : reply

/** Settled, and their listeners are to be told, once ioredis is done with what it has read. */
const toTell: Array<PlainCommand> = []

const settled = (command: PlainCommand) => {
  if (toTell.push(command) === 1) queueMicrotask(tellAll)
}

const tellAll = () => {
  let next = 0
  try {
    while (next < toTell.length) toTell[next++]!.tell()
  } finally {
    toTell.splice(0, next)
    if (toTell.length > 0) queueMicrotask(tellAll)
  }
}
