/**
 * Servers that answer nonsense: `npm run fuzz` runs 200 seeds.
 *
 * - `--seeds 1000`: so many, from `--from 1` on.
 * - `--minutes 60`: as many as there is time for.
 * - `--workers 2`: so many processes at a time.
 * - `--seed 42`: one, with the whole exchange between the clients and the broken servers. With `--times 50` again and
 *   again, for what happens now and then, without it.
 *
 * An interruption, by Ctrl-C, ends it with the summary of what was done so far. The exit code is 1 if a promise was broken.
 */
import { Effect } from "effect"
import { parseFlags } from "../support/flags.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"
import { describePlan, makePlan } from "./plan.ts"
import { closeAdministrators, run } from "./run.ts"
import { runSeeds, type Summary } from "./runner.ts"

const { values: flags } = parseFlags(import.meta.url, {
  options: {
    seeds: { type: "string", default: "200" },
    from: { type: "string", default: "1" },
    minutes: { type: "string" },
    workers: { type: "string", default: "2" },
    seed: { type: "string" },
    times: { type: "string" }
  }
})

const many = async (servers: Parameters<typeof runSeeds>[1]) => {
  const startedAt = performance.now()
  const minutes = flags.minutes === undefined ? undefined : Number(flags.minutes)
  const most = minutes === undefined ? Number(flags.times ?? flags.seeds) : Number.POSITIVE_INFINITY
  let isInterrupted = false
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => isInterrupted = true)
  const isTime = () => !isInterrupted && (minutes === undefined || performance.now() - startedAt < minutes * 60_000)
  const from = Number(flags.from)
  let seed = from
  let toldAt = startedAt
  const progress = (summary: Summary) => {
    const seconds = (performance.now() - startedAt) / 1000
    console.log(`${summary.seeds} seeds in ${seconds.toFixed(0)} s, ${summary.kinds().length} kinds of findings`)
  }
  const summary = await runSeeds(
    () => {
      if (seed >= from + most || !isTime()) return undefined
      return flags.seed === undefined ? seed++ : (seed++, Number(flags.seed))
    },
    servers,
    Number(flags.workers),
    (summary, { seed, violations }) => {
      for (const { promise, what } of violations) console.log(`\nseed ${seed}: ${promise}: ${what}`)
      if (performance.now() - toldAt < 10_000) return
      toldAt = performance.now()
      progress(summary)
    }
  )
  console.log(`\n${summary.lines().join("\n")}`)
  for (const { first, seeds } of summary.kinds()) {
    console.log(`\n${seeds.length} times, for instance npm run fuzz -- --seed ${seeds.slice(0, 8).join(", ")}`)
    console.log(`${first.promise}: ${first.what}`)
  }
  progress(summary)
  if (summary.findings.length > 0) process.exitCode = 1
}

const one = async (seed: number, servers: Parameters<typeof runSeeds>[1]) => {
  console.log(describePlan(makePlan(seed)))
  // As it goes on: what nobody catches ends it.
  const { violations } = await run(seed, servers, (line) => console.log(line))
  closeAdministrators()
  for (const { promise, what } of violations) console.log(`${promise}: ${what}`)
  if (violations.length > 0) process.exitCode = 1
}

const program = Effect.gen(function*() {
  const servers = (yield* RedisServers).map(({ host, port }) => ({ host, port }))
  // Old enough for services that delay restarts by a second.
  yield* Effect.sleep("3 seconds")
  yield* Effect.promise(() =>
    flags.seed === undefined || flags.times !== undefined ? many(servers) : one(Number(flags.seed), servers)
  )
})

await Effect.runPromise(Effect.provide(program, RedisServers.layer(3)))
