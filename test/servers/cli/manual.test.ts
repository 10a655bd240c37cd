/**
 * The sessions of the manual and the README are run as they stand there. Numbers and random
 * values may differ, words may not.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { patient, program } from "../../support/commandLine.ts"
import { readPage } from "../../support/pages.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const sessions = ["README.md", "src/cli/README.md"].flatMap((page) =>
  [...readPage(page).matchAll(/^```console\n(.*?)^```/gms)].map(([, session = ""]) => session)
)

const isCommand = (line: string) => line.startsWith("$ ")

/** A directory with `redsync` in it. */
const installed = Effect.acquireRelease(
  Effect.sync(() => {
    const directory = mkdtempSync(join(tmpdir(), "redsync-"))
    const script = `#!/bin/sh\nexec "${process.execPath}" "${program}" "$@"\n`
    writeFileSync(join(directory, "redsync"), script, { mode: 0o755 })
    return directory
  }),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

/** A command in the background says nothing, and the next one waits until it has the lock. */
const inBackground = (command: string) => {
  const name = /redsync run .*?(\S+) -- /.exec(command)?.[1]
  return `${command.replace(/&$/, ">/dev/null 2>&1 &")}
until redsync status ${name} | grep -q -e 'held by' -e 'shared by' -e taken; do :; done`
}

const run = (session: string, nodes: string, bin: string) =>
  Effect.callback<{ readonly output: string; readonly group: number }>((resume) => {
    const commands = session.split("\n").filter(isCommand).map((line) => line.slice(2)).map((command) =>
      command.endsWith("&") ? inBackground(command) : command
    )
    const script = ["exec 2>&1", ...commands].join("\n")
    const env = {
      ...process.env,
      ...patient,
      PATH: `${bin}:${process.env["PATH"]}`,
      REDSYNC_NODES: nodes,
      NO_COLOR: "1"
    }
    const shell = spawn("sh", ["-c", script], { env, detached: true, stdio: ["ignore", "pipe", "inherit"] })
    let output = ""
    shell.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text
    })
    shell.once("close", () => resume(Effect.succeed({ output, group: shell.pid! })))
  })

/** What runs in the background still. */
const end = (group: number) => Effect.ignore(Effect.try(() => process.kill(-group, "SIGTERM")))

const normal = (output: string) =>
  output.replaceAll(/[A-Za-z0-9+/]{28}/g, "value").replaceAll("Valkey", "Redis").replaceAll(/[+-]?\d+(\.\d+)?/g, "0")

const durable = ["--appendonly", "yes", "--appendfsync", "always"]

layer(RedisServers.layer(3, { args: durable }), { excludeTestServices: true })("the manual", (it) => {
  it.effect("its sessions go as they are told", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      assert.isAbove(sessions.length, 3)
      const bin = yield* installed
      for (const session of sessions) {
        if (session.includes("allkeys-lru")) {
          yield* servers[2]!.command("CONFIG", "SET", "maxmemory", "100mb")
          yield* servers[2]!.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        }
        const { group, output } = yield* run(session, servers.map(({ url }) => url).join(), bin)
        yield* Effect.addFinalizer(() => end(group))
        const told = session.split("\n").filter((line) => !isCommand(line)).join("\n")
        assert.strictEqual(normal(output), normal(told))
      }
    }).pipe(Effect.scoped), 60_000)
})
