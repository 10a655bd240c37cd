/** What a semaphore costs: commands and rounds, the server's time at any size and fill, CPU against a lock. */
import { Effect } from "effect"
import { Redsync } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import type { PermitStore } from "../../../src/LockNode.ts"
import { observe } from "../observe.ts"
import { start } from "../processes.ts"
import { alternating, type Report, type Scenario, type Setting } from "../scenario.ts"
import { median, quantile } from "../statistics.ts"
import { short } from "../table.ts"
import { type Bench, cpuOfPairs, eachOf, longMillis, open } from "./servers.ts"
import type { PermitJobs } from "./worker.ts"

export const costs: Scenario = (setting) =>
  Effect.map(
    Effect.all([commands(setting), scripts(setting), purge(setting), cpu(setting)]),
    (reports): Report => ({
      tables: reports.flatMap(({ tables }) => tables),
      aims: reports.flatMap(({ aims }) => aims),
      samples: reports.map(({ samples }) => samples)
    })
  )

const countEach = (setting: Setting) => setting.quick ? 3 : setting.rounds ?? 200

/** Commands on each node, and attempts that one round decided. */
const commands = (setting: Setting): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const rows = yield* Effect.forEach([[3, 1], [3, 10], [5, 1], [5, 10]] as const, ([nodes, permits]) =>
      Effect.scoped(Effect.gen(function*() {
        const servers = setting.servers.slice(0, nodes)
        let later = 0
        yield* Effect.forEach(servers, (server) =>
          server.command("FLUSHALL"))
        const service = yield* Redsync.make({
          nodes: servers.map(({ url }) =>
            Effect.map(IoredisNode.make(url), (node) =>
              withStore(node, (store) => ({
                ...store,
                settle: (...args) => {
                  later++
                  return store.settle(...args)
                }
              })))
          ),
          nodeTimeout: "5 seconds"
        })
        const pair = service.withPermits("commands", Effect.void, { limit: 20, permits, expiry: longMillis })
        yield* Effect.orDie(pair)
        const observers = yield* Effect.forEach(servers, observe)
        const pairs = setting.quick ? 5 : 200
        yield* Effect.repeat(Effect.orDie(pair), { times: pairs - 1 })
        // Nobody waits for the slowest node.
        yield* Effect.forEach(observers, ({ keys }) => Effect.repeat(keys, { until: (count) => count === 0 }))
        const counts = yield* Effect.forEach(observers, ({ look }) => look)
        const scripts = counts.map(({ calls }) => (calls.get("evalsha") ?? 0) / pairs)
        return { nodes, permits, later, scripts }
      })))
    const isExact = rows.every(({ later, scripts }) =>
      later === 0 && scripts.every((count) => count === 2)
    )
    return {
      tables: [{
        title: "Acquire and release, uncontended: scripts on each node, and attempts that took a second round",
        rows: [
          ["nodes", "permits", "scripts on each node", "second rounds"],
          ...rows.map(({ later, nodes, permits, scripts }) => [
            String(nodes),
            String(permits),
            [...new Set(scripts)].map(short).join(", "),
            String(later)
          ])
        ]
      }],
      aims: [{ is: "uncontended: one round trip, and two commands on each node", met: isExact }],
      samples: rows
    }
  })

const withStore = <N extends { readonly permits?: PermitStore }>(
  node: N,
  change: (store: PermitStore) => PermitStore
) => Object.create(node, { permits: { value: change(node.permits!), enumerable: true } }) as N

const request = (limit: number, permits = 1, start = 0) => ({
  expiryMillis: longMillis,
  limit,
  permits,
  start,
  step: 7
})

/** Takes so many permits, by holders of one each. */
const fill = ({ node }: Bench, key: string, limit: number, taken: number) =>
  eachOf(taken, (index) => node.permits!.acquire(key, `holder ${index}`, request(limit, 1, index)))

const scripts = (setting: Setting): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const bench = yield* open(setting.servers[0]!)
    const { acquire, extend, release } = bench.node.permits!
    const limits = [5, 100, 1000, 5000]
    const fills = {
      empty: () => 0,
      half: (limit: number) => Math.floor(limit / 2),
      oneFree: (limit: number) => limit - 1
    }
    const all = limits.flatMap((limit) =>
      (["empty", "half", "oneFree"] as const).map((at) => ({
        limit,
        at,
        key: `${limit} ${at}`,
        acquire: new Array<number>(),
        release: new Array<number>(),
        extend: new Array<number>(),
        full: new Array<number>()
      }))
    )
    for (const { at, key, limit } of all) yield* fill(bench, key, limit, fills[at](limit))
    const micros = (call: Effect.Effect<unknown, unknown>) => Effect.map(bench.micros(1, () => call), ([one]) => one!)
    // In turn, so that noise hits all alike.
    for (let round = 0; round < countEach(setting); round++) {
      for (const one of all) {
        const { at, key, limit } = one
        const start = Math.floor(Math.random() * limit)
        let slots: ReadonlyArray<number> = []
        const acquired = Effect.map(acquire(key, "one more", request(limit, 1, start)), (grant) => slots = grant.slots)
        one.acquire.push(yield* micros(acquired))
        one.extend.push(yield* micros(extend(key, "one more", longMillis, slots)))
        if (at === "oneFree") one.full.push(yield* micros(acquire(key, "too many", request(limit, 1, start))))
        one.release.push(yield* micros(release(key, "one more")))
      }
    }
    const rows = limits.map((limit) => {
      const [empty, half, oneFree] = all.filter((one) => one.limit === limit)
      const both = (one: typeof empty) => ({ acquire: median(one!.acquire), release: median(one!.release) })
      return {
        limit,
        empty: both(empty),
        half: both(half),
        oneFree: both(oneFree),
        extended: median(half!.extend),
        full: median(oneFree!.full)
      }
    })
    const [five, , thousand, fiveThousand] = rows
    const most = Math.max(thousand!.empty.acquire, thousand!.half.acquire, thousand!.oneFree.acquire)
    const releases = Math.max(thousand!.empty.release, thousand!.half.release, thousand!.oneFree.release)
    const ratio = fiveThousand!.oneFree.acquire / five!.empty.acquire
    const aim = (what: string, micros: number, atMost: number) => ({
      is: `limit 1,000: ${what} takes ${short(micros)} µs on the server, at most ${atMost}`,
      met: micros <= atMost
    })
    return {
      tables: [{
        title: "A semaphore on the server: median µs per script, one call at a time",
        rows: [
          ["limit", "acquire: empty", "half full", "one free", "full", "extend", "release: empty", "half full", "full"],
          ...rows.map(({ empty, extended, full, half, limit, oneFree }) => [
            limit.toLocaleString("en"),
            ...[
              empty.acquire,
              half.acquire,
              oneFree.acquire,
              full,
              extended,
              empty.release,
              half.release,
              oneFree.release
            ].map((micros) => micros.toFixed(0))
          ])
        ],
        notes: ["As counted by the server, including the time for which it waits for a processor."]
      }],
      aims: [
        aim("acquiring at any fill", most, 80),
        aim("refusing when full", thousand!.full, 25),
        aim("extending", thousand!.extended, 30),
        aim("releasing", releases, 45),
        { is: `one free of 5,000 takes ${short(ratio)} times what an empty one of 5 does, at most 2`, met: ratio <= 2 }
      ],
      samples: rows
    }
  }).pipe(Effect.scoped)

