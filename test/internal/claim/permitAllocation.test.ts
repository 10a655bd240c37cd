/**
 * In which order a claim has the nodes try the slots of a semaphore.
 */
import { assert, describe, it } from "@effect/vitest"
import { PermitAllocation } from "../../../src/internal/claim/permitAllocation.ts"

describe("the order of slots", () => {
  it("reaches each of them once, whatever the limit and the random numbers", () => {
    for (const limit of [1, 2, 3, 4, 6, 12, 30, 97, 100]) {
      for (const first of [0, 0.3, 0.5, 0.999_999]) {
        for (const second of [0, 0.3, 0.5, 0.999_999]) {
          const { start, step } = new PermitAllocation({ limit, permits: 1 }, { random: [first, second] }, undefined)
          const slots = Array.from({ length: limit }, (_, index) => (start + index * step) % limit)
          assert.strictEqual(new Set(slots).size, limit, `${limit} ${first} ${second}`)
          for (const slot of slots) assert.isTrue(Number.isInteger(slot) && slot >= 0 && slot < limit)
        }
      }
    }
  })

  it("begins with one that is known to be free, unless the limit has no such slot", () => {
    const start = (first: number) =>
      new PermitAllocation({ limit: 3, permits: 1 }, { random: [0.4, 0], first }, undefined).start
    assert.deepStrictEqual([0, 1, 2, 3, 4].map(start), [0, 1, 2, 1, 1])
  })
})
