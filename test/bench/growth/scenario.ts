/** How commands, CPU and memory grow with the nodes, with those who wait, and with what is held. */
import { Effect } from "effect"
import { measure, open } from "../cost/measure.ts"
import { observe } from "../observe.ts"
import { start } from "../processes.ts"
import { alternating, type Report, type Setting } from "../scenario.ts"
import { median } from "../statistics.ts"
import { drawLines, type Panel } from "../svg.ts"
import { short } from "../table.ts"
import type { WaitingJobs } from "../waiting/worker.ts"

/** Commands, CPU in microseconds and memory in KiB at one size. */
interface Point {
  readonly size: number
  readonly commands: number
  readonly cpu: number
  readonly kibibytes: number
}

interface Series {
  readonly by: string
  readonly unit: string
  readonly logarithmic: boolean
  readonly points: ReadonlyArray<Point>
}

export const growth = (setting: Setting): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const series = [yield* byNodes(setting), yield* byWaiters(setting), yield* byHeld(setting)]
    return {
      tables: series.map(({ by, points, unit }) => ({
        title: `How it grows with ${by}: ${unit}`,
        rows: [
          [by, "commands", "CPU µs", "KiB"],
          ...points.map(({ commands, cpu, kibibytes, size }) => [
            size.toLocaleString("en"),
            short(commands),
            short(cpu),
            short(kibibytes)
          ])
        ]
      })),
      aims: series.flatMap(straight),
      samples: series,
      pictures: { "growth.svg": drawLines({ title: "How costs grow", columns: 3, panels: series.flatMap(panelsOf) }) },
      readme: [{ picture: "growth.svg", alt: "Commands, CPU and memory by nodes, waiters and locks held" }]
    }
  })

/**
 * A straight line or better: from half of the way on, each further one costs no
 * more than those before it did, give or take the noise of one run.
 */
const straight = ({ by, points: all }: Series) =>
  (["commands", "cpu", "kibibytes"] as const).flatMap((what) => {
    const points = all.filter((point) => Number.isFinite(point[what]))
    if (points.length < 2) return []
    const [last, middle] = [points.at(-1)!, points[Math.floor((points.length - 1) / 2)]!]
    // Over nodes the cost of all of them is given, otherwise that of one.
    const per = (point: Point) => by === "nodes" ? point[what] / point.size : point[what]
    const ratio = per(last) / per(middle)
    return [{
      is: `${what} at ${last.size.toLocaleString("en")} ${by}: ${ratio.toFixed(2)} × those at ` +
        `${middle.size.toLocaleString("en")}, each; at most 1.25`,
      met: ratio <= 1.25
    }]
  })

const panelsOf = ({ by, logarithmic, points, unit }: Series): Array<Panel> =>
  ([["commands", "Commands"], ["cpu", "CPU, µs"], ["kibibytes", "Heap, KiB"]] as const).map(([key, title]) => ({
    title,
    subtitle: unit,
    x: { label: by, logarithmic },
    points: points.map((point) => [point.size, point[key]] as const)
  }))

// -----------------------------------------------------------------------------
// nodes
// -----------------------------------------------------------------------------

const byNodes = (setting: Setting): Effect.Effect<Series> =>
  Effect.scoped(Effect.gen(function*() {
    const sizes = setting.quick ? [3] : [1, 3, 5, 7, 9]
    const entries = yield* Effect.forEach(sizes, (size) =>
      Effect.gen(function*() {
        const servers = setting.servers.slice(0, size)
        const worker = yield* open(setting, "effect-redsync", servers.map(({ url }) => url))
        yield* worker.ask("round", { work: "lock and unlock", inFlight: 64, millis: setting.quick ? 30 : 1500 })
        const observers = yield* Effect.forEach(servers, observe)
        return [String(size), { worker, observers }] as const
      }))
    const bySize = Object.fromEntries(entries)
    const options = { work: "lock and unlock", inFlight: 64, millis: setting.quick ? 40 : 250 } as const
    const rounds = yield* alternating(
      Object.keys(bySize),
      setting.quick ? 1 : setting.rounds ?? 15,
      (size) => measure("effect-redsync", bySize[size]!.worker, bySize[size]!.observers, options)
    )
    const points = yield* Effect.forEach(sizes, (size) =>
      Effect.gen(function*() {
        const { worker } = bySize[size]!
        const bytes = yield* worker.ask("hold", { locks: setting.quick ? 100 : 1000 })
        yield* worker.ask("leave")
        const samples = rounds[size]!
        return {
          size,
          commands: median(samples.map(({ commands }) => commands)),
          cpu: median(samples.map(({ cpu }) => cpu)),
          kibibytes: bytes / 1024
        }
      }))
    return { by: "nodes", unit: "a lock and unlock; a lock held", logarithmic: false, points }
  }))

