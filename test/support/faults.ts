/**
 * What the tests of faults share: five servers to break, a network that loses
 * replies, servers that only answer errors, and eyes on what is left behind.
 */
import { Effect, Layer, Logger } from "effect"
import { Redis } from "ioredis"
import { connect, createServer, type Server, type Socket } from "node:net"
import { inspect, Redsync, type ServiceOptions } from "../../src/index.ts"
import { adminName } from "./servers/Instance.ts"
import { type RedisServer, RedisServers } from "./servers/RedisServers.ts"

export type Five = readonly [RedisServer, RedisServer, RedisServer, RedisServer, RedisServer]

/** The five servers, restarted: whatever the test before did to them is undone. */
export const five: Effect.Effect<Five, never, RedisServers> = Effect.gen(function*() {
  const [a, b, c, d, e] = yield* RedisServers
  if (a === undefined || b === undefined || c === undefined || d === undefined || e === undefined) {
    return yield* Effect.die(new Error("The tests of faults need five servers"))
  }
  const servers = [a, b, c, d, e] as const
  yield* onEach(servers, (server) => server.restart)
  return servers
})

export const onEach = <A, B>(all: ReadonlyArray<A>, f: (one: A) => Effect.Effect<B>): Effect.Effect<Array<B>> =>
  Effect.forEach(all, f, { concurrency: "unbounded" })

export const urls = (servers: ReadonlyArray<RedisServer>): Array<string> => servers.map(({ url }) => url)

/**
 * Asks again every few milliseconds until it is so. The end of its patience tells
 * that it will never be: far later than the busiest machine needs.
 */
export const until = <E, R>(
  what: string,
  isSo: Effect.Effect<boolean, E, R>
): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    const end = performance.now() + 30_000
    const again: Effect.Effect<void, E, R> = Effect.flatMap(isSo, (yes) => {
      if (yes) return Effect.void
      return performance.now() > end
        ? Effect.die(new Error(`It never came true: ${what}`))
        : Effect.andThen(Effect.sleep("10 millis"), again)
    })
    return again
  })

/** Keeps the event loop from turning, and leaves the processor to the servers meanwhile. */
export const blockEventLoop = (millis: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)
}

// -----------------------------------------------------------------------------
// what is on the servers
// -----------------------------------------------------------------------------

/** The value under a key on each server. */
export const valuesOf = (key: string, servers: ReadonlyArray<RedisServer>): Effect.Effect<Array<string | null>> =>
  onEach(servers, (server) => server.command<string | null>("GET", key))

/** Somebody else's lock, long enough for any test. */
export const holdByAnother = (key: string, servers: ReadonlyArray<RedisServer>): Effect.Effect<void> =>
  Effect.asVoid(onEach(servers, (server) => server.command("SET", key, another, "PX", "60000")))

export const another = "another's value"

/** Waits until the servers have no key at all; far sooner than any test's locks expire. */
export const untilEmpty = (servers: ReadonlyArray<RedisServer>): Effect.Effect<void> =>
  until(
    `${servers.length} servers are empty`,
    Effect.map(onEach(servers, (server) => server.command<number>("DBSIZE")), (sizes) =>
      sizes.every((size) => size === 0))
  )

/** Waits until nobody but the tests' own commands is connected. */
export const untilDisconnected = (servers: ReadonlyArray<RedisServer>): Effect.Effect<void> =>
  until(
    "all connections are closed",
    Effect.map(
      onEach(servers, (server) => server.command<string>("CLIENT", "LIST")),
      (lists) => lists.every((list) => list.trim().split("\n").every((line) => line.includes(`name=${adminName}`)))
    )
  )

/** How often a server has executed a command since it was started. */
export const callsOf = (server: RedisServer, command: string): Effect.Effect<number> =>
  Effect.map(
    server.command<string>("INFO", "commandstats"),
    (stats) => Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
  )

/** Commands on one connection: for when the first would keep out the next, or a password is needed. */
export const administer = (server: RedisServer, commands: ReadonlyArray<string>, password?: string) =>
  Effect.promise(async () => {
    const client = new Redis({
      host: server.host,
      port: server.port,
      ...password === undefined ? {} : { password },
      connectionName: adminName,
      retryStrategy: () => null
    })
    client.on("error", () => {})
    try {
      for (const command of commands) {
        const [name = "", ...args] = command.split(" ")
        await client.call(name, ...args)
      }
    } finally {
      client.disconnect()
    }
  })

// -----------------------------------------------------------------------------
// what is logged
// -----------------------------------------------------------------------------

export interface Logged {
  readonly lines: ReadonlyArray<string>
  readonly layer: Layer.Layer<never>
  /** The warnings, or those of one node. */
  readonly down: (node?: RedisServer) => ReadonlyArray<string>
  /** The lines that tell of an answer after a failure. */
  readonly up: (node?: RedisServer) => ReadonlyArray<string>
  /** Starts again with no lines. */
  readonly forget: () => void
}

export const logged = (): Logged => {
  const lines: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    lines.push(`${logLevel} ${[message].flat().join(" ")}`)
  })
  const select = (level: string, node?: RedisServer) =>
    lines.filter((line) =>
      line.startsWith(level) && (node === undefined || line.includes(`${node.host}:${node.port} `))
    )
  return {
    lines,
    layer: Logger.layer([logger]),
    down: (node) => select("Warn", node),
    up: (node) => select("Info", node),
    forget: () => {
      lines.length = 0
    }
  }
}

/** A service over these nodes, for as long as the effect runs; what it logs goes to `logs`. */
export const using = (options: ServiceOptions, logs: Logged = logged()) =>
  Effect.provide(Layer.provide(Redsync.layer(options), logs.layer))

