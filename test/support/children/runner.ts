/**
 * A runner of a cluster in a process of its own: its entities write for as long as they
 * live, to a resource that rejects writes with a smaller token than the largest it has
 * seen for the entity.
 */
import { Effect, Layer, Logger, Option } from "effect"
import { Entity, RunnerAddress } from "effect/cluster"
import { Rpc } from "effect/rpc"
import { Redis } from "ioredis"
import { createInterface } from "node:readline"
import { asOwner, layerCluster } from "../../examples/cluster.ts"

interface Options {
  readonly nodes: ReadonlyArray<string>
  readonly resource: string
  readonly id: string
  readonly port: number
  readonly entities: ReadonlyArray<string>
  readonly expiry: number
}

const { entities, expiry, id, nodes, port, resource }: Options = JSON.parse(process.argv[2]!)

const client = new Redis(resource).on("error", () => {})

const write = `
  local last = tonumber(redis.call("HGET", "tokens", ARGV[3]) or "0")
  local line = ARGV[3] .. "/" .. ARGV[1] .. "/" .. ARGV[2]
  if tonumber(ARGV[1]) < last then return redis.call("RPUSH", "rejected", line) end
  redis.call("HSET", "tokens", ARGV[3], ARGV[1])
  redis.call("HSET", "owners", ARGV[3], ARGV[2])
  redis.call("RPUSH", "writes", line)`

const Writer = Entity.make("Writer", [Rpc.make("Wake")])

const writers = Writer.toLayer(
  Effect.gen(function*() {
    const { entityId } = yield* Entity.CurrentAddress
    const writes = asOwner((token) =>
      Effect.promise(() => client.eval(write, 0, token, id, entityId)).pipe(
        Effect.andThen(Effect.sleep("20 millis")),
        Effect.forever
      )
    )
    yield* Effect.forkScoped(writes)
    return Writer.of({ Wake: () => Effect.void })
  })
)

/** Entities live where their shards are, once somebody has sent them a message. */
const wakes = Effect.gen(function*() {
  const clientOf = yield* Writer.client
  const wake = (entity: string) => Effect.ignore(Effect.timeout(clientOf(entity).Wake(), "2 seconds"))
  return yield* Effect.forEach(entities, wake, { concurrency: "unbounded", discard: true }).pipe(
    Effect.andThen(Effect.sleep("100 millis")),
    Effect.forever
  )
})

const cluster = layerCluster({
  nodes,
  sharding: {
    runnerAddress: Option.some(RunnerAddress.make("127.0.0.1", port)),
    shardsPerGroup: 24,
    shardLockExpiration: expiry,
    refreshAssignmentsInterval: "200 millis",
    runnerHealthCheckInterval: "1 second",
    entityMessagePollInterval: "500 millis",
    entityTerminationTimeout: "1 second"
  }
})

const told = Effect.promise(() =>
  new Promise<void>((resolve) => void createInterface({ input: process.stdin }).on("line", () => resolve()))
)

await Effect.raceFirst(wakes, told).pipe(
  Effect.provide(Layer.provideMerge(writers, cluster)),
  Effect.provide(Logger.layer(process.env["VERBOSE"] === undefined ? [] : [Logger.defaultLogger])),
  Effect.runPromise
)
process.exit(0)
