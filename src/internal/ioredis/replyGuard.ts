/**
 * Keeps from ioredis what it cannot digest.
 *
 * What ioredis makes of a reply that answers nothing, or of a notice without a
 * channel, is an exception in a callback of its own, which ends the process. On
 * connections of ours such a server is a connection that breaks.
 */
import type { Redis } from "ioredis"
import { type Frame, Frames } from "../redis/frames.ts"

/** What is used of ioredis' inside, which is the same in all its releases. */
interface Inside {
  readonly condition: { readonly subscriber: unknown } | null
  readonly commandQueue: {
    readonly peekAt: (index: number) => { readonly command: { readonly name: string } } | undefined
  }
}

/** From its next connection on, a client breaks off where the server sends nonsense. */
export const guardReplies = (client: Redis): void => {
  client.on("connect", () => {
    const { stream } = client
    const [parse] = stream.rawListeners("data")
    if (parse === undefined) return
    const frames = new Frames()
    // ioredis takes some lines for complete before they are.
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
      stream.destroy(new Error("the server sent what is no reply to anything"))
    })
  })
}

/** Whether the next frame is what a command or a subscription waits for. */
const expected = ({ commandQueue, condition }: Inside): (frame: Frame) => boolean => {
  let isSubscribed = Boolean(condition?.subscriber)
  let answered = 0
  return ({ first, texts, type }) => {
    // We never ask for anything that comes unasked for in this way.
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
