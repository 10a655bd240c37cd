/** What calls of semaphores and shared locks cost the server, as the server itself counts. */
import { Effect, type Scope } from "effect"
import { Redis } from "ioredis"
import type { LockNode } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import { observe, type Observer } from "../observe.ts"
import { alternating } from "../scenario.ts"
import { median } from "../statistics.ts"

/** Long enough that nothing expires. */
export const longMillis = 600_000

export interface Bench {
  readonly node: LockNode
  /** Microseconds that the server counts for the scripts of each call, one call at a time. */
  readonly micros: (
    calls: number,
    call: (index: number) => Effect.Effect<unknown, unknown>
  ) => Effect.Effect<Array<number>>
  readonly observer: Observer
}

export const open = (server: RedisServer): Effect.Effect<Bench, never, Scope.Scope> =>
  Effect.gen(function*() {
    yield* server.command("FLUSHALL")
    const [client, looker] = yield* Effect.acquireRelease(
      Effect.sync(() => [new Redis(server.url), new Redis(server.url)] as const),
      (clients) => Effect.sync(() => clients.forEach((client) => client.disconnect()))
    )
    const look = () =>
      Effect.promise(async () => {
        const info = await looker.info("commandstats")
        let micros = 0
        for (const [, usec] of info.matchAll(/^cmdstat_eval(?:sha)?:calls=\d+,usec=(\d+)/gm)) micros += Number(usec)
        return micros
      })
    return {
      node: IoredisNode.fromClient(client),
      observer: yield* observe(server),
      micros: (calls, call) =>
        Effect.gen(function*() {
          const all: Array<number> = []
          let before = yield* look()
          for (let index = 0; index < calls; index++) {
            yield* Effect.ignore(call(index))
            const after = yield* look()
            all.push(after - before)
            before = after
          }
          return all
        })
    }
  })

/** Many at once. */
export const eachOf = (count: number, call: (index: number) => Effect.Effect<unknown, unknown>): Effect.Effect<void> =>
  Effect.forEach(Array.from({ length: count }, (_, index) => index), (index) => Effect.orDie(call(index)), {
    concurrency: 256,
    discard: true
  })

/** Microseconds of the server's CPU for each pair, in rounds of all in turn: the median of each. */
export const cpuOfPairs = (
  { observer }: Pick<Bench, "observer">,
  pairs: Readonly<Record<string, (index: number) => Effect.Effect<unknown, unknown>>>,
  { count, rounds }: { readonly count: number; readonly rounds: number }
): Effect.Effect<Record<string, number>> =>
  Effect.map(
    alternating(Object.keys(pairs), rounds, (name) =>
      Effect.gen(function*() {
        yield* observer.look
        yield* Effect.forEach(
          Array.from({ length: count }, (_, index) => index),
          (index) => Effect.orDie(pairs[name]!(index)),
          { concurrency: 64, discard: true }
        )
        return (yield* observer.look).cpuMicros / count
      })),
    (all) => Object.fromEntries(Object.entries(all).map(([name, samples]) => [name, median(samples)]))
  )
