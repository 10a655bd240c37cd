/**
 * Servers in states that are rare, and allowed: a minority of them costs nothing, a majority is told in the server's
 * words, and once the state is over all works again by itself.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { vi } from "vitest"
import { lock, NodesUnavailable, retryPolicy, withLock } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import type { Notice } from "../../../src/LockNode.ts"
import {
  type FakeServer,
  fakeServer,
  holdByAnother,
  logged,
  onEach,
  until,
  untilAllAnswer,
  using
} from "../../support/faults.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import { allOfClientBut } from "../../support/servers/abilities.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"
import { deleteOn, hourly, kindsOf, onThree, service, untilListed } from "../../support/trouble.ts"

const once = { retry: retryPolicy({ tries: 1 }) }

/** Whoever waits for the time of a node to be over has waited too long. */
const endless = { expiry: "1 day", nodeTimeout: "1 hour" } as const

const usable = Effect.scoped(withLock("a", Effect.void, once))

const info = (text: string) => `$${text.length}\r\n${text}\r\n`

const threeFakes = Effect.all([fakeServer(""), fakeServer(""), fakeServer("")])

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("servers in odd states", (it) => {
  it.effect("that load their data are not waited for, and are told of in their words until they are done", () =>
    Effect.gen(function*() {
      const servers: ReadonlyArray<FakeServer> = yield* threeFakes
      let loading = true
      for (const server of servers) {
        // It says that it takes another 10 ms.
        server.says = (command) =>
          loading && command === "info" ? info("loading:1\r\nloading_eta_seconds:0.01\r\n") : undefined
      }
      const logs = logged()
      yield* Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.scoped(lock("a", once)))
        assert(error instanceof NodesUnavailable)
        assert.strictEqual(error.message.match(/LOADING Redis is loading the dataset/g)?.length, 3, error.message)
        yield* Effect.exit(usable)
        loading = false
        yield* until("all answer", Effect.andThen(Effect.exit(usable), Effect.sync(() => logs.up().length === 3)))
        yield* usable
        assert.strictEqual(logs.lines.length, 6, logs.lines.join("\n"))
      }).pipe(using({ nodes: servers.map(({ url }) => url), ...endless }, logs))
    }))

  it.effect("that have no INFO are as good as any", () =>
    Effect.gen(function*() {
      const servers: ReadonlyArray<FakeServer> = yield* threeFakes
      for (const server of servers) {
        server.says = (command) => command === "info" ? "-ERR unknown command 'info', with args: \r\n" : undefined
      }
      const logs = logged()
      yield* usable.pipe(using({ nodes: servers.map(({ url }) => url), ...endless }, logs))
      assert.deepStrictEqual(logs.lines, [])
    }))

  it.effect("that do not permit INFO are as good as any, and nothing is printed", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const allow = (rule: string) => onEach(servers, (server) => server.command("ACL", "SETUSER", "default", rule))
      yield* Effect.addFinalizer(() => allow("+info"))
      const printed = yield* Effect.acquireRelease(
        Effect.sync(() => vi.spyOn(console, "warn").mockImplementation(() => {})),
        (spy) => Effect.sync(() => spy.mockRestore())
      )
      yield* allow("-info")
      yield* holdByAnother("a", servers)
      const { logs, run } = yield* service(servers)
      const waiter = yield* Effect.forkScoped(run(withLock("a", Effect.void, hourly)))
      yield* untilListed(servers, "a", 1)
      yield* deleteOn(servers, "a")
      yield* Fiber.join(waiter)
      assert.deepStrictEqual(logs.lines, [])
      assert.deepStrictEqual(printed.mock.calls, [])
    })))

  it.effect("that refuse to track reads for a moment watch the key again later", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [server] = servers
      const rules = yield* Effect.promise(() => allOfClientBut("tracking"))
      yield* Effect.addFinalizer(() => server.command("ACL", "DELUSER", "ada"))
      yield* server.command(
        "ACL",
        "SETUSER",
        "ada",
        "on",
        ">secret",
        "~*",
        "&*",
        "+@all",
        ...rules
      )
      const node = yield* IoredisNode.make(`redis://ada:secret@${server.host}:${server.port}`)
      const heard: Array<Notice["_tag"]> = []
      const list = yield* node.waitingList!(waiterIdOf("waiter"), ({ _tag }) => heard.push(_tag))
      yield* holdByAnother("name", [server])
      const join = list.join("name", entryOf("waiter"), "back")
      yield* join
      assert.deepStrictEqual(heard, ["Unsupported"])
      yield* server.command("ACL", "SETUSER", "ada", "+@all")
      yield* until(
        "it is tracked",
        Effect.andThen(join, Effect.map(kindsOf(server), (kinds) => kinds.includes("looks")))
      )
      yield* join
      yield* deleteOn([server], "name")
      yield* until("the change is heard", Effect.sync(() => heard.includes("KeyChanged")))
      assert.strictEqual(heard.filter((tag) => tag === "Unsupported").length, 1)
      yield* list.leave("name", entryOf("waiter"))
    })))

  it.effect("that are one under two names: the log says so once", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [a, b] = servers
      const { logs, run } = yield* service([a.url, b.url, `redis://localhost:${a.port}/1`])
      yield* run(untilAllAnswer)
      for (let round = 0; round < 3; round++) yield* run(usable)
      assert.deepStrictEqual(logs.lines, [
        `Warn Lock nodes ${a.host}:${a.port} and localhost:${a.port}/1 are the same server, which has 2 votes`
      ])
    })))

  it.effect("that all refuse are all told of, though two decide", () =>
    Effect.gen(function*() {
      const servers: ReadonlyArray<FakeServer> = yield* threeFakes
      for (const server of servers) server.says = (command) => command === "set" ? "-OOM out of memory\r\n" : undefined
      const error = yield* Effect.flip(Effect.scoped(lock("a", once))).pipe(
        using({ nodes: servers.map(({ url }) => url), ...endless })
      )
      assert.strictEqual(error.message.match(/OOM out of memory/g)?.length, 3, error.message)
    }))
})
