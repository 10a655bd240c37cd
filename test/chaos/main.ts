/**
 * Chaos on real servers: `npm run chaos` takes ten minutes, prints every fault,
 * and ends with a table. It fails if two clients were let in at once.
 *
 * - `--minutes 2`, `--seed word`: what is done when follows from the seed.
 * - `--only permits,shared`: of locks, permits and shared locks, these alone.
 * - `--no-client-pauses`: clients are killed, but never stopped for a while.
 * - `--rolling-restarts`: also restarts a quorum of the servers empty, one after the other, again and again.
 * - `--effect-redis`: the nodes of every second client are over Effect's Redis service.
 * - `--delayed-restart off`: servers that come back empty vote at once, and two clients will be let in.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect } from "effect"
import { parseFlags } from "../support/flags.ts"
import { table, violations } from "./report.ts"
import { run } from "./run.ts"

const { values: flags } = parseFlags(import.meta.url, {
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e9)) },
    "no-client-pauses": { type: "boolean", default: false },
    "rolling-restarts": { type: "boolean", default: false },
    "delayed-restart": { type: "string", default: "on" },
    "effect-redis": { type: "boolean", default: false },
    only: { type: "string", default: "locks,permits,shared" }
  }
})

const minutes = Number(flags.minutes)
const delayedRestart = flags["delayed-restart"]
if (!(minutes > 0) || !["on", "off"].includes(delayedRestart)) {
  console.error("--minutes must be a number above 0, and --delayed-restart on or off")
  process.exit(2)
}

const only = flags.only.split(",")
const takes = (kind: "locks" | "permits" | "shared") => only.includes(kind)
if (!(["locks", "permits", "shared"] as const).some(takes)) {
  console.error("--only takes locks, permits and shared")
  process.exit(2)
}

const options = {
  seed: flags.seed,
  millis: minutes * 60_000,
  gapMillis: 800,
  expiryMillis: 2000,
  clients: 6,
  fibers: { locks: takes("locks") ? 4 : 0, permits: takes("permits") ? 16 : 0, shared: takes("shared") ? 16 : 0 },
  names: { long: takes("locks") ? 2 : 0, short: takes("locks") ? 4 : 0, shared: takes("shared") ? 8 : 0 },
  limits: takes("permits") ? [1, 3, 8, 20, 20] : [],
  delayedRestart: delayedRestart === "on",
  clientPauses: !flags["no-client-pauses"],
  rollingRestarts: flags["rolling-restarts"],
  effectRedis: flags["effect-redis"],
  say: console.log
}

Effect.gen(function*() {
  yield* Console.log(`seed ${options.seed}`)
  const outcome = yield* run(options)
  const found = violations(outcome, options)
  yield* Console.log(`\n${table(outcome, options).join("\n")}\n`)
  if (found.length === 0) return
  outcome.keepLog()
  process.exitCode = 1
  yield* Console.log([...found, `The log is ${outcome.log}`, `Again: --seed ${options.seed}`].join("\n"))
}).pipe(Effect.scoped, NodeRuntime.runMain)
