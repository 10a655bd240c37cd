/**
 * Real servers that freeze, hang and lose connections in the middle of an
 * attempt or a release: what a caller sees, and what is left behind.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Option } from "effect"
import { Redis } from "ioredis"
import {
  ErrFailed,
  lock,
  NodesUnavailable,
  retryPolicy,
  type ServiceOptions,
  tryLock,
  withLock
} from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import {
  another,
  blockEventLoop,
  callsOf,
  five,
  holdByAnother,
  type Logged,
  logged,
  onEach,
  proxy,
  until,
  untilAllAnswer,
  untilDisconnected,
  untilEmpty,
  urls,
  using,
  valuesOf
} from "../../support/faults.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"

const once = retryPolicy({ tries: 1 })

/** One acquire and one release that was confirmed. */
const roundTrip = Effect.scoped(
  Effect.gen(function*() {
    const held = yield* lock("a")
    assert.isTrue(yield* held.release)
  })
)

const roundTrips = (count: number) => Effect.forEach(Array.from({ length: count }), () => roundTrip)

/** Whoever waits for the time of a node to be over has waited too long. */
const endless = "1 hour"

/** Runs with a service that is connected to every node: the layer is built when it is to a quorum. */
const connected = (options: ServiceOptions, logs?: Logged) => <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.andThen(untilAllAnswer, program).pipe(using(options, logs))

/** A client as its user would configure it who configures nothing. */
const defaultClient = (server: RedisServer) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Redis(server.port, server.host)
      client.on("error", () => {})
      await client.ping()
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

layer(RedisServers.layer(5), { excludeTestServices: true, timeout: "60 seconds" })("stopped servers", (it) => {
  it.effect("two of five: nobody waits for them", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b] = servers
      yield* Effect.gen(function*() {
        yield* roundTrip
        yield* onEach([a, b], (server) => server.stop)
        yield* roundTrips(100)
        yield* onEach([a, b], (server) => server.resume)
      }).pipe(connected({ nodes: urls(servers), expiry: "1 day", nodeTimeout: endless }))
      yield* untilEmpty(servers)
    }))

  it.effect("two of five that are known to be: the same, and each time they come back", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b] = servers
      const logs = logged()
      yield* Effect.gen(function*() {
        for (let cycle = 1; cycle <= 5; cycle++) {
          yield* onEach([a, b], (server) => server.stop)
          yield* until(
            "both are noticed",
            Effect.andThen(roundTrip, Effect.sync(() => logs.down().length >= 2 * cycle))
          )
          yield* roundTrips(50)
          assert.strictEqual(logs.down().length, 2 * cycle)
          yield* onEach([a, b], (server) => server.resume)
          yield* until("both are back", Effect.andThen(roundTrip, Effect.sync(() => logs.up().length >= 2 * cycle)))
        }
      }).pipe(connected({ nodes: urls(servers), nodeTimeout: "300 millis" }, logs))
      yield* untilEmpty(servers)
    }))

  it.effect("one line when a node stops answering and one when it answers again", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b] = servers
      const logs = logged()
      yield* Effect.gen(function*() {
        yield* roundTrips(20)
        assert.deepStrictEqual(logs.lines, [])
        yield* onEach([a, b], (server) => server.stop)
        // More than two node timeouts long, so that each node fails many times.
        yield* Effect.repeat(roundTrip, { while: () => logs.down().length < 2 })
        yield* roundTrips(100)
        yield* Effect.sleep("250 millis")
        yield* roundTrips(20)
        for (const server of [a, b]) {
          assert.deepStrictEqual(logs.down(server), [
            `Warn Lock node ${server.host}:${server.port} did not answer in time`
          ])
        }
        yield* onEach([a, b], (server) => server.resume)
        yield* until("both are back", Effect.andThen(roundTrip, Effect.sync(() => logs.up().length >= 2)))
        yield* roundTrips(20)
      }).pipe(connected({ nodes: urls(servers), expiry: "2 seconds" }, logs))
      for (const server of [a, b]) {
        assert.deepStrictEqual(logs.up(server), [`Info Lock node ${server.host}:${server.port} answers again`])
      }
      assert.strictEqual(logs.lines.length, 4)
      yield* untilEmpty(servers)
    }))

  it.effect("three of five: too few nodes, with each one's answer", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* Effect.gen(function*() {
        yield* roundTrip
        yield* onEach([a, b, c], (server) => server.stop)
        const retry = retryPolicy({ tries: 3, delay: "200 millis" })
        const error = yield* Effect.flip(lock("a", { retry, nodeTimeout: "400 millis" }))
        assert(error instanceof NodesUnavailable)
        assert.deepStrictEqual(
          error.votes.map((vote) => [vote.node, vote._tag === "Failed" ? vote.error.reason : vote._tag]),
          [
            ...[a, b, c].map(({ host, port }) => [`${host}:${port}`, "Disconnected"]),
            ...[d, e].map(({ host, port }) => [`${host}:${port}`, "Free"])
          ]
        )
        // Known to be silent since the first attempt, they are asked one thing at a time.
        for (const { port } of [a, b, c]) assert.include(error.message, `127.0.0.1:${port} is not connected: `)
        // What the attempts left on the nodes that answer is gone although the others still do not.
        yield* untilEmpty([d, e])
        yield* onEach([a, b, c], (server) => server.resume)
        yield* untilEmpty(servers)
        yield* roundTrip
      }).pipe(Effect.scoped, connected({ nodes: urls(servers), expiry: "30 seconds" }))
    }))

  it.effect("what a stopped server executes when it goes on is undone", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* holdByAnother("a", [c, d, e])
      yield* Effect.gen(function*() {
        yield* onEach([a, b], (server) => server.stop)
        const error = yield* Effect.flip(lock("a", { retry: once }))
        assert(error instanceof ErrFailed)
      }).pipe(Effect.scoped, connected({ nodes: urls(servers), expiry: "30 seconds", nodeTimeout: "400 millis" }))
      // The service is closed and cannot help any more: what undoes the SET has to be waiting behind it.
      yield* onEach([a, b], (server) => server.resume)
      for (const server of [a, b]) {
        yield* until("the SET is executed", Effect.map(callsOf(server, "set"), (calls) => calls === 1))
      }
      yield* untilEmpty([a, b])
      assert.deepStrictEqual(yield* valuesOf("a", [c, d, e]), [another, another, another])
    }))

  it.effect("a lock released while they were stopped is gone when they go on", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* Effect.gen(function*() {
        yield* withLock(
          "a",
          Effect.andThen(
            until(
              "all have it",
              Effect.map(valuesOf("a", servers), (values) => new Set(values).size === 1)
            ),
            onEach([a, b], (server) => server.stop)
          )
        )
        yield* untilEmpty([c, d, e])
        yield* onEach([a, b], (server) => server.resume)
        yield* untilEmpty(servers)
      }).pipe(connected({ nodes: urls(servers), expiry: "30 seconds", nodeTimeout: "400 millis" }))
      yield* untilDisconnected(servers)
    }))
})

