/**
 * One process next to the servers that asks for the lock again as soon as it has left,
 * and one that does the same from 10 ms away: who gets how many turns.
 */
import { Effect } from "effect"
import { now } from "../clock.ts"
import { alternating, type Scenario } from "../scenario.ts"
import { median, overlaps, quantile, sum, type Turn } from "../statistics.ts"
import { range, short } from "../table.ts"
import { delayed } from "./delay.ts"
import { contenders, warmUpMillis, withWorkers } from "./workers.ts"

const heldFor = [200, 20] as const

const awayMillis = 10

export const greedy: Scenario = (setting) =>
  Effect.scoped(Effect.gen(function*() {
    const names = contenders(setting)
    const near = setting.servers.map(({ url }) => url)
    const far = yield* Effect.forEach(setting.servers, (server) => delayed(server, awayMillis))
    const rounds = (heldMillis: number) =>
      alternating(names, setting.quick ? 1 : setting.rounds ?? 3, (contender) =>
        withWorkers(
          setting,
          { processes: 2, clients: 1, contender, urlsOf: (index) => index === 0 ? near : far },
          (workers) =>
            Effect.gen(function*() {
              const from = now() + warmUpMillis(setting)
              const until = from + (setting.quick ? 5 : 40) * heldMillis
              const options = { name: "greedy", heldMillis, restMillis: 0, from, until }
              const answers = yield* Effect.forEach(workers, (worker) => worker.ask("crowd", options), {
                concurrency: "unbounded"
              })
              return summary(answers.map(({ turns }) => turns), from, until)
            })
        ))
    const results = { 200: yield* rounds(200), 20: yield* rounds(20) }
    const turnsOf = (heldMillis: 200 | 20, name: typeof names[number]) => {
      const of = (who: "near" | "far") => short(median(results[heldMillis][name].map((round) => round[who])))
      return `${of("near")} : ${of("far")}`
    }
    return {
      tables: heldFor.map((heldMillis) => ({
        title: `Greedy: one process next to 3 nodes, one 10 ms away, each asks again at once, ${heldMillis} ms held`,
        rows: [
          ["", "turns near", "turns far", "longest run of near", "far waits p50 ms", "p99 ms", "overlaps"],
          ...names.map((name) => {
            const spread = (f: (round: Round) => number) => range(results[heldMillis][name].map(f))
            return [
              name,
              spread(({ near }) => near),
              spread(({ far }) => far),
              spread(({ longestRun }) => longestRun),
              spread(({ p50 }) => p50),
              spread(({ p99 }) => p99),
              String(sum(results[heldMillis][name].map(({ overlaps }) => overlaps)))
            ]
          })
        ]
      })),
      readme: [{
        title: "One process next to the servers and one 10 ms away, which both ask again at once: turns near : far",
        rows: [
          ["", ...heldFor.map((heldMillis) => `held ${heldMillis} ms`)],
          ...names.map((name) => [name, ...heldFor.map((heldMillis) => turnsOf(heldMillis, name))])
        ],
        notes: ["Turns in the time of 40 holds; medians of the rounds."]
      }],
      aims: heldFor.map((heldMillis) => {
        const value = median(results[heldMillis]["effect-redsync"].map(({ far, near }) => near / far))
        return {
          is: `held ${heldMillis} ms: ${value.toFixed(2)} turns of near to one of far; at most 1.2`,
          met: value <= 1.2
        }
      }),
      samples: results
    }
  }))

/** Who still waits in the end counts with what it has waited so far. */
const summary = ([near, far]: ReadonlyArray<ReadonlyArray<Turn>>, from: number, until: number) => {
  const inTime = (turns: ReadonlyArray<Turn>) => turns.filter(({ acquired }) => acquired >= from && acquired < until)
  const [nears, fars] = [inTime(near!), inTime(far!)]
  const both = [
    ...nears.map(({ acquired }) => ({ acquired, isNear: true })),
    ...fars.map(({ acquired }) => ({ acquired, isNear: false }))
  ]
  let [run, longestRun] = [0, 0]
  for (const { isNear } of both.sort((a, b) => a.acquired - b.acquired)) {
    run = isNear ? run + 1 : 0
    longestRun = Math.max(longestRun, run)
  }
  const waits = [
    ...fars.map(({ acquired, asked }) => acquired - asked),
    ...far!.filter(({ acquired }) => Number.isNaN(acquired)).map(({ asked }) => until - Math.max(asked, from))
  ]
  return {
    near: nears.length,
    far: fars.length,
    longestRun,
    p50: quantile(waits, 0.5),
    p99: quantile(waits, 0.99),
    overlaps: overlaps([...near!, ...far!])
  }
}

type Round = ReturnType<typeof summary>
