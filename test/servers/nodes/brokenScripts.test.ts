import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { RedisServers } from "../../support/servers/RedisServers.ts"
import { broken } from "./brokenScripts.ts"

const program = fileURLToPath(new URL("brokenScripts.ts", import.meta.url))

layer(RedisServers.layer(1))("scripts that are broken on purpose", (it) => {
  it.effect("are found out by random operations, and nothing else is", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const { stdout } = yield* Effect.promise(() => promisify(execFile)(process.execPath, [program, server!.url]))
      const verdicts = stdout.trim().split("\n").map((line): { name: string; found?: string } => JSON.parse(line))
      assert.deepStrictEqual(verdicts.slice(0, 2), [{ name: "nothing" }, { name: "nothing" }])
      assert.deepStrictEqual(verdicts.slice(2).map(({ name }) => name), broken.map(({ name }) => name))
      for (const { found, name } of verdicts.slice(2)) assert.isDefined(found, name)
    }))
})