/** Holders that have expired are removed by the calls that come after. */
const purge = (setting: Setting): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const bench = yield* open(setting.servers[0]!)
    const { acquire, extend, inspect, release } = bench.node.permits!
    const dead = setting.quick ? 600 : 5000
    const micros: Array<number> = []
    for (let round = 0; round < (setting.quick ? 1 : 8); round++) {
      const key = `purge ${round}`
      yield* fill(bench, key, dead + 1, dead)
      yield* Effect.orDie(acquire(key, "alive", request(dead + 1, 1, dead)))
      yield* eachOf(dead, (index) => extend(key, `holder ${index}`, 100, [index]))
      yield* Effect.repeat(Effect.orDie(inspect(key)), { until: ({ holders }) => holders.length === 1 })
      micros.push(...yield* bench.micros(Math.ceil(dead / 512) + 3, () => release(key, "nobody")))
    }
    const p99 = quantile(micros, 0.99)
    return {
      tables: [{
        title: `${dead.toLocaleString("en")} holders expire at once: ms per call that removes them`,
        rows: [["calls", "p50", "p99"], [
          String(micros.length),
          short(median(micros) / 1000),
          short(p99 / 1000)
        ]]
      }],
      aims: [{ is: `removing dead holders takes a call ${short(p99 / 1000)} ms at p99, at most 5`, met: p99 <= 5000 }],
      samples: micros
    }
  }).pipe(Effect.scoped)

const cpu = (setting: Setting): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const bench = yield* open(setting.servers[0]!)
    const { node } = bench
    const { acquire, release } = node.permits!
    yield* fill(bench, "pairs", 1000, 500)
    const server = yield* cpuOfPairs(bench, {
      lock: (index) =>
        Effect.andThen(node.acquire(`lock ${index}`, "v", longMillis), node.release(`lock ${index}`, "v")),
      permit: (index) =>
        Effect.andThen(acquire("pairs", `v${index}`, request(1000, 1, index % 1000)), release("pairs", `v${index}`))
    }, { count: setting.quick ? 50 : 1500, rounds: setting.quick ? 1 : setting.rounds ?? 12 })
    const worker = yield* start<PermitJobs>(new URL("./worker.ts", import.meta.url))
    yield* worker.ask("open", { urls: setting.servers.slice(0, 3).map(({ url }) => url) })
    const millis = setting.quick ? 40 : 250
    const kinds = ["lock", "permit", "permit of one semaphore"] as const
    const round = (kind: typeof kinds[number]) => worker.ask("round", { kind, inFlight: 64, millis })
    yield* alternating(kinds, setting.quick ? 1 : 8, round)
    const client = yield* alternating(kinds, setting.quick ? 1 : setting.rounds ?? 30, round)
    const [ofServer, ofClient] = [server["permit"]! / server["lock"]!, median(client.permit) / median(client.lock)]
    const ofOne = median(client["permit of one semaphore"]) / median(client.lock)
    return {
      tables: [{
        title: "Acquire and release, 64 in flight: CPU in µs (multiple of a lock's)",
        rows: [
          ["", "of one server", "of the client, 3 nodes"],
          ["lock", short(server["lock"]!), short(median(client.lock))],
          [
            "permit",
            `${short(server["permit"]!)} (${short(ofServer)})`,
            `${short(median(client.permit))} (${short(ofClient)})`
          ],
          [
            "permit, all of one semaphore",
            "",
            `${short(median(client["permit of one semaphore"]))} (${short(ofOne)})`
          ]
        ],
        notes: [
          "On the server, the semaphore has 1,000 permits, half of them taken. In the client, each permit is of a semaphore of its own, or all 64 are of one semaphore of 200."
        ]
      }],
      aims: [
        {
          is: `the server spends ${short(ofServer)} times the CPU of a lock on a permit, at most 3.5`,
          met: ofServer <= 3.5
        },
        {
          is: `the client spends ${short(ofClient)} times the CPU of a lock on a permit, at most 1.3`,
          met: ofClient <= 1.3
        }
      ],
      samples: { server, client }
    }
  }).pipe(Effect.scoped)
