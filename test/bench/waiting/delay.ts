/**
 * A server farther away: everything takes so much longer, each way. Finer than the
 * timers of Node, which know whole milliseconds.
 */
import { Effect, type Scope } from "effect"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { now } from "../clock.ts"

/** The URL under which the server is so far away. */
export const delayed = (
  target: { readonly host: string; readonly port: number },
  eachWayMillis: number
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const sockets = new Set<Socket>()
      const server = createServer((client) => {
        const upstream = connect(target)
        for (const socket of [client, upstream]) {
          sockets.add(socket.setNoDelay(true).on("error", () => {}))
          socket.on("close", () => sockets.delete(socket))
        }
        carry(client, upstream, eachWayMillis)
        carry(upstream, client, eachWayMillis)
      })
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      return { server, sockets }
    }),
    ({ server, sockets }) =>
      Effect.promise(() =>
        new Promise<void>((resolve) => {
          server.close(() => resolve())
          for (const socket of sockets) socket.destroy()
        })
      )
  ).pipe(Effect.map(({ server }) => `redis://127.0.0.1:${(server.address() as AddressInfo).port}`))

/** Carries bytes in their order, and the end of the connection after the last of them. */
const carry = (from: Socket, to: Socket, millis: number): void => {
  const queue: Array<{ readonly data: Buffer | undefined; readonly due: number }> = []
  const deliver = () => {
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      const wait = next.due - now()
      if (wait > 0) return wait > 2 ? void setTimeout(deliver, wait - 1) : void setImmediate(deliver)
      queue.shift()
      if (next.data === undefined) to.end()
      else if (to.writable) to.write(next.data)
    }
  }
  const add = (data: Buffer | undefined) => {
    if (queue.push({ data, due: now() + millis }) === 1) deliver()
  }
  from.on("data", add)
  from.on("close", () => add(undefined))
}