// -----------------------------------------------------------------------------
// waiters, and locks held
// -----------------------------------------------------------------------------

/** A fresh process for each size. */
const points = (
  setting: Setting,
  sizes: ReadonlyArray<number>,
  point: (worker: Worker, size: number) => Effect.Effect<Point>
): Effect.Effect<Array<Point>> =>
  Effect.forEach(sizes, (size) =>
    Effect.scoped(Effect.gen(function*() {
      // The process before held its locks to its end.
      yield* Effect.forEach(setting.servers, (server) => server.command("FLUSHALL"))
      const worker = yield* start<WaitingJobs>(new URL("../waiting/worker.ts", import.meta.url))
      const urls = setting.servers.slice(0, 3).map(({ url }) => url)
      yield* worker.ask("open", { contender: "effect-redsync", urls, clients: 0 })
      return yield* point(worker, size)
    })))

/** What a few take is lost in the noise of the heap. */
const perOne = (bytes: number, size: number) => size < 100 ? Number.NaN : bytes / 1024

type Worker = Effect.Success<ReturnType<typeof start<WaitingJobs>>>

const byWaiters = (setting: Setting): Effect.Effect<Series> =>
  Effect.map(
    points(setting, setting.quick ? [10] : [1, 10, 100, 1000], (worker, size) =>
      Effect.gen(function*() {
        // Compiled, and connected to hear of releases.
        for (let index = 0; index < 3; index++) yield* worker.ask("localCrowd", { fibers: 100, name: "warm up" })
        const { bytesPerFiber } = yield* worker.ask("localCrowd", { fibers: size, name: "memory" })
        // So often that each size has about as many turns.
        const repeats = Math.ceil((setting.quick ? 10 : 3000) / size)
        const { cpu, sent } = yield* worker.ask("localCrowd", { fibers: size, name: "time", repeats })
        const turns = size * repeats
        return { size, commands: sent / turns, cpu: cpu * 1000 / turns, kibibytes: perOne(bytesPerFiber, size) }
      })),
    (points) => ({ by: "waiters", unit: "a turn of one of them, on 3 nodes; one waiting", logarithmic: true, points })
  )

const byHeld = (setting: Setting): Effect.Effect<Series> =>
  Effect.map(
    points(setting, setting.quick ? [100] : [1, 10, 100, 1000, 10_000, 100_000], (worker, locks) =>
      Effect.gen(function*() {
        const seconds = setting.quick ? 1 : 10
        // Each is extended once meanwhile.
        const result = yield* worker.ask("hold", { locks, seconds, expirySeconds: seconds * 3 })
        if (result.lost > 0) {
          return yield* Effect.die(new Error(`${result.lost} of ${locks} locks were lost`))
        }
        const lockSeconds = locks * result.millis / 1000
        return {
          size: locks,
          commands: result.commands / lockSeconds * seconds,
          cpu: result.cpu * 1000 / lockSeconds * seconds,
          kibibytes: perOne(result.bytesPerLock, locks)
        }
      })),
    (points) => ({
      by: "locks held",
      unit: "extending one of them once, on 3 nodes; a lock held",
      logarithmic: true,
      points
    })
  )
