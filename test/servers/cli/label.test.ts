/**
 * `redsync run --label`: who holds a lock, in words, for as long as it is held.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { hostname } from "node:os"
import { redsync, type Running, start } from "../../support/commandLine.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const nodes = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

const cli = (...args: ReadonlyArray<string>) => Effect.flatMap(nodes, (nodes) => redsync(args, { nodes }))

const keyOf = (name: string) => `redsync:1:label:{${name}}`

/** The same command on all nodes. */
const onEach = <A>(...command: ReadonlyArray<string>) =>
  Effect.flatMap(RedisServers, (servers) => Effect.forEach(servers, (server) => server.command<A>(...command)))

/** Starts `redsync run` with the arguments before the name, and waits until the lock is held and labelled. */
const holding = (name: string, args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const command = ["sh", "-c", "echo up; exec sleep 600"]
    const running: Running = yield* start(["run", ...args, name, "--", ...command], { nodes: yield* nodes, env })
    yield* running.printed("up")
    yield* Effect.repeat(onEach<string | null>("GET", keyOf(name)), {
      until: (texts) => texts.every((text) => text?.includes(` ${running.pid} `))
    })
    return running
  })

layer(RedisServers.layer(3), { excludeTestServices: true })("redsync run --label", (it) => {
  it.effect("is shown by status and unlock, in text and in JSON", () =>
    Effect.gen(function*() {
      const { pid } = yield* holding("shown", ["--label", "nightly \u001b[31mimport"])
      const [asText, asJson] = [yield* cli("status", "shown"), yield* cli("status", "--json", "shown")]
      const line = `  process ${pid} on ${hostname()}: nightly \\u001b[31mimport`
      assert.strictEqual(asText.output.split("\n")[1], line)
      assert.deepStrictEqual(JSON.parse(asJson.output)[0].holder.by, {
        host: hostname(),
        pid,
        label: "nightly \u001b[31mimport"
      })
      const unlocked = yield* cli("unlock", "shown")
      assert.include(unlocked.output, line)
    }))

  it.effect("is taken from the environment as well", () =>
    Effect.gen(function*() {
      yield* holding("environment", [], { REDSYNC_LABEL: "from cron" })
      assert.include((yield* cli("status", "environment")).output, ": from cron\n")
    }))

  it.effect("is extended with the lock, and gone with it", () =>
    Effect.gen(function*() {
      const running = yield* holding("extended", ["--expiry", "2s", "--label", ""])
      const ends = onEach<number>("PEXPIRETIME", keyOf("extended"))
      const first = yield* ends
      yield* Effect.repeat(ends, { until: (times) => times.every((time, index) => time > first[index]!) })
      for (const left of yield* onEach<number>("PTTL", keyOf("extended"))) assert.isAtMost(left, 2000)
      assert.match((yield* cli("status", "extended")).output.split("\n")[1]!, /^ {2}process \d+ on \S+$/)
      yield* running.signal("SIGTERM")
      yield* running.ended
      assert.deepStrictEqual(yield* onEach("EXISTS", "extended", keyOf("extended")), [0, 0, 0])
    }))

  it.effect("replaces what a holder has left that crashed", () =>
    Effect.gen(function*() {
      yield* onEach("SET", keyOf("left"), "another== 1 elsewhere old", "PX", "600000")
      yield* holding("left", ["--label", "new"])
      assert.include((yield* cli("status", "left")).output, ": new\n")
    }))

  it.effect("has the prefix of the locks, as all that the command line does", () =>
    Effect.gen(function*() {
      const env = { REDSYNC_PREFIX: "tenant:" }
      const given = { nodes: yield* nodes, env }
      const running = yield* start(
        ["run", "--label", "x", "prefixed", "--", "sh", "-c", "echo up; exec sleep 600"],
        given
      )
      yield* running.printed("up")
      const keys = onEach<number>("EXISTS", "tenant:prefixed", keyOf("tenant:prefixed"))
      yield* Effect.repeat(keys, { until: (counts) => counts.every((count) => count === 2) })
      assert.include((yield* redsync(["status", "prefixed"], given)).output, ": x\n")
      assert.include((yield* cli("status", "prefixed")).output, "prefixed  free")
      yield* running.signal("SIGTERM")
      yield* running.ended
      yield* onEach("SET", "tenant:empty", "", "PX", "60000")
      assert.strictEqual((yield* redsync(["unlock", "--yes", "empty"], given)).code, 0)
      assert.deepStrictEqual(yield* onEach("EXISTS", "tenant:empty"), [0, 0, 0])
      yield* onEach("ACL", "SETUSER", "tenant", "on", ">pw", "~tenant:*", "+@all")
      const urls = (yield* nodes).map((url) => url.replace("//", "//tenant:pw@"))
      const { output } = yield* redsync(["doctor"], { nodes: urls, env })
      assert.notInclude(output, "cannot check whether the user may acquire")
    }))

  it.effect("is not believed for a value that is not the holder's", () =>
    Effect.gen(function*() {
      yield* onEach("SET", "forged", "a-value", "PX", "60000")
      for (const text of ["another 1 host words", "a-value words", "", "a-value 99999999999999 host words"]) {
        yield* onEach("SET", keyOf("forged"), text, "PX", "60000")
        assert.notInclude((yield* cli("status", "forged")).output, "process", text)
      }
      yield* onEach("SET", keyOf("forged"), "a-value 1 host words", "PX", "60000")
      assert.include((yield* cli("status", "forged")).output, "  process 1 on host: words\n")
    }))

  it.effect("is no matter of the lock: without rights to it the command runs all the same", () =>
    Effect.gen(function*() {
      yield* onEach("ACL", "SETUSER", "plain", "on", ">pw", "~confined", "~redsync:1:line:*", "&*", "+@all")
      const urls = (yield* nodes).map((url) => url.replace("//", "//plain:pw@"))
      const script = "echo ran; sleep 0.2"
      const { code, errors, output } = yield* redsync(["run", "--label", "x", "confined", "--", "sh", "-c", script], {
        nodes: urls
      })
      assert.deepStrictEqual({ code, output }, { code: 0, output: "ran\n" })
      assert.match(errors, /^redsync: cannot write the label: .*NOPERM.*\n$/)
    }))

  it.effect("has a length that every node shows", () =>
    Effect.gen(function*() {
      const { code, errors } = yield* cli("run", "--label", "x".repeat(101), "long", "--", "true")
      assert.strictEqual(code, 64)
      assert.include(errors, "at most 100 bytes are allowed")
    }))
})
