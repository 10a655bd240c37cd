import { assert, describe, it } from "@effect/vitest"
import { run } from "./history.ts"
import { makePlan } from "./plan/plan.ts"
import { failure, Summary } from "./report.ts"

/** Histories in one test, and how many tests. */
const batch = 200
const batches = 5

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

  // A service that had closed before an attempt began to clean up, because nothing was under way for a moment.
  it("breaks no promise with seeds that have shown a fault", () => {
    for (const seed of [64_308, 64_950, 208_931, 800_616, 1_023_143, 22_570, 201_965]) {
      if (run(makePlan(seed)).violations.length > 0) assert.fail(failure(seed).join("\n"))
    }
  })

  it("contains all that it is to test", () => {
    const contained: Record<string, number> = {
      "locks handed out": 5000,
      "tokens handed out": 500,
      "second rounds for a token": 50,
      "attempts with split votes": 500,
      "keys planted again": 50,
      "servers that lost data": 50,
      "turns given notice of": 200,
      "locks passed on without a message": 50,
      "values replaced to pass a lock on": 300,
      "services closed in the middle of work": 100,
      "connections given up": 50,
      "foreign keys": 20,
      "keys overwritten or deleted by others": 10,
      "keys back by a failover": 20,
      "locks given up by hand": 50,
      "extended by hand: ok": 200,
      interruptions: 500,
      "outcome: ErrFailed": 500,
      "outcome: NodesUnavailable": 200,
      "outcome: LockLost Expired": 200,
      "outcome: LockLost Taken": 100,
      "outcome: LockLost NodesUnavailable": 5,
      "second holders beyond the assumptions": 5,
      ...Object.fromEntries(
        [
          "Block",
          "Break",
          "Crash",
          "FailOver",
          "Foreign",
          "HoldUp",
          "Partition",
          "ServerClock",
          "ServerCrash",
          "ServerPause",
          "SetWall",
          "Stop",
          "Suspend"
        ]
          .map((fault) => [`fault: ${fault}`, 20])
      )
    }
    for (const [what, least] of Object.entries(contained)) assert.isAtLeast(summary.count(what), least, what)
  })

  it("gives the same history for the same seed, byte for byte", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const first = run(makePlan(seed), true).timeline.join("\n")
      assert.isAbove(first.length, 0)
      assert.strictEqual(run(makePlan(seed), true).timeline.join("\n"), first)
    }
  })

  it("sees the same whether the history is written down or not", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const written = run(makePlan(seed), true)
      const silent = run(makePlan(seed))
      assert.strictEqual(silent.events, written.events)
      assert.deepStrictEqual([...silent.counts], [...written.counts])
    }
  })
})
