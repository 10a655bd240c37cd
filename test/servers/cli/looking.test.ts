/**
 * `redsync status` and `unlock`, wrong usage, and that passwords stay hidden.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Redsync, sharedLock } from "../../../src/index.ts"
import { companionKey } from "../../../src/internal/redis/keys.ts"
import { type Ended, path, patient, program, redsync, start } from "../../support/commandLine.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"
import { ctrl, openTerminal } from "../../support/terminal.ts"

const src = fileURLToPath(new URL("../../../src", import.meta.url))

const password = "hidden away"

/** What was printed, where nothing may tell the password. */
const printed = (ended: Ended) => {
  const text = decodeURIComponent(`${ended.output}${ended.errors}`.replaceAll("%", "%25"))
  assert.notInclude(text, password)
  assert.notInclude(text, encodeURIComponent(password))
  return ended
}

const nodes = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

/** The library, in this process; a lease that is not extended before a test is over. */
const redsyncHere = Layer.unwrap(Effect.map(nodes, (nodes) => Redsync.layer({ nodes, expiry: "1 minute" })))

const cli = (...args: ReadonlyArray<string>) =>
  Effect.map(Effect.flatMap(nodes, (nodes) => redsync(args, { nodes })), printed)

const ids = Effect.map(RedisServers, (servers) => servers.map(({ host, port }) => `${host}:${port}`))

/** Sets a key on the first so many nodes. */
const set = (count: number, key: string, value: string, ...args: ReadonlyArray<string>) =>
  Effect.flatMap(
    RedisServers,
    (servers) => Effect.forEach(servers.slice(0, count), ({ command }) => command("SET", key, value, ...args))
  )

