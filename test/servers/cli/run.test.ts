/**
 * `redsync run` in processes of its own, on real servers: what the command gets,
 * how it ends, and with which exit code.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { find } from "../../../src/cli/run/processes.ts"
import { redsync, type Running, start } from "../../support/commandLine.ts"
import { until } from "../../support/faults.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const password = "hidden away"

const forEver = "while :; do sleep 0.1; done"

/** It ignores SIGTERM and never ends by itself. */
const deaf = `trap '' TERM; echo up; ${forEver}`

const nodes = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

const run = (...args: ReadonlyArray<string>) => Effect.flatMap(nodes, (nodes) => redsync(["run", ...args], { nodes }))

const startRun = (...args: ReadonlyArray<string>) =>
  Effect.flatMap(nodes, (nodes) => start(["run", ...args], { nodes }))

/** On how many nodes there is a key of that name. */
const keys = (name: string) =>
  Effect.gen(function*() {
    const counts = yield* Effect.forEach(yield* RedisServers, ({ command }) => command<number>("EXISTS", name))
    return counts.reduce((sum, count) => sum + count, 0)
  })

/** Waits until somebody waits for the lock, in the list on whichever node that is. */
const untilInLine = (name: string) => Effect.repeat(keys(`redsync:1:line:{${name}}`), { until: (count) => count > 0 })

/** Waits until the command has ended that prints its number. */
const untilEnded = (running: Running) =>
  Effect.flatMap(
    running.printed("\n"),
    (output) => until("the command has ended", Effect.sync(() => find(Number(output)) === undefined))
  )

