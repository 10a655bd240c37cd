/**
 * What the tests of holding and waiting in trouble share: several services in one
 * process, services in other processes, and eyes on waiting lists.
 */
import { type Duration, Effect, Layer, Metric, Schedule, type Scope } from "effect"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { Redsync, type ServiceOptions } from "../../src/index.ts"
import { companionKey, wakeUpChannel } from "../../src/internal/redis/keys.ts"
import { type Logged, logged, onEach, until, untilDisconnected, untilEmpty, urls } from "./faults.ts"
import { type RedisServer, RedisServers } from "./servers/RedisServers.ts"
import { serverSource } from "./servers/ServerSource.ts"

export type Three = readonly [RedisServer, RedisServer, RedisServer]

/**
 * Runs a test on three servers, and sees to it that nothing is left on them. They
 * are up and empty, whatever a test that failed has left there.
 */
export const onThree = <A, E, R>(
  test: (servers: Three) => Effect.Effect<A, E, R>
): Effect.Effect<void, E, Exclude<R, Scope.Scope> | RedisServers> =>
  Effect.gen(function*() {
    const [a, b, c] = yield* RedisServers
    if (a === undefined || b === undefined || c === undefined) return yield* Effect.die(new Error("Three are needed"))
    const servers = [a, b, c] as const
    yield* onEach(servers, (server) => Effect.andThen(server.resume, server.command("FLUSHALL")))
    yield* Effect.scoped(test(servers))
    yield* untilEmpty(servers)
    yield* untilDisconnected(servers)
  })

/** One more service over the servers, with connections of its own: as good as another process. */
export const service = (
  nodes: ServiceOptions["nodes"] | Three,
  options?: Partial<ServiceOptions>,
  logs: Logged = logged()
) =>
  Effect.map(
    Layer.build(
      Layer.provide(Redsync.layer({ nodes: nodes.map(toInput), nodeTimeout: "1 second", ...options }), logs.layer)
    ),
    (context) => ({ logs, run: Effect.provide(context) })
  )

const toInput = (node: ServiceOptions["nodes"][number] | RedisServer): ServiceOptions["nodes"][number] =>
  typeof node === "object" && "restart" in node ? node.url : node

/** A schedule that tells how often it was asked for the next attempt. */
export interface Counted {
  steps: number
  /** From one attempt to the next, give or take a fifth. */
  delay: Duration.Input
  readonly retry: Schedule.Schedule<unknown>
}

export const counted = (delay: Duration.Input): Counted => {
  const self: Counted = {
    steps: 0,
    delay,
    retry: Schedule.forever.pipe(
      Schedule.addDelay(() =>
        Effect.sync(() => {
          self.steps++
          return self.delay
        })
      ),
      Schedule.jittered
    )
  }
  return self
}

/** For whoever is to be woken: the next attempt comes when the test has long been given up. */
export const hourly: { readonly retry: Schedule.Schedule<unknown> } = { retry: Schedule.spaced("1 hour") }

export const deleteOn = (servers: ReadonlyArray<RedisServer>, key: string) =>
  Effect.asVoid(onEach(servers, (server) => server.command("DEL", key)))

/** How many wait in the list of a name, on each of the servers. */
export const waitingOn = (servers: ReadonlyArray<RedisServer>, name: string) =>
  onEach(servers, (server) => server.command<number>("LLEN", companionKey("line", name)))

/**
 * The server that has the waiting list of a name, once so many services stand in it.
 * There may be one more: a holder that was beaten to its first attempt keeps its place until it releases.
 */
export const untilListed = (servers: ReadonlyArray<RedisServer>, name: string, count: number) =>
  Effect.gen(function*() {
    let lengths: Array<number> = []
    yield* until(
      `${count} wait for ${name}`,
      Effect.map(waitingOn(servers, name), (now) => {
        lengths = now
        return Math.max(...now) >= count
      })
    )
    return servers[lengths.indexOf(Math.max(...lengths))]!
  })

/** Of each connection to the server that is not the tests' own: its id and flags, such as `P` for a subscriber. */
export const connectionsTo = (server: RedisServer) =>
  Effect.map(server.command<string>("CLIENT", "LIST"), (list) =>
    list.trim().split("\n")
      .filter((line) => !line.includes("name=test-admin"))
      .map((line) => ({ id: /id=(\d+)/.exec(line)![1]!, flags: / flags=(\w+)/.exec(line)![1]! })))

