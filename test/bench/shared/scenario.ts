/** What shared locks cost: the server's time with many readers, CPU against a lock, and who waits for whom. */
import { Effect, Fiber, Random, type Scope } from "effect"
import { Redsync, type Redsync as Service } from "../../../src/index.ts"
import { now } from "../clock.ts"
import { cpuOfPairs, eachOf, longMillis, open } from "../permits/servers.ts"
import type { Report, Scenario, Setting } from "../scenario.ts"
import { median, quantile } from "../statistics.ts"
import { short } from "../table.ts"

export const shared: Scenario = (setting) =>
  Effect.map(
    Effect.all([many(setting), cpu(setting), writerBehindReaders(setting), readerBehindWriters(setting)]),
    (reports): Report => ({
      tables: reports.flatMap(({ tables }) => tables),
      aims: reports.flatMap(({ aims }) => aims),
      samples: reports.map(({ samples }) => samples),
      readme: reports.flatMap(({ tables }) => tables)
    })
  )

const many = (setting: Setting): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const { micros, node } = yield* open(setting.servers[0]!)
    const { acquire, announce, extend, inspect, release } = node.shared!
    const calls = setting.quick ? 5 : setting.rounds ?? 400
    const rows = yield* Effect.forEach([100, 1000, setting.quick ? 2000 : 10_000], (readers) =>
      Effect.gen(function*() {
        const key = `readers ${readers}`
        yield* eachOf(readers, (index) => acquire(key, `reader ${index}`, longMillis))
        const reader = (index: number) => `reader ${index * 7919 % readers}`
        const measured = {
          acquire: yield* micros(calls, (index) => acquire(key, `more ${index}`, longMillis)),
          extend: yield* micros(calls, (index) => extend(key, reader(index), longMillis)),
          release: yield* micros(calls, (index) => release(key, `more ${index}`)),
          announce: yield* micros(calls, () => announce(key, 1)),
          inspect: yield* micros(Math.ceil(calls / 4), () => inspect(key))
        }
        return { readers, measured }
      }))
    const { inspect: inspections, ...others } = rows.at(-1)!.measured
    const worst = Math.max(...Object.values(others).map((all) => quantile(all, 0.99)))
    const inspected = quantile(inspections, 0.99)
    const cell = (all: ReadonlyArray<number>) => `${median(all).toFixed(0)} / ${quantile(all, 0.99).toFixed(0)}`
    return {
      tables: [{
        title: "Readers of one lock on the server: µs per script, p50 / p99, one call at a time",
        rows: [
          ["readers", "acquire", "extend", "release", "a writer announces itself", "inspect"],
          ...rows.map(({ measured, readers }) => [readers.toLocaleString("en"), ...Object.values(measured).map(cell)])
        ]
      }],
      aims: [
        { is: `10,000 readers: p99 of a call is ${short(worst)} µs on the server, at most 60`, met: worst <= 60 },
        { is: `10,000 readers: inspecting takes ${short(inspected / 1000)} ms, at most 5`, met: inspected <= 5000 }
      ],
      samples: rows
    }
  }).pipe(Effect.scoped)

const cpu = (setting: Setting): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const bench = yield* open(setting.servers[0]!)
    const { node } = bench
    const { acquire, announce, release, yieldToReaders } = node.shared!
    const write = (key: string) => Effect.asVoid(node.acquire(key, "v", longMillis))
    const micros = yield* cpuOfPairs(bench, {
      "lock": (index) => Effect.andThen(write(`l${index}`), node.release(`l${index}`, "v")),
      "first reader": (index) => Effect.andThen(acquire(`r${index}`, "v", longMillis), release(`r${index}`, "v")),
      "writer that waited": (index) =>
        Effect.andThen(announce(`w${index}`, 1000), write(`w${index}`)).pipe(
          Effect.andThen(yieldToReaders(`w${index}`, "v", 20))
        ),
      "writer that did not wait": (index) => Effect.andThen(write(`y${index}`), yieldToReaders(`y${index}`, "v", 20))
    }, { count: setting.quick ? 50 : 1500, rounds: setting.quick ? 1 : setting.rounds ?? 12 })
    const times = (name: string) => micros[name]! / micros["lock"]!
    const aim = (name: string, atMost: number) => ({
      is: `the server spends ${short(times(name))} times the CPU of a lock on a ${name}, at most ${atMost}`,
      met: times(name) <= atMost
    })
    return {
      tables: [{
        title: "Acquire and release of a shared lock: CPU of one server in µs, and as a multiple of a lock's",
        rows: [
          ["", "µs", "multiple"],
          ...Object.keys(micros).map((name) => [name, short(micros[name]!), short(times(name))])
        ],
        notes: [
          "A writer that waited has announced itself to the readers; both kinds set the key, and leave it to waiting readers."
        ]
      }],
      aims: [aim("first reader", 3.5), aim("writer that waited", 2)],
      samples: micros
    }
  }).pipe(Effect.scoped)

