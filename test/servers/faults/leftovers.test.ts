/**
 * Locks that are lost or released while the servers cannot be reached: no key
 * stays for the rest of an expiry that would outlast any test.
 */
import { assert, layer } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Fiber, Layer, Option, Scope } from "effect"
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"
import { lock, LockLost, NodesUnavailable, Redsync } from "../../../src/index.ts"
import { onEach, untilAllAnswer, untilEmpty, urls, valuesOf } from "../../support/faults.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"
import { onThree } from "../../support/trouble.ts"

const errorOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Exit.findErrorOption(exit)) : undefined

/** Real time, and a jump forward whenever a test says so. */
const jumping = () => {
  const real = Context.get(Context.empty(), Clock.Clock)
  let millis = 0
  const nanos = () => BigInt(millis) * 1_000_000n
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => real.currentTimeMillisUnsafe() + millis,
    currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe()),
    currentTimeNanosUnsafe: () => real.currentTimeNanosUnsafe() + nanos(),
    currentTimeNanos: Effect.sync(() => clock.currentTimeNanosUnsafe()),
    monotonicTimeNanosUnsafe: () => real.monotonicTimeNanosUnsafe() + nanos(),
    monotonicTimeNanos: Effect.sync(() => clock.monotonicTimeNanosUnsafe()),
    sleep: (duration) => real.sleep(duration)
  }
  return { clock, jump: (by: number) => void (millis += by) }
}

/** Ways to the servers on which every connection breaks while they are down. */
const breakable = (servers: ReadonlyArray<RedisServer>) =>
  Effect.gen(function*() {
    let isUp = true
    const sockets = new Set<Socket>()
    const inputs = yield* Effect.forEach(servers, ({ host, port }) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.callback<Server>((resume) => {
            const proxy = createServer((client) => {
              if (!isUp) {
                client.destroy()
                return
              }
              const server = connect({ host, port })
              for (const [socket, other] of [[client, server], [server, client]] as const) {
                sockets.add(socket)
                socket.pipe(other)
                socket.on("error", () => other.destroy())
                socket.on("close", () => {
                  sockets.delete(socket)
                  other.destroy()
                })
              }
            })
            proxy.listen(0, "127.0.0.1", () => resume(Effect.succeed(proxy)))
          }),
          (proxy) =>
            Effect.sync(() => {
              for (const socket of sockets) socket.destroy()
              proxy.close()
            })
        ),
        (proxy) => `redis://127.0.0.1:${(proxy.address() as AddressInfo).port}`
      ))
    return {
      inputs,
      down: Effect.sync(() => {
        isUp = false
        for (const socket of sockets) socket.destroy()
      }),
      up: Effect.sync(() => void (isUp = true))
    }
  })

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("unreachable servers", (it) => {
  it.effect("that are stopped for longer than the lease: the extensions they execute later plant nothing", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [, b, c] = servers
      const { clock, jump } = jumping()
      const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const context = yield* Layer.buildWithScope(
        Redsync.layer({ nodes: urls(servers), expiry: "1 hour", nodeTimeout: "200 millis" }),
        scope
      ).pipe(Effect.provideService(Clock.Clock, clock))
      yield* Effect.gen(function*() {
        yield* Effect.provide(untilAllAnswer, context)
        const held = yield* Effect.provide(lock("a"), context)
        yield* onEach([b, c], (server) => server.stop)
        for (let extensions = 1; extensions <= 3; extensions++) {
          assert.instanceOf(errorOf(yield* Effect.exit(held.extend)), NodesUnavailable)
        }
        // The hour is over, on the servers too.
        yield* servers[0].command("DEL", "a")
        jump(3_600_000)
        const lost = errorOf(yield* Effect.exit(held.lost))
        assert.instanceOf(lost, LockLost)
      }).pipe(Effect.ensuring(onEach([b, c], (server) => server.resume)))
      // The lock is still in its scope, and nobody else will delete anything.
      yield* untilEmpty(servers)
    }, Effect.scoped)))

  it.effect("while a lock is released, and that are back when the service closes: it is gone then", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { down, inputs, up } = yield* breakable(servers)
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        Redsync.layer({ nodes: inputs, expiry: "1 hour", nodeTimeout: "10 seconds" }),
        scope
      )
      yield* Effect.provide(untilAllAnswer, context)
      const held = yield* Effect.provide(lock("a"), context)
      yield* down
      assert.isFalse(yield* held.release)
      assert.deepStrictEqual(yield* valuesOf("a", servers), [held.value, held.value, held.value])
      yield* up
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* valuesOf("a", servers), [null, null, null])
    }, Effect.scoped)))

  it.effect("and that come back while it is closing: the same", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { down, inputs, up } = yield* breakable(servers)
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        Redsync.layer({ nodes: inputs, expiry: "1 hour", nodeTimeout: "10 seconds" }),
        scope
      )
      yield* Effect.provide(untilAllAnswer, context)
      const held = yield* Effect.provide(lock("a"), context)
      yield* down
      assert.isFalse(yield* held.release)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* up
      yield* Fiber.join(closing)
      assert.deepStrictEqual(yield* valuesOf("a", servers), [null, null, null])
    }, Effect.scoped)))
})
