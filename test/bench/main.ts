/**
 * What locks cost, side by side with a bare client and with the other libraries.
 *
 * - `npm run bench`: everything, in about half an hour, and which aims are met.
 * - `-- --quick`: one short round each, to see that it runs. Says nothing of aims.
 * - `-- --only lock-3,crowd`: some of the scenarios.
 * - `-- --rounds 30`: so many rounds, where a scenario has short ones.
 * - `-- --profiles directory`: writes the measured processes' CPU profiles there.
 *
 * Machines differ and are noisy, so contenders take turns in short rounds, and
 * what counts is how they compare inside one run.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect } from "effect"
import { parseArgs } from "node:util"
import { RedisServers } from "../support/RedisServers.ts"
import { scenarios as lockUnlock } from "./cost/lockUnlock.ts"
import { memory } from "./cost/memory.ts"
import { trouble } from "./cost/trouble.ts"
import type { Scenario } from "./scenario.ts"
import { markdown } from "./table.ts"
import { scenarios as waiting } from "./waiting/scenarios.ts"

const scenarios: Record<string, { readonly nodes: number; readonly run: Scenario }> = {}
for (const [name, run] of Object.entries(lockUnlock)) scenarios[name] = { nodes: 5, run }
scenarios["trouble"] = { nodes: 3, run: trouble }
scenarios["memory"] = { nodes: 3, run: memory }
for (const [name, run] of Object.entries(waiting)) scenarios[name] = { nodes: 3, run }

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string" },
    profiles: { type: "string" }
  }
})

const wanted = flags.only?.split(",") ?? Object.keys(scenarios)
const unknown = wanted.find((name) => !(name in scenarios))
if (unknown !== undefined) {
  console.error(`There is no scenario ${unknown}: choose from ${Object.keys(scenarios).join(", ")}`)
  process.exit(2)
}

const setting = {
  quick: flags.quick,
  rounds: flags.rounds === undefined ? undefined : Number(flags.rounds),
  profiles: flags.profiles
}

const bench = Effect.gen(function*() {
  for (const name of wanted) {
    const { nodes, run } = scenarios[name]!
    const before = performance.now()
    const { aims, tables } = yield* Effect.flatMap(RedisServers, (servers) => run({ ...setting, servers })).pipe(
      Effect.provide(RedisServers.layer(nodes))
    )
    for (const { notes = [], rows, title } of tables) {
      yield* Console.log(["", title, "", ...markdown(rows), "", ...notes].join("\n"))
    }
    if (!flags.quick) { for (const { is, met } of aims) yield* Console.log(`${met ? "met    " : "NOT MET"} ${is}`) }
    yield* Console.log(`${name} took ${((performance.now() - before) / 1000).toFixed(0)} s`)
  }
})

bench.pipe(NodeRuntime.runMain)
