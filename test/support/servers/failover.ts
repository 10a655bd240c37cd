/**
 * Servers with replicas that take over when they die: under a Sentinel's eyes, or
 * in a Cluster.
 */
import { Effect } from "effect"
import { Redis } from "ioredis"
import { until } from "../faults.ts"
import { abilities } from "./abilities.ts"
import { formCluster, type RedisServer, startServer } from "./RedisServers.ts"

/** A replica gets its first copy at once. */
const eager = ["--repl-diskless-sync-delay", "0"]

const replicaOf = ({ host, port }: RedisServer) => startServer({ args: [...eager, "--replicaof", host, String(port)] })

const infoOf = (server: RedisServer) => server.command<string>("INFO", "replication")

/**
 * Waits until what is written arrives at the replicas. The primary calls them online
 * earlier, when they still load their first copy.
 */
const untilReplicated = (primary: RedisServer, replicas: ReadonlyArray<RedisServer>) => {
  const untilSize = (size: number) =>
    until(
      `${replicas.length} replicas have what was written`,
      Effect.map(
        Effect.forEach(replicas, ({ command }) => command("DBSIZE")),
        (sizes) => sizes.every((found) => found === size)
      )
    )
  // In a cluster, a key of the first master.
  return primary.command("SET", "b", "").pipe(
    Effect.andThen(untilSize(1)),
    Effect.andThen(primary.command("DEL", "b")),
    Effect.andThen(untilSize(0))
  )
}

/**
 * Cuts a server's replicas off, so that they miss what is written from now on.
 * A frozen one would not: what is sent meanwhile waits for it in its socket.
 */
export const cutReplicas = (primary: RedisServer) =>
  Effect.gen(function*() {
    yield* primary.command("ACL", "SETUSER", "default", "-psync", "-sync")
    yield* primary.command("CLIENT", "KILL", "TYPE", "replica")
    yield* until(
      "no replica is left",
      Effect.map(infoOf(primary), (info) => info.includes("connected_slaves:0"))
    )
  })

/** A server with a replica that never takes over. */
export const primaryWithReplica = Effect.gen(function*() {
  const primary = yield* startServer({ args: eager })
  yield* untilReplicated(primary, [yield* replicaOf(primary)])
  return primary
})

/**
 * Lets them come back, by PSYNC alone. A replica that is refused PSYNC tries SYNC next; admitted to that in between, it
 * would copy the primary without knowing how far, and acknowledge nothing that is written from then on.
 */
export const admitReplicas = (primary: RedisServer) => primary.command("ACL", "SETUSER", "default", "+psync")

// -----------------------------------------------------------------------------
// Sentinel
// -----------------------------------------------------------------------------

export interface Watched {
  readonly primary: RedisServer
  readonly replicas: ReadonlyArray<RedisServer>
  readonly sentinels: ReadonlyArray<{ readonly host: string; readonly port: number }>
  /** Kills the primary, and waits until the Sentinel says that a replica has taken over. */
  readonly failover: Effect.Effect<void>
}

export const sentinelName = "main"

/** What a Sentinel does every second or ten, ten times a second, where it can be told to. */
const haste = ["INFO-PERIOD", "PING-PERIOD", "ASK-PERIOD", "PUBLISH-PERIOD"].flatMap((name) => [name, "100"])

/** A primary with two replicas, watched by a Sentinel. */
export const watched = Effect.gen(function*() {
  const primary = yield* startServer({ args: eager })
  const replicas = yield* Effect.all([replicaOf(primary), replicaOf(primary)], { concurrency: "unbounded" })
  yield* untilReplicated(primary, replicas)
  const sentinel = yield* startServer({ isSentinel: true })
  const { hastySentinels } = yield* Effect.promise(abilities)
  if (hastySentinels) yield* sentinel.command("SENTINEL", "DEBUG", ...haste)
  yield* sentinel.command("SENTINEL", "MONITOR", sentinelName, primary.host, String(primary.port), "1")
  yield* sentinel.command("SENTINEL", "SET", sentinelName, "down-after-milliseconds", "300")
  // A failover for which no replica has answered lately is given up, and tried again after twice this time: by default
  // six minutes.
  yield* sentinel.command("SENTINEL", "SET", sentinelName, "failover-timeout", "2000")
  yield* until(
    "the Sentinel knows the replicas",
    Effect.map(
      sentinel.command<ReadonlyArray<ReadonlyArray<string>>>("SENTINEL", "REPLICAS", sentinelName),
      (known) =>
        known.length === replicas.length &&
        known.every((replica) => replica.includes("ok") && replica.includes("slave"))
    )
  )
  const { host, port } = sentinel
  return {
    primary,
    replicas,
    sentinels: [{ host, port }],
    failover: Effect.promise(async () => {
      const subscriber = new Redis({ host, port, enableReadyCheck: false, protocol: 2 })
      const switched = new Promise((resolve) => subscriber.on("message", resolve))
      await subscriber.subscribe("+switch-master")
      await Effect.runPromise(primary.kill)
      await switched
      subscriber.disconnect()
    })
  } satisfies Watched
})

// -----------------------------------------------------------------------------
// Cluster
// -----------------------------------------------------------------------------

export interface ReplicatedCluster {
  readonly masters: readonly [RedisServer, RedisServer, RedisServer]
  /** Of the first of the masters, which has the first third of the slots. */
  readonly replica: RedisServer
}

const clusterArgs = [
  ...eager,
  "--cluster-enabled",
  "yes",
  "--cluster-node-timeout",
  "1000",
  // However long ago it has last heard from its master.
  "--cluster-replica-validity-factor",
  "0"
]

/** Three masters, the first of which has a replica. */
export const replicatedCluster = Effect.gen(function*() {
  const clusterNode = startServer({ args: clusterArgs })
  const [first, second, third, replica] = yield* Effect.all([clusterNode, clusterNode, clusterNode, clusterNode], {
    concurrency: "unbounded"
  })
  const masters = [first, second, third] as const
  yield* Effect.promise(() => formCluster(masters))
  yield* replica.command("CLUSTER", "MEET", first.host, String(first.port))
  const id = yield* first.command<string>("CLUSTER", "MYID")
  yield* until(
    "all know each other",
    Effect.map(
      Effect.forEach([...masters, replica], ({ command }) => command<string>("CLUSTER", "NODES")),
      (lists) => lists.every((list) => list.trim().split("\n").length === 4 && !list.includes("handshake"))
    )
  )
  yield* replica.command("CLUSTER", "REPLICATE", id)
  yield* untilReplicated(first, [replica])
  return { masters, replica } satisfies ReplicatedCluster
})

/** Waits until the replica is a master. */
export const untilPromoted = (replica: RedisServer) =>
  until("the replica has taken over", Effect.map(infoOf(replica), (info) => info.includes("role:master")))
