/** What one lock takes of the heap while it is held, and what one lock and unlock leaves to be collected. */
import { Effect } from "effect"
import type { Scenario } from "../scenario.ts"
import { median } from "../statistics.ts"
import { range } from "../table.ts"
import { names } from "./contenders.ts"
import { open, undone } from "./measure.ts"

/** Room for everything that is allocated while it is counted. */
const roomyNursery = ["--min-semi-space-size=256", "--max-semi-space-size=256"]

export const memory: Scenario = (setting) =>
  Effect.gen(function*() {
    const servers = setting.servers.slice(0, 3)
    const urls = servers.map(({ url }) => url)
    const locks = setting.quick ? 200 : 2000
    const operations = setting.quick ? 200 : 1000
    const repeats = setting.quick ? 1 : 5
    const results: Record<string, { readonly held: Array<number>; readonly garbage: Array<number> }> = {}
    for (const name of setting.quick ? ["effect-redsync"] as const : names) {
      const held = yield* Effect.scoped(Effect.gen(function*() {
        const worker = yield* open(setting, name, urls)
        yield* worker.ask("round", { work: "lock and unlock", inFlight: 64, millis: setting.quick ? 50 : 500 })
        const samples: Array<number> = []
        for (let index = 0; index < repeats; index++) {
          samples.push(yield* worker.ask("hold", { locks }))
          const keys = yield* Effect.forEach(servers, (server) => server.command<number>("DBSIZE"))
          if (keys.some((count) => count !== locks)) {
            return yield* undone(`${name} holds ${locks} locks, and the servers have ${keys.join(", ")} keys`)
          }
          yield* worker.ask("leave")
        }
        return samples
      }))
      const garbage = yield* Effect.scoped(Effect.gen(function*() {
        const worker = yield* open(setting, name, urls, roomyNursery)
        // Optimised code allocates less.
        yield* worker.ask("round", { work: "lock and unlock", inFlight: 64, millis: setting.quick ? 50 : 1500 })
        const samples: Array<number> = []
        for (let index = 0; index < repeats; index++) {
          samples.push(yield* worker.ask("garbage", { work: "lock and unlock", inFlight: 64, operations }))
        }
        return samples
      }))
      results[name] = { held, garbage }
    }
    const kibibytes = (values: ReadonlyArray<number>) => values.map((bytes) => bytes / 1024)
    const table = {
      title: "Memory on 3 nodes, in KiB of heap",
      rows: [
        ["", `per lock held, of ${locks.toLocaleString("en")}`, "allocated per lock and unlock, 64 in flight"],
        ...Object.entries(results).map(([name, { garbage, held }]) => [
          name,
          range(kibibytes(held)),
          range(kibibytes(garbage))
        ])
      ],
      notes: [
        "The first column is what the program keeps on the heap while it holds a lock, including the caller's own " +
        "closure. Only effect-redsync and redis-semaphore extend their locks here."
      ]
    }
    return {
      tables: [table],
      readme: [table],
      aims: [{
        is: `a held lock takes ${(median(results["effect-redsync"]!.held) / 1024).toFixed(2)} KiB, ` +
          `a lock and unlock allocates ${(median(results["effect-redsync"]!.garbage) / 1024).toFixed(1)} KiB: stated`,
        met: true
      }],
      samples: results
    }
  })
