/** What is measured, and how the samples become tables. */
import { Effect } from "effect"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import { now } from "../clock.ts"
import { alternating, type Scenario, type Setting } from "../scenario.ts"
import { jain, median, overlaps, quantile, sum, type Turn } from "../statistics.ts"
import { range, short } from "../table.ts"
import type { ContenderName } from "./contenders.ts"
import { greedy } from "./greedy.ts"
import { handOver } from "./handOver.ts"
import { local } from "./local.ts"
import { contenders, warmUpMillis, withWorkers } from "./workers.ts"

const heldMillis = 2

// -----------------------------------------------------------------------------
// crowd
// -----------------------------------------------------------------------------

const crowdRound = (
  setting: Setting,
  contender: ContenderName,
  processes: number,
  clients: number,
  millis: number
) =>
  withWorkers(setting, { processes, clients, contender }, (workers) =>
    Effect.gen(function*() {
      const from = now() + warmUpMillis(setting)
      const until = from + millis
      const options = { name: "crowd", heldMillis, restMillis: 100, from, until }
      const calls = Effect.andThen(Effect.sleep(from - now()), () => callsOf(setting.servers))
      const [answers, before] = yield* Effect.all([
        Effect.forEach(workers, (worker) => worker.ask("crowd", options), { concurrency: "unbounded" }),
        calls
      ], { concurrency: "unbounded" })
      const turns = answers.flatMap(({ turns }, process) =>
        turns.map((turn) => ({ ...turn, contender: process * clients + turn.contender }))
      )
      return summary(turns, {
        from,
        until,
        contenders: processes * clients,
        sent: sum(answers.map(({ sent }) => sent)),
        calls: (yield* callsOf(setting.servers)) - before,
        cpu: sum(answers.map(({ cpu }) => cpu))
      })
    }))

/** All commands that the servers have executed, those that scripts ran among them. */
const callsOf = (servers: ReadonlyArray<RedisServer>) =>
  Effect.map(
    Effect.forEach(servers, (server) => server.command<string>("INFO", "commandstats"), { concurrency: "unbounded" }),
    (infos) => sum(infos.flatMap((info) => [...info.matchAll(/:calls=(\d+)/g)].map((match) => Number(match[1]))))
  )

interface Measured {
  readonly from: number
  readonly until: number
  readonly contenders: number
  readonly sent: number
  readonly calls: number
  readonly cpu: number
}

const summary = (turns: ReadonlyArray<Turn>, { calls, contenders, cpu, from, sent, until }: Measured) => {
  const held = turns.filter(({ acquired }) => acquired >= from && acquired < until)
  const waits = held.map(({ acquired, asked }) => acquired - asked)
  // Whoever still waits in the end counts with what it has waited so far, or those that starve would be left out.
  const unfinished = turns.filter(({ acquired }) => Number.isNaN(acquired)).map(({ asked }) => until - asked)
  const shares = Array.from({ length: contenders }, () => 0)
  for (const { contender } of held) shares[contender]!++
  return {
    perSecond: held.length / (until - from) * 1000,
    heldShare: sum(held.map(({ acquired, left }) => Math.min(left, until) - acquired)) / (until - from),
    mean: sum([...waits, ...unfinished]) / (waits.length + unfinished.length),
    p50: quantile([...waits, ...unfinished], 0.5),
    p99: quantile([...waits, ...unfinished], 0.99),
    max: Math.max(...waits, ...unfinished),
    jain: jain(shares),
    sent: sent / held.length,
    calls: calls / held.length,
    cpu: cpu / held.length,
    overlaps: overlaps(turns),
    unfinished: unfinished.length
  }
}

type Crowd = ReturnType<typeof summary>

const crowdHeader = [
  "",
  "acquisitions/s",
  "held %",
  "wait mean ms",
  "wait p50 ms",
  "wait p99 ms",
  "wait max ms",
  "Jain",
  "commands sent",
  "calls on servers",
  "CPU ms",
  "overlaps"
]

