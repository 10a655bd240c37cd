/**
 * The packed package on other runtimes than Node: `npm run test:runtimes`. Installs it beside
 * Bun and Deno, which come from npm, and runs `program.mjs` on each, on three servers of its own.
 *
 * - `--only bun`: on these alone, separated by commas.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseFlags } from "../support/flags.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const { devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

/** The packages that bring the runtimes, and how a program is run on each. */
const packages = ["bun@1.4.5", "deno@2.9.6"]
const runtimes: Record<string, readonly [command: string, ...args: ReadonlyArray<string>]> = {
  node: [process.execPath],
  bun: ["node_modules/.bin/bun"],
  deno: ["node_modules/.bin/deno", "run", "--allow-all"]
}

const { values: flags } = parseFlags(import.meta.url, { options: { only: { type: "string" } } })
const only = flags.only?.split(",") ?? Object.keys(runtimes)
const unknown = only.filter((name) => !(name in runtimes))
if (unknown.length > 0) {
  console.error(`--only takes ${Object.keys(runtimes).join(", ")}, not ${unknown.join(", ")}`)
  process.exit(2)
}

const npm = (cwd: string, ...args: ReadonlyArray<string>) =>
  execFileSync("npm", args, { cwd, stdio: ["ignore", "ignore", "inherit"] })

/** A project with the package, its peers and the runtimes. */
const project = Effect.acquireRelease(
  Effect.sync(() => {
    const directory = mkdtempSync(join(tmpdir(), "effect-redsync-runtimes-"))
    npm(root, "pack", "--silent", "--pack-destination", directory)
    writeFileSync(join(directory, "package.json"), `{ "private": true, "type": "module" }`)
    const tarball = readdirSync(directory).find((file) => file.endsWith(".tgz"))!
    const peers = ["effect", "ioredis", "@effect/platform-node"].map((name) => `${name}@${devDependencies[name]}`)
    npm(directory, "install", "--silent", "--no-audit", "--no-fund", `./${tarball}`, ...peers, ...packages)
    copyFileSync(new URL("program.mjs", import.meta.url), join(directory, "program.mjs"))
    return directory
  }),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const run = (name: string, cwd: string) =>
  Effect.gen(function*() {
    const servers = yield* RedisServers
    const [command, ...args] = runtimes[name]!
    yield* Console.log(
      `\n--- ${name} ${execFileSync(command, ["--version"], { cwd, encoding: "utf8" }).split("\n")[0]}`
    )
    return yield* Effect.callback<boolean>((resume) => {
      const child = spawn(command, [...args, "program.mjs"], {
        cwd,
        env: { ...process.env, REDSYNC_NODES: servers.map(({ url }) => url).join(",") },
        stdio: ["ignore", "inherit", "inherit"]
      })
      child.once("error", () => resume(Effect.succeed(false)))
      child.once("exit", (code) => resume(Effect.succeed(code === 0)))
      return Effect.sync(() => child.kill("SIGKILL"))
    })
  }).pipe(Effect.provide(Layer.fresh(RedisServers.layer(3))))

Effect.gen(function*() {
  const cwd = yield* project
  const outcomes = yield* Effect.forEach(only, (name) => Effect.map(run(name, cwd), (passed) => ({ name, passed })))
  yield* Console.log("\n--- summary")
  for (const { name, passed } of outcomes) {
    yield* Console.log(`${name.padEnd(8)}${passed ? "ok" : "FAILED"}`)
    if (!passed) process.exitCode = 1
  }
}).pipe(Effect.scoped, NodeRuntime.runMain)
