/**
 * A semaphore under load: services in a closed loop, each of which takes a permit, holds it for about ten round
 * trips, and wants the next. How many grants does one round decide, and how many attempts does a grant take?
 */
import { Effect, Random } from "effect"
import { Redsync } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import type { PermitStore } from "../../../src/LockNode.ts"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import type { Scenario } from "../scenario.ts"
import { short } from "../table.ts"
import { delayed } from "./delayed.ts"

const limit = 20

/** Shorter delays come to the same millisecond in one process, and nothing is reordered. */
const longestDelayMillis = 4
const holdMillis = 40

/** What one service has asked for. */
class Asked {
  attempts = 0
  readonly settled = new Set<string>()

  over(store: PermitStore): PermitStore {
    return {
      ...store,
      acquire: (key, value, request) => {
        this.attempts++
        return store.acquire(key, value, request)
      },
      settle: (key, value, settlement) => {
        this.settled.add(value)
        return store.settle(key, value, settlement)
      }
    }
  }
}

interface Row {
  readonly nodes: number
  readonly load: number
  readonly grants: number
  readonly inFirst: number
  readonly attempts: number
}

const measure = (servers: ReadonlyArray<RedisServer>, load: number, grants: number): Effect.Effect<Row> =>
  Effect.scoped(Effect.gen(function*() {
    const clients = Math.round(limit * load)
    const connections = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Array.from({ length: clients }, () => servers.map((server) => delayed(server, longestDelayMillis)))
      ),
      (all) => Effect.sync(() => all.flat().forEach((client) => client.disconnect()))
    )
    const name = `load ${servers.length} ${load}`
    let [done, inFirst, attempts] = [0, 0, 0]
    const isEnough = () => done >= grants
    yield* Effect.forEach(connections, (own) =>
      Effect.gen(function*() {
        const asked = new Asked()
        const nodes = own.map((client, index) => {
          const node = IoredisNode.fromClient(client)
          // Each attempt asks every node: one of them counts.
          return index > 0
            ? node
            : Object.create(node, { permits: { value: asked.over(node.permits!) } }) as typeof node
        })
        const service = yield* Redsync.make({ nodes, nodeTimeout: "5 seconds" })
        yield* Effect.sleep(holdMillis * (yield* Random.next))
        while (!isEnough()) {
          yield* service.withPermits(name, (held) =>
            Effect.gen(function*() {
              done++
              if (!asked.settled.has(held.value)) inFirst++
              yield* Effect.sleep(holdMillis * 2 * (yield* Random.next))
            }), { limit })
        }
        attempts += asked.attempts
      }), { concurrency: "unbounded", discard: true })
    return { nodes: servers.length, load, grants: done, inFirst: inFirst / done, attempts: attempts / done }
  })).pipe(Effect.orDie)

const aims = [[0.5, 0.99], [0.7, 0.95], [0.9, 0.9]] as const

export const load: Scenario = (setting) =>
  Effect.gen(function*() {
    const grants = setting.quick ? 40 : 2000
    const rows = yield* Effect.forEach(
      [3, 5].flatMap((nodes) => [0.5, 0.7, 0.8, 0.9].map((load) => [nodes, load] as const)),
      ([nodes, load]) => measure(setting.servers.slice(0, nodes), load, grants)
    )
    const of = (nodes: number, load: number) => rows.find((row) => row.nodes === nodes && row.load === load)!
    const percent = (share: number) => `${(100 * share).toFixed(1)} %`
    return {
      tables: [{
        title: `A semaphore of ${limit} in a closed loop: grants decided in the first round, and attempts per grant`,
        rows: [
          ["load", "3 nodes: first round", "attempts", "5 nodes: first round", "attempts"],
          ...[0.5, 0.7, 0.8, 0.9].map((load) => [
            `${(100 * load).toFixed(0)} %`,
            ...[3, 5].flatMap((nodes) => [percent(of(nodes, load).inFirst), short(of(nodes, load).attempts)])
          ])
        ],
        notes: [
          `The number of services is the load times the limit; each holds a permit for ${holdMillis} ms on average. ` +
          `Commands are delayed at random, by up to ${longestDelayMillis} ms.`
        ]
      }],
      aims: [
        ...aims.map(([load, share]) => ({
          is: `3 nodes, ${100 * load} % load: one round decides ${percent(of(3, load).inFirst)}, at least ${
            percent(share)
          }`,
          met: of(3, load).inFirst >= share
        })),
        ...[3, 5].map((nodes) => ({
          is: `${nodes} nodes, 90 % load: ${short(of(nodes, 0.9).attempts)} attempts per grant, at most 1.5`,
          met: of(nodes, 0.9).attempts <= 1.5
        }))
      ],
      samples: rows
    }
  })