layer(RedisServers.layer(3, { password }), { excludeTestServices: true, concurrent: true })("redsync status", (it) => {
  it.effect("tells who holds it on which node", () =>
    Effect.gen(function*() {
      yield* set(2, "held", "one value", "PX", "60000")
      yield* set(1, "part", "another", "PX", "60000")
      const { code, output } = yield* cli("status", "held", "part", "free")
      const nodes = yield* ids
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(output.replaceAll(/\d+\.\d s/g, "_ s").split("\n"), [
        "held  held by one value for _ s more, on 2 of 3 nodes, quorum 2",
        `  ${nodes[0]}  one value for _ s`,
        `  ${nodes[1]}  one value for _ s`,
        `  ${nodes[2]}  free`,
        "part  contested: no value has a quorum; keys on 1 of 3 nodes, quorum 2",
        `  ${nodes[0]}  another for _ s`,
        `  ${nodes[1]}  free`,
        `  ${nodes[2]}  free`,
        "free  free",
        ...nodes.map((node) => `  ${node}  free`),
        ""
      ])
    }))

  it.effect("tells it to programs", () =>
    Effect.gen(function*() {
      yield* set(2, "json", "one value", "PX", "60000")
      const { code, output } = yield* cli("status", "--json", "json")
      assert.strictEqual(code, 0)
      const [{ holder, name, nodes, quorum, state }] = JSON.parse(output)
      assert.deepStrictEqual({ name, quorum, state, value: holder.value }, {
        name: "json",
        quorum: 2,
        state: "held",
        value: "one value"
      })
      assert.isAbove(holder.ttlMillis, 0)
      assert.deepStrictEqual(nodes.map(({ state }: { readonly state: string }) => state), ["held", "held", "free"])
    }))

  it.effect("tells how many services stand in line, if the user may know", () =>
    Effect.gen(function*() {
      const [first, ...others] = yield* RedisServers
      yield* set(3, "line", "one value", "PX", "60000")
      yield* first!.command("RPUSH", companionKey("line", "line"), "1:a", "1:b")
      const { output } = yield* cli("status", "line")
      assert.match(output, /^line {2}held by one value for .*\n {2}2 services in line\n/)
      assert.strictEqual(JSON.parse((yield* cli("status", "--json", "line")).output)[0].waiting, 2)
      yield* Effect.forEach([first!, ...others], ({ command }) =>
        command("ACL", "SETUSER", "looker", "on", ">pw", "~*", "&*", "+@all", "-llen"))
      const nodes = [first!, ...others].map(({ host, port }) =>
        `redis://looker:pw@${host}:${port}`
      )
      const view = JSON.parse(printed(yield* redsync(["status", "--json", "line"], { nodes })).output)[0]
      assert.deepStrictEqual([view.state, view.waiting], ["held", null])
    }))

  /** One name for each state, and what the nodes have under it. */
  const kinds = Effect.gen(function*() {
    const servers = yield* RedisServers
    yield* set(2, "kind held", "one value", "PX", "60000")
    for (const [index, { command }] of servers.entries()) {
      yield* command("SET", "kind split", `value ${index}`, "PX", "60000")
      yield* command("HSET", "kind Redisson", "id:1", "1")
    }
    yield* set(1, "kind rest", "one value", "PX", "60000")
    yield* set(3, "kind data", "for ever")
    yield* servers[2]!.command("LPUSH", "kind list", "precious")
    return [
      ["kind held", "held"],
      ["kind split", "contested"],
      ["kind rest", "contested"],
      ["kind Redisson", "foreign"],
      ["kind data", "foreign"],
      ["kind list", "foreign"],
      ["kind free", "free"]
    ] as const
  })

  interface State {
    readonly name: string
    readonly state: string
    readonly holder: unknown
  }

  const words: Record<string, RegExp> = {
    held: /held by one value for/,
    contested: /contested: no value has a quorum; keys on \d/,
    foreign: /foreign: keys that are not locks on \d/,
    free: /free$/,
    unknown: /unknown: too few nodes answer$/
  }

  it.effect("has a state for what is neither held nor free, in text and in JSON", () =>
    Effect.gen(function*() {
      const expected = yield* kinds
      const names = expected.map(([name]) => name)
      const [asJson, asText] = yield* Effect.all([cli("status", "--json", ...names), cli("status", ...names)])
      const states: ReadonlyArray<State> = JSON.parse(asJson.output)
      assert.deepStrictEqual(states.map(({ name, state }) => [name, state]), expected.map((pair) => [...pair]))
      for (const { holder, state } of states) assert.strictEqual(holder !== null, state === "held")
      const lines = asText.output.split("\n").filter((line) => line.startsWith("kind "))
      for (const [index, [, state]] of expected.entries()) assert.match(lines[index]!, words[state]!)
    }))

  it.effect("does not know where the nodes that fail could make it held", () =>
    Effect.gen(function*() {
      yield* kinds
      const [a = "", b = ""] = yield* nodes
      const down = "redis://127.0.0.1:1"
      const names = ["kind held", "kind rest", "kind split", "kind list", "kind free"]
      const { code, output } = printed(yield* redsync(["status", "--json", ...names], { nodes: [a, b, down] }))
      const states: ReadonlyArray<State> = JSON.parse(output)
      assert.deepStrictEqual(states.map(({ state }) => state), ["held", "unknown", "unknown", "free", "free"])
      assert.strictEqual(code, 69)
    }))

  it.effect("shows what comes from outside in one line that does nothing to a terminal", () =>
    Effect.gen(function*() {
      const name = "na\u001b[31mme\n\u202e"
      const value = `\u001b]0;title\u0007\r\n\u0085\u202evalue${"x".repeat(220)}`
      yield* set(3, name, value, "PX", "60000")
      const refused = yield* cli("run", "--wait", "0", name, "--", "true")
      assert.strictEqual(refused.code, 75)
      const [asText, asJson, unlocked] = [
        yield* cli("status", name),
        yield* cli("status", "--json", name),
        yield* cli("unlock", "--yes", name)
      ]
      for (const { errors, output } of [asText, asJson, unlocked, refused]) {
        assert.notMatch(output + errors, /(?!\n)[\p{C}\p{Zl}\p{Zp}]/u)
        assert.include(output + errors, "\\u202e")
      }
      assert.strictEqual(asText.output.trimEnd().split("\n").length, 4)
      assert.isBelow(Math.max(...asText.output.split("\n").map((line) => line.length)), 400)
      const [state] = JSON.parse(asJson.output)
      assert.deepStrictEqual({ name: state.name, value: state.holder.value }, { name, value })
      assert.deepStrictEqual(unlocked.output.trimEnd().split("\n").at(-1), "Deleted.")
    }))

  it.effect("goes on looking until it is interrupted", () =>
    Effect.gen(function*() {
      const running = yield* start(["status", "--watch", "--json", "watched"], { nodes: yield* nodes })
      yield* running.printed("\"state\":\"free\"")
      yield* set(3, "watched", "a value", "PX", "60000")
      yield* running.printed("\"value\":\"a value\"")
      yield* running.signal("SIGINT")
      const { code, errors } = yield* running.ended
      assert.deepStrictEqual({ code, errors }, { code: 130, errors: "" })
    }))

  it.effect("goes on in place on a narrow terminal, which would break its lines", () =>
    Effect.gen(function*() {
      yield* set(3, "narrow", "one value", "PX", "60000")
      const env = { ...process.env, ...patient, PATH: path, NO_COLOR: "1", REDSYNC_NODES: (yield* nodes).join() }
      const { shows, type } = yield* openTerminal(env)
      yield* type(`stty cols 50 rows 24; ${program} status --watch narrow\n`)
      yield* shows("narrow  held by one value for ")
      yield* shows("\x1b[5Anarrow  held by one value for ")
    }).pipe(Effect.scoped))

  it.effect("takes no name for the value of a flag", () =>
    Effect.gen(function*() {
      const { output } = yield* cli("status", "--json", "1", "no")
      assert.deepStrictEqual((JSON.parse(output) as Array<{ name: string }>).map(({ name }) => name), ["1", "no"])
      yield* set(3, "y", "one value", "PX", "60000")
      const unlocked = yield* cli("unlock", "--yes", "y")
      assert.include(unlocked.output, "Deleted.")
      for (const flag of ["--fenced", "--leave"]) {
        const { code, output } = yield* cli("run", flag, "n", "--", "sh", "-c", "echo $REDSYNC_LOCK")
        assert.deepStrictEqual([code, output], [0, "n\n"])
      }
    }))

  it.effect("counts a single node as one", () =>
    Effect.gen(function*() {
      const [url = ""] = yield* nodes
      yield* set(1, "alone", "one value", "PX", "60000")
      const { output } = printed(yield* redsync(["status", "alone"], { nodes: [url] }))
      assert.match(output, /^alone {2}held by one value for .* s more, on 1 of 1 node, quorum 1\n/)
      const down = "redis://127.0.0.1:1"
      const { errors } = printed(yield* redsync(["run", "--wait", "0", "x", "--", "true"], { nodes: [down] }))
      assert.include(
        errors,
        `No quorum for lock "x": 0 of 1 node usable, 1 required: 127.0.0.1:1 is not connected`
      )
    }))

  it.effect("exits with 69 when too few nodes answer", () =>
    Effect.gen(function*() {
      const [url = ""] = yield* nodes
      const down = "redis://:hidden%20away@127.0.0.1:1,redis://:hidden%20away@127.0.0.1:2"
      const { code, errors, output } = printed(yield* redsync(["status", "x"], { nodes: [url, down] }))
      assert.strictEqual(code, 69)
      assert.include(output, "x  unknown: too few nodes answer")
      assert.include(output, "127.0.0.1:1")
      assert.strictEqual(errors, "redsync: too few nodes answer to determine who holds x\n")
    }))
})

