/**
 * What locks cost, side by side with a bare client and with the other libraries.
 *
 * - `npm run bench`: everything, in about half an hour; says which aims are met, and keeps the results in
 *   `test/bench/results`, in the README there, and in the one at the root.
 * - `-- --only lock-3,crowd`: some of the scenarios. The others' results stay as they are.
 * - `-- --rounds 30`: so many rounds, where a scenario has short ones.
 * - `-- --dry`: keeps nothing.
 * - `-- --quick`: one short round each, to see that it runs. Says nothing of aims and keeps nothing.
 * - `-- --profiles directory`: writes the measured processes' CPU profiles there, and keeps nothing else.
 *
 * Machines differ and are noisy, so contenders take turns in short rounds, and
 * what counts is how they compare inside one run.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect } from "effect"
import { parseFlags } from "../support/flags.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"
import { scenarios as lockUnlock } from "./cost/lockUnlock.ts"
import { memory } from "./cost/memory.ts"
import { trouble } from "./cost/trouble.ts"
import { effectRedis } from "./effectRedis/scenario.ts"
import { growth } from "./growth/scenario.ts"
import { languages } from "./languages/scenario.ts"
import { machine } from "./machine.ts"
import { permits } from "./permits/scenario.ts"
import { record } from "./results.ts"
import type { Report, Scenario } from "./scenario.ts"
import { shared } from "./shared/scenario.ts"
import { size } from "./size/scenario.ts"
import { startup } from "./startup/scenario.ts"
import { markdown } from "./table.ts"
import { scenarios as waiting } from "./waiting/scenarios.ts"

const scenarios: Record<string, { readonly nodes: number; readonly run: Scenario }> = {}
for (const [name, run] of Object.entries(lockUnlock)) scenarios[name] = { nodes: 5, run }
scenarios["trouble"] = { nodes: 3, run: trouble }
scenarios["languages"] = { nodes: 3, run: languages }
scenarios["memory"] = { nodes: 3, run: memory }
for (const [name, run] of Object.entries(waiting)) scenarios[name] = { nodes: 3, run }
scenarios["effect-redis"] = { nodes: 3, run: effectRedis }
scenarios["permits"] = { nodes: 5, run: permits }
scenarios["shared"] = { nodes: 3, run: shared }
scenarios["growth"] = { nodes: 9, run: growth }
scenarios["startup"] = { nodes: 3, run: startup }
scenarios["size"] = { nodes: 1, run: size }

const { values: flags } = parseFlags(import.meta.url, {
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string" },
    dry: { type: "boolean", default: false },
    profiles: { type: "string" }
  }
})

const isKept = !flags.quick && !flags.dry && flags.profiles === undefined

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
    const before = performance.now()
    const report = yield* run(name)
    for (const { notes = [], rows, title } of report.tables) {
      yield* Console.log(["", title, "", ...markdown(rows), "", ...notes].join("\n"))
    }
    for (const { is, met } of flags.quick ? [] : report.aims) yield* Console.log(`${met ? "met    " : "NOT MET"} ${is}`)
    yield* Console.log(`${name} took ${((performance.now() - before) / 1000).toFixed(0)} s`)
  }
})

const run = (name: string): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const servers = yield* RedisServers
    const report = yield* scenarios[name]!.run({ ...setting, servers })
    if (isKept) record(name, report, yield* machine(servers[0]!), Object.keys(scenarios))
    return report
  }).pipe(Effect.provide(RedisServers.layer(scenarios[name]!.nodes)))

bench.pipe(NodeRuntime.runMain)
