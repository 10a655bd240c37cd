/** Clocks, which the model has not: S4, S8 and S9, over a grid of speeds, delays and waits. */
import { assert, describe, it } from "@effect/vitest"
import type { Clock } from "effect/Clock"
import { MemoryNode } from "../../src/index.ts"
import { HandOverVotes, Stopwatches } from "../../src/internal/waiting/stopwatch.ts"

/** Two clocks within the drift factor of each other. */
const driftFactor = 0.01
const speeds = [0.995, 1, 1.005]
const delays = [0, 1, 10, 500]
const waits = [0, 3, 1000, 60_000, 600_000]
const expiries = [250, 1000, 8000]

const node = MemoryNode.make()

interface Case {
  /** Of the server's clock and ours. */
  readonly serverSpeed: number
  readonly ourSpeed: number
  /** How long the request takes that asks for the time, and its reply. */
  readonly request: number
  readonly reply: number
  /** How long after that the key is set. */
  readonly wait: number
  readonly expiry: number
  /** By how much the server's clock is set meanwhile. */
  readonly serverSet?: number
  /** How long we are suspended meanwhile: our monotonic clock stands still. */
  readonly suspended?: number
}

/** For how much longer than the key the lease lasts, if there is one. */
const outlives = (aCase: Case): number | undefined => {
  const { expiry, ourSpeed, reply, request, serverSet = 0, serverSpeed, suspended = 0, wait } = aCase
  let now = 0
  let stoodStill = 0
  const monotonic = () => (now - stoodStill) * ourSpeed
  const clock = {
    monotonicTimeNanosUnsafe: () => BigInt(Math.round(monotonic() * 1e6)),
    currentTimeMillisUnsafe: () => now * ourSpeed
  } as Clock
  const stopwatches = new Stopwatches(clock)
  const sentAt = stopwatches.start()
  now += request
  const time = { millis: now * serverSpeed, clock: "the server's" }
  now += reply
  stopwatches.read(node, sentAt, time)
  now = Math.max(now, request + wait)
  const setAt = request + wait
  stoodStill = suspended
  const votes = new HandOverVotes()
  votes.add(node, stopwatches.vote(node, { ...time, millis: setAt * serverSpeed + serverSet }, expiry, driftFactor))
  const end = votes.end(clock, 1, { driftFactor, expiryMillis: 8000 })
  if (end === undefined) return undefined
  const endsAt = now + Math.min(end.monotonic - monotonic(), end.wall - now * ourSpeed) / ourSpeed
  return endsAt - (setAt + expiry / serverSpeed)
}

const cases = (more: Partial<Case> = {}): ReadonlyArray<Case> =>
  speeds.flatMap((serverSpeed) =>
    speeds.flatMap((ourSpeed) =>
      delays.flatMap((request) =>
        delays.flatMap((reply) =>
          waits.flatMap((wait) =>
            expiries.map((expiry) => ({ serverSpeed, ourSpeed, request, reply, wait, expiry, ...more }))
          )
        )
      )
    )
  )

/** How many of the cases have a lease. */
const noneOutlives = (all: ReadonlyArray<Case>): number => {
  const leases = all.flatMap((aCase) => {
    const millis = outlives(aCase)
    if (millis !== undefined) assert.isAtMost(millis, 0, JSON.stringify(aCase))
    return millis ?? []
  })
  return leases.length
}

describe("the lease of a lock that was handed over never outlives its key", () => {
  it("S4: whatever the speeds of the clocks, the delays and the waits", () => {
    const all = cases()
    assert.strictEqual(all.length, 2160)
    assert.isAbove(noneOutlives(all), all.length / 2)
  })

  it("S8: if the server's clock is set back, or forward by more than request and reply took", () => {
    for (const serverSet of [-600_000, -1000, -20, 1020, 600_000]) noneOutlives(cases({ serverSet }))
  })

  it("S8, S9: if our machine is suspended between the reading and the hand-over", () => {
    for (const suspended of [20, 1000, 60_000]) {
      noneOutlives(cases({ suspended }).filter(({ wait }) => wait >= suspended))
    }
  })
})