layer(RedisServers.layer(5), { excludeTestServices: true, timeout: "60 seconds" })("interruption", (it) => {
  it.effect("between attempts: Effect.timeout ends the wait at once", () =>
    Effect.gen(function*() {
      const servers = yield* five
      yield* holdByAnother("a", servers)
      const retry = retryPolicy({ tries: 5, delay: endless })
      yield* Effect.gen(function*() {
        for (const attempt of [lock("a", { retry }), withLock("a", Effect.never, { retry })]) {
          const exit = yield* Effect.exit(Effect.timeout(Effect.scoped(attempt), "300 millis"))
          assert(Exit.isFailure(exit))
          assert.include(String(exit.cause), "TimeoutError")
        }
      }).pipe(connected({ nodes: urls(servers) }))
      assert.deepStrictEqual(yield* valuesOf("a", servers), servers.map(() => another))
      yield* untilDisconnected(servers)
    }))

  it.effect("between attempts: what the minority granted is gone", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* holdByAnother("a", [c, d, e])
      const retry = retryPolicy({ tries: 5, delay: endless })
      yield* Effect.gen(function*() {
        const waiter = yield* Effect.forkChild(withLock("a", Effect.never, { retry }))
        // At least once: the votes are split, and the next attempt may come before we look.
        yield* until(
          "it has asked",
          Effect.map(onEach([a, b], (server) => callsOf(server, "set")), (calls) => calls.every((count) => count >= 1))
        )
        yield* Fiber.interrupt(waiter)
        yield* untilEmpty([a, b])
      }).pipe(connected({ nodes: urls(servers), expiry: "30 seconds" }))
      assert.deepStrictEqual(yield* valuesOf("a", [c, d, e]), [another, another, another])
      yield* untilDisconnected(servers)
    }))

  it.effect("in the middle of an attempt: what hangs is undone, what is granted is given back", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* Effect.gen(function*() {
        for (const attempt of [Effect.asVoid(lock("a")), withLock("a", Effect.never), Effect.asVoid(tryLock("a"))]) {
          const before = yield* callsOf(a, "set")
          yield* onEach([a, b, c], (server) => server.stop)
          const caller = yield* Effect.forkChild(Effect.scoped(attempt))
          yield* until("d and e have granted it", Effect.map(valuesOf("a", [d, e]), (values) => !values.includes(null)))
          // It waits for nobody.
          yield* Fiber.interrupt(caller)
          yield* untilEmpty([d, e])
          yield* onEach([a, b, c], (server) => server.resume)
          yield* until("the SET is executed", Effect.map(callsOf(a, "set"), (calls) => calls === before + 1))
          yield* untilEmpty(servers)
        }
      }).pipe(connected({ nodes: urls(servers), expiry: "1 day", nodeTimeout: endless }))
      yield* untilDisconnected(servers)
    }))

  it.effect("in the middle of an attempt: closing the service right away leaves nothing either", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* Effect.gen(function*() {
        yield* onEach([a, b, c], (server) => server.pause(600))
        const caller = yield* Effect.forkChild(Effect.scoped(lock("a")))
        yield* until("d and e have granted it", Effect.map(valuesOf("a", [d, e]), (values) => !values.includes(null)))
        yield* Fiber.interrupt(caller)
      }).pipe(connected({ nodes: urls(servers), expiry: "30 seconds", nodeTimeout: "400 millis" }))
      // Paused servers answer this, too, only when the pause is over.
      yield* untilEmpty(servers)
      yield* untilDisconnected(servers)
    }))

  it.effect("while releasing: the release goes on", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c] = servers
      yield* Effect.gen(function*() {
        for (const release of ["by itself", "withLock"] as const) {
          const nodeTimeout = 300
          yield* Effect.scoped(Effect.gen(function*() {
            const stop = onEach([a, b, c], (server) => server.stop)
            const caller = yield* Effect.forkChild(
              release === "withLock"
                ? withLock("a", stop, { nodeTimeout })
                : Effect.flatMap(lock("a", { nodeTimeout }), (held) => Effect.andThen(stop, held.release))
            )
            yield* until(
              "the release is under way",
              Effect.map(valuesOf("a", servers.slice(3)), (values) => values.every((value) => value === null)).pipe(
                Effect.delay("50 millis")
              )
            )
            // No longer than the node timeout.
            yield* Fiber.interrupt(caller)
          }))
          yield* onEach([a, b, c], (server) => server.resume)
          yield* untilEmpty(servers)
        }
      }).pipe(connected({ nodes: urls(servers), expiry: "30 seconds" }))
      yield* untilDisconnected(servers)
    }))
})

