/** The judge of chaos runs, on logs written by hand. */
import { assert, describe, it } from "@effect/vitest"
import { judge, type Verdict } from "./checker.ts"
import type { Event } from "./log.ts"

const millis = (at: number) => at * 1000

/** A hold of process `process`, all times in milliseconds. */
const hold = (
  process: number,
  options: {
    readonly from: number
    /** It ends by being killed or is still going on where this is not given. */
    readonly to?: number
    readonly leaseEnd: number
    readonly token: number
    readonly name?: string
  }
): Array<Event> => {
  const of = { process, hold: options.from }
  const { from, leaseEnd, name = "a", to, token } = options
  return [
    { kind: "entered", at: millis(from), ...of, name, leaseEnd: millis(leaseEnd), waited: 0, token },
    ...to === undefined ? [] : [{ kind: "left" as const, at: millis(to), ...of }]
  ]
}

const summary = ({ outOfOrder, overlaps, passedByFence }: Verdict) => ({
  overlaps: overlaps.map(({ kind, newer, older }) => `${older.process} and ${newer.process}: ${kind}`),
  passedByFence: passedByFence.map(({ process }) => process),
  outOfOrder: outOfOrder.map(({ process }) => process)
})

const clean = { overlaps: [], passedByFence: [], outOfOrder: [] }

const judged = (...events: ReadonlyArray<ReadonlyArray<Event> | Event>) => summary(judge(events.flat()))

describe("overlaps", () => {
  it("one after the other: none, also where the one ends as the other begins, or has another name", () => {
    assert.deepStrictEqual(
      judged(
        hold(1, { from: 0, to: 10, leaseEnd: 100, token: 1 }),
        hold(2, { from: 10, to: 20, leaseEnd: 110, token: 2 }),
        hold(3, { from: 5, to: 20, leaseEnd: 110, token: 1, name: "b" })
      ),
      clean
    )
  })

  it("two who both have time", () => {
    assert.deepStrictEqual(
      judged(
        hold(1, { from: 0, to: 10, leaseEnd: 100, token: 1 }),
        hold(2, { from: 9, to: 20, leaseEnd: 109, token: 2 })
      ),
      { ...clean, overlaps: ["1 and 2: promised"] }
    )
  })

  it("one whose process we had stopped, and that stood still again later", () => {
    assert.deepStrictEqual(
      judged(
        hold(1, { from: 0, to: 500, leaseEnd: 100, token: 1 }),
        { kind: "stopped", at: millis(50), process: 1 },
        { kind: "resumed", at: millis(499), process: 1 },
        hold(2, { from: 200, to: 600, leaseEnd: 700, token: 2 }),
        { kind: "stood still", at: millis(900), from: millis(800), process: 1 }
      ),
      { ...clean, overlaps: ["1 and 2: paused"] }
    )
  })

  it("an early one that lasts is found with each that comes later", () => {
    assert.deepStrictEqual(
      judged(
        hold(1, { from: 0, to: 50, leaseEnd: 100, token: 1 }),
        hold(2, { from: 10, to: 20, leaseEnd: 110, token: 2 }),
        hold(3, { from: 30, to: 40, leaseEnd: 130, token: 3 })
      ).overlaps,
      ["1 and 2: promised", "1 and 3: promised"]
    )
  })

  it("the lease counts as last extended", () => {
    const first = hold(1, { from: 0, to: 150, leaseEnd: 100, token: 1 })
    const second = hold(2, { from: 140, to: 160, leaseEnd: 240, token: 2 })
    const extended: Event = { kind: "extended", at: millis(70), process: 1, hold: 0, leaseEnd: millis(170) }
    assert.deepStrictEqual(judged(first, extended, second).overlaps, ["1 and 2: promised"])
  })

  it("a program that goes on long after its lease, in a process that runs", () => {
    const outlives = hold(1, { from: 0, to: 300, leaseEnd: 100, token: 1 })
    const next = hold(2, { from: 120, to: 130, leaseEnd: 220, token: 2 })
    const later = hold(2, { from: 200, to: 210, leaseEnd: 300, token: 3 })
    assert.deepStrictEqual(judged(outlives, next, later).overlaps, ["1 and 2: stalled", "1 and 2: overstayed"])
  })

  it("the same in a process that we had stopped, or that did not get the processor: as long as that lasted", () => {
    const outlives = hold(1, { from: 0, to: 300, leaseEnd: 100, token: 1 })
    const later = hold(2, { from: 200, to: 310, leaseEnd: 400, token: 2 })
    const stopped: Event = { kind: "stopped", at: millis(50), process: 1 }
    const resumed = (at: number): Event => ({ kind: "resumed", at: millis(at), process: 1 })
    const still = (at: number): Event => ({ kind: "stood still", at: millis(at), from: millis(90), process: 1 })
    assert.deepStrictEqual(judged(outlives, later, stopped, resumed(299)).overlaps, ["1 and 2: paused"])
    assert.deepStrictEqual(judged(outlives, later, stopped, resumed(200)).overlaps, ["1 and 2: overstayed"])
    assert.deepStrictEqual(judged(outlives, later, still(299)).overlaps, ["1 and 2: stalled"])
    assert.deepStrictEqual(judged(outlives, later, still(200)).overlaps, ["1 and 2: overstayed"])
    // Its own view of the pause does not count twice.
    assert.deepStrictEqual(judged(outlives, later, stopped, resumed(200), still(200)).overlaps, ["1 and 2: overstayed"])
    // And another's pause not at all.
    const other: Event = { kind: "stopped", at: millis(50), process: 2 }
    assert.deepStrictEqual(judged(outlives, later, other).overlaps, ["1 and 2: overstayed"])
  })

  it("a pause is no excuse while the lease lasts", () => {
    assert.deepStrictEqual(
      judged(
        hold(1, { from: 0, to: 90, leaseEnd: 100, token: 1 }),
        { kind: "stopped", at: millis(10), process: 1 },
        { kind: "resumed", at: millis(80), process: 1 },
        hold(2, { from: 50, to: 60, leaseEnd: 150, token: 2 })
      ).overlaps,
      ["1 and 2: promised"]
    )
  })

  it("one whose process is killed ends there, one that nobody ended goes on", () => {
    const first = hold(1, { from: 0, leaseEnd: 100, token: 1 })
    const second = hold(2, { from: 90, to: 95, leaseEnd: 190, token: 2 })
    const killed: Event = { kind: "killed", at: millis(80), process: 1 }
    assert.deepStrictEqual(judged(first, killed, second), clean)
    assert.deepStrictEqual(judged(first, second).overlaps, ["1 and 2: promised"])
  })
})

