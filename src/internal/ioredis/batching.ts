/**
 * Sends commands with ioredis.
 */
import { identity } from "effect/Function"
import { type Cluster, Command, type Redis } from "ioredis"
import { tracingChannel } from "node:diagnostics_channel"
import type { Arguments } from "../redis/client.ts"

/** Receives the result of a command: exactly one of the two is called, once. */
export interface ReplyListener {
  readonly onReply: (reply: unknown) => void
  readonly onError: (error: unknown) => void
}

export type SendCommand = (name: string, args: Arguments, listener: ReplyListener) => void

/** Whether an error is the reply of a server, not the client's report of a broken connection. */
export const isReplyError = (error: unknown): error is Error => error instanceof Error && error.name === "ReplyError"

/** Sends through the public method of an existing client, as it is configured. */
export const viaClient = (client: Redis | Cluster): SendCommand => {
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
 * The automatic pipelines of ioredis 5 send all calls of one script to one server,
 * whatever their slots.
 */
const withoutPipelines = (cluster: Cluster): Cluster =>
  Object.create(cluster, {
    options: { get: () => ({ ...cluster.options, enableAutoPipelining: false }) },
    sendCommand: { value: (...args: Parameters<Cluster["sendCommand"]>) => cluster.sendCommand(...args) }
  }) as Cluster

export const listen = (reply: Promise<unknown>, listener: ReplyListener): void => {
  reply.then((reply) => succeed(listener, reply), (error: unknown) => fail(listener, error))
}

const succeed = (listener: ReplyListener, reply: unknown, decode: (reply: unknown) => unknown = identity): void => {
  try {
    listener.onReply(decode(reply))
  } catch (thrown) {
    rescue(listener, thrown)
  }
}

const fail = (listener: ReplyListener, error: unknown): void => {
  try {
    listener.onError(error)
  } catch (thrown) {
    rescue(listener, thrown)
  }
}

/** An exception of a listener becomes the error of its command; uncaught, it would end the process. */
const rescue = (listener: ReplyListener, thrown: unknown): void => {
  try {
    listener.onError(thrown)
  } catch {
    // The listener has been notified.
  }
}

/**
 * Sends on a connection of the library's own, with one write to the socket for all commands of a
 * tick: a write for each command would be most of the work while many locks are in flight. If the
 * last tick had only one command, the first command of this tick is written at once. A command that
 * is sent in any other way while the connection is ready would overtake the batch, and get the
 * reply of another command.
 */
export const batchedPerTick = (client: Redis): SendCommand => {
  let stream: Redis["stream"] | undefined
  const chunks: Array<PlainCommand | string> = []
  let sentThisTick = 0
  let sentLastTick = 1

  const flush = () => {
    // If the stream has been closed meanwhile, the commands have been rejected.
    if (chunks.length > 0 && stream?.writable === true) writeAll(stream, chunks)
    chunks.length = 0
  }

  const endTick = () => {
    flush()
    stream = undefined
    sentLastTick = sentThisTick
    sentThisTick = 0
  }

  const tick = {
    write: (chunk: PlainCommand | string) => {
      stream = client.stream
      chunks.push(chunk)
      if (++sentThisTick > 1) return
      process.nextTick(endTick)
      if (sentLastTick === 1) flush()
    }
  } as unknown as Redis["stream"]

  return (name, args, listener) => {
    const { commandTimeout, keyPrefix } = client.options
    try {
      if (!keyPrefix && commandTimeout === undefined && !isInstrumented(client)) {
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

/** The diagnostics channel of ioredis. In the first releases of Node 20 `hasSubscribers` is missing. */
const commandChannel: { readonly hasSubscribers: boolean | undefined } = tracingChannel("ioredis:command")

/**
 * Whether tracers need commands as ioredis makes them: subscribers of its diagnostics
 * channel, and APMs that replace `sendCommand`. A function has a `prototype`, a method
 * does not.
 */
const isInstrumented = (client: Redis): boolean =>
  // oxlint-disable-next-line typescript/unbound-method -- only inspected, not called
  commandChannel.hasSubscribers !== false || "prototype" in client.sendCommand

/** Shares the prototype of `Command`, but skips its expensive constructor. */
const CommandWithoutConstructor = function() {} as unknown as new() => object
CommandWithoutConstructor.prototype = Command.prototype

/** A command without the features of ioredis. Its reply is null, a string, a number, or an array of these. */
class PlainCommand extends CommandWithoutConstructor {
  readonly name: string
  readonly args: Arguments
  isTraced = false
  #listener: ReplyListener | undefined
  #outcome: unknown
  #hasFailed = false

  constructor(name: string, args: Arguments, listener: ReplyListener) {
    super()
    this.name = name
    this.args = args
    this.#listener = listener
  }

  /** Encoded lazily, together with the other commands of the tick. */
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
    if (settledCommands.push(this) === 1) queueMicrotask(deliverSettled)
  }

  deliver(): void {
    const listener = this.#listener
    // ioredis may keep the command for much longer, and must not retain the listener with it.
    this.#listener = undefined
    if (listener === undefined) return
    if (this.#hasFailed) fail(listener, this.#outcome)
    else succeed(listener, this.#outcome, decoded)
  }
}

/** The approximate length of one write. All commands together may be longer than a string can be. */
const pieceLength = 1 << 20

const writeAll = (stream: Redis["stream"], commands: ReadonlyArray<PlainCommand | string>): void => {
  try {
    for (let next = 0; next < commands.length;) next = writePiece(stream, commands, next)
  } catch (error) {
    // ioredis waits for replies to commands that could not be written; later replies would go to the wrong ones.
    stream.destroy(error as Error)
  }
}

/** Writes a piece of the commands, beginning with the given one, and returns the index of the next. */
const writePiece = (
  stream: Redis["stream"],
  commands: ReadonlyArray<PlainCommand | string>,
  first: number
): number => {
  let text = ""
  let next = first
  while (next < commands.length && text.length < pieceLength) text += encodeResp(commands[next++]!, false)
  // Faster if every character is one byte.
  if (Buffer.byteLength(text) === text.length) stream.write(text, "latin1")
  else {
    text = ""
    for (let index = first; index < next; index++) text += encodeResp(commands[index]!, true)
    stream.write(text)
  }
  return next
}

/**
 * A command in the protocol: the number of words, and each word after its length in
 * bytes, which is computed only if it may differ from the length in characters.
 */
const encodeResp = (command: PlainCommand | string, hasMultiByte: boolean): string => {
  if (typeof command === "string") return command
  const { args, name } = command
  let text = `*${args.length + 1}${bulkString(name, hasMultiByte)}`
  for (const arg of args) text += bulkString(String(arg), hasMultiByte)
  return text + "\r\n"
}

/** The end of the line before, the length of the word, and the word. */
const bulkString = (word: string, hasMultiByte: boolean): string => {
  const length = hasMultiByte ? Buffer.byteLength(word) : word.length
  return (lengths[length] ?? `\r\n$${length}\r\n`) + word
}

const lengths = Array.from({ length: 128 }, (_, length) => `\r\n$${length}\r\n`)

const decoded = (reply: unknown): unknown =>
  Buffer.isBuffer(reply) ? reply.toString() : Array.isArray(reply) ? reply.map(decoded) : reply

/** Their listeners are called once ioredis is done with the data it has read. */
const settledCommands: Array<PlainCommand> = []

const deliverSettled = () => {
  // A listener may add more.
  for (let next = 0; next < settledCommands.length; next++) settledCommands[next]!.deliver()
  settledCommands.length = 0
}
