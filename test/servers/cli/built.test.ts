/**
 * The command line as it is shipped: it carries what it needs, and loads no more
 * than that.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync
} from "node:fs"
import { builtinModules } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import manifest from "../../../package.json" with { type: "json" }
import { program, redsync, start } from "../../support/commandLine.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const built = dirname(program)

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "redsync-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

layer(RedisServers.layer(1), { excludeTestServices: true })("the built command line", (it) => {
  it.effect("needs no package to be installed", () =>
    Effect.sync(() => {
      assert.notProperty(manifest, "dependencies")
      const sources = readdirSync(built, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".js"))
      const imports = sources.flatMap((path) =>
        [
          ...readFileSync(join(built, path), "utf8").matchAll(
            /^(?:import|export) [^"]*"([^"]+)"|\b(?:import|__require|require)\("([^"]+)"\)/gm
          )
        ].map(([, from, called]) => from ?? called!)
      )
      const isOwn = (name: string) => name.startsWith("./") || name.startsWith("node:") || builtinModules.includes(name)
      assert.include(imports, "net")
      assert.deepStrictEqual(imports.filter((name) => !isOwn(name)), [])
    }))

  it.effect("names the packages that it carries, with their licences", () =>
    Effect.sync(() => {
      const licenses = readFileSync(join(built, "cli/LICENSES.txt"), "utf8")
      for (const name of ["effect", "ioredis", "denque"]) assert.match(licenses, new RegExp(`^${name} \\d`, "m"))
    }))

  it.effect("leaves nothing in the directory for temporary files, and takes no code from there", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const directory = yield* temporary
      const { code } = yield* redsync(["run", "x", "--", "true"], {
        nodes: servers.map(({ url }) => url),
        env: { TMPDIR: directory }
      })
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(readdirSync(directory), [])
    }))

  it.effect("loads neither TLS nor what asks questions where neither is wanted", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const directory = yield* temporary
      const spy = join(directory, "spy.cjs")
      const list = join(directory, "list")
      writeFileSync(
        spy,
        `process.on("exit", () => require("fs").writeFileSync(process.env.LIST, process.moduleLoadList.join("\\n")))`
      )
      const env = { NODE_OPTIONS: `--require=${spy}`, LIST: list }
      const { code } = yield* redsync(["status", "x"], { nodes: servers.map(({ url }) => url), env })
      assert.strictEqual(code, 0)
      const loaded = readFileSync(list, "utf8").split("\n").map((line) => line.replace("NativeModule ", ""))
      assert.include(loaded, "net")
      assert.notIncludeMembers(loaded, ["tls"])
      assert.notIncludeMembers(loaded, ["readline/promises"])
    }))

  /** As long as nobody reads from it, which nobody does. */
  const fullPipe = Effect.gen(function*() {
    const path = join(yield* temporary, "pipe")
    execFileSync("mkfifo", [path])
    const fd = yield* Effect.acquireRelease(
      Effect.sync(() => openSync(path, constants.O_RDWR | constants.O_NONBLOCK)),
      (fd) => Effect.sync(() => closeSync(fd))
    )
    for (const size of [4096, 1]) {
      try {
        while (true) writeSync(fd, "x".repeat(size))
      } catch {
        // It is full for writes of this size.
      }
    }
    return path
  })

  it.effect("goes on when it cannot write its messages, as the pipe is full", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const pipe = yield* fullPipe
      const running = yield* start(["run", "--expiry", "2s", "full", "--", "sh", "-c", "echo up; exec sleep 600"], {
        nodes: servers.map(({ url }) => url),
        under: ["sh", "-c", `exec "$@" 2> ${pipe}`, "sh"]
      })
      yield* running.printed("up")
      for (const { command } of servers) yield* command("DEL", "full")
      assert.strictEqual((yield* running.ended).code, 70)
    }))

  it.effect("leaves pipes as it was given them, for others write to them too", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      for (const { command } of servers) yield* command("SET", "others", "held", "PX", "60000")
      // With a node that is down, sockets close, and one says so.
      const nodes = [...servers.map(({ url }) => url), "redis://127.0.0.1:1"]
      const running = yield* start(["run", "others", "--", "true"], { nodes })
      yield* running.said("127.0.0.1:1 is not connected")
      const flags = [1, 2].map((fd) => readFileSync(`/proc/${running.pid}/fdinfo/${fd}`, "utf8"))
        .map((info) => Number.parseInt(/^flags:\s+(\d+)/m.exec(info)![1]!, 8))
      for (const flag of flags) assert.strictEqual(flag & constants.O_NONBLOCK, 0)
    }))
})