describe("the fenced resource", () => {
  const stopped: Event = { kind: "stopped", at: millis(50), process: 1 }
  const resumed: Event = { kind: "resumed", at: millis(199), process: 1 }
  const late = (token: number) => hold(1, { from: 0, to: 200, leaseEnd: 100, token })
  const next = (token: number) => hold(2, { from: 150, to: 160, leaseEnd: 250, token })

  it("turns away the late write of one with a smaller token", () => {
    assert.deepStrictEqual(judged(late(1), stopped, resumed, next(2)), { ...clean, overlaps: ["1 and 2: paused"] })
  })

  it("takes it where the token is not smaller, which is found", () => {
    for (const token of [2, 3]) {
      assert.deepStrictEqual(judged(late(token), stopped, resumed, next(2)), {
        overlaps: ["1 and 2: paused"],
        passedByFence: [1],
        outOfOrder: [2]
      })
    }
  })

  it("tokens that do not increase are found without an overlap too", () => {
    for (const token of [1, 2]) {
      assert.deepStrictEqual(
        judged(
          hold(1, { from: 0, to: 10, leaseEnd: 100, token: 2 }),
          hold(2, { from: 20, to: 30, leaseEnd: 120, token })
        ),
        { ...clean, outOfOrder: [2] }
      )
    }
  })

  it("one that begins after its lease, with the smaller token that it has, is no disorder", () => {
    assert.deepStrictEqual(
      judged(
        hold(2, { from: 20, to: 30, leaseEnd: 120, token: 2 }),
        hold(1, { from: 40, to: 45, leaseEnd: 40, token: 1 })
      ),
      clean
    )
  })

  it("one that was killed writes nothing more", () => {
    const killed: Event = { kind: "killed", at: millis(200), process: 1 }
    const first = hold(1, { from: 0, leaseEnd: 100, token: 3 })
    assert.deepStrictEqual(judged(first, stopped, killed, next(2)).passedByFence, [])
  })
})
