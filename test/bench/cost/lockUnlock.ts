/**
 * Lock and unlock under names that nobody else uses: what the algorithm costs
 * where there is nothing to wait for.
 */
import { Effect, type Scope } from "effect"
import type { RedisServer } from "../../support/RedisServers.ts"
import { observe, type Observer } from "../observe.ts"
import { start, type Worker } from "../processes.ts"
import { alternating, type Scenario, type Setting, type Table } from "../scenario.ts"
import { median, quantile, sum } from "../statistics.ts"
import { short } from "../table.ts"
import { type ContenderName, names, peerNames } from "./contenders.ts"
import type { CostJobs, Round } from "./worker.ts"

/** One round of one contender. Counts are for one lock and unlock, over all nodes. */
export interface Sample extends Round {
  readonly cpu: number
  readonly perSecond: number
  readonly commands: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly serverCpu: number
}

type Samples = Record<ContenderName, Array<Sample>>

const sizes = [1, 3, 5]
const flights = [1, 8, 64, 256]

const roundMillis = 250

const lockUnlock = (nodes: number): Scenario => (setting) =>
  Effect.scoped(Effect.gen(function*() {
    const servers = setting.servers.slice(0, nodes)
    const observers = yield* Effect.forEach(servers, observe)
    const workers = yield* open(setting, servers)
    yield* Effect.forEach(names, (name) => showsItsWork(name, workers[name], servers), { discard: true })

    const millis = setting.quick ? 50 : roundMillis
    const measured = new Map<number, Samples>()
    if (!setting.quick) yield* warmUp(workers)
    for (const inFlight of setting.quick ? [1, 64] : flights) {
      const round = (name: ContenderName) => measure(name, workers[name], observers, { inFlight, millis })
      if (!setting.quick) yield* alternating(names, 1, round)
      measured.set(inFlight, yield* alternating(names, setting.rounds ?? (setting.quick ? 1 : 15), round))
      yield* Effect.logDebug(`${nodes} nodes, ${inFlight} in flight`)
    }
    return {
      tables: [...measured].map(([inFlight, samples]) => tableOf(nodes, inFlight, samples)),
      aims: [...measured].flatMap(([inFlight, samples]) => aimsOf(nodes, inFlight, samples)),
      samples: Object.fromEntries([...measured].map(([inFlight, samples]) => [inFlight, compact(samples)]))
    }
  }))

export const scenarios: Record<string, Scenario> = Object.fromEntries(
  sizes.map((nodes) => [`lock-${nodes}`, lockUnlock(nodes)])
)

// -----------------------------------------------------------------------------
// measuring
// -----------------------------------------------------------------------------

type Workers = Record<ContenderName, Worker<CostJobs>>

