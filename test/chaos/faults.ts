/** Does to servers, connections and clients what the plan says, and undoes it. */
import { Effect } from "effect"
import type { RedisServer } from "../support/servers/RedisServers.ts"
import type { Child } from "../support/trouble.ts"
import type { Behaviour, Link } from "./link.ts"
import { type Event, now } from "./log.ts"
import type { Fault } from "./plan.ts"

/** A client may be killed and started again: it keeps its place, but is another process. */
export interface Client {
  readonly process: number
  readonly child: Child
}

export interface World {
  readonly servers: ReadonlyArray<RedisServer>
  /** By client and node. */
  readonly links: ReadonlyArray<ReadonlyArray<Link>>
  readonly clients: Array<Client>
  readonly startClient: (index: number) => Effect.Effect<Client>
  readonly write: (event: Event) => void
}

/** Lasts as long as the fault, and ends with everything as it was. */
export const perform = (world: World, fault: Fault): Effect.Effect<void> => {
  switch (fault.kind) {
    case "client SIGKILL":
      return killClient(world, fault.client, fault.millis)
    case "client SIGSTOP":
      return stopClient(world, fault.client, fault.millis)
    case "rolling restart":
      return Effect.forEach(
        fault.nodes,
        (node) => Effect.andThen(world.servers[node]!.restart, Effect.sleep(fault.millis / fault.nodes.length)),
        { discard: true }
      )
    default:
      return onServer(world, fault, world.servers[fault.node]!)
  }
}

const onServer = (
  world: World,
  fault: Extract<Fault, { readonly node: number }>,
  server: RedisServer
): Effect.Effect<void> => {
  const between = (begin: Effect.Effect<unknown>, end: Effect.Effect<unknown>) =>
    Effect.acquireUseRelease(begin, () => Effect.sleep(fault.millis), () => end)
  const behave = (behaviour: Behaviour) => {
    const client = "client" in fault ? fault.client : undefined
    const links = world.links.filter((_, index) => client === undefined || client === index)
    const set = (behaviour: Behaviour) =>
      Effect.sync(() => links.forEach((link) => link[fault.node]!.behave(behaviour)))
    return between(set(behaviour), set("open"))
  }
  switch (fault.kind) {
    case "server SIGSTOP":
      return between(server.stop, server.resume)
    case "server SIGKILL, restart":
      return between(server.kill, server.restart)
    case "CLIENT PAUSE":
      return Effect.andThen(server.pause(fault.millis), Effect.sleep(fault.millis))
    case "maxmemory reached":
      return between(
        server.command("CONFIG", "SET", "maxmemory", "1"),
        server.command("CONFIG", "SET", "maxmemory", "0")
      )
    case "REPLICAOF":
      // Nobody listens there: it keeps its data and refuses to write.
      return between(server.command("REPLICAOF", "127.0.0.1", "1"), server.command("REPLICAOF", "NO", "ONE"))
    case "connections cut":
      return behave("cut")
    case "connections half-open: requests lost":
      return behave("requests lost")
    case "connections half-open: replies lost":
      return behave("replies lost")
    case "connections slow":
      return behave(fault.delay!)
    case "CLIENT KILL":
      return Effect.andThen(
        server.command("CLIENT", "KILL", "TYPE", "pubsub"),
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
      )
    case "SCRIPT FLUSH":
      return Effect.asVoid(server.command("SCRIPT", "FLUSH"))
    case "subscriptions cut on all nodes":
      return onRunning(world, (server) => server.command("CLIENT", "KILL", "TYPE", "pubsub"))
    case "waiting lists deleted":
      return onRunning(world, (server) => server.command("EVAL", onLists(`redis.call("DEL", list)`), "0"))
    case "waiting lists garbled":
      return onRunning(world, (server) => server.command("EVAL", onLists(garble), "0"))
  }
}

const onLists = (does: string) => `for _, list in ipairs(redis.call("KEYS", "redsync:1:*line:*")) do ${does} end`

/** Nonsense behind the first, who is twice in there now; or what is no list at all. */
const garble = `
  local entry = redis.pcall("LINDEX", list, 0)
  if type(entry) == "string" and string.byte(entry, -1) % 2 == 0 then
    redis.call("LINSERT", list, "AFTER", entry, "two words")
    redis.call("RPUSH", list, entry)
  else
    redis.call("SET", list, "nonsense", "PX", 10000)
  end`

/** On whichever servers answer: one that is stopped or refuses is left out. */
const onRunning = (world: World, f: (server: RedisServer) => Effect.Effect<unknown>) =>
  Effect.forEach(world.servers, (server) => Effect.ignoreCause(Effect.timeout(f(server), "200 millis")), {
    concurrency: "unbounded",
    discard: true
  })

const killClient = (world: World, index: number, millis: number) =>
  Effect.gen(function*() {
    const { child, process } = world.clients[index]!
    // The one first sends the signal and then waits for the end of the process, so the other notes the time in between.
    yield* Effect.all(
      [child.signal("SIGKILL"), Effect.sync(() => world.write({ kind: "killed", at: now(), process }))],
      { concurrency: "unbounded" }
    )
    yield* Effect.sleep(millis)
    world.clients[index] = yield* world.startClient(index)
  })

const stopClient = (world: World, index: number, millis: number) =>
  Effect.suspend(() => {
    const { child, process } = world.clients[index]!
    const note = (kind: "stopped" | "resumed") => Effect.sync(() => world.write({ kind, at: now(), process }))
    return Effect.acquireUseRelease(
      Effect.andThen(note("stopped"), child.signal("SIGSTOP")),
      () => Effect.sleep(millis),
      () => Effect.andThen(child.signal("SIGCONT"), note("resumed"))
    )
  })
