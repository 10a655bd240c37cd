/**
 * What a lock costs, counted by the servers themselves.
 *
 * `INFO commandstats` also counts what a script runs: the release is one
 * EVALSHA on the wire, and the GET, DEL and LPOP inside it.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { lock, Redsync, retryPolicy, tryLock, withLock, withPermits } from "../../../src/index.ts"
import { permitScripts } from "../../../src/internal/redis/permitScripts.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { abilities } from "../../support/servers/abilities.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"

const { knowsSubcommands } = await abilities()

/** How often each command has run on a server since its counters were reset, other than for looking. */
const commandsOn = (server: RedisServer) =>
  Effect.map(server.command<string>("INFO", "commandstats"), (info) =>
    Object.fromEntries(
      [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)]
        .map(([_, name, calls]): [string, number] => [name!, Number(calls)])
        .filter(([name]) => !looking.has(name))
    ))

/** What a connection of the test's own runs, see `RedisServer.command`. Until Redis 7.0 servers do not tell subcommands apart. */
const looking = new Set(["info", "config|resetstat", "client|setname", ...knowsSubcommands ? [] : ["config", "client"]])

/** The commands each server ran for the program, the releases that go on in the background included. */
const commandsOf = <A, E>(program: Effect.Effect<A, E, Redsync | Scope.Scope>) =>
  Effect.gen(function*() {
    const servers = yield* RedisServers
    yield* Effect.scoped(Effect.gen(function*() {
      const nodes = yield* Effect.forEach(servers, ({ url }) => IoredisNode.make(url))
      for (const node of nodes) {
        assert.isTrue(yield* node.ready!)
        // Answered after all that is sent on connecting.
        yield* node.inspect("warm up")
      }
      for (const { command } of servers) yield* command("CONFIG", "RESETSTAT")
      yield* program.pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes, nodeTimeout: "5 seconds" })))
    }))
    return yield* Effect.forEach(servers, commandsOn)
  })

const onEach = <A>(commands: A) => [commands, commands, commands]

const many = Array.from({ length: 100 }, (_, index) => `lock-${index}`)

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("commands a node", (it) => {
  it.effect("one to acquire and one to release", () =>
    Effect.gen(function*() {
      const commands = yield* commandsOf(withLock("one", Effect.void))
      assert.deepStrictEqual(commands, onEach({ set: 1, evalsha: 1, get: 1, del: 1, lpop: 1 }))
    }))

  it.effect("the same for each of a hundred locks, one after the other", () =>
    Effect.gen(function*() {
      const commands = yield* commandsOf(Effect.forEach(many, (name) => withLock(name, Effect.void)))
      assert.deepStrictEqual(commands, onEach({ set: 100, evalsha: 100, get: 100, del: 100, lpop: 100 }))
    }))

  it.effect("the same for each of a hundred locks at once", () =>
    Effect.gen(function*() {
      const commands = yield* commandsOf(
        Effect.forEach(many, (name) => withLock(name, Effect.void), { concurrency: "unbounded" })
      )
      assert.deepStrictEqual(commands, onEach({ set: 100, evalsha: 100, get: 100, del: 100, lpop: 100 }))
    }))

  it.effect("the same for permits, however many: two scripts, of which only the names are sent once the server has them", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      for (const { lua } of Object.values(permitScripts)) {
        yield* Effect.forEach(servers, ({ command }) => command("SCRIPT", "LOAD", lua))
      }
      const some = (permits: number) => withPermits("some", Effect.void, { limit: 100, permits })
      const commands = yield* commandsOf(Effect.forEach([1, 1, 10, 50, 1], some))
      assert.deepStrictEqual(commands.map(({ eval: sources = 0, evalsha }) => [evalsha, sources]), onEach([10, 0]))
    }))

  it.effect("nothing while a lock is held", () =>
    Effect.gen(function*() {
      const commands = yield* commandsOf(withLock("held", Effect.sleep("100 millis")))
      assert.deepStrictEqual(commands, onEach({ set: 1, evalsha: 1, get: 1, del: 1, lpop: 1 }))
    }))

  it.effect("one to extend", () =>
    Effect.gen(function*() {
      const commands = yield* commandsOf(Effect.flatMap(lock("extended"), ({ extend }) => extend))
      assert.deepStrictEqual(commands, onEach({ set: 1, evalsha: 2, get: 2, pexpire: 1, del: 1, lpop: 1 }))
    }))

  it.effect("one for each attempt that is refused, and a release where the refusal did not wait for the answer", () =>
    Effect.gen(function*() {
      yield* theirs("refused")
      const commands = yield* commandsOf(
        Effect.forEach(many, () => tryLock("refused"), { discard: true })
      )
      for (const { set } of commands) assert.strictEqual(set, 100)
      const releases = sum(commands, "evalsha")
      // Two of three decide: at most one answer of each attempt is still to come.
      assert.isAtMost(releases, 100)
      assert.strictEqual(sum(commands, "get"), releases)
      assert.hasAllKeys(total(commands), releases === 0 ? ["set"] : ["set", "evalsha", "get"])
    }))

  it.effect("one look at who is in the way, once the schedule is used up", () =>
    Effect.gen(function*() {
      yield* theirs("refused")
      const retry = retryPolicy({ tries: 3, delay: "10 millis" })
      const commands = yield* commandsOf(Effect.flip(lock("refused", { retry })))
      for (const { lpos = 0, pttl, set, type = 0 } of commands) {
        // On the node with the waiting list, each LPOS is a join, which looks at the list; and the key is watched.
        assert.deepStrictEqual({ set, type: type - lpos }, { set: 3, type: 1 })
        if (lpos === 0) assert.strictEqual(pttl, 1)
      }
    }))
})

const total = (commands: ReadonlyArray<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(commands.flatMap(Object.keys).map((name) => [name, sum(commands, name)]))

const sum = (commands: ReadonlyArray<Record<string, number>>, name: string) =>
  commands.reduce((total, { [name]: calls = 0 }) => total + calls, 0)

const theirs = (name: string) =>
  Effect.flatMap(
    RedisServers,
    (servers) => Effect.forEach(servers, ({ command }) => command("SET", name, "theirs", "PX", "60000"))
  )
