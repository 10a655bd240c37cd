/**
 * What stands before servers: one address, which can lead to another server, or
 * behave as addresses do behind which nobody is well.
 */
import { Effect } from "effect"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

/** Another server's address; or it takes connections and says nothing, or ends them. */
export type Behind = { readonly host: string; readonly port: number } | "nothing is said" | "closed at once"

export interface Front {
  readonly host: string
  readonly port: number
  readonly url: string
  /** Where new connections lead from now on; those there are stay as they are. */
  behind: Behind
  /** How many connections there have been. */
  readonly taken: () => number
  /** How many there are. */
  readonly open: () => number
  /** Ends all connections. */
  readonly cut: () => void
  /**
   * From now on nothing is answered on the connections there are; what comes on them is kept, also when they are ended,
   * until it is let go.
   */
  readonly hold: () => void
  readonly letGo: () => void
  /** How often something came that is kept. */
  readonly held: () => number
}

export const front = (behind: Behind) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const clients = new Set<Socket>()
      const all = new Set<Socket>()
      const pairs = new Set<readonly [client: Socket, upstream: Socket]>()
      const held: Array<() => void> = []
      let taken = 0
      const watch = (socket: Socket) => {
        all.add(socket)
        socket.on("error", () => {})
        socket.on("close", () => all.delete(socket))
        return socket
      }
      const server = createServer((client) => {
        taken++
        clients.add(watch(client))
        client.on("close", () => clients.delete(client))
        const { behind } = self
        if (behind === "closed at once") client.destroy()
        else if (behind === "nothing is said") client.resume()
        else {
          const upstream = watch(connect(behind))
          const pair = [client, upstream] as const
          pairs.add(pair)
          upstream.pipe(client).pipe(upstream)
          client.on("close", () => {
            if (pairs.delete(pair)) upstream.destroy()
          })
          upstream.on("close", () => client.destroy())
        }
      })
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      const { port } = server.address() as AddressInfo
      const cut = () => {
        for (const socket of all) socket.destroy()
      }
      const self: Front = {
        host: "127.0.0.1",
        port,
        url: `redis://127.0.0.1:${port}`,
        behind,
        taken: () => taken,
        open: () => clients.size,
        cut,
        hold: () => {
          for (const [client, upstream] of pairs) {
            client.unpipe(upstream)
            upstream.unpipe(client).resume()
            client.on("data", (data) => held.push(() => upstream.write(data))).resume()
          }
          pairs.clear()
        },
        letGo: () => {
          for (const write of held) write()
        },
        held: () => held.length
      }
      const close = () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve())
          cut()
        })
      return { self, close }
    }),
    ({ close }) => Effect.promise(close)
  ).pipe(Effect.map(({ self }) => self))