const crowdRow = (label: string, rounds: ReadonlyArray<Crowd>) => {
  const spread = (f: (round: Crowd) => number) => range(rounds.map(f))
  return [
    label,
    spread(({ perSecond }) => perSecond),
    spread(({ heldShare }) => heldShare * 100),
    spread(({ mean }) => mean),
    spread(({ p50 }) => p50),
    spread(({ p99 }) => p99),
    spread(({ max }) => max),
    spread(({ jain }) => jain),
    spread(({ sent }) => sent),
    spread(({ calls }) => calls),
    spread(({ cpu }) => cpu),
    String(sum(rounds.map(({ overlaps }) => overlaps)))
  ]
}

const crowdNotes = [
  "Commands, calls and the processes' CPU are per acquisition, over all nodes. Commands are counted where the clients " +
  "send them, calls by INFO commandstats, which also counts the commands that scripts run.",
  "Both redlocks come to a standstill when a split vote leaves one of their keys on each node; leases: theirs 1 s, ours 8 s."
]

const crowd: Scenario = (setting) =>
  Effect.gen(function*() {
    const names = contenders(setting)
    const results = yield* alternating(
      names,
      setting.quick ? 1 : 3,
      (contender) =>
        setting.quick ? crowdRound(setting, contender, 2, 4, 300) : crowdRound(setting, contender, 8, 8, 3000)
    )
    const of = (name: ContenderName, f: (round: Crowd) => number) => median(results[name].map(f))
    const peers = names.filter((name) => name !== "effect-redsync")
    const compare = (is: string, f: (round: Crowd) => number, better: (ours: number, theirs: number) => boolean) => {
      const ours = of("effect-redsync", f)
      const theirs = peers.map((name) => of(name, f))
      return {
        is: `${is}: ${ours.toPrecision(3)} against ${theirs.map((value) => value.toPrecision(3)).join(", ")}`,
        // Who never acquires has no index.
        met: theirs.every((value) => Number.isNaN(value) || better(ours, value))
      }
    }
    const share = of("effect-redsync", ({ heldShare }) => heldShare)
    const tail = of("effect-redsync", ({ max, p50 }) => max / p50)
    const commands = of("effect-redsync", ({ sent }) => sent)
    const more = (ours: number, theirs: number) => ours > theirs
    const less = (ours: number, theirs: number) => ours < theirs
    return {
      tables: [{
        title: "Crowd: 8 processes of 8 separate services, 3 nodes, 2 ms held, 100 ms of other work",
        rows: [crowdHeader, ...names.map((name) => crowdRow(name, results[name]))],
        notes: crowdNotes
      }],
      aims: [
        compare("acquisitions/s, more than each peer", ({ perSecond }) => perSecond, more),
        compare("share of time held, more", ({ heldShare }) => heldShare, more),
        compare("wait on average, less", ({ mean }) => mean, less),
        compare("wait p50, less", ({ p50 }) => p50, less),
        compare("wait p99, less", ({ p99 }) => p99, less),
        compare("Jain's index, more", ({ jain }) => jain, more),
        compare("commands, at most 1.5 times the leanest", ({ sent }) => sent, (ours, value) => ours <= value * 1.5),
        { is: `held ${(share * 100).toFixed(0)} % of the time; at least 66`, met: share >= 0.66 },
        { is: `longest wait ${tail.toFixed(1)} times p50; at most 3`, met: tail <= 3 },
        { is: `${commands.toFixed(1)} commands an acquisition; at most 6`, met: commands <= 6 },
        noOverlaps(results["effect-redsync"])
      ],
      samples: results,
      readme: [{
        title: "A crowd: 8 processes with 8 services each, all wanting one lock on 3 nodes for 2 ms, every 100 ms",
        rows: [
          [
            "",
            "acquisitions/s",
            "time held",
            "wait mean",
            "wait p50",
            "wait p99",
            "Jain's index",
            "commands",
            "CPU ms"
          ],
          ...names.map((name) => [
            name,
            of(name, ({ perSecond }) => perSecond).toFixed(0),
            `${(of(name, ({ heldShare }) => heldShare) * 100).toFixed(0)} %`,
            `${of(name, ({ mean }) => mean).toFixed(0)} ms`,
            `${of(name, ({ p50 }) => p50).toFixed(0)} ms`,
            `${of(name, ({ p99 }) => p99).toFixed(0)} ms`,
            of(name, ({ jain }) => jain).toFixed(2),
            short(of(name, ({ sent }) => sent)),
            short(of(name, ({ cpu }) => cpu))
          ])
        ],
        notes: [
          "Commands and CPU are per acquisition. Serving waiters out of order may improve the median, but worsens the " +
          "tail. Both redlocks come to a standstill when a split vote leaves one of their keys on each node."
        ]
      }]
    }
  })

