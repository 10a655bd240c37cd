/**
 * Sending commands with ioredis.
 */
import { type Cluster, Command, type Redis } from "ioredis"

/** Sends a command. */
export type Send = (command: string, ...args: ReadonlyArray<string | number>) => Promise<unknown>

/** By a client of the caller's, in whichever way it sends its commands. */
export const throughClient = (client: Redis | Cluster): Send => (command, ...args) => client.call(command, ...args)

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
    if (stream?.writable === true) stream.write(chunks)
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

  return (command, ...args) => {
    const { keyPrefix } = client.options
    const sent = new Command(command, args as Array<string | number>, {
      replyEncoding: "utf8",
      ...(keyPrefix !== undefined && { keyPrefix })
    })
    client.sendCommand(sent, tick)
    return sent.promise
  }
}
