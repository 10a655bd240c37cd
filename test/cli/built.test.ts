/**
 * The command line as it is shipped: it carries what it needs, and loads no more
 * than that.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { builtinModules } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import manifest from "../../package.json" with { type: "json" }
import { program, redsync } from "../support/commandLine.ts"
import { RedisServers } from "../support/RedisServers.ts"

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
})
