/**
 * How many get into a semaphore over a quorum when several ask at once, and their
 * commands reach the servers at different times: never more than the limit?
 */
import { Effect } from "effect"
import { RedlockSemaphore } from "redis-semaphore"
import { Redsync } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import type { Scenario } from "../scenario.ts"
import { delayed } from "./delayed.ts"

const crowds: ReadonlyArray<readonly [limit: number, clients: number]> = [[2, 3], [3, 4], [5, 8], [10, 15]]

/** Shorter delays come to the same millisecond in one process, and nothing is reordered. */
const longestDelayMillis = 12

/** The number of clients that got in, in each round. */
type Rounds = Array<number>

export const admission: Scenario = (setting) =>
  Effect.gen(function*() {
    const servers = setting.servers.slice(0, 3)
    const rounds = setting.quick ? 3 : setting.rounds ?? 60
    const most = Math.max(...crowds.map(([, clients]) => clients))
    const connections = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Array.from({ length: most }, () => servers.map((server) => delayed(server, longestDelayMillis)))
      ),
      (all) => Effect.sync(() => all.flat().forEach((client) => client.disconnect()))
    )
    const services = yield* Effect.forEach(connections, (clients) =>
      Redsync.make({
        nodes: clients.map((client) => IoredisNode.fromClient(client)),
        nodeTimeout: "1 second"
      }))

    const theirs = async (limit: number, clients: number, round: number): Promise<number> => {
      const semaphores = connections.slice(0, clients).map((own) =>
        new RedlockSemaphore(own, `theirs ${limit} ${clients} ${round}`, limit, {
          lockTimeout: 10_000,
          acquireTimeout: 500,
          acquireAttemptsLimit: 1,
          refreshInterval: 0
        })
      )
      const got = await Promise.all(semaphores.map((semaphore) => semaphore.tryAcquire()))
      await Promise.all(semaphores.filter((_, index) => got[index]).map((semaphore) => semaphore.release()))
      return got.filter(Boolean).length
    }

    const ours = (limit: number, clients: number, round: number) =>
      Effect.scoped(
        Effect.map(
          Effect.forEach(
            services.slice(0, clients),
            (service) => service.tryPermits(`ours ${limit} ${clients} ${round}`, { limit }),
            { concurrency: "unbounded" }
          ),
          (all) => all.filter(({ _tag }) => _tag === "Some").length
        )
      )

    const rows = yield* Effect.forEach(crowds, ([limit, clients]) =>
      Effect.gen(function*() {
        const seen: { readonly theirs: Rounds; readonly ours: Rounds } = { theirs: [], ours: [] }
        for (let round = 0; round < rounds; round++) {
          seen.theirs.push(yield* Effect.promise(() => theirs(limit, clients, round)))
          seen.ours.push(yield* ours(limit, clients, round))
        }
        return { limit, clients, ...seen }
      }))

    const over = (all: Rounds, limit: number) => all.filter((got) => got > limit).length
    const tooMany = rows.reduce((sum, row) => sum + over(row.ours, row.limit), 0)
    return {
      tables: [{
        title: `A semaphore on ${servers.length} nodes: clients that ask at the same time, ${rounds} rounds`,
        rows: [
          [
            "limit",
            "clients",
            "redis-semaphore: rounds above the limit",
            "most held",
            "effect-redsync: rounds above the limit",
            "most held"
          ],
          ...rows.map(({ clients, limit, ours, theirs }) => [
            String(limit),
            String(clients),
            `${(100 * over(theirs, limit) / rounds).toFixed(0)} %`,
            String(Math.max(...theirs)),
            `${(100 * over(ours, limit) / rounds).toFixed(0)} %`,
            String(Math.max(...ours))
          ])
        ],
        notes: [`Each command is delayed at random, by up to ${longestDelayMillis} ms. Each client makes one attempt.`]
      }],
      aims: [{ is: `${tooMany} rounds of ours above the limit; none`, met: tooMany === 0 }],
      samples: rows
    }
  }).pipe(Effect.scoped, Effect.orDie)
