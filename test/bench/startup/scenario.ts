/** What the command line costs to start, beside a Node that does nothing and beside flock. */
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { promisify } from "node:util"
import { buildCommandLine } from "../../../esbuild.config.ts"
import { alternating, type Scenario } from "../scenario.ts"
import { median } from "../statistics.ts"
import { range } from "../table.ts"

/** As long as a shell's `times` counts in hundredths of a second, several in a row. */
const inARow = 10

const timed = `n=$1; shift
while [ "$n" -gt 0 ]; do "$@" > /dev/null || exit 1; n=$((n - 1)); done
times`

export const startup: Scenario = ({ quick, rounds, servers }) =>
  Effect.scoped(Effect.gen(function*() {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "redsync-startup-"))),
      (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
    )
    writeFileSync(join(directory, "package.json"), `{ "type": "module" }`)
    yield* Effect.promise(() => buildCommandLine(directory))
    const peak = join(directory, "peak.cjs")
    writeFileSync(
      peak,
      `process.on("exit", () => require("fs").writeFileSync(process.env.PEAK, "" + process.resourceUsage().maxRSS))`
    )
    const redsync = join(directory, "bin.js")
    const commands = {
      "node -e 0": ["node", "-e", "0"],
      "flock x true": ["flock", join(directory, "x"), "true"],
      "redsync --version": [redsync, "--version"],
      "redsync status x": [redsync, "status", "x"],
      "redsync run x -- true": [redsync, "run", "x", "--", "true"]
    }
    const env = {
      ...process.env,
      PATH: `${dirname(process.execPath)}${delimiter}${process.env["PATH"]}`,
      REDSYNC_NODES: servers.map(({ url }) => url).join()
    }
    const cpuMillis = (command: ReadonlyArray<string>) =>
      Effect.promise(async () => {
        const { stdout } = await promisify(execFile)("sh", ["-c", timed, "sh", `${inARow}`, ...command], { env })
        const [, ofChildren = ""] = stdout.trim().split("\n").slice(-2)
        const seconds = [...ofChildren.matchAll(/(\d+)m([\d.]+)s/g)].map(([, minutes, seconds]) =>
          60 * Number(minutes) + Number(seconds)
        )
        return 1000 * seconds.reduce((sum, part) => sum + part, 0) / inARow
      })
    const peakMiB = ([program = "", ...args]: ReadonlyArray<string>) =>
      Effect.promise(async () => {
        const file = join(directory, "peak")
        await promisify(execFile)(program, args, { env: { ...env, NODE_OPTIONS: `--require=${peak}`, PEAK: file } })
        return Number(readFileSync(file, "utf8")) / 1024
      })
    type Name = keyof typeof commands
    const names = Object.keys(commands) as Array<Name>
    const cpu = yield* alternating(names, quick ? 1 : rounds ?? 10, (name) => cpuMillis(commands[name]))
    const memory = new Map<Name, number>()
    for (const name of names) {
      if (name !== "flock x true") memory.set(name, yield* peakMiB(commands[name]))
    }
    const nothing = median(cpu["node -e 0"])
    const times = (name: Name) => median(cpu[name]) / nothing
    const table = {
      title: `Starting a command, against ${servers.length} servers`,
      rows: [
        ["", "CPU ms", "times node -e 0", "peak MiB"],
        ...names.map((name) => [name, range(cpu[name]), times(name).toFixed(1), memory.get(name)?.toFixed(0) ?? "–"])
      ]
    }
    const run = "redsync run x -- true"
    return {
      tables: [table],
      aims: [
        { is: `a run takes ${times(run).toFixed(1)} times the CPU of node -e 0; aim 6.25`, met: times(run) <= 6.25 },
        { is: `and ${memory.get(run)!.toFixed(0)} MiB; aim 70`, met: memory.get(run)! <= 70 }
      ],
      samples: { cpuMillis: cpu, peakMiB: Object.fromEntries(memory) }
    }
  }))
