/**
 * Parts of `redsync run` that depend on the system it runs on: what other systems
 * would show, read here.
 */
import { assert, describe, it } from "@effect/vitest"
import { readLaunch } from "../../../src/cli/run/launch.ts"
import { parsePs } from "../../../src/cli/run/processes.ts"

describe("what ps shows where there is no /proc", () => {
  it("has parents, groups and environments, and leaves out what has ended", () => {
    const found = parsePs([
      "    1     0     1 Ss   /sbin/launchd",
      "  412     1   412 S    worker --name a HOME=/home/a REDSYNC_RUN=mark",
      "  413   412   412 Z    (worker)"
    ].join("\n"))
    assert.deepStrictEqual(found.map(({ group, name, parent, pid }) => ({ group, name, parent, pid })), [
      { pid: 1, parent: 0, group: 1, name: "/sbin/launchd" },
      { pid: 412, parent: 1, group: 412, name: "worker" }
    ])
    assert.deepStrictEqual(found.map(({ hasInEnvironment }) => hasInEnvironment("mark")), [false, true])
  })
})

describe("what the launcher notes", () => {
  it("is the system's mask of ignored signals, or their names", () => {
    assert.deepStrictEqual([...readLaunch({ REDSYNC_LAUNCH: "7|0000000000000007,QUIT|1024|" }, 7).ignored], [
      "SIGHUP",
      "SIGINT",
      "SIGQUIT"
    ])
    // Which the shell does for itself.
    assert.deepStrictEqual([...readLaunch({ REDSYNC_LAUNCH: "7|0000000000000004|1024|" }, 7).ignored], [])
    assert.deepStrictEqual([...readLaunch({ REDSYNC_LAUNCH: "7|,HUP,QUIT|1024|" }, 7).ignored], ["SIGHUP", "SIGQUIT"])
    assert.deepStrictEqual([...readLaunch({ REDSYNC_LAUNCH: "7||1024|" }, 7).ignored], [])
  })

  it("is the limit, the descriptors and the variables that shells drop", () => {
    const { descriptors, dropped, openFiles } = readLaunch({
      REDSYNC_LAUNCH: "7|0|256|/dev/fd/0\n/dev/fd/10\n/dev/fd/3",
      REDSYNC_LAUNCH_1: "a.b=c\x01d|e",
      REDSYNC_LAUNCH_2: "-f=",
      REDSYNC_LOCK: "no=note"
    }, 7)
    assert.deepStrictEqual({ descriptors, dropped, openFiles }, {
      openFiles: "256",
      descriptors: [10, 3],
      dropped: ["a.b=c\nd|e", "-f="]
    })
  })

  it("counts for the process that it was noted for alone", () => {
    assert.deepStrictEqual(readLaunch({ REDSYNC_LAUNCH: "7|5|1024|/dev/fd/3" }, 8), readLaunch({}, 8))
  })
})