layer(RedisServers.layer(5), { excludeTestServices: true, timeout: "60 seconds" })("broken connections", (it) => {
  it.effect("after the SET, before its reply, refused by the others: the key goes", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* holdByAnother("a", [c, d, e])
      const network = yield* proxy(a)
      yield* Effect.gen(function*() {
        const swallowed = yield* Effect.forkChild(network.swallowNextReply, { startImmediately: true })
        const error = yield* Effect.flip(lock("a", { retry: once }))
        assert(error instanceof ErrFailed)
        yield* Fiber.join(swallowed)
        const [value] = yield* valuesOf("a", [a])
        assert.isString(value)
        network.open()
        yield* untilEmpty([a, b])
      }).pipe(Effect.scoped, connected({ nodes: [network.url, ...urls([b, c, d, e])], expiry: "30 seconds" }))
      assert.deepStrictEqual(yield* valuesOf("a", [c, d, e]), [another, another, another])
    }))

  it.effect("after the SET, before its reply, granted by the others: the release removes it", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, ...others] = servers
      const network = yield* proxy(a)
      yield* Effect.gen(function*() {
        const swallowed = yield* Effect.forkChild(network.swallowNextReply, { startImmediately: true })
        yield* withLock("a", (held) =>
          Effect.gen(function*() {
            yield* Fiber.join(swallowed)
            assert.deepStrictEqual(yield* valuesOf("a", [a]), [held.value])
          }), { retry: once })
        // The node is still out of reach, and the release was confirmed without it.
        yield* untilEmpty(others)
        assert.strictEqual(yield* a.command("DBSIZE"), 1)
        network.open()
        yield* untilEmpty(servers)
      }).pipe(connected({ nodes: [network.url, ...urls(others)], expiry: "30 seconds" }))
    }))

  it.effect("of a caller's client that sends the SET again: what it answers then proves nothing", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      // So that a has the casting vote, and the attempt waits for its second answer.
      yield* holdByAnother("a", [c, d])
      const network = yield* proxy(a)
      const client = new Redis(network.url)
      client.on("error", () => {})
      yield* Effect.addFinalizer(() => Effect.sync(() => client.disconnect()))
      yield* Effect.promise(() => client.ping())
      yield* Effect.gen(function*() {
        const swallowed = yield* Effect.forkChild(network.swallowNextReply, { startImmediately: true })
        const caller = yield* Effect.forkChild(Effect.flip(Effect.scoped(lock("a", { retry: once }))))
        yield* Fiber.join(swallowed)
        network.open()
        assert((yield* Fiber.join(caller)) instanceof ErrFailed)
        yield* until("the SET is sent again", Effect.map(callsOf(a, "set"), (calls) => calls === 2))
        yield* untilEmpty([a, b, e])
      }).pipe(
        connected({
          nodes: [IoredisNode.fromClient(client), ...urls([b, c, d, e])],
          expiry: "30 seconds",
          nodeTimeout: "2 seconds"
        })
      )
    }))
})

