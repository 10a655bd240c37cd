/**
 * What the doctor makes of what a server says about itself.
 */
import { assert, describe, it } from "@effect/vitest"
import { compare } from "../../src/cli/doctor.ts"
import { examineClock, examineFailover, examineFsync, examineInfo, parseInfo } from "../../src/cli/doctor/server.ts"

const durable = { aof_enabled: "1", redis_version: "7.0.15", role: "master" }

/** The findings about a server with these fields. */
const examine = (fields: Record<string, string | number>, { delayedRestartMillis = 0, replicas = 0 } = {}) =>
  examineInfo(
    parseInfo(Object.entries({ ...durable, ...fields }).map(([name, value]) => `${name}:${value}`).join("\r\n")),
    { delayedRestartMillis, replicas }
  ).map(({ level, message }) => `${level}: ${message}`)

describe("a server", () => {
  it("is too old before version 6.0.6", () => {
    for (const version of ["6.0.6", "6.2.0", "7.0.0", "7.2.4", "10.0.0"]) {
      assert.deepStrictEqual(examine({ redis_version: version }), [], version)
    }
    for (const version of ["6.0.5", "5.9.9", "5.0.14", "2.8", "6"]) {
      assert.deepStrictEqual(examine({ redis_version: version }), [
        `warning: is version ${version}: before 6.0.6, waiters poll instead of being woken`
      ])
    }
  })

  it("that is young says for how many seconds more it does not vote", () => {
    const options = { delayedRestartMillis: 60_500 }
    assert.deepStrictEqual(examine({ uptime_in_seconds: 20 }, options), [
      "warning: has been up for only 20 s and does not vote on new locks for 41 s more"
    ])
    assert.deepStrictEqual(examine({ uptime_in_seconds: 61 }, options), [])
  })

  it("needs as many replicas as are to acknowledge a lock", () => {
    assert.deepStrictEqual(examine({ connected_slaves: 2 }, { replicas: 2 }), [])
    assert.deepStrictEqual(examine({ connected_slaves: 1 }, { replicas: 2 }), [
      "error: has 1 of the 2 replicas that must acknowledge a lock: it grants none"
    ])
    assert.strictEqual(examineFailover(0).length, 1)
    assert.strictEqual(examineFailover(1).length, 0)
  })

  it("may forget its latest locks unless it writes each at once or restarts late", () => {
    assert.deepStrictEqual(examineFsync("always", 0), [])
    assert.deepStrictEqual(examineFsync("everysec", 1), [])
    assert.strictEqual(examineFsync("everysec", 0)[0]?.level, "warning")
    assert.strictEqual(examine({ aof_enabled: 0 }).length, 1)
    assert.strictEqual(examine({ aof_enabled: 0, uptime_in_seconds: 10 }, { delayedRestartMillis: 1000 }).length, 0)
  })

  it("has a wrong clock if it is off by more than a second and what the answer took", () => {
    const told = (offset: number, roundTrip: number) => examineClock(offset, roundTrip).map(({ message }) => message)
    assert.deepStrictEqual(told(1500, 500), [])
    assert.deepStrictEqual(told(-1500, 500), [])
    assert.deepStrictEqual(told(1501, 500), ["has a clock that is 1.5 s ahead of this machine's"])
    assert.deepStrictEqual(told(-2000, 500), ["has a clock that is 2.0 s behind this machine's"])
  })
})

describe("nodes together", () => {
  it("should be odd in number, unless the quorum is more than a majority", () => {
    const found = (count: number, quorum: number) =>
      compare(Array.from({ length: count }, (_, index) => ({ node: `${index}`, findings: [] })), quorum)
        .map(({ level, message }) => `${level}: ${message}`)
    assert.deepStrictEqual(found(3, 2), [])
    assert.deepStrictEqual(found(4, 4), [])
    assert.deepStrictEqual(found(4, 3), [
      "warning: 4 nodes tolerate no more failures than 3, and split votes are more frequent"
    ])
    assert.deepStrictEqual(found(1, 1), [
      "note: with a single node, all locks are lost with it; 3 or 5 nodes tolerate failures"
    ])
  })
})
