/**
 * Sending commands with ioredis.
 */
import { identity } from "effect/Function"
import { type Cluster, Command, type Redis } from "ioredis"
import { tracingChannel } from "node:diagnostics_channel"

export type Arguments = ReadonlyArray<string | number>

/** Hears what comes of a command: one of the two, once. */
export interface Listener {
  readonly replied: (reply: unknown) => void
  readonly failed: (error: unknown) => void
}

/** Sends a command. */
export type Send = (name: string, args: Arguments, listener: Listener) => void

/** What a server answered, other than what a client says of a connection. */
export const isReplyError = (error: unknown): error is Error => error instanceof Error && error.name === "ReplyError"

/** By a client of the caller's, in whichever way it sends its commands. */
export const throughClient = (client: Redis | Cluster): Send => {
  const separately = client.isCluster ? withoutPipelines(client as Cluster) : client
  return (name, args, listener) => {
    try {
      listen((client.options.enableAutoPipelining ? separately : client).call(name, ...args), listener)
    } catch (error) {
      fail(listener, error)
    }
  }
}

/**
 * In the pipelines that it makes by itself, ioredis 5 puts all calls of one script,
 * for whichever slot, and sends them to one server.
 */
const withoutPipelines = (cluster: Cluster): Cluster =>
  Object.create(cluster, {
    options: { get: () => ({ ...cluster.options, enableAutoPipelining: false }) },
    sendCommand: { value: (...args: Parameters<Cluster["sendCommand"]>) => cluster.sendCommand(...args) }
  }) as Cluster

export const listen = (reply: Promise<unknown>, listener: Listener): void => {
  reply.then((reply) => succeed(listener, reply), (error: unknown) => fail(listener, error))
}

const succeed = (listener: Listener, reply: unknown, decode: (reply: unknown) => unknown = identity): void => {
  try {
    listener.replied(decode(reply))
  } catch (thrown) {
    rescue(listener, thrown)
  }
}

const fail = (listener: Listener, error: unknown): void => {
  try {
    listener.failed(error)
  } catch (thrown) {
    rescue(listener, thrown)
  }
}

/** What a listener throws is what its command fails with: with nobody to catch it, it would end the process. */
const rescue = (listener: Listener, thrown: unknown): void => {
  try {
    listener.failed(thrown)
  } catch {
    // It was told.
  }
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
    if (chunks.length > 0 && stream?.writable === true) writeAll(stream, chunks)
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
    try {
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
    } catch (error) {
      fail(listener, error)
    }
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
    if (listener === undefined) return
    if (this.#hasFailed) fail(listener, this.#outcome)
    else succeed(listener, this.#outcome, decoded)
  }
}

/** About as much is put together for one write: what is longer than a string can be must not become one. */
const pieceLength = 1 << 20

const writeAll = (stream: Redis["stream"], commands: ReadonlyArray<PlainCommand | string>): void => {
  try {
    for (let next = 0; next < commands.length;) next = writePiece(stream, commands, next)
  } catch (error) {
    // What cannot be written is waited for all the same, by that which comes after it too.
    stream.destroy(error as Error)
  }
}

/** Writes so many of the commands, from the first on, as make a piece, and tells which is next. */
const writePiece = (
  stream: Redis["stream"],
  commands: ReadonlyArray<PlainCommand | string>,
  first: number
): number => {
  let text = ""
  let next = first
  while (next < commands.length && text.length < pieceLength) text += encoded(commands[next++]!, false)
  // Where a character is a byte there is less to do.
  if (Buffer.byteLength(text) === text.length) stream.write(text, "latin1")
  else {
    text = ""
    for (let index = first; index < next; index++) text += encoded(commands[index]!, true)
    stream.write(text)
  }
  return next
}

/**
 * As the protocol has it: how many words a command has, and each word after its
 * length in bytes, which is looked at only where it may differ from that in characters.
 */
const encoded = (command: PlainCommand | string, isMixed: boolean): string => {
  if (typeof command === "string") return command
  const { args, name } = command
  let text = `*${args.length + 1}${announce(name, isMixed)}`
  for (const arg of args) text += announce(String(arg), isMixed)
  return text + "\r\n"
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
  // More may come meanwhile.
  for (let next = 0; next < toTell.length; next++) toTell[next]!.tell()
  toTell.length = 0
}
