/** What a lock and unlock costs beside libraries of other languages. */
import { Console, Effect, type Scope } from "effect"
import ioredis from "ioredis/package.json" with { type: "json" }
import { eventually } from "../../support/servers/Instance.ts"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import { open } from "../cost/measure.ts"
import { observe, type Observer } from "../observe.ts"
import { type Aim, alternating, type Scenario, type Setting, type Table } from "../scenario.ts"
import { median, quantile } from "../statistics.ts"
import { short } from "../table.ts"
import { build, type Built } from "./build.ts"
import { start } from "./program.ts"

interface Round {
  readonly operations: number
  readonly millis: number
  /** User and system time of the process for the whole round, background work included. */
  readonly cpuMicros: number
}

interface Contender {
  readonly runsOn: string
  readonly round: (millis: number) => Effect.Effect<Round>
}

type Samples = Readonly<Record<string, ReadonlyArray<Round>>>

const inFlight = 64
const ours = "effect-redsync"
/** Its locks lie on one server or one cluster. */
const onOneServer = new Set(["rueidislock"])

export const languages: Scenario = (setting) =>
  Effect.scoped(Effect.gen(function*() {
    const built = yield* build
    for (const line of built.leftOut) yield* Console.log(line)
    const three = yield* compare(setting, setting.servers.slice(0, 3), built)
    const one = yield* compare(setting, setting.servers.slice(0, 1), built)
    const nodes = [["3 nodes", three.samples], ["1 node", one.samples]] as const
    const table: Table = {
      title:
        `A lock and unlock beside libraries for other languages, ${inFlight} in flight: the client's CPU in µs (multiple of ours)`,
      rows: [
        ["", "runs on", ...nodes.map(([title]) => title)],
        // On one node there are all of them.
        ...Object.entries(one.runsOn).map(([name, runsOn]) => [
          name,
          runsOn,
          ...nodes.map(([, samples]) => cell(samples, name))
        ])
      ],
      notes: [howItDiffers(three.samples[ours]!.length), ...built.leftOut]
    }
    return {
      tables: [table, ...nodes.map(([title, samples]) => details(title, samples))],
      readme: [table],
      aims: Object.keys(three.samples).filter((name) => name !== ours).map((name): Aim => {
        const ratio = median(ratios(three.samples, ours, name))
        return { is: `3 nodes: CPU is ${ratio.toFixed(2)} × ${name}; at most 1.0`, met: ratio <= 1 }
      }),
      samples: Object.fromEntries(nodes)
    }
  }))

const howItDiffers = (rounds: number) =>
  `Medians of ${rounds} interleaved rounds. All hold a key for 8 s. CPU is what the system counted for the process ` +
  "during a round, after a warm-up; Java's compiler and garbage collector are included. On 3 nodes, redsync and " +
  "Redisson, with its MultiLock, wait for all nodes, and effect-redsync for a quorum; on one node, Redisson's plain lock " +
  "is measured. Redisson blocks a thread for each lock in flight. A lock of rueidislock is kept on one server or one " +
  "cluster, so there is no figure for 3 nodes."

// -----------------------------------------------------------------------------
// rounds
// -----------------------------------------------------------------------------

const compare = (
  setting: Setting,
  servers: ReadonlyArray<RedisServer>,
  built: Built
): Effect.Effect<{ readonly runsOn: Readonly<Record<string, string>>; readonly samples: Samples }> =>
  Effect.scoped(Effect.gen(function*() {
    yield* Effect.forEach(servers, (server) => server.command("FLUSHALL"))
    const observers = yield* Effect.forEach(servers, observe)
    const contenders = yield* contendersOn(setting, servers, built)
    // Until just-in-time compilers are done.
    for (const { round } of contenders.values()) yield* round(setting.quick ? 50 : 10_000)
    const samples = yield* alternating(
      [...contenders.keys()],
      setting.quick ? 1 : setting.rounds ?? 15,
      (name) => measure(name, contenders.get(name)!, observers, setting.quick ? 50 : 1000)
    )
    return { runsOn: Object.fromEntries([...contenders].map(([name, { runsOn }]) => [name, runsOn])), samples }
  }))

/** A process for each, connected to the servers. */
const contendersOn = (
  setting: Setting,
  servers: ReadonlyArray<RedisServer>,
  { commands }: Built
): Effect.Effect<ReadonlyMap<string, Contender>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const worker = yield* open(setting, ours, servers.map(({ url }) => url))
    const contenders = new Map<string, Contender>([[ours, {
      runsOn: `Node ${process.versions.node}, ioredis ${ioredis.version}`,
      round: (millis) => worker.ask("round", { work: "lock and unlock", inFlight, millis })
    }]])
    for (const [name, command] of commands) {
      if (servers.length > 1 && onOneServer.has(name)) continue
      const { ask, runsOn } = yield* start(command, servers.map(({ host, port }) => `${host}:${port}`))
      contenders.set(name, { runsOn, round: (millis) => Effect.map(ask(`${inFlight} ${millis}`), parseRound) })
    }
    return contenders
  })

const parseRound = (line: string): Round => {
  const [operations = 0, millis = 0, cpuMicros = 0] = line.split(" ").map(Number)
  return { operations, millis, cpuMicros }
}

/** One round, after which every node has deleted every lock. */
const measure = (
  name: string,
  { round }: Contender,
  observers: ReadonlyArray<Observer>,
  millis: number
): Effect.Effect<Round> =>
  Effect.gen(function*() {
    yield* Effect.forEach(observers, ({ look }) => look)
    const { cpuMicros, millis: took, operations } = yield* round(millis)
    for (const { keys, look } of observers) {
      let deleted = 0
      yield* Effect.promise(() =>
        eventually(`the locks of ${name} are released`, async () => {
          const { calls } = await Effect.runPromise(look)
          deleted += calls.get("del") ?? 0
          const left = await Effect.runPromise(keys)
          if (deleted < operations || left > 0) {
            throw new Error(`Of ${operations} locks ${deleted} were deleted, and ${left} keys are left`)
          }
        })
      )
    }
    return { operations, millis: took, cpuMicros }
  })

// -----------------------------------------------------------------------------
// tables
// -----------------------------------------------------------------------------

const cpuOf = ({ cpuMicros, operations }: Round) => cpuMicros / operations

const ratios = (samples: Samples, name: string, to: string) =>
  samples[name]!.map((round, index) => cpuOf(round) / cpuOf(samples[to]![index]!))

const cell = (samples: Samples, name: string): string =>
  name in samples
    ? `${short(median(samples[name]!.map(cpuOf)))} (${median(ratios(samples, name, ours)).toFixed(2)})`
    : "–"

const details = (nodes: string, samples: Samples): Table => ({
  title: `Beside libraries of other languages, ${nodes}, ${inFlight} in flight`,
  rows: [
    ["", "CPU µs (quartiles)", "a second"],
    ...Object.entries(samples).map(([name, rounds]) => {
      const cpu = rounds.map(cpuOf)
      return [
        name,
        `${short(median(cpu))} (${short(quantile(cpu, 0.25))}–${short(quantile(cpu, 0.75))})`,
        median(rounds.map(({ millis, operations }) => operations / millis * 1000)).toFixed(0)
      ]
    })
  ]
})
