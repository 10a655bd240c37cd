/**
 * A fiber that waits, and what is given to it.
 */
import { assert, describe, it } from "@effect/vitest"
import { AcquireWaiter } from "../../../src/internal/acquire/acquireWaiter.ts"

/** A waiter, and a lock with so much of its lease left. */
const given = (remainingMillis: number) => {
  let released = 0
  const lock = { remainingMillis: () => remainingMillis, beginRelease: () => void released++ }
  const waiter = new AcquireWaiter({ quorum: { defer: (run: () => void) => run() } } as never, "a", {} as never)
  return { lock, waiter, give: () => waiter.give(lock as never), released: () => released }
}

describe("a lock that is passed on to a waiter", () => {
  it("is taken once, and wakes it", () => {
    const { give, lock, released, waiter } = given(1)
    let woken = 0
    waiter.wake = () => void woken++
    give()
    assert.deepStrictEqual([waiter.hasLock, waiter.isAsleep, woken], [true, false, 1])
    assert.strictEqual<unknown>(waiter.take(), lock)
    assert.isUndefined(waiter.take())
    waiter.leave()
    assert.strictEqual(released(), 0)
  })

  it("is released, and not taken, if its lease has ended meanwhile", () => {
    const { give, released, waiter } = given(0)
    give()
    assert.isUndefined(waiter.take())
    assert.strictEqual(released(), 1)
  })

  it("is released if the waiter leaves without it, or has left", () => {
    const { give, released, waiter } = given(1)
    give()
    waiter.leave()
    assert.strictEqual(released(), 1)
    give()
    assert.strictEqual(released(), 2)
    assert.isUndefined(waiter.take())
  })
})
