/**
 * What waiting for a lock and keeping one costs, side by side with the peers.
 * `npm run bench:waiting` takes about six minutes and says which aims are met.
 *
 * - `--quick`: one short round each, to see that it runs. Says nothing of aims.
 * - `--out samples.json`: also writes every single sample.
 * - `--only crowd,held`: some of handover, crowd, growth, local, held.
 * - `--profiles directory`: writes the workers' CPU profiles there.
 *
 * Machines differ and are noisy, so contenders take turns, several short rounds
 * each, and what counts is how they compare inside one run: the tables show the
 * median of the rounds, and the lowest and highest in brackets.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect } from "effect"
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { RedisServers } from "../support/RedisServers.ts"
import { scenarios } from "./waiting/scenarios.ts"

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    out: { type: "string" },
    only: { type: "string" },
    profiles: { type: "string" }
  }
})

const wanted = flags.only?.split(",") ?? Object.keys(scenarios)
const unknown = wanted.find((name) => !(name in scenarios))
if (unknown !== undefined) {
  console.error(`There is no scenario ${unknown}: choose from ${Object.keys(scenarios).join(", ")}`)
  process.exit(2)
}

const bench = Effect.gen(function*() {
  const servers = yield* RedisServers
  const samples: Record<string, unknown> = {}
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (!wanted.includes(name)) continue
    const { aims, lines, raw } = yield* scenario({ servers, quick: flags.quick, profiles: flags.profiles })
    samples[name] = raw
    yield* Console.log(`\n${lines.join("\n")}`)
    if (flags.quick) continue
    for (const { is, met } of aims) yield* Console.log(`${met ? "met   " : "NOT MET"} ${is}`)
  }
  if (flags.out !== undefined) writeFileSync(flags.out, JSON.stringify(samples))
})

bench.pipe(Effect.provide(RedisServers.layer(3)), NodeRuntime.runMain)
