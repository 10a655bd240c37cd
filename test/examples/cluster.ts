// effect/cluster without SQL: shards are locks of a quorum, and entities write with the fencing token of their shard.
import { NodeClusterSocket } from "@effect/platform-node"
import { Clock, Context, Duration, Effect, Exit, Layer, Option, Schedule, Schema, Scope } from "effect"
import { type FencedLock, type FencingToken, Lock, LockLost, Redsync } from "effect-redsync"
import { ClusterError, Entity, MessageStorage, RunnerStorage, ShardId, ShardingConfig } from "effect/cluster"
import { Redis } from "ioredis"

/** `Sharding` over sockets, to provide entities with. All runners must give the same nodes: three or five servers. */
export const layerCluster = (options: {
  readonly nodes: ReadonlyArray<string>
  readonly sharding?: Partial<ShardingConfig.ShardingConfig["Service"]>
}) => {
  const { nodes, sharding = {} } = options
  const expiry = Duration.fromInputUnsafe(sharding.shardLockExpiration ?? ShardingConfig.defaults.shardLockExpiration)
  return NodeClusterSocket.layer({ storage: "byo", shardingConfig: sharding }).pipe(
    Layer.provideMerge(layerStorage(nodes, expiry)),
    Layer.provide(Redsync.layer({ nodes, expiry, prefix: "cluster:" })),
    // Messages are lost with the runner that has them. Keeping them needs a database, whose locks would then be enough.
    Layer.provide(MessageStorage.layerNoop)
  )
}

/** The locks of the shards that this runner has. */
export class ShardLocks extends Context.Service<ShardLocks, {
  readonly lockOf: (shard: ShardId.ShardId) => Option.Option<FencedLock>
}>()("app/ShardLocks") {}

/**
 * What only the owner of an entity may do. Every write carries the token of its shard, so
 * that the writes of a former owner are rejected. It is interrupted when the lock of the
 * shard is lost, and at once in a process that resumes after it was suspended.
 */
export const asOwner = <A, E, R>(work: (token: FencingToken) => Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const { shardId } = yield* Entity.CurrentAddress
    const lock = (yield* ShardLocks).lockOf(shardId)
    if (Option.isNone(lock)) return yield* Effect.interrupt
    return yield* Effect.catchIf(
      Lock.guard(lock.value, work(lock.value.token)),
      (error) => error instanceof LockLost,
      () => Effect.interrupt
    )
  })

// -----------------------------------------------------------------------------
// storage
// -----------------------------------------------------------------------------

const layerStorage = (nodes: ReadonlyArray<string>, expiry: Duration.Duration) =>
  Layer.effectContext(Effect.gen(function*() {
    const redsync = yield* Redsync.Redsync
    const registry = yield* registryOn(nodes, expiry)
    const shards = yield* locksOf("shard")
    const machines = yield* locksOf("machine")
    const machineIds = Array.from({ length: 1024 }, (_, id) => String(id))
    let self: { readonly address: string; readonly machineId: string } | undefined

    const heartbeat = Effect.gen(function*() {
      if (self === undefined) return
      // A runner whose machine id may belong to another by now must register again.
      const isSelf = yield* machines.isHeld(self.machineId)
      yield* isSelf ? registry.touch(self.address) : registry.remove(self.address)
    })
    yield* Effect.ignore(heartbeat).pipe(
      Effect.repeat(Schedule.spaced(Duration.divideUnsafe(expiry, 5))),
      Effect.forkScoped
    )

    const storage = RunnerStorage.makeEncoded({
      getRunners: Effect.map(registry.all, (all) => all.map(({ healthy, runner }) => [runner, healthy] as const)),
      register: Effect.fnUntraced(function*(address, runner, healthy) {
        yield* machines.dropAll
        const machineId = yield* Effect.findFirst(machineIds, machines.take)
        if (Option.isNone(machineId)) return yield* failure("no machine id is free")
        self = { address, machineId: machineId.value }
        yield* registry.set(address, { runner, healthy })
        return Number(machineId.value)
      }),
      unregister: Effect.fnUntraced(function*(address) {
        self = undefined
        yield* machines.dropAll
        yield* registry.remove(address)
      }),
      setRunnerHealth: registry.setHealth,
      acquire: (_, names) => Effect.filter(names, shards.take, { concurrency: "unbounded" }),
      // The library extends the locks. If that is overdue, entities are stopped while the locks are still ours.
      refresh: Effect.fnUntraced(function*(_, names) {
        if (names.length === 0 && !(yield* redsync.health).isReady) return yield* failure("too few nodes respond")
        const left = yield* Effect.forEach(names, shards.remaining)
        if (left.some((millis) => millis > 0 && millis < Duration.toMillis(expiry) / 2)) {
          return yield* failure("too few nodes extend the locks of shards")
        }
        return names.filter((_, index) => left[index]! > 0)
      }),
      release: (_, name) => shards.drop(name),
      releaseAll: () => shards.dropAll
    })
    return Context.make(RunnerStorage.RunnerStorage, storage).pipe(
      Context.add(ShardLocks, { lockOf: (shard) => shards.get(ShardId.toString(shard)) })
    )
  }))