layer(RedisServers.layer(5), { excludeTestServices: true, timeout: "60 seconds" })("a caller's client", (it) => {
  it.effect("whose server dies during an attempt and comes back: what is sent again is undone", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* holdByAnother("a", [c, d, e])
      const client = yield* defaultClient(a)
      yield* Effect.gen(function*() {
        yield* a.stop
        const error = yield* Effect.flip(lock("a", { retry: once }))
        assert(error instanceof ErrFailed)
        yield* a.kill
        yield* a.restart
        yield* until("the SET is sent again", Effect.map(callsOf(a, "set"), (calls) => calls === 1))
        yield* untilEmpty([a, b])
      }).pipe(
        Effect.scoped,
        connected({
          nodes: [IoredisNode.fromClient(client), ...urls([b, c, d, e])],
          expiry: "30 seconds",
          nodeTimeout: "400 millis"
        })
      )
      assert.strictEqual(yield* Effect.promise(() => client.ping()), "PONG")
    }))

  it.effect("whose server dies during an attempt that is interrupted: the same", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c] = servers
      const clients = yield* Effect.forEach(servers, defaultClient)
      yield* Effect.gen(function*() {
        yield* onEach([a, b, c], (server) => server.stop)
        const caller = yield* Effect.forkChild(Effect.scoped(lock("a")))
        yield* until(
          "the others have granted it",
          Effect.map(valuesOf("a", servers.slice(3)), (values) => !values.includes(null))
        )
        yield* a.kill
        yield* Fiber.interrupt(caller)
        yield* a.restart
        yield* onEach([b, c], (server) => server.resume)
        for (const server of [a, b, c]) {
          yield* until("the SET is executed", Effect.map(callsOf(server, "set"), (calls) => calls === 1))
        }
        yield* untilEmpty(servers)
      }).pipe(connected({ nodes: clients.map(IoredisNode.fromClient), expiry: "30 seconds" }))
    }))

  it.effect("that waits in its offline queue while the server is down: nothing comes of it later", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c, d, e] = servers
      yield* holdByAnother("a", [c, d, e])
      const client = yield* defaultClient(a)
      yield* Effect.gen(function*() {
        yield* a.kill
        const error = yield* Effect.flip(lock("a", { retry: retryPolicy({ tries: 3, delay: "10 millis" }) }))
        assert(error instanceof ErrFailed)
        yield* a.restart
        // Three by the schedule, and more where the votes were split.
        yield* until("the SETs are sent", Effect.map(callsOf(a, "set"), (calls) => calls >= 3))
        yield* untilEmpty([a, b])
      }).pipe(
        Effect.scoped,
        connected({
          nodes: [IoredisNode.fromClient(client), ...urls([b, c, d, e])],
          expiry: "30 seconds",
          nodeTimeout: "400 millis"
        })
      )
    }))
})

layer(RedisServers.layer(5), { excludeTestServices: true, timeout: "60 seconds" })("a blocked event loop", (it) => {
  /** Ways to come between a question and its answers. */
  const blocks: ReadonlyArray<readonly [string, (block: () => void) => void]> = [
    ["at once", (block) => block()],
    ["in a microtask", (block) => queueMicrotask(block)],
    ["before the next poll", (block) => setTimeout(block, 0)],
    ["after the next poll", (block) => setImmediate(block)],
    ["after two polls", (block) => setImmediate(() => setImmediate(block))]
  ]

  it.effect("counts the answers that wait in the sockets", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const logs = logged()
      yield* Effect.gen(function*() {
        for (const [when, schedule] of blocks) {
          const blocked = Effect.callback<void>((resume) => {
            schedule(() => {
              blockEventLoop(400)
              resume(Effect.void)
            })
          })
          yield* Effect.scoped(Effect.gen(function*() {
            const [held] = yield* Effect.all([tryLock("a"), blocked], { concurrency: "unbounded" })
            assert(Option.isSome(held), `granted when blocked ${when}`)
            const [confirmed] = yield* Effect.all([held.value.release, blocked], { concurrency: "unbounded" })
            assert.isTrue(confirmed, `released when blocked ${when}`)
          }))
        }
      }).pipe(connected({ nodes: urls(servers), expiry: "10 seconds", nodeTimeout: "150 millis" }, logs))
      assert.deepStrictEqual(logs.lines, [])
      yield* untilEmpty(servers)
    }))
})
