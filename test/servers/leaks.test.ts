/**
 * What is left when the layer closes: nothing, whatever was going on.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { Redis } from "ioredis"
import { createHook } from "node:async_hooks"
import { lock, Redsync, retryPolicy, tryLock, withLock } from "../../src/index.ts"
import * as IoredisNode from "../../src/IoredisNode.ts"
import { adminName, eventually } from "../support/servers/Instance.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"

/**
 * Runs the program, and waits until the timers and sockets are gone that were
 * made meanwhile. A socket is when the server has said goodbye too, an answer
 * later. `process.getActiveResourcesInfo` only counts: a timer of ours that is
 * left would pass for one of the test runner's that has ended.
 */
const closesHandles = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const open = new Map<number, string>()
    let running = true
    const hook = createHook({
      init: (id, type) => running && (type === "Timeout" || type === "TCPWRAP") && open.set(id, type),
      destroy: (id) => open.delete(id)
    }).enable()
    yield* Effect.addFinalizer(() => Effect.sync(() => hook.disable()))
    yield* program
    running = false
    yield* Effect.promise(() =>
      eventually("all handles are closed", async () => assert.deepStrictEqual([...open.values()], []))
    )
  }).pipe(Effect.scoped)

/** The connections to the servers, but for those of the test itself. */
const connections = Effect.flatMap(
  RedisServers,
  (servers) =>
    Effect.forEach(
      servers,
      ({ command }) =>
        Effect.map(command<string>("CLIENT", "LIST"), (list) =>
          list.trim().split("\n").filter((client) => !client.includes(` name=${adminName} `)))
    )
)

const keys = Effect.flatMap(
  RedisServers,
  (servers) => Effect.forEach(servers, ({ command }) => command<Array<string>>("KEYS", "*"))
)

const flush = Effect.flatMap(
  RedisServers,
  (servers) => Effect.forEach(servers, ({ command }) => command("FLUSHALL"), { discard: true })
)

const nothing = [[], [], []]

const theServers = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

type Program<A, E> = Effect.Effect<A, E, Redsync | RedisServers | Scope.Scope>

/** Runs the program on a layer over the nodes, and waits until no handle is left once it is closed. */
const closes = <A, E>(nodes: ReadonlyArray<string>, program: Program<A, E>) =>
  closesHandles(program.pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes }))))