layer(RedisServers.layer(3, { password }), { excludeTestServices: true, concurrent: true })("redsync unlock", (it) => {
  const left = (key: string) =>
    Effect.flatMap(RedisServers, (servers) => Effect.forEach(servers, ({ command }) => command("EXISTS", key)))

  it.effect("shows the holder and deletes", () =>
    Effect.gen(function*() {
      yield* set(3, "gone", "a value", "PX", "60000")
      const { code, errors, output } = yield* cli("unlock", "--yes", "gone")
      assert.deepStrictEqual({ code, errors }, { code: 0, errors: "" })
      assert.match(output, /^gone {2}held by a value for .*\nDeleted\.\n$/s)
      assert.deepStrictEqual(yield* left("gone"), [0, 0, 0])
    }))

  it.effect("shows readers, and releases all that it has shown", () =>
    Effect.scoped(Effect.gen(function*() {
      const held = [yield* sharedLock("read"), yield* sharedLock("read")]
      const values = held.map(({ value }) => value).sort()
      const [view] = JSON.parse((yield* cli("status", "--json", "read")).output)
      assert.deepStrictEqual([view.state, view.holder], ["shared", null])
      const valuesOf = (readers: ReadonlyArray<{ readonly value: string }>) => readers.map(({ value }) => value).sort()
      assert.deepStrictEqual(valuesOf(view.readers), values)
      for (const node of view.nodes) assert.deepStrictEqual(valuesOf(node.holders), values)
      const { code, errors, output } = yield* cli("unlock", "--yes", "read")
      assert.deepStrictEqual({ code, errors }, { code: 0, errors: "" })
      assert.match(output, /^read {2}shared by 2 readers for .*\nDeleted\.\n$/s)
      assert.deepStrictEqual(yield* left("read"), [0, 0, 0])
      for (const lock of held) assert.isFalse(yield* lock.isHeld)
    })).pipe(Effect.provide(redsyncHere)))

  it.effect("deletes nothing unless told to, where nobody can be asked", () =>
    Effect.gen(function*() {
      yield* set(3, "kept", "a value", "PX", "60000")
      const { code, errors } = yield* cli("unlock", "kept")
      assert.strictEqual(code, 64)
      assert.include(errors, "--yes")
      assert.deepStrictEqual(yield* left("kept"), [1, 1, 1])
    }))

  it.effect("asks at a terminal, after showing the holder", () =>
    Effect.gen(function*() {
      const value = "a \u001b[2Jvalue"
      yield* set(3, "asked", value, "PX", "60000")
      const env = { ...process.env, ...patient, PATH: path, NO_COLOR: "1", REDSYNC_NODES: (yield* nodes).join() }
      const terminal = yield* openTerminal(env)
      const ask = (answer: string, code: number) =>
        Effect.gen(function*() {
          yield* terminal.type(`${program} unlock asked; echo exit code $?\n`)
          yield* terminal.shows("asked  held by a \\u001b[2Jvalue for")
          yield* terminal.shows("Delete the lock? [y/N] ")
          yield* terminal.type(answer)
          yield* terminal.shows(`exit code ${code}`)
        })
      yield* ask("n\n", 1)
      yield* ask("\n", 1)
      yield* ask(ctrl.c, 1)
      yield* ask("\x04", 1)
      assert.deepStrictEqual(yield* left("asked"), [1, 1, 1])
      yield* ask("y\n", 0)
      assert.deepStrictEqual(yield* left("asked"), [0, 0, 0])
      // The holder has left meanwhile, and what another has written since is left alone.
      yield* set(3, "asked", value, "PX", "60000")
      yield* terminal.type(`${program} unlock asked; echo the end with $?\n`)
      yield* terminal.shows("Delete the lock? [y/N] ")
      yield* set(3, "asked", "another", "PX", "60000")
      yield* terminal.type("y\n")
      yield* terminal.shows("Deleted. Current state:")
      yield* terminal.shows("the end with 0")
      assert.deepStrictEqual(yield* left("asked"), [1, 1, 1])
    }))

  it.effect("deletes what is left of a lock, and an empty value", () =>
    Effect.gen(function*() {
      yield* set(1, "rest", "a value", "PX", "60000")
      yield* set(3, "empty", "", "PX", "60000")
      for (const name of ["rest", "empty"]) {
        const { code, output } = yield* cli("unlock", "--yes", name)
        assert.deepStrictEqual([code, output.split("\n").at(-2)], [0, "Deleted."], name)
        assert.deepStrictEqual(yield* left(name), [0, 0, 0])
      }
      assert.include((yield* cli("unlock", "never was")).output, "There is nothing to delete.")
    }))

  it.effect("leaves alone what is no lock, unless it is forced", () =>
    Effect.gen(function*() {
      yield* set(2, "for ever", "a value")
      const servers = yield* RedisServers
      yield* servers[2]!.command("LPUSH", "list", "precious")
      for (
        const [name, found, on] of [["for ever", "a string without expiry", [1, 1, 0]], ["list", "a list", [
          0,
          0,
          1
        ]]] as const
      ) {
        const { code, errors, output } = yield* cli("unlock", "--yes", name)
        assert.strictEqual(code, 1)
        assert.include(output, `not a lock but ${found}`)
        assert.match(errors, /^redsync: left alone: .*--force.*\n$/)
        assert.deepStrictEqual(yield* left(name), [...on])
        const forced = yield* cli("unlock", "--yes", "--force", name)
        assert.deepStrictEqual([forced.code, forced.output.split("\n").at(-2)], [0, "Deleted."])
        assert.deepStrictEqual(yield* left(name), [0, 0, 0])
      }
    }))

  it.effect("says that it has not deleted a value that is not text, and can be forced to", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      for (const { command } of servers) {
        yield* command("EVAL", `return redis.call("SET", KEYS[1], "\\255\\254", "PX", 60000)`, "1", "bytes")
      }
      const { code, errors, output } = yield* cli("unlock", "--yes", "bytes")
      assert.strictEqual(code, 1)
      assert.include(output, "Not deleted. Current state:\nbytes  held by")
      assert.match(errors, /^redsync: its value is not text.*--force.*\n$/)
      assert.deepStrictEqual(yield* left("bytes"), [1, 1, 1])
      assert.strictEqual((yield* cli("unlock", "--yes", "--force", "bytes")).code, 0)
      assert.deepStrictEqual(yield* left("bytes"), [0, 0, 0])
    }))

  it.effect("names the nodes that may have it still", () =>
    Effect.gen(function*() {
      yield* set(2, "partly", "a value", "PX", "60000")
      const [a = "", b = ""] = yield* nodes
      const { code, output } = printed(
        yield* redsync(["unlock", "--yes", "partly"], {
          nodes: [a, b, "redis://127.0.0.1:1"],
          env: { REDSYNC_NODE_TIMEOUT: "400ms" }
        })
      )
      assert.strictEqual(code, 0)
      assert.include(
        output,
        "\nDeleted, except on nodes that did not answer: 127.0.0.1:1 may have it until it expires.\n"
      )
    }))
})

