/**
 * Real Redis servers for tests, and everything that can go wrong with them:
 * they freeze, die, come back empty and answer late, on request.
 *
 * `RedisServers.layer(5)` starts five, `RedisCluster.layer` a cluster of three
 * masters. They run as long as the layer's scope is open. Nothing here looks at
 * Effect's clock, so the layers work under a test clock too; the servers' time
 * of course is real.
 */
import { Context, Effect, Layer, type Scope } from "effect"
import type { Address, Instance, InstanceOptions } from "./Instance.ts"
import { call, eventually } from "./Instance.ts"
import { startProcess } from "./Processes.ts"
import { serverProgram, serverSource } from "./ServerSource.ts"

export interface RedisServer {
  readonly host: string
  readonly port: number
  /** `redis://host:port`, with the password where there is one. */
  readonly url: string
  /**
   * Freezes the server: connections stay open, new ones are accepted by the
   * system, nothing is answered. What is sent meanwhile takes effect on `resume`.
   */
  readonly stop: Effect.Effect<void>
  /** Lets a frozen server go on; does nothing to any other. */
  readonly resume: Effect.Effect<void>
  /** Kills the server without a chance to say goodbye, and waits until its port refuses connections. */
  readonly kill: Effect.Effect<void>
  /** Kills the server if it is alive, and starts it empty on the same port, ready to answer. */
  readonly restart: Effect.Effect<void>
  /** The server accepts commands and leaves them waiting for so many milliseconds. */
  readonly pause: (millis: number) => Effect.Effect<void>
  /**
   * Runs one command on a connection of its own, named `test-admin`, and dies
   * if it fails. It waits for as long as the server is frozen or paused.
   */
  readonly command: <A = unknown>(...args: ReadonlyArray<string>) => Effect.Effect<A>
}

export interface RedisServersOptions {
  /** More arguments for the server program, such as `["--maxmemory", "1mb"]`. */
  readonly args?: ReadonlyArray<string>
  readonly password?: string
}

export class RedisServers extends Context.Service<RedisServers, ReadonlyArray<RedisServer>>()(
  "effect-redsync/test/RedisServers"
) {
  static readonly layer = (count: number, options?: RedisServersOptions): Layer.Layer<RedisServers> =>
    Layer.effect(
      RedisServers,
      Effect.forEach(
        Array.from({ length: count }),
        () =>
          Effect.map(
            startInstance({ args: options?.args ?? [], password: options?.password }),
            makeServer
          ),
        { concurrency: "unbounded" }
      )
    )
}

/**
 * One more server for as long as the scope is open, a process whatever the others
 * are: it can reach its like and the files of this machine.
 */
export const startServer = (
  options: Partial<InstanceOptions> = {}
): Effect.Effect<RedisServer, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => startProcess(await serverProgram(), { args: [], ...options })),
      (instance) => Effect.promise(() => instance.close())
    ),
    makeServer
  )

const startInstance = (options: InstanceOptions) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const source = await serverSource()
      if (source.kind === "processes") return startProcess(source, options)
      const { startContainer } = await import("./Containers.ts")
      return startContainer(source, options)
    }),
    (instance) => Effect.promise(() => instance.close())
  )

const makeServer = (instance: Instance): RedisServer => {
  const credentials = instance.password === undefined ? "" : `:${encodeURIComponent(instance.password)}@`
  const command = <A = unknown>(...args: ReadonlyArray<string>): Effect.Effect<A> =>
    Effect.promise((signal) => call(instance, args, signal) as Promise<A>)
  const kill = Effect.promise(() => instance.kill())
  return {
    host: instance.host,
    port: instance.port,
    url: `redis://${credentials}${instance.host}:${instance.port}`,
    stop: Effect.promise(() => instance.freeze()),
    resume: Effect.promise(() => instance.thaw()),
    kill,
    restart: Effect.andThen(kill, Effect.promise(() => instance.start())),
    pause: (millis) => Effect.asVoid(command("CLIENT", "PAUSE", String(millis), "ALL")),
    command
  }
}

/** The addresses of a Redis Cluster of three masters, which share all slots evenly and have no replicas. */
export class RedisCluster
  extends Context.Service<RedisCluster, ReadonlyArray<{ readonly host: string; readonly port: number }>>()(
    "effect-redsync/test/RedisCluster"
  )
{
  static readonly layer: Layer.Layer<RedisCluster> = Layer.effect(
    RedisCluster,
    Effect.gen(function*() {
      const addresses = yield* startClusterNodes
      yield* Effect.promise(() => formCluster(addresses))
      return addresses.map(({ host, port }) => ({ host, port }))
    })
  )
}

const clusterOptions: InstanceOptions = { args: ["--cluster-enabled", "yes"] }

const startClusterNodes = Effect.gen(function*() {
  const source = yield* Effect.promise(serverSource)
  if (source.kind === "processes") {
    return yield* Effect.all(Array.from({ length: 3 }, () => startInstance(clusterOptions)), {
      concurrency: "unbounded"
    })
  }
  const shared = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const { startSharedContainer } = await import("./Containers.ts")
      return startSharedContainer(source, 3, clusterOptions)
    }),
    ({ close }) => Effect.promise(close)
  )
  return shared.addresses
})

const slots = 16_384

/** What `redis-cli --cluster create` does, which is not everywhere where a server is. */
export const formCluster = async (nodes: ReadonlyArray<Address>): Promise<void> => {
  const firstSlot = (index: number) => Math.ceil(index * slots / nodes.length)
  for (const [index, node] of nodes.entries()) {
    const count = firstSlot(index + 1) - firstSlot(index)
    // One by one, since Redis 6.2 knows no ranges.
    await call(node, [
      "CLUSTER",
      "ADDSLOTS",
      ...Array.from({ length: count }, (_, slot) => `${firstSlot(index) + slot}`)
    ])
    // All different from the start, or the masters have to settle it among themselves.
    await call(node, ["CLUSTER", "SET-CONFIG-EPOCH", `${index + 1}`])
  }
  for (const [index, node] of nodes.entries()) {
    for (const other of nodes.slice(index + 1)) {
      // All nodes share one loopback interface, in a container too.
      await call(node, ["CLUSTER", "MEET", "127.0.0.1", `${other.port}`])
    }
  }
  await Promise.all(
    nodes.map((node) =>
      eventually(`the cluster node on port ${node.port} knows all others`, async () => {
        const info = String(await call(node, ["CLUSTER", "INFO"])).split("\r\n")
        const wanted = ["cluster_state:ok", `cluster_slots_ok:${slots}`, `cluster_known_nodes:${nodes.length}`]
        const missing = wanted.filter((line) => !info.includes(line))
        if (missing.length > 0) throw new Error(`Not yet ${missing.join(", ")}`)
      })
    )
  )
}
