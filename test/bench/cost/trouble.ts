/**
 * One of three nodes stopped, and one of three 20 ms away: a minority that is
 * slow or silent should not be noticed.
 */
import { Effect } from "effect"
import * as Link from "../../chaos/link.ts"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import type { Scenario, Setting } from "../scenario.ts"
import { median } from "../statistics.ts"
import { short } from "../table.ts"
import { type ContenderName, names } from "./contenders.ts"
import { open } from "./measure.ts"
import type { Round, RoundOptions } from "./worker.ts"

const conditions = ["healthy", "one stopped", "one 20 ms away"] as const
type Condition = typeof conditions[number]
type Rounds = Record<Condition, Array<Round>>

/** How long somebody who waits for the silent node is waited for. */
const patienceOf = ({ quick }: Setting) => quick ? 500 : 3000

export const trouble: Scenario = (setting) =>
  Effect.gen(function*() {
    const patienceMillis = patienceOf(setting)
    const results: Partial<Record<ContenderName, Rounds>> = {}
    for (const name of setting.quick ? ["raw", "effect-redsync"] as const : names) {
      results[name] = yield* roundsOf(name, setting)
    }
    const p50 = (rounds: Rounds, condition: Condition) => median(rounds[condition].map(({ p50 }) => p50))
    const ours = results["effect-redsync"]!
    const table = {
      title: "One of three nodes in trouble, one lock at a time: p50 in ms (multiple of healthy)",
      rows: [
        ["", ...conditions],
        ...Object.entries(results).map(([name, rounds]) => [
          name,
          short(p50(rounds, "healthy")),
          ...conditions.slice(1).map((condition) =>
            rounds[condition].some(({ isStuck }) => isStuck)
              ? `> ${patienceMillis.toLocaleString("en")}`
              : `${short(p50(rounds, condition))} (${(p50(rounds, condition) / p50(rounds, "healthy")).toFixed(1)})`
          )
        ])
      ],
      notes: [
        `">": no lock and unlock completed within ${patienceMillis / 1000} s, because the library waits for every node.`
      ]
    }
    return {
      tables: [table],
      readme: [table],
      aims: conditions.slice(1).map((condition) => {
        const ratio = p50(ours, condition) / p50(ours, "healthy")
        return { is: `${condition}: p50 is ${ratio.toFixed(2)} × healthy; at most 1.2`, met: ratio <= 1.2 }
      }),
      samples: results
    }
  })

/** What is compared is one contender with itself, so the conditions take turns. */
const roundsOf = (name: ContenderName, setting: Setting): Effect.Effect<Rounds> =>
  Effect.scoped(Effect.gen(function*() {
    const [first, second, third] = setting.servers as [RedisServer, RedisServer, RedisServer]
    const link = yield* Link.make(third)
    // Ten milliseconds there and ten back.
    link.behave(10)
    const near = yield* open(setting, name, [first.url, second.url, third.url])
    const far = yield* open(setting, name, [first.url, second.url, link.url])
    const options: RoundOptions = {
      work: "lock and unlock",
      inFlight: 1,
      millis: setting.quick ? 50 : 250,
      patienceMillis: patienceOf(setting)
    }
    const warmUp = { ...options, millis: setting.quick ? 50 : 700 }
    yield* near.ask("round", warmUp)
    yield* far.ask("round", warmUp)

    const rounds: Rounds = { "healthy": [], "one stopped": [], "one 20 ms away": [] }
    for (let index = 0; index < (setting.quick ? 1 : setting.rounds ?? 10); index++) {
      rounds["healthy"].push(yield* near.ask("round", options))
      rounds["one 20 ms away"].push(yield* far.ask("round", options))
      // It would be the same every time.
      if (rounds["one stopped"].some(({ isStuck }) => isStuck)) continue
      rounds["one stopped"].push(
        yield* Effect.acquireUseRelease(third.stop, () => near.ask("round", options), () => third.resume)
      )
      yield* near.ask("settle")
    }
    return rounds
  }))