const failure = (cause: string) => Effect.fail(new ClusterError.PersistenceError({ cause }))

/** Locks by their names, each with a scope of its own. */
const locksOf = Effect.fnUntraced(function*(kind: string) {
  const redsync = yield* Redsync.Redsync
  const parent = yield* Effect.scope
  const held = new Map<string, { readonly lock: FencedLock; readonly scope: Scope.Closeable }>()

  const remaining = (name: string) =>
    Effect.suspend(() => Effect.map(held.get(name)?.lock.remaining ?? Effect.succeed(Duration.zero), Duration.toMillis))

  const isHeld = (name: string) => Effect.map(remaining(name), (millis) => millis > 0)

  const drop = (name: string) =>
    Effect.suspend(() => {
      const scope = held.get(name)?.scope
      return held.delete(name) ? Scope.close(scope!, Exit.void) : Effect.void
    })

  /** Acquires the lock without waiting, unless we hold it already; returns whether it is held. An interruption leaves nothing behind. */
  const take = (name: string) =>
    Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
      if (yield* isHeld(name)) return true
      yield* drop(name)
      const scope = yield* Scope.fork(parent)
      const lock = yield* restore(redsync.tryFencedLock(`${kind}:${name}`)).pipe(
        Scope.provide(scope),
        Effect.catchTag("NodesUnavailable", () => Effect.succeedNone),
        Effect.onExit((exit) =>
          Exit.isSuccess(exit) && Option.isSome(exit.value) ? Effect.void : Scope.close(scope, Exit.void)
        )
      )
      if (Option.isSome(lock)) held.set(name, { lock: lock.value, scope })
      return Option.isSome(lock)
    }))

  return {
    remaining,
    isHeld,
    take,
    drop,
    dropAll: Effect.suspend(() => Effect.forEach([...held.keys()], drop, { concurrency: "unbounded", discard: true })),
    get: (name: string) => Option.fromUndefinedOr(held.get(name)?.lock)
  }
})

// -----------------------------------------------------------------------------
// registry
// -----------------------------------------------------------------------------

const Entry = Schema.fromJsonString(Schema.Struct({
  runner: Schema.String,
  healthy: Schema.Boolean,
  /** When it was written, by the clock of the writer: the newest counts, and none counts for longer than a lease. */
  at: Schema.Number
}))

/** Which runners there are, on most of the servers. It may be out of date: only locks decide who owns a shard. */
const registryOn = Effect.fnUntraced(function*(nodes: ReadonlyArray<string>, expiry: Duration.Duration) {
  const key = "cluster:runners"
  const clients = yield* Effect.forEach(nodes, (url) =>
    Effect.acquireRelease(
      Effect.sync(() =>
        new Redis(url, { commandTimeout: 1000, enableOfflineQueue: false, maxRetriesPerRequest: 0 }).on(
          "error",
          () => {}
        )
      ),
      (client) => Effect.sync(() => client.disconnect())
    ))

  const onMost = <A>(ask: (client: Redis) => Promise<A>) =>
    Effect.flatMap(Effect.promise(() => Promise.allSettled(clients.map(ask))), (results) => {
      const answers = results.flatMap((result) => result.status === "fulfilled" ? [result.value] : [])
      return answers.length > clients.length / 2 ? Effect.succeed(answers) : failure("too few servers respond")
    })

  const entries = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const newest = new Map<string, typeof Entry.Type>()
    for (const [address, json] of (yield* onMost((client) => client.hgetall(key))).flatMap(Object.entries)) {
      const entry = Schema.decodeUnknownOption(Entry)(json)
      if (Option.isNone(entry) || entry.value.at < now - Duration.toMillis(expiry)) continue
      if (entry.value.at > (newest.get(address)?.at ?? 0)) newest.set(address, entry.value)
    }
    return newest
  })

  const write = (address: string, entry: typeof Entry.Type) =>
    Effect.asVoid(onMost((client) => client.hset(key, address, Schema.encodeSync(Entry)(entry))))

  /** Changes an existing entry. */
  const change = (address: string, next: (entry: typeof Entry.Type, now: number) => typeof Entry.Type) =>
    Effect.gen(function*() {
      const entry = (yield* entries).get(address)
      if (entry !== undefined) yield* write(address, next(entry, yield* Clock.currentTimeMillis))
    })

  return {
    all: Effect.map(entries, (all) => [...all.values()]),
    set: (address: string, entry: Omit<typeof Entry.Type, "at">) =>
      Effect.flatMap(Clock.currentTimeMillis, (at) => write(address, { ...entry, at })),
    touch: (address: string) => change(address, (entry, at) => ({ ...entry, at })),
    // Reporting a dead runner as unhealthy does not prolong its entry.
    setHealth: (address: string, healthy: boolean) =>
      change(address, (entry) => ({ ...entry, healthy, at: entry.at + 1 })),
    remove: (address: string) => Effect.asVoid(onMost((client) => client.hdel(key, address)))
  }
})
