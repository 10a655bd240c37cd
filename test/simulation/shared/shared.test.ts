import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { run } from "./history.ts"
import { mutations, type Verdict } from "./mutations.ts"

describe("simulated shared locks", () => {
  const counts = new Map<string, number>()

  it("keep every promise", { timeout: 120_000 }, () => {
    const { stackTraceLimit } = Error
    // Nobody reads where an error was made, and finding out is slow.
    Error.stackTraceLimit = 0
    try {
      for (let seed = 1; seed <= 98; seed++) {
        const { counts: some, violation } = run(seed)
        assert.isUndefined(violation, `seed ${seed}: ${violation?.promise}, ${violation?.how}`)
        for (const [what, count] of some) counts.set(what, (counts.get(what) ?? 0) + count)
      }
    } finally {
      Error.stackTraceLimit = stackTraceLimit
    }
  })

  it("contain all that is to be tested", () => {
    const contained: Record<string, number> = {
      "shared": 1000,
      "exclusive": 500,
      "faults": 150,
      "servers that lost data": 5,
      "outcome: LockLost": 5,
      "outcome: NodesUnavailable": 1
    }
    for (const [what, least] of Object.entries(contained)) assert.isAtLeast(counts.get(what) ?? 0, least, what)
  })

  // In a process of its own, whose modules are loaded by Node itself, so that they can be changed on the way.
  it("find out every wrong algorithm", { timeout: 300_000 }, async () => {
    const script = fileURLToPath(new URL("mutations.ts", import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [script, "--quick"])
    const verdicts = stdout.trim().split("\n").map((line) => JSON.parse(line) as Verdict)
    assert.deepStrictEqual(verdicts.map(({ name }) => name), mutations.map(({ name }) => name))
    for (const { histories, name } of verdicts) assert.isDefined(histories, `"${name}" broke no promise`)
  })
})
