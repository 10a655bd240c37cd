/**
 * Protects ioredis from replies that it cannot process.
 *
 * A reply that no command waits for, or a message without a channel, makes ioredis throw
 * in a callback of its own, which ends the process. On the library's own connections
 * such a server is disconnected instead.
 */
import type { Redis } from "ioredis"
import { type Frame, Frames } from "../redis/frames.ts"

/** The internals of ioredis that are used; they are the same in all its releases. */
interface Internals {
  readonly condition: { readonly subscriber: unknown } | null
  readonly commandQueue: {
    readonly peekAt: (index: number) => { readonly command: { readonly name: string } } | undefined
  }
}

/** From its next connection on, a client disconnects when the server sends an invalid reply. */
export const guardReplies = (client: Redis): void => {
  client.on("connect", () => {
    const { stream } = client
    const [parse] = stream.rawListeners("data")
    if (parse === undefined) return
    const frames = new Frames()
    // ioredis treats some lines as complete before they are.
    let held: Buffer = Buffer.alloc(0)
    stream.off("data", parse as (chunk: Buffer) => void)
    stream.prependListener("data", (chunk: Buffer) => {
      if (stream.destroyed) return
      const good = frames.read(chunk, expected(client))
      const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk])
      if (good === chunk.length) {
        const complete = bytes.length - frames.waiting
        held = bytes.subarray(complete)
        return complete > 0 ? parse.call(stream, bytes.subarray(0, complete)) : undefined
      }
      if (good > 0) parse.call(stream, bytes.subarray(0, held.length + good))
      stream.destroy(new Error("the server sent a reply that no command was waiting for"))
    })
  })
}

/** Whether a command or a subscription waits for the next frame. */
const expected = ({ commandQueue, condition }: Internals): (frame: Frame) => boolean => {
  let isSubscribed = Boolean(condition?.subscriber)
  let answered = 0
  return ({ first, texts, type }) => {
    // Push messages and attributes are never requested.
    if (type === ">" || type === "|") return false
    if (isSubscribed && type === "*") {
      if (texts < 2) return false
      if (first === "message") return true
      if (first !== "subscribe" && first !== "pong") return false
    }
    const command = commandQueue.peekAt(answered++)?.command
    if (command?.name.toLowerCase() === "subscribe") {
      isSubscribed = true
      return type === "-" || (type === "*" && texts === 2)
    }
    return command !== undefined
  }
}
