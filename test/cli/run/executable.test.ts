/**
 * Why a command cannot be run, as a shell would tell it.
 */
import { assert, describe, it } from "@effect/vitest"
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { hindrance } from "../../../src/cli/run/executable.ts"

describe("a command", () => {
  it("that is nowhere is not found, and one that is there but cannot be executed is told why", () => {
    const home = mkdtempSync(join(tmpdir(), "redsync-executable-"))
    try {
      const plain = join(home, "plain")
      writeFileSync(plain, "")
      mkdirSync(join(home, "here/folder"), { recursive: true })
      writeFileSync(join(home, "here/tool"), "#!/bin/sh\n")
      const told = (program: string, ...path: ReadonlyArray<string>) => {
        const { code, message } = hindrance(program, path.join(":")) ?? {}
        return code === undefined ? "none" : `${code} ${message}`
      }
      const here = join(home, "here")
      assert.strictEqual(told("tool", here), "126 cannot run tool: permission denied")
      assert.strictEqual(told("folder", here), "126 cannot run folder: it is a directory")
      // A PATH may name what is no directory, or nothing.
      assert.strictEqual(told("absent", plain, join(home, "absent"), here), "127 absent: command not found")
      assert.strictEqual(told("tool", plain, here), "126 cannot run tool: permission denied")
      chmodSync(join(here, "tool"), 0o755)
      assert.strictEqual(told("tool", plain, here), "none")
      assert.strictEqual(told(`${here}/tool`), "none")
      assert.strictEqual(told(""), `127 "": command not found`)
    } finally {
      rmSync(home, { recursive: true })
    }
  })
})