/** What kind each connection is, in order: `hears` turns, `looks` at keys, or `asks` for locks. */
export const kindsOf = (server: RedisServer) =>
  Effect.map(
    connectionsTo(server),
    (connections) =>
      connections.map(({ flags }) => flags.includes("P") ? "hears" : flags.includes("t") ? "looks" : "asks").sort()
  )

/** Kills the connections on which services look at keys. */
export const killTrackers = (server: RedisServer) =>
  Effect.flatMap(connectionsTo(server), (connections) =>
    Effect.asVoid(
      onEach(
        connections.filter(({ flags }) => flags.includes("t")),
        ({ id }) => server.command("CLIENT", "KILL", "ID", id)
      )
    ))

export const killSubscribers = (server: RedisServer) =>
  Effect.asVoid(server.command("CLIENT", "KILL", "TYPE", "pubsub"))

/** The channels on which somebody waits for a turn. */
export const channelsOf = (server: RedisServer) =>
  server.command<Array<string>>("PUBSUB", "CHANNELS", wakeUpChannel("*"))

/** How many locks were entered because they were handed over. */
export const handedOver = Effect.map(Metric.snapshot, (metrics) =>
  metrics.reduce(
    (sum, { attributes, id, state }) =>
      id === "redsync_hand_overs_total" && attributes?.["outcome"] === "taken" && "count" in state
        ? sum + Number(state.count)
        : sum,
    0
  ))

// -----------------------------------------------------------------------------
// other processes
// -----------------------------------------------------------------------------

export interface Child {
  /** All it has said so far, line by line. */
  readonly lines: ReadonlyArray<string>
  /** Waits until it has said a line that begins like this, and gives it whole. */
  readonly hear: (beginning: string) => Effect.Effect<string>
  readonly tell: (line: string) => Effect.Effect<void>
  readonly signal: (name: "SIGSTOP" | "SIGCONT" | "SIGTERM" | "SIGKILL") => Effect.Effect<void>
  /** Waits for its end, and gives its exit code, `null` if a signal ended it. */
  readonly exited: Effect.Effect<number | null>
}

/** Lets a process import the library by its name. */
const asInstalled = ["--import", new URL("children/asInstalled.ts", import.meta.url).href]

/** A program, of `test/support/children` where named, in a process of its own, which ends with the scope at the latest. */
export const child = (program: string | URL, options: object, environment: Record<string, string> = {}) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const source = await serverSource()
        const path = fileURLToPath(
          new URL(typeof program === "string" ? `children/${program}.ts` : program, import.meta.url)
        )
        // One that is stopped does not notice that its parent was killed.
        const prefix = source.kind === "processes" && source.setpriv ? ["setpriv", "--pdeathsig", "KILL"] : []
        const [command, ...args] = [...prefix, process.execPath, ...asInstalled, path, JSON.stringify(options)] as const
        const running = spawn(command, args, {
          stdio: ["pipe", "pipe", "inherit"],
          env: { ...process.env, ...environment }
        })
        const exited = new Promise<number | null>((resolve) => running.once("exit", resolve))
        const lines: Array<string> = []
        const listeners = new Set<() => void>()
        createInterface({ input: running.stdout }).on("line", (line) => {
          lines.push(line)
          for (const listener of listeners) listener()
        })
        running.stdin.on("error", () => {})
        return { exited, lines, listeners, running }
      }),
      ({ exited, running }) =>
        Effect.promise(async () => {
          // Ends a stopped process as well.
          running.kill("SIGKILL")
          await exited
        })
    ),
    ({ exited, lines, listeners, running }): Child => ({
      lines,
      hear: (beginning) =>
        Effect.callback<string>((resume) => {
          const look = () => {
            const line = lines.find((line) => line.startsWith(beginning))
            if (line !== undefined) resume(Effect.succeed(line))
          }
          listeners.add(look)
          look()
          return Effect.sync(() => listeners.delete(look))
        }).pipe(
          Effect.timeout("1 minute"),
          Effect.catch(() => Effect.die(new Error(`It never said "${beginning}", but ${JSON.stringify(lines)}`)))
        ),
      tell: (line) => Effect.sync(() => running.stdin.write(`${line}\n`)),
      signal: (name) =>
        Effect.promise(async () => {
          running.kill(name)
          if (name === "SIGKILL") await exited
        }),
      exited: Effect.promise(() => exited)
    })
  )

/** The options of a child that name the servers. */
export const nodesFor = (servers: Three) => ({ nodes: urls(servers) })
