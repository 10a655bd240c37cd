/**
 * `redsync run` with permits of a semaphore and with shared locks: what the command is
 * given, who is let in beside whom, and how it ends.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { redsync, start } from "../../support/commandLine.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const nodes = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

const run = (...args: ReadonlyArray<string>) => Effect.flatMap(nodes, (nodes) => redsync(["run", ...args], { nodes }))

const startRun = (...args: ReadonlyArray<string>) =>
  Effect.flatMap(nodes, (nodes) => start(["run", ...args], { nodes }))

/** The same command on all nodes. */
const onEach = <A>(...command: ReadonlyArray<string>) =>
  Effect.flatMap(RedisServers, (servers) => Effect.forEach(servers, (server) => server.command<A>(...command)))

const permitsOf = (name: string) => `redsync:1:permits:{${name}}`

const sleeping = ["--", "sh", "-c", "echo up; exec sleep 600"]

/** Prints its numbers, and sleeps. */
const numbered = ["--", "sh", "-c", "echo \"$REDSYNC_LOCK $REDSYNC_SLOT.\"; exec sleep 600"]

/** Starts it, and returns what it prints. */
const holding = (...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const running = yield* startRun(...args)
    return { running, line: (yield* running.printed("\n")).trim() }
  })

layer(RedisServers.layer(3), { excludeTestServices: true, concurrent: true })("redsync run --permits", (it) => {
  it.effect("lets as many in as there are permits, each with a number of its own", () =>
    Effect.gen(function*() {
      const lines = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.map(holding("--permits", "3", "three", ...numbered), ({ line }) => line)
      )
      assert.deepStrictEqual([...lines].sort(), ["three 0.", "three 1.", "three 2."])
      const { code, errors, output } = yield* run("--permits", "3", "--wait", "0", "three", "--", "echo", "never")
      assert.deepStrictEqual({ code, output }, { code: 75, output: "" })
      assert.match(
        errors,
        /^redsync: Could not acquire 1 of 3 permits of "three" after 1 attempt .* has none free; .*\n$/
      )
      const busy = yield* run("--permits", "3", "--wait", "0", "--busy-exit", "0", "three", "--", "echo", "never")
      assert.deepStrictEqual(busy, { code: 0, output: "", errors: "" })
      // A lock of that name is another thing.
      assert.strictEqual((yield* run("--wait", "0", "three", "--", "true")).code, 0)
    }))

  it.effect("takes several, all or none, with their numbers and tokens separated by commas", () =>
    Effect.gen(function*() {
      const script = "echo \"$REDSYNC_SLOT/$REDSYNC_TOKEN\""
      const three = ["--permits", "3", "--take", "3", "--fenced", "several", "--", "sh", "-c", script]
      const [first, second] = [yield* run(...three), yield* run(...three)].map(({ output }) => output.trim().split("/"))
      const tokensOf = (printed: ReadonlyArray<string>) => printed[1]!.split(",").map(Number)
      for (const printed of [first!, second!]) {
        assert.strictEqual(printed[0], "0,1,2")
        assert.strictEqual(tokensOf(printed).length, 3)
      }
      for (const [index, token] of tokensOf(second!).entries()) assert.isAbove(token, tokensOf(first!)[index]!)
      yield* holding("--permits", "3", "--take", "2", "several", ...numbered)
      const none = yield* run("--permits", "3", "--take", "2", "--wait", "0", "several", "--", "true")
      assert.strictEqual(none.code, 75)
      assert.match(none.errors, /Could not acquire 2 of 3 permits of "several" .* has 1 free; /)
    }))

  it.effect("gives the command no number or token of another run that it runs under", () =>
    Effect.gen(function*() {
      const env = { REDSYNC_SLOT: "7", REDSYNC_TOKEN: "8" }
      const script = "echo ${REDSYNC_SLOT-none} ${REDSYNC_TOKEN-none}"
      const outputs = yield* Effect.forEach(
        [[], ["--shared"], ["--permits", "1"]],
        (flags) =>
          Effect.flatMap(
            nodes,
            (nodes) => redsync(["run", ...flags, "nested", "--", "sh", "-c", script], { nodes, env })
          )
      )
      assert.deepStrictEqual(outputs.map(({ output }) => output), ["none none\n", "none none\n", "0 none\n"])
    }))

  it.effect("waits until permits are free, and is woken by whoever leaves", () =>
    Effect.gen(function*() {
      const { running: holder } = yield* holding("--permits", "1", "next", ...numbered)
      const waiter = yield* startRun("--permits", "1", "next", "--", "sh", "-c", "echo got $REDSYNC_SLOT")
      const line = onEach<number>("EXISTS", "redsync:1:permit-line:{next}")
      yield* Effect.repeat(line, { until: (counts) => counts.includes(1) })
      yield* holder.signal("SIGTERM")
      assert.deepStrictEqual(yield* waiter.ended, { code: 0, output: "got 0\n", errors: "" })
      assert.deepStrictEqual(yield* onEach("EXISTS", permitsOf("next")), [0, 0, 0])
    }))

  it.effect("forwards signals, and leaves nothing on the nodes", () =>
    Effect.gen(function*() {
      const script = "trap 'echo got it; exit 5' TERM; echo up; while :; do sleep 0.1; done"
      const running = yield* startRun("--permits", "2", "signal", "--", "sh", "-c", script)
      yield* running.printed("up")
      yield* running.signal("SIGTERM")
      const { code, output } = yield* running.ended
      assert.deepStrictEqual({ code, output }, { code: 5, output: "up\ngot it\n" })
      assert.deepStrictEqual(yield* onEach("EXISTS", permitsOf("signal")), [0, 0, 0])
    }))

  it.effect("exits with 70 when the permits are taken away, and says what was lost", () =>
    Effect.gen(function*() {
      const { running } = yield* holding("--permits", "3", "--take", "2", "--expiry", "1s", "taken", ...numbered)
      yield* onEach("DEL", permitsOf("taken"))
      const { code, errors } = yield* running.ended
      assert.strictEqual(code, 70)
      assert.include(errors, "2 of 3 permits of \"taken\" were lost: a quorum no longer stores their value")
    }))

  it.effect("refuses what does not go together before it asks any node", () =>
    Effect.gen(function*() {
      const wrong: ReadonlyArray<readonly [flags: ReadonlyArray<string>, reason: string]> = [
        [["--take", "2"], "--take says how many of the --permits to take, but --permits is missing"],
        [["--permits", "2", "--take", "3"], "--take 3 is more than --permits 2"],
        [["--permits", "2", "--shared"], "--shared and --permits cannot be combined"],
        [["--permits", "2", "--also", "b"], "--permits works with a single name, so it cannot be combined with --also"],
        [["--shared", "--also", "b"], "--shared works with a single name, so it cannot be combined with --also"],
        [["--fenced", "--also", "b"], "--fenced works with a single name, so it cannot be combined with --also"],
        [["--permits", "0"], "\"0\". Expected: a whole number from 1 to 10000"],
        [["--permits", "10001"], "\"10001\". Expected: a whole number from 1 to 10000"],
        [["--permits", "-1"], "-1"],
        [["--permits", "1.5"], "1.5"],
        [["--permits", "many"], "many"],
        [["--permits", "5000", "--take", "1001"], "\"1001\". Expected: a whole number from 1 to 1000"],
        [["--permits", "5", "--take", "0"], "\"0\". Expected: a whole number from 1 to 1000"]
      ]
      // One that cannot be asked: that would be another exit code.
      const down = { nodes: ["redis://127.0.0.1:1"] }
      yield* Effect.forEach(wrong, ([flags, reason]) =>
        Effect.map(redsync(["run", ...flags, "wrong", "--", "echo", "never"], down), ({ code, errors, output }) => {
          assert.deepStrictEqual({ code, output }, { code: 64, output: "" }, flags.join(" "))
          assert.include(errors, reason)
        }), { concurrency: 2 })
    }))
})

