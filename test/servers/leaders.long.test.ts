/**
 * Leaders under fire: three candidates whose leader is killed, closed or stopped, or
 * whose servers stop, one after the other; and a job on five processes with clocks
 * apart, killed at random, for fifty runs.
 *
 * Elections go on for ten seconds, or as many as FIRE_SECONDS says; part of
 * `npm run test:long`.
 */
import { layer } from "@effect/vitest"
import { Effect } from "effect"
import { elections, forgetTokens, gapsOf, jobs } from "../support/leaders.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"
import { onThree } from "../support/trouble.ts"

const seconds = Number(process.env["FIRE_SECONDS"] ?? 10)
const expiry = 2000

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("under fire", (it) => {
  it.effect("at most one leads by token", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const end = performance.now() + seconds * 1000
      const { rejected, terms } = yield* elections(servers, { expiry, goesOn: () => performance.now() < end })
      console.log(`${terms.length} terms; ${rejected} writes of former leaders rejected`)
      console.log(`with a lease of ${expiry} ms, time without a leader after:`)
      for (const [event, gaps] of gapsOf(terms)) {
        const [median, p90, longest] = [0.5, 0.9, 1].map((part) => `${gaps[Math.ceil(gaps.length * part) - 1]!} ms`)
        console.log(`  ${event}, ${gaps.length} times: median ${median}, p90 ${p90}, longest ${longest}`)
      }
      yield* forgetTokens(servers)
    })))

  it.effect("each run of a job happens once at most, and what was missed is accounted for", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { kills, outcomes } = yield* jobs(servers, { expiry, runs: 50 })
      console.log(`${kills} kills`)
      for (const [outcome, times] of Object.entries(outcomes)) console.log(`  ${String(times).padStart(4)} ${outcome}`)
    })))
})
