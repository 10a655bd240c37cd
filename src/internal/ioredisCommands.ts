/**
 * Sending commands with ioredis.
 */
import { type Cluster, Command, type Redis } from "ioredis"
import { tracingChannel } from "node:diagnostics_channel"

type Arguments = ReadonlyArray<string | number>

/** Sends a command, and calls one of the two once. */
export type Send = (
  name: string,
  args: Arguments,
  replied: (reply: unknown) => void,
  failed: (error: unknown) => void
) => void

/** By a client of the caller's, in whichever way it sends its commands. */
export const throughClient = (client: Redis | Cluster): Send => (name, args, replied, failed) => {
  client.call(name, ...args).then(replied, failed)
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

  return (name, args, replied, failed) => {
    const { commandTimeout, keyPrefix } = client.options
    if (!keyPrefix && commandTimeout === undefined && traced.hasSubscribers === false) {
      void client.sendCommand(new PlainCommand(name, args, replied, failed) as unknown as Command, tick)
      return
    }
    const command = new Command(name, args as Array<string | number>, {
      replyEncoding: "utf8",
      ...(keyPrefix !== undefined && { keyPrefix })
    })
    void client.sendCommand(command, tick)
    command.promise.then(replied, failed)
  }
}

/** What ioredis tells tracers, for which a command needs a promise. */
const traced = tracingChannel("ioredis:command")

/** Without its constructor, which prepares each command for all that can be done with any. */
const Bare = function() {} as unknown as new() => Pick<Command, "name" | "args">
Bare.prototype = Command.prototype

/** A command that is sent, and answered by a string, a number, or an array of such, and nothing else. */
class PlainCommand extends Bare {
  override readonly name: string
  override args: Array<string>
  isTraced = false
  readonly #replied: (reply: unknown) => void
  readonly #failed: (error: unknown) => void
  #answer: unknown
  #hasFailed = false

  constructor(name: string, args: Arguments, replied: (reply: unknown) => void, failed: (error: unknown) => void) {
    super()
    this.name = name
    this.args = args as Array<string>
    this.#replied = replied
    this.#failed = failed
  }

  toWritable(): string {
    let text = `*${this.args.length + 1}\r\n${bulk(this.name)}`
    for (const arg of this.args) text += bulk(String(arg))
    return text
  }

  resolve(reply: unknown) {
    this.#answer = reply
    answer(this)
  }

  reject(error: unknown) {
    this.#answer = error
    this.#hasFailed = true
    answer(this)
  }

  /** Calls back. */
  answer() {
    if (this.#hasFailed) this.#failed(this.#answer)
    else this.#replied(decoded(this.#answer))
  }
}

const bulk = (text: string) => `$${byteLength(text)}\r\n${text}\r\n`

/** Words are short, and nearly always ASCII. */
const byteLength = (text: string) => {
  for (let index = 0; index < text.length; index++) {
    if (text.charCodeAt(index) > 0x7f) return Buffer.byteLength(text)
  }
  return text.length
}

const decoded = (reply: unknown): unknown =>
  Buffer.isBuffer(reply) ? reply.toString() : Array.isArray(reply) ? reply.map(decoded) : reply

/** Those of one read are answered one after the other, once ioredis is done with it. */
const answered: Array<PlainCommand> = []

const answer = (command: PlainCommand) => {
  if (answered.push(command) === 1) queueMicrotask(answerAll)
}

const answerAll = () => {
  let next = 0
  try {
    while (next < answered.length) answered[next++]!.answer()
  } finally {
    answered.splice(0, next)
    if (answered.length > 0) queueMicrotask(answerAll)
  }
}
