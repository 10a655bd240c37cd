/**
 * From one process's release to the other's acquisition: next to the servers, farther
 * away from them, and with one of them stopped.
 */
import { Effect, Fiber, Option } from "effect"
import { now } from "../clock.ts"
import { alternating, type Scenario, type Setting } from "../scenario.ts"
import { median, quantile, sum } from "../statistics.ts"
import { drawBars } from "../svg.ts"
import { range, short } from "../table.ts"
import { type ContenderName, manner, waitsForAll } from "./contenders.ts"
import { delayed } from "./delay.ts"
import { contenders, warmUpMillis, withWorkers, type Worker } from "./workers.ts"

const heldMillis = 2
const longestHoldMillis = 100
const patienceMillis = 5000
const otherWorkMillis = 50

const ours = "effect-redsync"
const fenced = "effect-redsync, fenced"

const places = ["next to the servers", "1 ms away", "10 ms away", "one server stopped"] as const

type Place = typeof places[number]

/** Round trips that a proxy adds, in milliseconds. */
const roundTripOf: Partial<Record<Place, number>> = { "1 ms away": 1, "10 ms away": 10 }

interface HandOvers {
  readonly handOvers: Array<number>
  readonly ping: Array<number>
  readonly set: Array<number>
  /** Nobody got the lock any more, or it was not released: some wait for a server that is stopped, or for a lock that is gone. */
  isStuck: boolean
}

type Rounds = Record<Place, Partial<Record<ContenderName, ReadonlyArray<HandOvers>>>>

export const handOver: Scenario = (setting) =>
  Effect.gen(function*() {
    const names: ReadonlyArray<ContenderName> = [ours, fenced, ...contenders(setting).filter((name) => name !== ours)]
    const results: Rounds = { "next to the servers": {}, "1 ms away": {}, "10 ms away": {}, "one server stopped": {} }
    for (const place of setting.quick ? places.slice(0, 2) : places) {
      const those = names.filter((name) => place !== "one server stopped" || !waitsForAll.has(name))
      results[place] = yield* roundsAt(setting, place, those)
    }
    return report(names, results)
  })

/** Rounds of all in turn. Each of the servers is stopped in turn. */
const roundsAt = (setting: Setting, place: Place, names: ReadonlyArray<ContenderName>) => {
  const millis = setting.quick ? 300 : 3500
  const roundTrip = roundTripOf[place]
  const stopped = new Map<ContenderName, number>()
  return alternating(
    names,
    setting.quick ? 1 : setting.rounds ?? 3,
    (contender) =>
      Effect.scoped(Effect.gen(function*() {
        const urls = roundTrip === undefined
          ? setting.servers.map(({ url }) => url)
          : yield* Effect.forEach(setting.servers, (server) => delayed(server, roundTrip))
        const options = { processes: 2, clients: 1, contender, urlsOf: () => urls }
        return yield* withWorkers(setting, options, (workers) => {
          if (place !== "one server stopped") return turns(setting, workers, millis)
          const index = stopped.get(contender) ?? 0
          stopped.set(contender, index + 1)
          const server = setting.servers[index % setting.servers.length]!
          return Effect.acquireUseRelease(
            server.stop,
            () => turns(setting, workers, millis, index),
            () => server.resume
          )
        })
      }))
  )
}

/**
 * Two processes take turns. While one holds the lock the other works on
 * something else for 50 ms and then asks for it. It is released 2 ms later, or once
 * the other may have been refused and have told that it waits.
 */
const turns = (setting: Setting, [one, another]: ReadonlyArray<Worker>, millis: number, stopped?: number) =>
  Effect.gen(function*() {
    const result: HandOvers = { handOvers: [], ping: [], set: [], isStuck: false }
    let [holder, other] = [one!, another!]
    const from = now() + warmUpMillis(setting)
    // A plain round trip is one to a server that answers.
    const server = stopped === 0 ? 1 : 0
    const first = yield* Effect.timeoutOption(holder.ask("take", { name: "turns" }), patienceMillis)
    result.isStuck = Option.isNone(first)
    while (!result.isStuck && now() < from + millis) {
      const isWarm = now() >= from
      const plain = yield* other.ask("roundTrips", { restMillis: isWarm ? otherWorkMillis : 0, server })
      const asking = yield* Effect.forkChild(other.ask("take", { name: "turns" }), { startImmediately: true })
      yield* Effect.sleep(Math.max(heldMillis, Math.min(longestHoldMillis, 6 * plain.ping)))
      const given = yield* Effect.timeoutOption(holder.ask("give"), patienceMillis)
      const turn = yield* Effect.timeoutOption(Fiber.join(asking), patienceMillis)
      result.isStuck = Option.isNone(given) || Option.isNone(turn)
      if (Option.isNone(given) || Option.isNone(turn)) break
      const [left, { acquired, asked }] = [given.value, turn.value]
      ;[holder, other] = [other, holder]
      if (!isWarm || asked > left) continue
      result.handOvers.push(acquired - left)
      result.ping.push(plain.ping)
      result.set.push(plain.set)
    }
    return result
  })

