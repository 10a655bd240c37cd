/**
 * Nodes over Effect's Redis service beside those over ioredis: how long it takes a waiter
 * in another service to get a lock that is released, by its holder or by a `DEL`.
 */
import { Effect, Fiber } from "effect"
import { type ServiceOptions, withLock } from "../../../src/index.ts"
import { nodeOver, tracked } from "../../support/effectRedis.ts"
import { holdByAnother, untilAllAnswer, untilEmpty } from "../../support/faults.ts"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import { deleteOn, service, untilListed } from "../../support/trouble.ts"
import { now } from "../clock.ts"
import { alternating, type Scenario } from "../scenario.ts"
import { median, quantile } from "../statistics.ts"
import { range, short } from "../table.ts"

const names = ["ioredis", "RedisNode", "RedisNode, emitInvalidate"] as const

type Name = typeof names[number]

const contenders: Record<Name, (server: RedisServer) => ServiceOptions["nodes"][number]> = {
  "ioredis": ({ url }) => url,
  "RedisNode": ({ url }) => nodeOver(url),
  "RedisNode, emitInvalidate": ({ url }) => nodeOver(url, tracked)
}

/** For what a waiter does when it stands in line. */
const settleMillis = 20

interface Round {
  readonly handOvers: ReadonlyArray<number>
  readonly deletions: ReadonlyArray<number>
}

const round = (servers: ReadonlyArray<RedisServer>, name: Name, turns: number) =>
  Effect.scoped(Effect.gen(function*() {
    const open = Effect.tap(service(servers.map(contenders[name])), ({ run }) => run(untilAllAnswer))
    const [one, other] = [yield* open, yield* open]
    const gets = Effect.sync(now)

    const handOvers: Array<number> = []
    for (let turn = 0; turn < turns; turn++) {
      const [holder, next] = turn % 2 === 0 ? [one, other] : [other, one]
      const [waiter, left] = yield* holder.run(withLock("a", () =>
        Effect.gen(function*() {
          const waiter = yield* Effect.forkDetach(next.run(withLock("a", gets)))
          yield* untilListed(servers, "a", 1)
          yield* Effect.sleep(settleMillis)
          return [waiter, now()] as const
        })))
      handOvers.push((yield* Fiber.join(waiter)) - left)
    }

    const deletions: Array<number> = []
    for (let turn = 0; turn < turns / 2; turn++) {
      yield* untilEmpty(servers)
      yield* holdByAnother("a", servers)
      const waiter = yield* Effect.forkScoped(one.run(withLock("a", gets)))
      yield* untilListed(servers, "a", 1)
      yield* Effect.sleep(settleMillis)
      const left = now()
      yield* deleteOn(servers, "a")
      deletions.push((yield* Fiber.join(waiter)) - left)
    }
    return { handOvers, deletions } satisfies Round
  })).pipe(Effect.orDie)

export const effectRedis: Scenario = ({ quick, rounds, servers }) =>
  Effect.gen(function*() {
    const results = yield* alternating(
      names,
      quick ? 1 : rounds ?? 5,
      (name) => round(servers, name, quick ? 4 : 40)
    )
    const spread = (name: Name, f: (round: Round) => number) => range(results[name].map(f))
    const middle = (name: Name, f: (round: Round) => number) => median(results[name].map(f))
    const handOver = ({ handOvers }: Round) => median(handOvers)
    const deletion = ({ deletions }: Round) => median(deletions)
    const ratio = (name: Name) => middle(name, handOver) / middle("ioredis", handOver)
    return {
      tables: [{
        title: "Over Effect's Redis service: until a waiter in another service gets a lock, 3 nodes, ms",
        rows: [
          ["", "handed over, p50", "p99", "after a DEL, p50", "p99"],
          ...names.map((name) => [
            name,
            spread(name, handOver),
            spread(name, ({ handOvers }) => quantile(handOvers, 0.99)),
            spread(name, deletion),
            spread(name, ({ deletions }) => quantile(deletions, 0.99))
          ])
        ]
      }],
      aims: [
        ...names.slice(1).map((name) => ({
          is: `${name}: the hand-over takes ${short(ratio(name))} times as long as over ioredis; at most 1.5`,
          met: ratio(name) <= 1.5
        })),
        {
          is: `with emitInvalidate a DEL is noticed after ${
            short(middle("RedisNode, emitInvalidate", deletion))
          } ms; at most 10`,
          met: middle("RedisNode, emitInvalidate", deletion) <= 10
        }
      ],
      samples: results
    }
  })
