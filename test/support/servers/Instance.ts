/**
 * One running server, whatever runs it: the few things a process and a
 * container do differently, and what is the same for both.
 *
 * All of it is plain promises on the machine's own timers. A layer built under
 * a test clock would otherwise wait for ever for its servers.
 */
import { Redis } from "ioredis"
import { connect, createServer } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { claim, pathOf, remove } from "../leftovers.ts"

export interface Address {
  readonly host: string
  readonly port: number
  readonly password?: string | undefined
}

export interface Instance extends Address {
  readonly freeze: () => Promise<void>
  /** Nothing to do where it is not frozen. */
  readonly thaw: () => Promise<void>
  /** Nothing to do where it is dead. */
  readonly kill: () => Promise<void>
  /** Starts the dead server on its own port. */
  readonly start: () => Promise<void>
  /** Ends it for good, frozen or not, and removes what it left. */
  readonly close: () => Promise<void>
}

export interface InstanceOptions {
  readonly args: ReadonlyArray<string>
  readonly password?: string | undefined
  /** A Sentinel, which keeps its state in a file of its own. Processes only. */
  readonly isSentinel?: boolean
}

export const serverArgs = (port: number, options: InstanceOptions): ReadonlyArray<string> => [
  "--port",
  String(port),
  "--save",
  "",
  "--appendonly",
  "no",
  "--daemonize",
  "no",
  "--protected-mode",
  "no",
  ...(options.password === undefined ? [] : ["--requirepass", options.password]),
  ...options.args
]

/** Names the admin's connections, for tests that look at `CLIENT LIST`. */
export const adminName = "test-admin"

/**
 * One command on a connection of its own: it works whatever state the server
 * and the connections under test are in, and there is nothing to close later.
 */
export const call = async (address: Address, args: ReadonlyArray<string>, signal?: AbortSignal): Promise<unknown> => {
  const [name = "", ...rest] = args
  const client = new Redis({
    host: address.host,
    port: address.port,
    ...(address.password === undefined ? {} : { password: address.password }),
    connectionName: adminName,
    lazyConnect: true,
    enableReadyCheck: false,
    disableClientInfo: true,
    // The same shape of answers from every server, however old.
    protocol: 2,
    retryStrategy: () => null
  })
  // Failures come through the promises below; unheard they are printed as well.
  client.on("error", () => {})
  const disconnect = () => client.disconnect()
  signal?.addEventListener("abort", disconnect, { once: true })
  try {
    await client.connect()
    return await client.call(name, ...rest)
  } finally {
    signal?.removeEventListener("abort", disconnect)
    disconnect()
  }
}

/** Asks again every few milliseconds, and fails with the last failure when the time is over. */
export const eventually = async <A>(what: string, ask: () => Promise<A>, millis = 15_000): Promise<A> => {
  const end = performance.now() + millis
  for (;;) {
    try {
      return await ask()
    } catch (cause) {
      if (performance.now() > end || cause instanceof GiveUp) throw new Error(`Waiting until ${what}`, { cause })
      await sleep(10)
    }
  }
}

/** Ends the asking of `eventually`: it would never come true. */
export class GiveUp extends Error {}

export const untilRefused = ({ host, port }: Address): Promise<void> =>
  eventually(`${host}:${port} refuses connections`, () =>
    new Promise((resolve, reject) => {
      const socket = connect({ host, port })
      socket.once("connect", () => {
        socket.destroy()
        reject(new Error("It still accepts them"))
      })
      socket.once("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "ECONNREFUSED") resolve()
        else reject(error)
      })
    }))

export interface Reservation {
  readonly port: number
  readonly directory: string
  readonly release: () => void
}

export const directoryOf = (port: number): string => pathOf(String(port))

/**
 * A free port, ours until released, and a directory for its server.
 *
 * The ports lie below those the system hands out for outgoing connections. In
 * that range a port of a killed server does not stay free: some other program's
 * connection gets it, or a client that keeps reconnecting to it is connected to
 * itself. The directory is what reserves the port between the test workers,
 * also while the server is down. A cluster node takes the port 10,000 further up
 * as well, and these two ranges do not meet.
 */
export const reservePort = async (): Promise<Reservation> => {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 10_000)
    let directory: string
    try {
      directory = claim(String(port))
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EEXIST") continue
      throw cause
    }
    const release = () => remove(directory)
    if (await isFree(port)) return { port, directory, release }
    release()
  }
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once("error", () => resolve(false))
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(true)))
  })

/** Starts on a port that was free a moment ago, and on another one if somebody was faster. */
export const onFreePort = async <A>(start: (reservation: Reservation) => Promise<A>): Promise<A> => {
  for (let attempt = 1;; attempt++) {
    const reservation = await reservePort()
    try {
      return await start(reservation)
    } catch (cause) {
      reservation.release()
      if (attempt === 3) throw cause
    }
  }
}