// -----------------------------------------------------------------------------
// tables
// -----------------------------------------------------------------------------

const report = (names: ReadonlyArray<ContenderName>, results: Rounds) => {
  const roundsOf = (place: Place, name: ContenderName) => results[place][name] ?? []
  const of = (place: Place, name: ContenderName, f: (round: HandOvers) => number) =>
    median(roundsOf(place, name).map(f))
  const p = (q: number) => ({ handOvers }: HandOvers) => quantile(handOvers, q)
  const p50 = ({ handOvers }: HandOvers) => median(handOvers)
  const ratio = ({ handOvers, set }: HandOvers) => median(handOvers) / median(set)
  const measured = places.filter((place) => roundsOf(place, ours).length > 0)
  const millis = (value: number) => Number.isFinite(value) ? `${short(value)} ms` : "–"
  const ratioAt = (place: Place, most: number) => {
    const value = of(place, ours, ratio)
    return {
      is: `${place}: hand-over p50 is ${value.toFixed(2)} plain round trips; at most ${most}`,
      met: value <= most
    }
  }
  const stopped = (q: number, most: number) => {
    const value = of("one server stopped", ours, p(q))
    return { is: `one server stopped: p${q * 100} is ${short(value)} ms; at most ${most}`, met: value <= most }
  }
  const withToken = of("next to the servers", fenced, p50) / of("next to the servers", ours, p50)
  const slower = of("one server stopped", ours, p50) / of("next to the servers", ours, p50)
  return {
    tables: measured.map((place) => ({
      title: `Hand-over, ${place}: 2 processes, 3 nodes, from the release to the other's acquisition, ms`,
      rows: [
        ["", "p50", "p90", "p99", "PING p50", "SET NX p50", "p50 / SET NX", "turns", ""],
        ...names.filter((name) => roundsOf(place, name).length > 0).map((name) => {
          const spread = (f: (round: HandOvers) => number) => range(roundsOf(place, name).map(f))
          return [
            name,
            spread(p50),
            spread(p(0.9)),
            spread(p(0.99)),
            spread(({ ping }) => median(ping)),
            spread(({ set }) => median(set)),
            spread(ratio),
            String(sum(roundsOf(place, name).map(({ handOvers }) => handOvers.length))),
            manner[name]
          ]
        })
      ]
    })),
    readme: [
      { picture: "handover.svg", alt: "From a release to the next acquisition, by library and distance" },
      {
        title: "From one process's release to the other's acquisition, 3 nodes",
        rows: [
          [
            "",
            "p50",
            "p99",
            "in plain round trips",
            "1 ms away",
            "10 ms away",
            "one stopped",
            "how it learns of the release"
          ],
          ...names.map((name) => [
            name,
            millis(of("next to the servers", name, p50)),
            millis(of("next to the servers", name, p(0.99))),
            short(of("next to the servers", name, ratio)),
            short(of("1 ms away", name, ratio)),
            short(of("10 ms away", name, ratio)),
            waitsForAll.has(name) || roundsOf("one server stopped", name).some(({ isStuck }) => isStuck)
              ? "stuck"
              : millis(of("one server stopped", name, p50)),
            manner[name]
          ])
        ],
        notes: [
          "A plain round trip is a `SET NX PX` from the same process after the same pause. Servers 1 or 10 ms away, " +
          "there and back, are behind a proxy; for them, p50 is given in plain round trips. _stuck_: the library waits " +
          "for every node, always or after a split vote."
        ]
      }
    ],
    pictures: {
      "handover.svg": drawBars({
        title: "From one process's release to the next acquisition",
        subtitle: "p50 in ms on 3 nodes; medians of the rounds, with the middle half of them. Shorter is better.",
        rows: names.map((name) => ({ label: name, kind: name === ours || name === fenced ? "ours" : "other" })),
        measures: measured.slice(0, 3).map((place) => ({
          title: place,
          values: names.map((name) => {
            const values = roundsOf(place, name).map(p50)
            return { median: median(values), low: quantile(values, 0.25), high: quantile(values, 0.75) }
          })
        }))
      })
    },
    aims: [
      ratioAt("next to the servers", 2.5),
      ratioAt("1 ms away", 1.5),
      ratioAt("10 ms away", 1.2),
      {
        is: `next to the servers: with a token, p50 is ${withToken.toFixed(2)} × that without; at most 1.5`,
        met: withToken <= 1.5
      },
      stopped(0.9, 5),
      stopped(0.99, 150),
      { is: `one server stopped: p50 is ${slower.toFixed(2)} × healthy; at most 1.5`, met: slower <= 1.5 }
    ],
    samples: results
  }
}