const noOverlaps = (rounds: ReadonlyArray<Crowd>) => {
  const count = sum(rounds.map(({ overlaps }) => overlaps))
  return { is: `${count} overlaps; none`, met: count === 0 }
}

const crowds: Scenario = (setting) =>
  Effect.gen(function*() {
    const sizes = { 2: [2, 1], 16: [8, 2], 64: [8, 8], 192: [8, 24] } as const
    const labels = setting.quick ? ["2"] as const : ["2", "16", "64", "192"] as const
    const results = yield* alternating(
      labels,
      setting.quick ? 1 : 3,
      (label) => {
        const [processes, clients] = sizes[label]
        return crowdRound(setting, "effect-redsync", processes, clients, setting.quick ? 300 : 3000)
      }
    )
    return {
      tables: [{
        title: "How ours grows with the crowd, otherwise as before",
        rows: [crowdHeader, ...labels.map((label) => crowdRow(`${label} contenders`, results[label]))],
        notes: crowdNotes
      }],
      aims: [noOverlaps(labels.flatMap((label) => results[label]))],
      samples: results
    }
  })

// -----------------------------------------------------------------------------
// many held
// -----------------------------------------------------------------------------

const held: Scenario = (setting) =>
  Effect.gen(function*() {
    const locks = setting.quick ? 500 : 10_000
    const seconds = setting.quick ? 1 : 60
    const result = yield* withWorkers(
      setting,
      { processes: 1, clients: 0, contender: "effect-redsync" },
      ([worker]) => worker!.ask("hold", { locks, seconds, expirySeconds: 8 })
    )
    const cpu = result.cpu / result.millis
    const kibibytes = result.bytesPerLock / 1024
    const extensions = result.commands / setting.servers.length / result.millis * 1000
    return {
      tables: [{
        title: `${locks.toLocaleString("en")} held for ${seconds} s on 3 nodes, expiry 8 s`,
        rows: [
          [
            "lost",
            "CPU % of a core",
            "KiB a lock",
            "in the end",
            "extensions/s",
            "µs CPU an extension",
            "least remaining ms"
          ],
          [
            String(result.lost),
            (cpu * 100).toFixed(1),
            kibibytes.toFixed(2),
            (result.bytesPerLockInTheEnd / 1024).toFixed(2),
            extensions.toFixed(0),
            (result.cpu * 1000 / (extensions * result.millis / 1000)).toFixed(0),
            result.leastRemaining.toFixed(0)
          ]
        ]
      }],
      aims: [
        { is: `${result.lost} lost; none`, met: result.lost === 0 },
        { is: `${(cpu * 100).toFixed(1)} % of a core; at most 30 %`, met: cpu <= 0.3 },
        { is: `${kibibytes.toFixed(2)} KiB a lock; at most 4`, met: kibibytes <= 4 }
      ],
      samples: result
    }
  })

export const scenarios: Record<string, Scenario> = { handover: handOver, crowd, crowds, greedy, local, held }