/** A process for each contender, so that none runs on another's compiled code or pays for its garbage. */
export const open = (
  { profiles }: Setting,
  servers: ReadonlyArray<RedisServer>
): Effect.Effect<Workers, never, Scope.Scope> =>
  Effect.gen(function*() {
    const flags = profiles === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profiles}`]
    const urls = servers.map(({ url }) => url)
    const workers: Partial<Workers> = {}
    for (const contender of names) {
      const worker = yield* start<CostJobs>(new URL("./worker.ts", import.meta.url), flags)
      yield* worker.ask("open", { contender, urls })
      workers[contender] = worker
    }
    return workers as Workers
  })

/** Enough for the compiler to have seen it all. */
const warmUp = (workers: Workers) =>
  Effect.forEach(names, (name) => workers[name].ask("round", { inFlight: 64, millis: 1500 }))

const measure = (
  name: ContenderName,
  worker: Worker<CostJobs>,
  observers: ReadonlyArray<Observer>,
  options: { readonly inFlight: number; readonly millis: number }
): Effect.Effect<Sample> =>
  Effect.gen(function*() {
    const look = Effect.forEach(observers, ({ look }) => look, { concurrency: "unbounded" })
    yield* look
    const round = yield* worker.ask("round", options)
    const counts = yield* look
    const { operations } = round
    for (const { calls, expiredKeys } of counts) {
      const set = calls.get("set") ?? 0
      const deleted = calls.get("del") ?? 0
      if (set < operations || deleted < operations || expiredKeys > 0) {
        return yield* Effect.die(
          new Error(`${name} took ${operations} locks with ${set} SET and ${deleted} DEL; ${expiredKeys} keys expired`)
        )
      }
    }
    const left = sum(yield* Effect.forEach(observers, ({ keys }) => keys))
    if (left > 0) return yield* Effect.die(new Error(`${name} left ${left} keys behind`))
    return {
      ...round,
      cpu: round.cpuMicros / operations,
      perSecond: operations / round.millis * 1000,
      commands: sum(counts.flatMap(({ calls }) => [...calls.values()])) / operations,
      bytesIn: sum(counts.map(({ bytesIn }) => bytesIn)) / operations,
      bytesOut: sum(counts.map(({ bytesOut }) => bytesOut)) / operations,
      serverCpu: sum(counts.map(({ cpuMicros }) => cpuMicros)) / operations
    }
  })

/** While it holds the lock every node has a key with an expiry, and afterwards none has any key. */
const showsItsWork = (
  name: ContenderName,
  worker: Worker<CostJobs>,
  servers: ReadonlyArray<RedisServer>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* Effect.forEach(servers, (server) => server.command("FLUSHALL"))
    yield* worker.ask("take", "held")
    for (const server of servers) {
      const keys = yield* server.command<Array<string>>("KEYS", "*")
      const key = keys.find((key) => key.includes("held"))
      const ttl = key === undefined ? -2 : yield* server.command<number>("PTTL", key)
      if (ttl < 5000 || ttl > 8000) {
        return yield* Effect.die(
          new Error(`${name} holds a lock, and ${server.url} has ${keys.join(" ")}, PTTL ${ttl}`)
        )
      }
    }
    yield* worker.ask("leave")
    for (const server of servers) {
      const keys = yield* server.command<Array<string>>("KEYS", "*")
      if (keys.length > 0) {
        return yield* Effect.die(new Error(`${name} released, and ${server.url} has ${keys.join(" ")}`))
      }
    }
  })

// -----------------------------------------------------------------------------
// telling
// -----------------------------------------------------------------------------

const ratios = (samples: Samples, name: ContenderName, to: ContenderName, f: (sample: Sample) => number) =>
  samples[name].map((sample, index) => f(sample) / f(samples[to][index]!))

const cpuOf = ({ cpu }: Sample) => cpu

const tableOf = (nodes: number, inFlight: number, samples: Samples): Table => {
  const better = betterRaw(samples)
  const middle = (name: ContenderName, f: (sample: Sample) => number) => short(median(samples[name].map(f)))
  return {
    title: `Lock and unlock, ${nodes} ${nodes === 1 ? "node" : "nodes"}, ${inFlight} in flight`,
    rows: [
      [
        "",
        "CPU / better raw",
        "CPU µs (quartiles)",
        "a second",
        "p50 ms",
        "p99 ms",
        "commands",
        "bytes sent",
        "bytes got",
        "servers' CPU µs"
      ],
      ...names.map((name) => {
        const cpu = samples[name].map(cpuOf)
        return [
          name,
          median(ratios(samples, name, better, cpuOf)).toFixed(2),
          `${short(median(cpu))} (${short(quantile(cpu, 0.25))}–${short(quantile(cpu, 0.75))})`,
          median(samples[name].map(({ perSecond }) => perSecond)).toFixed(0),
          middle(name, ({ p50 }) => p50),
          middle(name, ({ p99 }) => p99),
          middle(name, ({ commands }) => commands),
          middle(name, ({ bytesIn }) => bytesIn),
          middle(name, ({ bytesOut }) => bytesOut),
          middle(name, ({ serverCpu }) => serverCpu)
        ]
      })
    ]
  }
}

const betterRaw = (samples: Samples): ContenderName =>
  median(ratios(samples, "raw, auto-pipelined", "raw", cpuOf)) < 1 ? "raw, auto-pipelined" : "raw"

const aimsOf = (nodes: number, inFlight: number, samples: Samples) => {
  const where = `${nodes} nodes, ${inFlight} in flight`
  if (inFlight === 1) {
    const ratio = median(ratios(samples, "effect-redsync", "raw", ({ p50 }) => p50))
    return [{ is: `${where}: p50 is ${ratio.toFixed(2)} × raw; at most 1.1`, met: ratio <= 1.1 }]
  }
  if (nodes < 3 || inFlight < 64) return []
  const better = betterRaw(samples)
  const ratio = median(ratios(samples, "effect-redsync", better, cpuOf))
  const toPeers = peerNames.map((name) => median(ratios(samples, "effect-redsync", name, cpuOf)))
  return [
    { is: `${where}: CPU is ${ratio.toFixed(2)} × ${better}; at most 1.0`, met: ratio <= 1 },
    {
      is: `${where}: CPU is ${toPeers.map((ratio) => ratio.toFixed(2)).join(", ")} × ${
        peerNames.join(", ")
      }; at most 0.4`,
      met: toPeers.every((ratio) => ratio <= 0.4)
    }
  ]
}

/** The samples in as few characters as they need. */
const compact = (samples: Samples) => ({
  fields,
  ...Object.fromEntries(names.map((name) => [
    name,
    samples[name].map((sample) => fields.map((field) => Number(sample[field].toPrecision(5))))
  ]))
})

const fields = [
  "operations",
  "millis",
  "cpu",
  "p50",
  "p99",
  "commands",
  "bytesIn",
  "bytesOut",
  "serverCpu"
] as const
