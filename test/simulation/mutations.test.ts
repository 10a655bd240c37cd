import { assert, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { mutations, type Verdict } from "./mutations.ts"

// In a process of its own, whose modules are loaded by Node itself, so that they can be changed on the way.
it("finds out every wrong algorithm", { timeout: 300_000 }, async () => {
  const script = fileURLToPath(new URL("mutations.ts", import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [script, "--quick"])
  const verdicts = stdout.trim().split("\n").map((line) => JSON.parse(line) as Verdict)
  assert.deepStrictEqual(verdicts.map(({ name }) => name), mutations.map(({ name }) => name))
  for (const { histories, name, within } of verdicts) {
    assert.isDefined(histories, `"${name}" broke no promise in ${within} histories`)
    assert.isAtMost(histories, within, name)
  }
})
