/**
 * `redsync status` and `unlock` of semaphores, and who the holders of permits and the
 * readers of a lock are.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { hostname } from "node:os"
import { permits, Redsync, retryPolicy, tryPermits, withPermits } from "../../../src/index.ts"
import { path, patient, program, redsync, start } from "../../support/commandLine.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"
import { ctrl, openTerminal } from "../../support/terminal.ts"

const nodes = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

const cli = (...args: ReadonlyArray<string>) => Effect.flatMap(nodes, (nodes) => redsync(args, { nodes }))

const ids = Effect.map(RedisServers, (servers) => servers.map(({ host, port }) => `${host}:${port}`))

/** The library, in this process; a lease that is not extended before a test is over. */
const redsyncHere = Layer.unwrap(Effect.map(nodes, (nodes) => Redsync.layer({ nodes, expiry: "1 minute" })))

/** The same command on the first so many nodes. */
const onFirst = (count: number, ...command: ReadonlyArray<string>) =>
  Effect.flatMap(
    RedisServers,
    (servers) => Effect.forEach(servers.slice(0, count), (server) => server.command(...command))
  )

const keyOf = (name: string) => `redsync:1:permits:{${name}}`

layer(RedisServers.layer(3), { excludeTestServices: true, concurrent: true })("permits on the command line", (it) => {
  it.effect("status tells who has which slots, on how many nodes, in text and in JSON", () =>
    Effect.gen(function*() {
      const one = yield* permits("shown", { limit: 5 })
      const two = yield* permits("shown", { limit: 5, permits: 2 })
      const [third = ""] = (yield* ids).slice(2)
      yield* (yield* RedisServers)[2]!.command("DEL", keyOf("shown"))
      const { code, output } = yield* cli("status", "shown")
      assert.strictEqual(code, 0)
      const [first = "", ...lines] = output.trimEnd().replaceAll(/\d+\.\d s/g, "_ s").split("\n")
      assert.strictEqual(first, "shown  3 of 5 permits taken, on 2 of 3 nodes, quorum 2")
      assert.sameMembers(lines, [
        `  slot ${one.slot}: ${one.value} for _ s more, on 2 of 3 nodes`,
        `  slots ${two.slots.join(",")}: ${two.value} for _ s more, on 2 of 3 nodes`,
        ...(yield* ids).slice(0, 2).map((id) => `  ${id}  3 taken`),
        `  ${third}  none taken`
      ])
      const [view] = JSON.parse((yield* cli("status", "--json", "shown")).output)
      assert.deepStrictEqual([view.state, view.holder, view.permits.limit, view.permits.taken], ["permits", null, 5, 3])
      assert.sameDeepMembers(
        view.permits.holders.map(({ nodes, slots, value }: typeof view) => ({ nodes, slots, value })),
        [one, two].map(({ slots, value }) => ({ nodes: 2, slots: [...slots], value }))
      )
      assert.deepStrictEqual(view.permits.nodes.map(({ holders }: typeof view) => holders.length), [2, 2, 0])
      const firsts: ReadonlyArray<number> = view.permits.holders.map(({ slots }: typeof view) => slots[0])
      assert.deepStrictEqual(firsts, [...firsts].sort((a, b) => a - b))
    }).pipe(Effect.scoped, Effect.provide(redsyncHere)))

  it.effect("a lock and a semaphore of one name are both shown, and each is taken away alone", () =>
    Effect.gen(function*() {
      yield* onFirst(3, "SET", "both", "one value", "PX", "60000")
      const held = yield* permits("both", { limit: 1 })
      const { output } = yield* cli("status", "both")
      assert.match(output, /^both {2}held by one value for .*\n(.*\n){3}both {2}1 of 1 permit taken, on 3 of 3 nodes, /)
      const lock = yield* cli("unlock", "--yes", "both")
      assert.strictEqual(lock.code, 0)
      assert.isTrue(yield* held.isHeld)
      yield* onFirst(3, "SET", "both", "another value", "PX", "60000")
      const taken = yield* cli("unlock", "--yes", "--permits", "both")
      assert.deepStrictEqual([taken.code, taken.output.split("\n").at(-2)], [0, "Deleted."])
      assert.isFalse(yield* held.isHeld)
      assert.deepStrictEqual(yield* onFirst(3, "EXISTS", "both"), [1, 1, 1])
    }).pipe(Effect.scoped, Effect.provide(redsyncHere)))

  it.effect("unlock says what to do of a semaphore, and takes no permits unless told to", () =>
    Effect.gen(function*() {
      const held = yield* permits("kept", { limit: 2 })
      const plain = yield* cli("unlock", "--yes", "kept")
      assert.strictEqual(plain.code, 1)
      assert.match(
        plain.errors,
        /^redsync: left alone: there is a semaphore of that name, but no lock; --permits .*\n$/
      )
      const unasked = yield* cli("unlock", "--permits", "kept")
      assert.strictEqual(unasked.code, 64)
      assert.include(unasked.errors, "--yes")
      assert.include(unasked.output, `slot ${held.slot}: ${held.value}`)
      assert.isTrue(yield* held.isHeld)
      assert.include((yield* cli("unlock", "--yes", "--permits", "never was")).output, "There is nothing to delete.")
    }).pipe(Effect.scoped, Effect.provide(redsyncHere)))

  it.effect("at a terminal run says what it waits for, status takes back what is gone, and unlock asks", () =>
    Effect.gen(function*() {
      const held = yield* permits("asked", { limit: 2 })
      const env = { ...process.env, ...patient, PATH: path, NO_COLOR: "1", REDSYNC_NODES: (yield* nodes).join() }
      const { shows, type } = yield* openTerminal(env)
      yield* type(`${program} run --permits 2 --take 2 asked -- true; echo exit code $?\n`)
      yield* shows("redsync: waiting for 2 of 2 permits of \"asked\"")
      yield* type(ctrl.c)
      yield* shows("exit code 130")
      yield* type(`${program} unlock --permits asked; echo exit code $?\n`)
      yield* shows("slot")
      yield* shows("Release all of them? [y/N] ")
      yield* type("n\n")
      yield* shows("exit code 1")
      yield* type(`${program} status --watch asked\n`)
      yield* shows(`slot ${held.slot}: ${held.value}`)
      yield* held.release
      yield* shows("asked  free\x1b[K\r\n")
      yield* shows("\x1b[J")
    }).pipe(Effect.scoped, Effect.provide(redsyncHere)))

  it.effect("unlock --permits wakes those who wait", () =>
    Effect.gen(function*() {
      yield* permits("waited for", { limit: 1 })
      const waiting = yield* start(["run", "--permits", "1", "waited for", "--", "echo", "mine"], {
        nodes: yield* nodes
      })
      const lines = onFirst(3, "EXISTS", "redsync:1:permit-line:{waited for}")
      yield* Effect.repeat(lines, { until: (counts) => counts.includes(1) })
      const { code } = yield* cli("unlock", "--yes", "--permits", "waited for")
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(yield* waiting.ended, { code: 0, output: "mine\n", errors: "" })
    }).pipe(Effect.scoped, Effect.provide(redsyncHere)))

  it.effect("a key that holds no semaphore is told by its name, and deleted", () =>
    Effect.gen(function*() {
      yield* onFirst(3, "HSET", keyOf("rubbish"), "taken", "1", "=value", "many")
      const error = yield* Effect.flip(
        withPermits("rubbish", Effect.void, { limit: 2, retry: retryPolicy({ tries: 1 }) })
      )
      assert.include(error.message, `the key "${keyOf("rubbish")}" does not hold what it should`)
      const { output } = yield* cli("status", "rubbish")
      assert.include(output, `the key "${keyOf("rubbish")}" does not hold what it should`)
      yield* cli("unlock", "--yes", "--permits", "rubbish")
      assert.isTrue(Option.isSome(yield* tryPermits("rubbish", { limit: 2 })))
    }).pipe(Effect.scoped, Effect.provide(redsyncHere)))

  it.effect("without rights to semaphores a lock is shown all the same", () =>
    Effect.gen(function*() {
      yield* onFirst(3, "ACL", "SETUSER", "plain", "on", ">pw", "~confined", "&*", "+@all")
      yield* onFirst(3, "SET", "confined", "one value", "PX", "60000")
      const urls = (yield* nodes).map((url) => url.replace("//", "//plain:pw@"))
      const { code, output } = yield* redsync(["status", "--json", "confined"], { nodes: urls })
      const [view] = JSON.parse(output)
      assert.deepStrictEqual([code, view.state, view.permits], [0, "held", null])
      const unlocked = yield* redsync(["unlock", "--yes", "--permits", "confined"], { nodes: urls })
      assert.strictEqual(unlocked.code, 1)
      assert.match(unlocked.errors, /^redsync: cannot tell whether there are permits: .*NOPERM/)
    }))

  it.effect.each(["--permits", "--shared"])(
    "labels of several holders of one name are all shown: %s",
    (flag) =>
      Effect.gen(function*() {
        const flags = flag === "--permits" ? ["--permits", "3"] : ["--shared"]
        const name = `labelled ${flag}`
        const runs = yield* Effect.forEach(["one", "two"], (label) =>
          Effect.gen(function*() {
            const args = ["run", ...flags, "--label", label, name, "--", "sh", "-c", "echo up; exec sleep 600"]
            const running = yield* start(args, { nodes: yield* nodes })
            yield* running.printed("up")
            return { line: `process ${running.pid} on ${hostname()}: ${label}`, running }
          }))
        const all = Effect.map(cli("status", name), ({ output }) => output.split("\n").map((line) => line.trim()))
        const shown = yield* Effect.repeat(all, { until: (lines) => runs.every(({ line }) => lines.includes(line)) })
        assert.match(shown[0]!, flag === "--permits" ? /2 of 3 permits taken/ : /shared by 2 readers/)
        const [view] = JSON.parse((yield* cli("status", "--json", name)).output)
        const holders: ReadonlyArray<{ readonly by: { readonly label: string } }> = view.permits?.holders ??
          view.readers
        assert.sameMembers(holders.map(({ by }) => by.label), ["one", "two"])
        for (const { running } of runs) yield* running.signal("SIGTERM")
        for (const { running } of runs) yield* running.ended
        const [labels] = yield* onFirst(1, "KEYS", `redsync:1:label:{${name}}*`)
        assert.deepStrictEqual(labels, [])
      })
  )
})