layer(RedisServers.layer(3, { password }), { excludeTestServices: true, concurrent: true })("redsync run", (it) => {
  it.effect("holds the lock while the command runs, and not after", () =>
    Effect.gen(function*() {
      const running = yield* startRun("held", "--", "sh", "-c", "echo up; read line; echo $REDSYNC_LOCK")
      const { code, output } = yield* running.ended
      assert.deepStrictEqual({ code, output }, { code: 0, output: "up\nheld\n" })
      assert.strictEqual(yield* keys("held"), 0)
    }))

  it.effect("passes input and output through", () =>
    Effect.gen(function*() {
      const args = ["run", "pipe", "--", "sh", "-c", "cat; echo err >&2"]
      const ended = yield* redsync(args, { nodes: yield* nodes, input: "in\n" })
      assert.deepStrictEqual(ended, { code: 0, output: "in\n", errors: "err\n" })
    }))

  it.effect("ends with the command's code, or 128 and its signal", () =>
    Effect.gen(function*() {
      const [failed, killed, missing, forbidden] = yield* Effect.all([
        run("code", "--", "sh", "-c", "exit 3"),
        run("signal", "--", "sh", "-c", "kill -KILL $$"),
        run("missing", "--", "no-such-command"),
        run("forbidden", "--", "/dev/null")
      ], { concurrency: 2 })
      assert.deepStrictEqual(failed, { code: 3, output: "", errors: "" })
      assert.deepStrictEqual(killed, { code: 137, output: "", errors: "" })
      const errors = "redsync: no-such-command: command not found\n"
      assert.deepStrictEqual(missing, { code: 127, output: "", errors })
      assert.strictEqual(forbidden.code, 126)
    }))

  it.effect("gives the command a token with --fenced, higher for each that holds the lock", () =>
    Effect.gen(function*() {
      const script = "echo \"$REDSYNC_LOCK $REDSYNC_TOKEN\""
      const outputs = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.map(run("--fenced", "fenced", "--", "sh", "-c", script), ({ output }) => output.split(" "))
      )
      assert.deepStrictEqual(outputs.map(([name]) => name), ["fenced", "fenced", "fenced"])
      const tokens = outputs.map(([, token]) => Number(token))
      assert.isAbove(tokens[1]!, tokens[0]!)
      assert.isAbove(tokens[2]!, tokens[1]!)
      const nested = yield* redsync(["run", "fenced", "--", "sh", "-c", "echo ${REDSYNC_TOKEN-none}"], {
        nodes: yield* nodes,
        env: { REDSYNC_TOKEN: "1" }
      })
      assert.strictEqual(nested.output, "none\n")
    }))

  it.effect("exits with 75 if another has the lock for longer than the wait", () =>
    Effect.gen(function*() {
      const holder = yield* startRun("busy", "--", "sh", "-c", "echo up; exec sleep 60")
      yield* holder.printed("up")
      const [once, patient] = yield* Effect.all([
        run("--wait", "0", "busy", "--", "echo", "never"),
        run("--wait", "300ms", "busy", "--", "echo", "never")
      ], { concurrency: 2 })
      for (const { code, errors, output } of [once, patient]) {
        assert.deepStrictEqual({ code, output }, { code: 75, output: "" })
        assert.match(errors, /^redsync: Could not acquire lock "busy" .*held by another.*\n$/)
      }
      yield* holder.signal("SIGTERM")
      assert.strictEqual((yield* holder.ended).code, 143)
    }))

  it.effect("waits for the lock, and gets it from the one before", () =>
    Effect.gen(function*() {
      const holder = yield* startRun("next", "--", "sh", "-c", "echo up; exec sleep 60")
      yield* holder.printed("up")
      const waiter = yield* startRun("next", "--", "echo", "mine")
      yield* untilInLine("next")
      yield* holder.signal("SIGTERM")
      assert.deepStrictEqual(yield* waiter.ended, { code: 0, output: "mine\n", errors: "" })
    }))

  it.effect("forwards signals to the command and what it started, and leaves the end to it", () =>
    Effect.gen(function*() {
      const script = (signal: string) => `trap 'echo got it; exit 5' ${signal}; echo up; ${forEver}`
      yield* Effect.forEach(["HUP", "INT", "TERM", "USR1"], (signal) =>
        Effect.gen(function*() {
          const running = yield* startRun(`signal ${signal}`, "--", "sh", "-c", script(signal))
          yield* running.printed("up")
          yield* running.signal(`SIG${signal}` as NodeJS.Signals)
          const { code, output } = yield* running.ended
          assert.deepStrictEqual({ code, output }, { code: 5, output: "up\ngot it\n" })
          assert.strictEqual(yield* keys(`signal ${signal}`), 0)
        }), { concurrency: 2, discard: true })
    }))

  it.effect("a signal ends the wait", () =>
    Effect.gen(function*() {
      const holder = yield* startRun("ended wait", "--", "sh", "-c", "echo up; exec sleep 60")
      yield* holder.printed("up")
      const waiter = yield* startRun("ended wait", "--", "echo", "never")
      yield* untilInLine("ended wait")
      yield* waiter.signal("SIGINT")
      assert.deepStrictEqual(yield* waiter.ended, { code: 130, output: "", errors: "" })
    }))

  it.effect("exits with 70 when the lock is taken away, and the command has the grace to end", () =>
    Effect.gen(function*() {
      const script = `trap 'echo cleaned up; exit 0' TERM; echo up; ${forEver}`
      const running = yield* startRun("--expiry", "1s", "taken", "--", "sh", "-c", script)
      yield* running.printed("up")
      for (const { command } of yield* RedisServers) yield* command("SET", "taken", "somebody else")
      const { code, errors, output } = yield* running.ended
      assert.deepStrictEqual({ code, output }, { code: 70, output: "up\ncleaned up\n" })
      assert.include(
        errors,
        "Lock \"taken\" was lost: a quorum no longer stores its value (deleted or taken by another)"
      )
      assert.strictEqual(yield* keys("taken"), 3)
    }))

  it.effect("a command that ignores SIGTERM does not outlive the grace, nor does what it started", () =>
    Effect.gen(function*() {
      const running = yield* startRun(
        "--expiry",
        "1s",
        "--grace",
        "500ms",
        "deaf",
        "--",
        "sh",
        "-c",
        `(${deaf}) & ${deaf}`
      )
      yield* running.printed("up\nup\n")
      for (const { command } of yield* RedisServers) yield* command("DEL", "deaf")
      // It has ended when the last process that could write to the output has.
      assert.strictEqual((yield* running.ended).code, 70)
    }))

  it.effect("keeps the lock for at least as long as it is told, however quick the command is", () =>
    Effect.gen(function*() {
      const running = yield* startRun("--at-least", "1h", "quick", "--", "sh", "-c", "echo $$; exit 3")
      yield* untilEnded(running)
      assert.strictEqual((yield* run("--wait", "0", "quick", "--", "true")).code, 75)
      yield* running.signal("SIGTERM")
      assert.strictEqual((yield* running.ended).code, 143)
      assert.strictEqual(yield* keys("quick"), 0)
      const short = yield* run("--at-least", "1ms", "quick", "--", "sh", "-c", "exit 3")
      assert.strictEqual(short.code, 3)
    }))

  it.effect("the command's code is the code also if the lock is lost after it, while it is kept", () =>
    Effect.gen(function*() {
      const running = yield* startRun("--at-least", "1h", "--expiry", "1s", "kept", "--", "sh", "-c", "echo $$; exit 3")
      yield* untilEnded(running)
      for (const { command } of yield* RedisServers) yield* command("SET", "kept", "somebody else")
      assert.strictEqual((yield* running.ended).code, 3)
    }))

  it.effect("exits with the code it is told if another has the lock", () =>
    Effect.gen(function*() {
      const holder = yield* startRun("busy exit", "--", "sh", "-c", "echo up; exec sleep 60")
      yield* holder.printed("up")
      const once = (code: string) => run("--wait", "0", "--busy-exit", code, "busy exit", "--", "echo", "never")
      const [seven, zero, wrong] = yield* Effect.all([once("7"), once("0"), once("256")])
      assert.deepStrictEqual({ code: seven.code, output: seven.output }, { code: 7, output: "" })
      assert.match(seven.errors, /^redsync: Could not acquire lock "busy exit"/)
      assert.deepStrictEqual(zero, { code: 0, output: "", errors: "" })
      assert.strictEqual(wrong.code, 64)
      assert.include(wrong.errors, "an exit code from 0 to 255")
    }))

  it.effect("holds several locks, all or none", () =>
    Effect.gen(function*() {
      const args = [
        "--also",
        "second",
        "--also",
        "third",
        "first",
        "--",
        "sh",
        "-c",
        "echo up $REDSYNC_LOCK; read line"
      ]
      const holder = yield* startRun("--also", "third", "other", "--", "sh", "-c", "echo up; exec sleep 60")
      yield* holder.printed("up")
      const refused = yield* run("--wait", "0", ...args)
      assert.strictEqual(refused.code, 75)
      assert.deepStrictEqual(yield* Effect.all([keys("first"), keys("second")]), [0, 0])
      const waiting = yield* startRun(...args)
      yield* holder.signal("SIGTERM")
      yield* waiting.printed("up first")
      assert.strictEqual((yield* waiting.ended).code, 1)
      const both = yield* run("--fenced", "--also", "second", "first", "--", "true")
      assert.strictEqual(both.code, 64)
      assert.include(both.errors, "--fenced works with a single name")
    }))
})