/** Waits until every node has answered: the layer is built when a quorum has. */
export const untilAllAnswer = until(
  "all nodes answer",
  Effect.map(inspect("is anybody there?"), ({ nodes }) => nodes.every(({ _tag }) => _tag !== "Failed"))
)

// -----------------------------------------------------------------------------
// networks and servers of our own
// -----------------------------------------------------------------------------

const listening = (server: Server): Effect.Effect<number> =>
  Effect.promise(() =>
    new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resolve(typeof address === "object" && address !== null ? address.port : 0)
      })
    })
  )

const listen = (onConnection: (socket: Socket) => void) =>
  Effect.gen(function*() {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.on("close", () => sockets.delete(socket))
      socket.on("error", () => {})
      onConnection(socket)
    })
    const port = yield* Effect.acquireRelease(
      listening(server),
      () =>
        Effect.promise(() =>
          new Promise((resolve) => {
            for (const socket of sockets) socket.destroy()
            server.close(resolve)
          })
        )
    )
    return { port, sockets }
  })

export interface Proxy {
  readonly url: string
  /**
   * Lets the next `SET` through, swallows its reply, cuts the connection and
   * takes no new one until `open`. Succeeds once that has happened.
   */
  readonly swallowNextReply: Effect.Effect<void>
  readonly open: () => void
}

/** The network between a client and a server, which can break at the worst of moments. */
export const proxy = (target: RedisServer) =>
  Effect.gen(function*() {
    let isOpen = true
    let onSet: (() => void) | undefined
    const { port, sockets } = yield* listen((client) => {
      if (!isOpen) {
        client.destroy()
        return
      }
      const server = connect({ host: target.host, port: target.port })
      let swallow: (() => void) | undefined
      client.on("data", (data) => {
        // What follows the SET is lost with the connection.
        if (swallow !== undefined) return
        const upToSet = onSet === undefined ? undefined : firstSet(data.toString("latin1"))
        if (upToSet === undefined) {
          server.write(data)
          return
        }
        swallow = onSet
        onSet = undefined
        server.write(upToSet, "latin1")
      })
      server.on("data", (data) => {
        if (swallow === undefined) {
          client.write(data)
          return
        }
        isOpen = false
        for (const socket of sockets) socket.destroy()
        swallow()
      })
      server.on("error", () => client.destroy())
      server.on("close", () => client.destroy())
      client.on("close", () => server.destroy())
    })
    return {
      url: `redis://127.0.0.1:${port}`,
      swallowNextReply: Effect.callback((resume) => {
        onSet = () => resume(Effect.void)
      }),
      open: () => {
        isOpen = true
      }
    } satisfies Proxy
  })

export interface FakeServer {
  readonly url: string
  /** What it answers to the commands of a lock, without the leading dash; nothing is wrong where it is empty. */
  error: string
  /** What it answers instead, as the protocol has it: to a command, or the script with it. */
  says?: (command: string, script: string) => string | undefined
}

/**
 * A server in a state that real ones cannot be brought into on demand: it greets
 * clients as usual, and to everything that touches a key answers an error.
 */
export const fakeServer = (error: string) =>
  Effect.gen(function*() {
    const { port } = yield* listen((socket) => {
      let pending = ""
      socket.on("data", (data) => {
        pending += data.toString("latin1")
        for (;;) {
          const [command, rest] = parseCommand(pending)
          if (command === undefined) return
          pending = rest
          socket.write(self.says?.(command[0]!.toLowerCase(), command[1] ?? "") ?? answer(command, self.error))
        }
      })
    })
    const self: FakeServer = { url: `redis://127.0.0.1:${port}`, error }
    return self
  })

/** What was sent up to the end of the first `SET`, if there is one. */
const firstSet = (input: string): string | undefined => {
  for (let rest = input;;) {
    const [command, after] = parseCommand(rest)
    if (command === undefined) return undefined
    if (command[0]?.toLowerCase() === "set") return input.slice(0, input.length - after.length)
    rest = after
  }
}

const parseCommand = (input: string): readonly [Array<string> | undefined, string] => {
  const header = /^\*(\d+)\r\n/.exec(input)
  if (header === null) return [undefined, input]
  const words: Array<string> = []
  let at = header[0].length
  for (let index = 0; index < Number(header[1]); index++) {
    const size = /^\$(\d+)\r\n/.exec(input.slice(at))
    if (size === null) return [undefined, input]
    const start = at + size[0].length
    const end = start + Number(size[1])
    if (input.length < end + 2) return [undefined, input]
    words.push(input.slice(start, end))
    at = end + 2
  }
  return [words, input.slice(at)]
}

const answer = ([name = "", script = ""]: ReadonlyArray<string>, error: string): string => {
  switch (name.toLowerCase()) {
    case "hello":
      return "-NOPROTO unsupported protocol version\r\n"
    case "client":
      return script.toLowerCase() === "id" ? ":1\r\n" : "+OK\r\n"
    case "subscribe":
      return `*3\r\n$9\r\nsubscribe\r\n$${script.length}\r\n${script}\r\n:1\r\n`
    case "pttl":
      return ":-2\r\n"
    case "info":
      return "$11\r\nloading:0\r\n\r\n"
    case "set":
      return error === "" ? "+OK\r\n" : `-${error}\r\n`
    case "evalsha":
      return "-NOSCRIPT No matching script\r\n"
    case "eval":
      if (error !== "") return `-${error}\r\n`
      if (script.includes("RPUSH")) return "*4\r\n:0\r\n:-2\r\n:0\r\n:0\r\n"
      return script.includes("STRLEN") ? "*3\r\n$4\r\nnone\r\n$0\r\n\r\n:-2\r\n" : ":1\r\n"
    default:
      return `-ERR unknown command ${name}\r\n`
  }
}
