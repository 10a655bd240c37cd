/**
 * What is verified of a simulator: no history breaks a promise, the histories contain
 * what is to be tested, and wrong algorithms are found out.
 */
import { assert, describe, it } from "@effect/vitest"
import type { History } from "./contention.ts"
import { type Mutation, verdicts } from "./verdicts.ts"

export const findsOutAll = (program: URL, mutations: ReadonlyArray<Mutation>): void =>
  it("finds out every wrong algorithm", { timeout: 300_000 }, async () => {
    const all = await verdicts(program)
    assert.deepStrictEqual(all.map(({ name }) => name), mutations.map(({ name }) => name))
    for (const { histories, name, within } of all) {
      assert.isDefined(histories, `"${name}" broke no promise in ${within} histories`)
    }
  })

export const suite = (title: string, { contained, mutations, program, run, seeds, shown = [] }: {
  readonly run: (seed: number) => History
  readonly seeds: number
  /** Later seeds that have shown a fault, of the library or of the simulator. */
  readonly shown?: ReadonlyArray<number>
  /** How often it is to have happened in all of them, at the least. */
  readonly contained: Record<string, number>
  readonly mutations: ReadonlyArray<Mutation>
  readonly program: URL
}): void =>
  void describe(title, () => {
    const counts = new Map<string, number>()

    it("keeps every promise", { timeout: 120_000 }, () => {
      const { stackTraceLimit } = Error
      // Nobody reads where an error was made, and finding out is slow.
      Error.stackTraceLimit = 0
      try {
        for (let seed = 1; seed <= seeds; seed++) {
          const { counts: some, violation } = run(seed)
          assert.isUndefined(violation, `seed ${seed}: ${violation?.promise}, ${violation?.how}`)
          for (const [what, count] of some) counts.set(what, (counts.get(what) ?? 0) + count)
        }
      } finally {
        Error.stackTraceLimit = stackTraceLimit
      }
    })

    it.each(shown)("breaks no promise with seed %s, which has shown a fault", (seed) => {
      assert.isUndefined(run(seed).violation)
    })

    it("contains all that it is to test", () => {
      for (const [what, least] of Object.entries(contained)) assert.isAtLeast(counts.get(what) ?? 0, least, what)
    })

    findsOutAll(program, mutations)
  })