layer(RedisServers.layer(1, { password }), { excludeTestServices: true, concurrent: true })("redsync", (it) => {
  it.effect("says in a line what is wrong, exits with 64, and keeps the password", () =>
    Effect.gen(function*() {
      const secret = encodeURIComponent(password)
      const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, reason: string]> = [
        [["status"], "Missing required argument: name"],
        [["run", "x"], "command"],
        [["run", "--expiry", "1 fortnight", "x", "--", "true"], "\"1 fortnight\". Expected: a duration such as"],
        [["run", "--expiry", "0", "x", "--", "true"], "the option expiry is"],
        [["run", "", "--", "true"], "the option name is"],
        [["status", `--nodez=redis://:${secret}@a`, "x"], "--nodez"],
        [["status", "--node", `http://:${secret}@a`, "x"], "the option --node is"],
        [["status", "--node", `redis://:${secret}@a`, "--node", `redis://:${secret}@a`, "x"], "a:6379 is given twice"],
        [[`redis://:${secret}@a`, "status", "x"], "Unknown subcommand"],
        [["status", "--nodes-file", "/nowhere", "x"], "cannot read the file \"/nowhere\": ENOENT"]
      ]
      const [url = ""] = yield* nodes
      yield* Effect.forEach(wrong, ([args, reason]) =>
        Effect.map(redsync(args, { nodes: [url] }), (ended) => {
          const { code, errors, output } = printed(ended)
          assert.deepStrictEqual({ code, output }, { code: 64, output: "" }, reason)
          assert.include(errors, reason)
          assert.match(errors, /^(redsync: .+\n)+$/)
        }), { concurrency: 2 })
    }))

  it.effect("without nodes says how to name them", () =>
    Effect.gen(function*() {
      const { code, errors, output } = yield* redsync(["status", "x"])
      assert.deepStrictEqual({ code, output }, { code: 64, output: "" })
      assert.match(errors, /^redsync: no nodes: .*--node.*--nodes-file.*REDSYNC_NODES=.*\n$/)
    }))

  it.effect("takes the nodes from flags, a file, or the environment, in this order", () =>
    Effect.gen(function*() {
      const [url = ""] = yield* nodes
      const [id = ""] = yield* ids
      const directory = mkdtempSync(join(tmpdir(), "redsync-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(directory, { recursive: true })))
      const file = join(directory, "nodes")
      writeFileSync(file, `# ours\n${url}\n\n`)
      const down = { nodes: ["redis://127.0.0.1:1"] }
      const [flags, fromFile, environment] = yield* Effect.all([
        redsync(["--node", url, "status", "x"], down),
        redsync(["status", "x", "--nodes-file", file], down),
        redsync(["status", "x"], { nodes: [url] })
      ], { concurrency: 3 })
      for (const ended of [flags, fromFile, environment]) {
        assert.deepStrictEqual(printed(ended), { code: 0, output: `x  free\n  ${id}  free\n`, errors: "" })
      }
    }))

  it.effect("reads durations in one way, from flags and from every variable, in every command", () =>
    Effect.gen(function*() {
      const given = { nodes: yield* nodes }
      const commands = [["run", "x", "--", "true"], ["status", "x"], ["unlock", "x"], ["doctor"]] as const
      const variables = ["REDSYNC_EXPIRY", "REDSYNC_NODE_TIMEOUT", "REDSYNC_DELAYED_RESTART"] as const
      const good = ["10s", "10 seconds", "1500ms", "1.5 seconds", "2m"]
      const bad = ["10", "1 fortnight", "-1s", "s", "1.2.3s"]
      const isMember = <A>(members: ReadonlyArray<A>, index: number) => members[index % members.length]!
      // Each text with some command and some variable, each of these at least once.
      yield* Effect.forEach([...good, ...bad], (text, index) =>
        Effect.gen(function*() {
          const variable = isMember(variables, index)
          const env = { [variable]: text }
          // A server that has just been started casts no vote with a delayed restart.
          const command = variable === "REDSYNC_DELAYED_RESTART" ? ["doctor"] : isMember(commands, index)
          const flag = yield* redsync(["status", `--delayed-restart=${text}`, "x"], given)
          const environment = yield* redsync(command, { ...given, env })
          const code = good.includes(text) ? 0 : 64
          assert.deepStrictEqual(
            [flag.code, environment.code],
            [code, code],
            `${text} ${variable} ${command.join(" ")}`
          )
          if (code === 0) return
          assert.include(
            environment.errors,
            `${variable} is ${JSON.stringify(text)}; it must be a duration such as 500ms`
          )
          assert.include(flag.errors, "a duration such as 500ms")
        }), { concurrency: 2, discard: true })
    }))

  it.effect("refuses in every command what one of them refuses", () =>
    Effect.gen(function*() {
      const [url = ""] = yield* nodes
      const commands = [["run", "x", "--", "true"], ["status", "x"], ["unlock", "--yes", "x"], ["doctor"]]
      const wrong = [
        [{ REDSYNC_QUORUM: "two" }, "REDSYNC_QUORUM is \"two\"; it must be a whole number"],
        [{ REDSYNC_QUORUM: "2" }, "the option quorum is 2; it must be 1"],
        [{ REDSYNC_DRIFT_FACTOR: "1" }, "the option driftFactor is 1"],
        [{ REDSYNC_REPLICAS: "1.5" }, "REDSYNC_REPLICAS is \"1.5\"; it must be a whole number"],
        [{ REDSYNC_DELAYED_RESTART: "1 fortnight" }, "REDSYNC_DELAYED_RESTART is"]
      ] as const
      for (const [env, reason] of wrong) {
        yield* Effect.forEach(commands, (args) =>
          Effect.map(redsync(args, { nodes: [url], env }), ({ code, errors, output }) => {
            assert.deepStrictEqual({ code, output }, { code: 64, output: "" }, args.join(" "))
            assert.include(errors, reason)
            assert.match(errors, /^redsync: .+\n$/)
          }), { concurrency: 2, discard: true })
      }
    }))

  it.effect("refuses names that are not UTF-8, of which several would be one", () =>
    Effect.gen(function*() {
      const bad = "bad=$(printf '\\351')"
      const wrong = [
        [["status"], `${bad}; exec "$@" "$bad"`],
        [["unlock", "--yes"], `${bad}; exec "$@" "$bad"`],
        [["run"], `${bad}; exec "$@" "$bad" -- true`],
        [["run", "x"], `${bad}; exec "$@" --also "$bad" -- true`],
        [["status", "x"], `export REDSYNC_PREFIX; ${bad}; REDSYNC_PREFIX=$bad; exec "$@"`]
      ] as const
      for (const [args, script] of wrong) {
        const under = ["sh", "-c", script, "sh"]
        const running = yield* start(args, { nodes: yield* nodes, under })
        assert.deepStrictEqual(yield* running.ended, {
          code: 64,
          output: "",
          errors: "redsync: the arguments and REDSYNC_PREFIX must be UTF-8\n"
        })
      }
    }).pipe(Effect.scoped))

  it.effect("does not end well when its output cannot be written", () =>
    Effect.gen(function*() {
      const [url = ""] = yield* nodes
      const commands = [
        "status x",
        "status --json x",
        "status --watch x",
        "unlock x",
        "doctor",
        "demo",
        "--help",
        "--version"
      ]
      yield* Effect.forEach(commands, (command) =>
        Effect.map(redsync(command.split(" "), { nodes: [url], outputTo: "/dev/full" }), ({ code, errors }) =>
          assert.deepStrictEqual(
            { code, errors },
            { code: 74, errors: "redsync: cannot write the output: ENOSPC: no space left on device, write\n" },
            command
          )), { concurrency: 2, discard: true })
    }))

  it.effect("does not end well, nor deletes anything, when its output is closed", () =>
    Effect.gen(function*() {
      const [url = ""] = yield* nodes
      const name = "unseen"
      yield* set(3, name, "somebody's", "PX", "60000")
      const closed = { nodes: yield* nodes, under: ["sh", "-c", "exec \"$@\" >&-", "sh"] }
      for (const command of [`status ${name}`, `unlock --yes ${name}`]) {
        assert.deepStrictEqual(yield* redsync(command.split(" "), closed), {
          code: 74,
          output: "",
          errors: "redsync: cannot write the output: EBADF: bad file descriptor, write\n"
        })
      }
      const { output } = yield* redsync(["status", name], { nodes: [url] })
      assert.include(output, "held by somebody's")
    }))

  it.effect("is no burden for the library, which imports nothing of it", () =>
    Effect.sync(() => {
      const sources = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".ts"))
      const users = sources.filter((path) =>
        /^(?:import|export|\}) [^*]*"(effect\/cli|@effect|\.\.?\/cli)\//m.test(readFileSync(join(src, path), "utf8"))
      )
      assert.include(users, "bin.ts")
      assert.deepStrictEqual(users.filter((path) => path !== "bin.ts" && !path.startsWith("cli/")), [])
    }))

  it.effect("explains itself, with examples and completions", () =>
    Effect.gen(function*() {
      const [url = ""] = yield* nodes
      yield* Effect.forEach(["run", "status", "unlock", "doctor", "demo", "completions"], (name) =>
        Effect.map(redsync([name, "--help"], { nodes: [url] }), (ended) => {
          const { code, errors, output } = printed(ended)
          assert.deepStrictEqual({ code, errors }, { code: 0, errors: "" })
          assert.include(output, "EXAMPLES")
          assert.include(output, `redsync ${name} `)
        }), { concurrency: 3 })
      for (const shell of ["bash", "zsh", "fish", "powershell"]) {
        const [subcommand, flag] = [yield* redsync(["completions", shell]), yield* redsync(["--completions", shell])]
        assert.deepStrictEqual(subcommand, flag)
        assert.strictEqual(subcommand.code, 0)
        for (const word of ["unlock", "completions", "label"]) {
          assert.include(subcommand.output, word)
        }
      }
      const unknown = yield* redsync(["completions", "tcsh"])
      assert.strictEqual(unknown.code, 64)
      assert.include(unknown.errors, "bash")
    }))
})