/** The same over servers that are up when it is closed, and asserts that they have nothing left of it. */
const leavesNothing = <A, E>(program: Program<A, E>) =>
  Effect.gen(function*() {
    yield* flush
    assert.deepStrictEqual(yield* connections, nothing)
    yield* closes(yield* theServers, program)
    assert.deepStrictEqual(yield* connections, nothing)
    assert.deepStrictEqual(yield* keys, nothing)
  })

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })(
  "a closed layer leaves nothing",
  (it) => {
    it.effect("if no lock was taken", () => leavesNothing(Effect.void))

    it.effect("after locks were taken and released", () =>
      leavesNothing(
        Effect.forEach(
          Array.from({ length: 50 }, (_, index) => `lock-${index}`),
          (name) => withLock(name, Effect.void),
          {
            concurrency: "unbounded"
          }
        )
      ))

    it.effect("after a lock was refused", () =>
      leavesNothing(Effect.gen(function*() {
        yield* lock("refused")
        assert.isTrue(
          Exit.isFailure(yield* Effect.exit(lock("refused", { retry: retryPolicy({ tries: 2, delay: 10 }) })))
        )
        assert.strictEqual((yield* tryLock("refused"))._tag, "None")
      })))

    it.effect("after attempts that took each other's quorum", () =>
      leavesNothing(
        Effect.forEach(Array.from({ length: 30 }), () => Effect.exit(tryLock("split")), { concurrency: "unbounded" })
      ))

    it.effect("after waiters were interrupted", () =>
      leavesNothing(Effect.gen(function*() {
        yield* lock("waited for")
        const waiters = yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.forkChild(lock("waited for")))
        yield* Effect.yieldNow
        yield* Fiber.interruptAll(waiters)
      })))

    it.effect("after attempts were interrupted before, while and after they were sent", () =>
      leavesNothing(
        Effect.forEach(Array.from({ length: 40 }, (_, index) => index), (index) =>
          Effect.gen(function*() {
            const fiber = yield* Effect.forkChild(
              Effect.scoped(Effect.andThen(lock(`interrupted-${index}`), Effect.never))
            )
            yield* Effect.forEach(Array.from({ length: index }), () => Effect.yieldNow, { discard: true })
            yield* Fiber.interrupt(fiber)
          }))
      ))

    it.effect("after an attempt was interrupted that the servers answer later", () =>
      leavesNothing(Effect.gen(function*() {
        const servers = yield* RedisServers
        for (const { pause } of servers) yield* pause(150)
        const fiber = yield* Effect.forkChild(lock("interrupted", { nodeTimeout: "5 seconds" }))
        yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      })))

    it.effect("after an attempt timed out that the servers answer later", () =>
      leavesNothing(Effect.gen(function*() {
        const servers = yield* RedisServers
        for (const { pause } of servers) yield* pause(150)
        const exit = yield* Effect.exit(tryLock("timed out", { nodeTimeout: "50 millis" }))
        assert.isTrue(Exit.isFailure(exit))
        // The release queues behind the pause as well; it is retried until the servers answer.
        for (const { command } of servers) yield* command("PING")
      })))

    it.effect("if a lock is held while it closes", () =>
      Effect.flatMap(Effect.scope, (outer) => leavesNothing(Effect.provideService(lock("held"), Scope.Scope, outer))))

    it.effect("if a lock that was taken away is held while it closes", () =>
      Effect.flatMap(Effect.scope, (outer) =>
        leavesNothing(Effect.gen(function*() {
          const held = yield* Effect.provideService(lock("lost"), Scope.Scope, outer)
          const [first, second] = yield* RedisServers
          // Answered by all: the third node has the key as well.
          yield* Redsync.inspect("lost")
          for (const server of [first!, second!]) yield* server.command("DEL", "lost")
          assert.strictEqual((yield* Effect.flip(held.extend))._tag, "LockLost")
        }))))

    it.effect("if it closes while programs hold a lock and wait for it: they end", () =>
      Effect.gen(function*() {
        const outer = yield* Effect.scope
        const program = withLock("busy", Effect.never)
        const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
        yield* leavesNothing(Effect.gen(function*() {
          fibers.push(yield* Effect.forkIn(program, outer))
          fibers.push(yield* Effect.forkIn(program, outer))
          // Answered after the attempts of both.
          yield* Redsync.inspect("busy")
        }))
        for (const exit of yield* Effect.forEach(fibers, Fiber.await)) assert.isTrue(Exit.isFailure(exit))
      }))

    it.effect("if a server is down", () =>
      Effect.gen(function*() {
        const [server] = yield* RedisServers
        const program = Effect.andThen(server!.kill, withLock("down", Effect.void))
        yield* Effect.ensuring(closes(yield* theServers, program), server!.restart)
        assert.deepStrictEqual(yield* keys, nothing)
      }))

    it.effect("if a server is frozen", () =>
      Effect.gen(function*() {
        const [server] = yield* RedisServers
        const program = Effect.andThen(server!.stop, withLock("frozen", Effect.void))
        yield* Effect.ensuring(closes(yield* theServers, program), server!.resume)
        assert.deepStrictEqual(yield* keys, nothing)
      }))

    it.effect("if no server was ever up", () =>
      closes([1, 2, 3].map((port) => `redis://127.0.0.1:${port}`), Effect.exit(tryLock("nowhere"))))

    it.effect("of a client of the caller's but the client as it was", () =>
      Effect.gen(function*() {
        const servers = yield* RedisServers
        const clients = yield* Effect.forEach(servers, ({ host, port }) =>
          Effect.acquireRelease(
            Effect.promise(async () => {
              const client = new Redis({ host, port, lazyConnect: true })
              await client.connect()
              return client
            }),
            (client) => Effect.sync(() => client.disconnect())
          ))
        const listeners = () =>
          clients.map((client) => client.eventNames().map((event) => [event, client.listenerCount(event)]))
        const before = listeners()
        yield* Effect.all([lock("held"), Effect.exit(tryLock("held"))]).pipe(
          Effect.scoped,
          Effect.provide(Redsync.layer({ nodes: clients.map(IoredisNode.fromClient) }))
        )
        assert.deepStrictEqual(listeners(), before)
        assert.deepStrictEqual(yield* keys, nothing)
      }))
  }
)
