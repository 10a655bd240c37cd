import { assert, describe, it } from "@effect/vitest"
import { run } from "./history.ts"
import { makePlan } from "./plan.ts"
import { failure, Summary } from "./report.ts"

/** Histories in one test, and how many tests. */
const batch = 200
const batches = 12

describe("simulation", () => {
  const summary = new Summary()

  for (let index = 0; index < batches; index++) {
    const from = 1 + index * batch
    it(`breaks no promise with the seeds from ${from} on`, { timeout: 120_000 }, () => {
      const { stackTraceLimit } = Error
      // Nobody reads where an error was made, and finding out is slow.
      Error.stackTraceLimit = 0
      try {
        for (let seed = from; seed < from + batch; seed++) {
          const plan = makePlan(seed)
          const history = run(plan)
          summary.add(plan, history)
          if (history.violations.length > 0) assert.fail(failure(seed).join("\n"))
        }
      } finally {
        Error.stackTraceLimit = stackTraceLimit
      }
    })
  }

  it("contains all that it is to test", () => {
    const contained: Record<string, number> = {
      "locks handed out": 10_000,
      "tokens handed out": 1000,
      "second rounds for a token": 100,
      "attempts with split votes": 1000,
      "keys planted again": 100,
      "servers that lost data": 50,
      "turns given notice of": 500,
      "services closed in the middle of work": 100,
      interruptions: 1000,
      "outcome: ErrFailed": 1000,
      "outcome: NodesUnavailable": 500,
      "outcome: LockLost Expired": 500,
      "outcome: LockLost Taken": 500,
      "outcome: LockLost NodesUnavailable": 10,
      "second holders beyond the assumptions": 10,
      ...Object.fromEntries(
        [
          "Block",
          "Break",
          "Crash",
          "Partition",
          "ServerClock",
          "ServerCrash",
          "ServerPause",
          "SetWall",
          "Stop",
          "Suspend"
        ]
          .map((fault) => [`fault: ${fault}`, 50])
      )
    }
    for (const [what, least] of Object.entries(contained)) assert.isAtLeast(summary.count(what), least, what)
  })

  it("gives the same history for the same seed, byte for byte", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const first = run(makePlan(seed), true).timeline.join("\n")
      assert.isAbove(first.length, 0)
      assert.strictEqual(run(makePlan(seed), true).timeline.join("\n"), first)
    }
  })

  it("sees the same whether the history is written down or not", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const written = run(makePlan(seed), true)
      const silent = run(makePlan(seed))
      assert.strictEqual(silent.events, written.events)
      assert.deepStrictEqual([...silent.counts], [...written.counts])
    }
  })
})
