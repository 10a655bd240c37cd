/**
 * A network that can be cut: what is sent from then on is lost, and nobody is told.
 */
import { Effect } from "effect"
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"
import type { RedisServer } from "./servers/RedisServers.ts"

/** Other ways to the servers. Those who use them lose sight of the servers, which others still see. */
export const cuttable = (servers: ReadonlyArray<RedisServer>) =>
  Effect.gen(function*() {
    let isCut = false
    const pass = (from: Socket, to: Socket) => {
      from.on("data", (data) => {
        if (!isCut) to.write(data)
      })
      from.on("error", () => to.destroy())
      from.on("close", () => {
        if (!isCut) to.destroy()
      })
    }
    const urls = yield* Effect.forEach(servers, ({ host, port }) =>
      Effect.acquireRelease(
        Effect.callback<{ readonly proxy: Server; readonly sockets: Set<Socket> }>((resume) => {
          const sockets = new Set<Socket>()
          const proxy = createServer((client) => {
            const server = connect({ host, port })
            sockets.add(client).add(server)
            pass(client, server)
            pass(server, client)
          })
          proxy.listen(0, "127.0.0.1", () => resume(Effect.succeed({ proxy, sockets })))
        }),
        ({ proxy, sockets }) =>
          Effect.sync(() => {
            for (const socket of sockets) socket.destroy()
            proxy.close()
          })
      ).pipe(Effect.map(({ proxy }) => `redis://127.0.0.1:${(proxy.address() as AddressInfo).port}`)))
    return {
      urls,
      off: Effect.sync(() => {
        isCut = true
      })
    }
  })
