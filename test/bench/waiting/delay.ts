/**
 * A server farther away, behind a proxy. It costs no processor while nothing is due:
 * what is measured shares the machine with it.
 */
import { Effect, type Scope } from "effect"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { now } from "../clock.ts"

/**
 * The URL under which the server is so far away, there and back. Timers know whole
 * milliseconds: an odd one is spent on the way there.
 */
export const delayed = (
  target: { readonly host: string; readonly port: number },
  roundTripMillis: number
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
        carry(client, upstream, Math.ceil(roundTripMillis / 2))
        carry(upstream, client, Math.floor(roundTripMillis / 2))
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
      if (wait > 0.5) return void setTimeout(deliver, Math.round(wait))
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