layer(RedisServers.layer(3), { excludeTestServices: true, concurrent: true })("redsync run --shared", (it) => {
  it.effect("lets readers in together, and no writer beside them", () =>
    Effect.gen(function*() {
      const [first, second] = [
        yield* holding("--shared", "read", ...sleeping),
        yield* holding("--shared", "read", ...sleeping)
      ]
      const writer = yield* run("--wait", "0", "read", "--", "echo", "never")
      assert.deepStrictEqual({ code: writer.code, output: writer.output }, { code: 75, output: "" })
      assert.match(writer.errors, /Could not acquire lock "read" .*held by readers for about /)
      for (const { running } of [first, second]) yield* running.signal("SIGTERM")
      for (const { running } of [first, second]) assert.strictEqual((yield* running.ended).code, 143)
      assert.strictEqual((yield* run("--wait", "0", "read", "--", "true")).code, 0)
      assert.deepStrictEqual(yield* onEach("EXISTS", "read", "redsync:1:readers:{read}"), [0, 0, 0])
    }))

  it.effect("waits for a writer, and has the token of the last one with --fenced", () =>
    Effect.gen(function*() {
      const script = ["--", "sh", "-c", "echo $REDSYNC_TOKEN; exec sleep 600"]
      const { line, running: writer } = yield* holding("--fenced", "written", ...script)
      const once = yield* run("--shared", "--wait", "0", "written", "--", "true")
      assert.strictEqual(once.code, 75)
      const reader = yield* startRun("--shared", "--fenced", "written", "--", "sh", "-c", "echo $REDSYNC_TOKEN")
      const turns = onEach<number>("EXISTS", "redsync:1:turns:{written}")
      yield* Effect.repeat(turns, { until: (counts) => counts.every((count) => count === 1) })
      yield* writer.signal("SIGTERM")
      assert.deepStrictEqual(yield* reader.ended, { code: 0, output: `${line}\n`, errors: "" })
    }))

  it.effect("exits with 70 when the lock is taken away", () =>
    Effect.gen(function*() {
      const { running } = yield* holding("--shared", "--expiry", "1s", "lost", ...sleeping)
      yield* onEach("SET", "lost", "somebody else")
      const { code, errors } = yield* running.ended
      assert.strictEqual(code, 70)
      assert.include(errors, "Lock \"lost\" was lost: a quorum no longer stores its value")
    }))
})
