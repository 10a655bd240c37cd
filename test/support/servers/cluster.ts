/**
 * Clusters whose masters can be stopped, and whose slots can be moved from one to another.
 */
import { Effect } from "effect"
import { Cluster } from "ioredis"
import type { Address } from "./Instance.ts"
import { formCluster, type RedisServer, startServer } from "./RedisServers.ts"

export type Masters = readonly [RedisServer, RedisServer, RedisServer]

/** Three masters, none of which is ever declared to have failed. */
export const threeMasters = Effect.gen(function*() {
  const master = startServer({ args: ["--cluster-enabled", "yes", "--cluster-node-timeout", "600000"] })
  const masters: Masters = yield* Effect.all([master, master, master], { concurrency: "unbounded" })
  yield* Effect.promise(() => formCluster(masters))
  return masters
})

/** A client of the caller's, disconnected with the scope. */
export const clusterClient = (
  addresses: ReadonlyArray<Address>,
  options: ConstructorParameters<typeof Cluster>[1] = {}
) =>
  Effect.acquireRelease(
    Effect.sync(() => new Cluster(addresses.map(({ host, port }) => ({ host, port })), options)),
    (cluster) => Effect.sync(() => cluster.disconnect())
  )

/** So many names, the keys of which are all on one of the masters. */
export const namesOn = ({ command }: RedisServer, count: number) =>
  Effect.gen(function*() {
    const id = yield* command<string>("CLUSTER", "MYID")
    const slots = yield* command<ReadonlyArray<[number, number, [string, number, string]]>>("CLUSTER", "SLOTS")
    const own = slots.filter(([, , [, , owner]]) => owner === id)
    const names: Array<string> = []
    for (let index = 0; names.length < count; index++) {
      const slot = yield* command<number>("CLUSTER", "KEYSLOT", `name-${index}`)
      if (own.some(([first, last]) => first <= slot && slot <= last)) names.push(`name-${index}`)
    }
    return names
  })

/**
 * Moves a slot with its keys as an operator does; `halfway` runs while the first of its keys are on the new master
 * and the others are not.
 */
export const migrateSlot = Effect.fnUntraced(function*(
  masters: Masters,
  slot: number,
  from: RedisServer,
  to: RedisServer,
  halfway: Effect.Effect<void>
) {
  const setSlot = (on: RedisServer, state: string, other: RedisServer) =>
    Effect.flatMap(
      other.command<string>("CLUSTER", "MYID"),
      (id) => on.command("CLUSTER", "SETSLOT", String(slot), state, id)
    )
  yield* setSlot(to, "IMPORTING", from)
  yield* setSlot(from, "MIGRATING", to)
  const migrate = (...keys: ReadonlyArray<string>) =>
    from.command("MIGRATE", to.host, String(to.port), "", "0", "5000", "KEYS", ...keys)
  const left = () => from.command<ReadonlyArray<string>>("CLUSTER", "GETKEYSINSLOT", String(slot), "1000")
  const [first] = yield* left()
  if (first !== undefined) yield* migrate(first)
  yield* halfway
  for (let keys = yield* left(); keys.length > 0; keys = yield* left()) yield* migrate(...keys)
  yield* moveSlot(masters, slot, to)
})

/** Moves an empty slot from one master to another, of which no client is told. */
export const moveSlot = (masters: Masters, slot: number, to: RedisServer) =>
  Effect.gen(function*() {
    const id = yield* to.command<string>("CLUSTER", "MYID")
    for (const { command } of [to, ...masters]) yield* command("CLUSTER", "SETSLOT", String(slot), "NODE", id)
  })
