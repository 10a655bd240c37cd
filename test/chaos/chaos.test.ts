/** A short chaos run; `npm run chaos` is a long one. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { countBy, violations } from "./report.ts"
import { run } from "./run.ts"

const options = {
  seed: "short",
  millis: 20_000,
  gapMillis: 400,
  expiryMillis: 1500,
  clients: 4,
  fibers: 3,
  names: { long: 1, short: 2 },
  delayedRestart: true,
  clientPauses: true,
  rollingRestarts: false
}

it.live(
  "twenty seconds of chaos: nobody is let in while another has time, and late writes are fenced off",
  () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const outcome = yield* run({ ...options, say: (line) => said.push(line) })
      const story = said.join("\n")
      assert.deepStrictEqual(violations(outcome, options), [], story)
      // That something has happened at all.
      const { holds } = outcome.verdict
      assert.isAbove(holds.length, 200, story)
      assert.strictEqual(new Set(holds.map(({ name }) => name)).size, 3)
      assert.isAbove(outcome.faults.length, 20)
      assert.deepStrictEqual(
        countBy(outcome.events.flatMap((event) => event.kind === "fault" ? [event.fault] : [])),
        countBy(outcome.faults.map(({ kind }) => kind))
      )
      console.log(`chaos, seed ${options.seed}: ${holds.length} acquisitions, ${outcome.faults.length} faults`)
    }).pipe(Effect.scoped),
  180_000
)
