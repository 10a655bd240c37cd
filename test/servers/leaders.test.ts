/** Leaders and cron jobs of several processes, which are killed, stopped and closed. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { elections, forgetTokens, jobs } from "../support/leaders.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"
import { onThree } from "../support/trouble.ts"

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("several processes", (it) => {
  it.effect("elect a leader whatever happens to the last one, and no two lead with one token", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { terms } = yield* elections(servers, { expiry: 1500, goesOn: (ended) => ended < 6 })
      assert.isAtLeast(terms.length, 6)
      yield* forgetTokens(servers)
    })))

  it.effect("run each run of a job once at most, with clocks that differ, and what was missed is accounted for", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      yield* jobs(servers, { expiry: 1500, runs: 8 })
    })))
})
