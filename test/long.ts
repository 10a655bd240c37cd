/**
 * All that is too long for `npm test`, one after the other, with what each says
 * meanwhile and a summary: `npm run test:long`.
 *
 * - `--minutes 10`: the time for each kind that goes on for as long as it is let.
 * - `--seed 42`: what is done follows from the seed, which is printed; when it is done does not.
 * - `--only chaos,fire`: these kinds alone.
 *
 * The exit code is 1 if any of them failed.
 */
import { spawn } from "node:child_process"
import { parseFlags } from "./support/flags.ts"

const { values: flags } = parseFlags(import.meta.url, {
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e6)) },
    only: { type: "string" }
  }
})

const minutes = Number(flags.minutes)
const seed = Number(flags.seed)
if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
  console.error("--minutes must be a number above 0, and --seed a whole number")
  process.exit(2)
}

interface Kind {
  readonly args: ReadonlyArray<string>
  readonly env?: Record<string, string>
}

const vitest = (file: string): ReadonlyArray<string> => [
  "node_modules/vitest/vitest.mjs",
  "run",
  "--config",
  "test/long.config.ts",
  file
]

const simulation = (kind: string, historiesPerSecond: number): Kind => {
  const seeds = String(Math.ceil(minutes * 60 * historiesPerSecond))
  return { args: ["test/simulation/main.ts", "--only", kind, "--from", String(1 + seed * 1000), "--seeds", seeds] }
}

/** Each is a program for Node. */
const kinds: Record<string, Kind> = {
  simulation: simulation("locks", 30),
  "simulated permits": simulation("permits", 60),
  "simulated shared locks": simulation("shared", 60),
  chaos: { args: ["test/chaos/main.ts", "--minutes", String(minutes), "--seed", String(seed)] },
  "rolling restarts": {
    args: [
      "test/chaos/main.ts",
      "--minutes",
      String(minutes),
      "--seed",
      String(seed),
      "--rolling-restarts",
      "--no-client-pauses"
    ]
  },
  fuzzing: { args: ["test/fuzz/main.ts", "--minutes", String(minutes), "--from", String(1 + seed * 1000)] },
  fire: { args: vitest("fire"), env: { FIRE_SECONDS: String(minutes * 60) } },
  leaders: { args: vitest("leaders"), env: { FIRE_SECONDS: String(minutes * 60) } },
  failover: { args: vitest("failover") },
  // The explorer takes a quarter of an hour; at small bounds it is part of `npm test`.
  model: { args: vitest(minutes < 1 ? "test/model/model" : "test/model/") }
}

const only = flags.only?.split(",") ?? Object.keys(kinds)
const unknown = only.filter((name) => !Object.hasOwn(kinds, name))
if (unknown.length > 0) {
  console.error(`--only takes ${Object.keys(kinds).join(", ")}, not ${unknown.join(", ")}`)
  process.exit(2)
}

/** Runs it, and tells how it ended. */
const run = ({ args, env }: Kind): Promise<string> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "inherit", "inherit"]
    })
    child.once("error", (error) => resolve(error.message))
    child.once("exit", (code, signal) => resolve(code === 0 ? "ok" : `FAILED with ${code ?? signal}`))
  })

console.log(`seed ${seed}, ${minutes} min each`)

const summary: Array<string> = []
for (const name of only) {
  console.log(`\n--- ${name}`)
  const startedAt = performance.now()
  const outcome = await run(kinds[name]!)
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
  summary.push(`${name.padEnd(24)}${seconds.padStart(6)} s  ${outcome}`)
  if (outcome !== "ok") process.exitCode = 1
}

console.log(`\n--- summary, seed ${seed}\n${summary.join("\n")}`)
if (process.exitCode === 1) {
  console.log(
    `Again: npm run test:long -- --minutes ${minutes} --seed ${seed}${flags.only ? ` --only ${flags.only}` : ""}`
  )
}
