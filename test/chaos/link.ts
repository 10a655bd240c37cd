/**
 * The network between one client and one server: a proxy that can cut
 * connections, lose one direction of them without a word, or be slow.
 */
import { Effect, type Scope } from "effect"
import { connect, createServer, type Socket } from "node:net"

/**
 * - `open`: as if it were not there
 * - `cut`: connections are reset, and so is every new one
 * - `requests lost`, `replies lost`: connections stay open and new ones are
 *   accepted, but nothing gets through in that direction; reset when that ends, as
 *   bytes are missing from them
 * - a number: everything takes so many milliseconds longer, each way. What was on
 *   its way when the client closed the connection still reaches the server.
 */
export type Behaviour = "open" | "cut" | "requests lost" | "replies lost" | number

export interface Link {
  readonly url: string
  readonly behave: (behaviour: Behaviour) => void
}

export const make = (target: { readonly host: string; readonly port: number }): Effect.Effect<
  Link,
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    let behaviour: Behaviour = "open"
    const sockets = new Set<Socket>()
    const reset = () => sockets.forEach((socket) => socket.destroy())
    const add = (socket: Socket) => {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on("error", () => {})
      socket.on("close", () => sockets.delete(socket))
    }
    const server = createServer((client) => {
      add(client)
      if (behaviour === "cut") {
        client.destroy()
        return
      }
      const upstream = connect({ host: target.host, port: target.port })
      add(upstream)
      pump(client, upstream, () => behaviour === "requests lost" ? undefined : delayOf(behaviour))
      pump(upstream, client, () => behaviour === "replies lost" ? undefined : delayOf(behaviour))
    })
    const port = yield* Effect.acquireRelease(
      Effect.promise(() =>
        new Promise<number>((resolve) => {
          server.listen(0, "127.0.0.1", () => {
            const address = server.address()
            resolve(typeof address === "object" && address !== null ? address.port : 0)
          })
        })
      ),
      () =>
        Effect.promise(() =>
          new Promise((resolve) => {
            reset()
            server.close(resolve)
          })
        )
    )
    return {
      url: `redis://127.0.0.1:${port}`,
      behave: (next) => {
        if (next === "cut" || behaviour === "requests lost" || behaviour === "replies lost") reset()
        behaviour = next
      }
    }
  })

const delayOf = (behaviour: Behaviour) => typeof behaviour === "number" ? behaviour : 0

/** Carries bytes in their order, and the end of the connection after the last of them. */
const pump = (from: Socket, to: Socket, delay: () => number | undefined) => {
  const queue: Array<{ readonly data: Buffer; readonly due: number }> = []
  let lastDue = 0
  let timer: NodeJS.Timeout | undefined
  let ended = false
  const flush = () => {
    timer = undefined
    while (queue.length > 0) {
      const wait = queue[0]!.due - performance.now()
      if (wait > 0) {
        timer = setTimeout(flush, wait)
        return
      }
      to.write(queue.shift()!.data)
    }
    if (ended) to.end()
  }
  from.on("data", (data: Buffer) => {
    const millis = delay()
    if (millis === undefined) return
    lastDue = Math.max(lastDue, performance.now() + millis)
    queue.push({ data, due: lastDue })
    if (timer === undefined) flush()
  })
  from.on("close", () => {
    ended = true
    if (timer === undefined) flush()
  })
  to.on("close", () => clearTimeout(timer))
}