/** As good as a process each. */
const services = (setting: Setting, count: number): Effect.Effect<ReadonlyArray<Service>, never, Scope.Scope> =>
  Effect.orDie(Effect.forEach(
    Array.from({ length: count }),
    () => Redsync.make({ nodes: setting.servers.slice(0, 3).map(({ url }) => url), nodeTimeout: "5 seconds" })
  ))

interface Waits {
  readonly waited: ReadonlyArray<number>
  /** How long each of the others was inside. */
  readonly turns: ReadonlyArray<number>
  /** Of a plain lock at the same time. */
  readonly trips: ReadonlyArray<number>
}

interface Contenders {
  readonly others: number
  readonly crowd: (service: Service, inside: Effect.Effect<void>) => Effect.Effect<void, unknown>
  readonly one: (service: Service, inside: Effect.Effect<void>) => Effect.Effect<void, unknown>
}

/** How long one waits each time among many others, in milliseconds. */
const waits = (setting: Setting, { crowd, one, others }: Contenders): Effect.Effect<Waits> =>
  Effect.scoped(Effect.gen(function*() {
    const [self, ...rest] = yield* services(setting, others + 1)
    const turns: Array<number> = []
    const waited: Array<number> = []
    const trips: Array<number> = []
    const turn = Effect.gen(function*() {
      const at = now()
      yield* Effect.sleep(10 * (yield* Random.next))
      turns.push(now() - at)
    })
    const busy = yield* Effect.forEach(rest, (service) =>
      Effect.forkScoped(Effect.forever(Effect.andThen(
        Effect.orDie(crowd(service, turn)),
        Effect.flatMap(Random.next, (random) => Effect.sleep(5 * random))
      ))))
    yield* Effect.sleep("500 millis")
    turns.length = 0
    for (let index = 0; index < (setting.quick ? 3 : setting.rounds ?? 300); index++) {
      yield* Effect.sleep(20 * (yield* Random.next))
      const at = now()
      yield* Effect.orDie(one(self!, Effect.sync(() => void waited.push(now() - at))))
      const left = now()
      yield* Effect.orDie(self!.withLock(`alone ${index}`, Effect.sync(() => void trips.push(now() - left))))
    }
    yield* Effect.forEach(busy, Fiber.interrupt, { concurrency: "unbounded", discard: true })
    return { waited, turns, trips }
  }))

const share = (service: Service, inside: Effect.Effect<void>) => service.withSharedLock("shared", inside)
const write = (service: Service, inside: Effect.Effect<void>) => service.withLock("shared", inside)

/** What the key is kept for readers, beside two round trips. */
const graceMillis = 20

const report = (title: string, who: string, roundTrips: number, { trips, turns, waited }: Waits): Report => {
  const [turn, trip, p99] = [quantile(turns, 0.99), quantile(trips, 0.99), quantile(waited, 0.99)]
  const atMost = turn + roundTrips * trip + graceMillis + 2 * trip
  return {
    tables: [{
      title,
      rows: [
        ["wait p50", "wait p99", "the others' turn p99", "round trip p99"],
        [median(waited), p99, turn, trip].map((millis) => `${short(millis)} ms`)
      ]
    }],
    aims: [{ is: `${who} waits ${short(p99)} ms at p99, at most ${short(atMost)}`, met: p99 <= atMost }],
    samples: { waited, turn: [median(turns), turn], trip: [median(trips), trip] }
  }
}

const writerBehindReaders = (setting: Setting): Effect.Effect<Report> =>
  Effect.map(
    waits(setting, { others: 20, crowd: share, one: write }),
    (waits) => report("A writer behind a steady stream of readers in 20 services", "a writer behind readers", 2, waits)
  )

const readerBehindWriters = (setting: Setting): Effect.Effect<Report> =>
  Effect.map(
    waits(setting, { others: 4, crowd: write, one: share }),
    (waits) => report("A reader behind busy writers in 4 services", "a reader behind writers", 0, waits)
  )
