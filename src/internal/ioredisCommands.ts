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
 * Where there was only one, the next first one does not wait for others.
 * A command that is sent in any other way while the connection is ready would
 * overtake them, and get the reply of another.
 */
export const together = (client: Redis): Send => {
  let stream: Redis["stream"] | undefined
  const chunks: Array<PlainCommand | string> = []
  let inThisTick = 0
  let inTheLast = 1

  const flush = () => {
    // One that was ended or broke meanwhile has had its commands rejected.
    if (chunks.length > 0 && stream?.writable === true) {
      const text = join(chunks, false)
      // Where a character is a byte there is less to do.
      if (Buffer.byteLength(text) === text.length) stream.write(text, "latin1")
      else stream.write(join(chunks, true))
    }
    chunks.length = 0
  }

  const endTick = () => {
    flush()
    stream = undefined
    inTheLast = inThisTick
    inThisTick = 0
  }

  const tick = {
    write: (chunk: PlainCommand | string) => {
      stream = client.stream
      chunks.push(chunk)
      if (++inThisTick > 1) return
      process.nextTick(endTick)
      if (inTheLast === 1) flush()
    }
  } as unknown as Redis["stream"]

  return (name, args, listener) => {
    const { commandTimeout, keyPrefix } = client.options
    if (!keyPrefix && commandTimeout === undefined && !isWatched(client)) {
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

/** What ioredis tells tracers. The first releases of Node 20 do not know whether there are any. */
const told: { readonly hasSubscribers: boolean | undefined } = tracingChannel("ioredis:command")

/**
 * Whether tracers want to have commands as ioredis makes them: those that are told,
 * and those that put a function of theirs around its method, which is then no method.
 */
const isWatched = (client: Redis): boolean =>
  // oxlint-disable-next-line typescript/unbound-method -- is looked at, not called
  told.hasSubscribers !== false || "prototype" in client.sendCommand

/** Without its constructor, which prepares each command for all that can be done with any. */
const Bare = function() {} as unknown as new() => object
Bare.prototype = Command.prototype

/** A command that is sent, and answered by null, a string, a number or an array of such, and nothing else. */
class PlainCommand extends Bare {
  readonly name: string
  readonly args: Arguments
  isTraced = false
  #listener: Listener | undefined
  #outcome: unknown
  #hasFailed = false

  constructor(name: string, args: Arguments, listener: Listener) {
    super()
    this.name = name
    this.args = args
    this.#listener = listener
  }

  /** Put into words when it is written, with those beside it. */
  toWritable(): this {
    return this
  }

  resolve(reply: unknown): void {
    this.#settle(reply, false)
  }

  reject(error: unknown): void {
    this.#settle(error, true)
  }

  #settle(outcome: unknown, hasFailed: boolean) {
    this.#outcome = outcome
    this.#hasFailed = hasFailed
    if (toTell.push(this) === 1) queueMicrotask(tellAll)
  }

  tell(): void {
    const listener = this.#listener
    // What ioredis keeps of a command may outlive it by far, and must not keep what it was for.
    this.#listener = undefined
    if (this.#hasFailed) listener?.failed(this.#outcome)
    else listener?.replied(decoded(this.#outcome))
  }
}

/**
 * As the protocol has it: how many words a command has, and each word after its
 * length in bytes, which is looked at only where it may differ from that in characters.
 */
const join = (commands: ReadonlyArray<PlainCommand | string>, isMixed: boolean): string => {
  let text = ""
  for (const command of commands) {
    if (typeof command === "string") {
      text += command
      continue
    }
    const { args, name } = command
    text += `*${args.length + 1}${announce(name, isMixed)}`
    for (const arg of args) text += announce(String(arg), isMixed)
    text += "\r\n"
  }
  return text
}

/** The end of what came before, the length of the word, and the word. */
const announce = (word: string, isMixed: boolean): string => {
  const length = isMixed ? Buffer.byteLength(word) : word.length
  return (lengths[length] ?? `\r\n$${length}\r\n`) + word
}

const lengths = Array.from({ length: 128 }, (_, length) => `\r\n$${length}\r\n`)

const decoded = (reply: unknown): unknown =>
  Buffer.isBuffer(reply) ? reply.toString() : Array.isArray(reply) ? reply.map(decoded) : reply

/** Settled, and their listeners are to be told, once ioredis is done with what it has read. */
const toTell: Array<PlainCommand> = []

const tellAll = () => {
  let next = 0
  try {
    while (next < toTell.length) toTell[next++]!.tell()
  } finally {
    if (next === toTell.length) toTell.length = 0
    else {
      toTell.splice(0, next)
      queueMicrotask(tellAll)
    }
  }
}
