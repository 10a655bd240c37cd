/**
 * ioredis is an optional peer: only a node that is a URL needs it.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { promisify } from "node:util"

const library = new URL("../src/index.ts", import.meta.url).href

/** Runs a program that ends with a text, in a process where ioredis cannot be found. */
const runWithoutIoredis = async (program: string, code: string = "ERR_MODULE_NOT_FOUND"): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--input-type=module",
    "-e",
    `
      import { registerHooks } from "node:module"
      registerHooks({
        resolve: (specifier, context, next) => {
          if (specifier !== "ioredis") return next(specifier, context)
          throw Object.assign(new Error("Cannot find package 'ioredis'"), { code: "${code}" })
        }
      })
      const { Effect } = await import("effect")
      const { MemoryNode, RedisNode, Redsync, withLock } = await import(${JSON.stringify(library)})
      const lock = (layer) => Effect.runPromise(Effect.provide(withLock("a", Effect.succeed("held")), layer))
      console.log(await ${program})
    `
  ])
  return stdout.trim()
}

describe("without ioredis", () => {
  it("locks are taken in memory, and on nodes of one's own", async () => {
    assert.strictEqual(await runWithoutIoredis("lock(Redsync.layerMemory())"), "held")
    assert.strictEqual(await runWithoutIoredis("lock(Redsync.layer({ nodes: [MemoryNode.make()] }))"), "held")
  })

  it("a node over Effect's Redis is a node", async () => {
    const send = "send: (name) => Effect.succeed(name === \"EVAL\" ? 1 : \"OK\")"
    assert.strictEqual(await runWithoutIoredis(`lock(Redsync.layer({ nodes: [RedisNode.make({ ${send} })] }))`), "held")
  })

  it("a URL says what to install", async () => {
    const locking = "lock(Redsync.layer({ nodes: [\"redis://127.0.0.1:1\"] })).catch(String)"
    // The second is what `require` says, in a program bundled as CommonJS.
    for (const code of ["ERR_MODULE_NOT_FOUND", "MODULE_NOT_FOUND"]) {
      assert.include(
        await runWithoutIoredis(locking, code),
        "effect-redsync: nodes given as URLs need ioredis; run `npm install ioredis`, or use nodes of RedisNode."
      )
    }
  })
})
