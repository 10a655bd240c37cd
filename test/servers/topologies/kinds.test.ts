/**
 * Locks on Redis as it is found in the field: behind TLS, on a Unix socket, in a
 * database of its own, behind a proxy that cuts idle connections, with passwords
 * that change. What the guide recommends is what is tested.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Fiber, Layer, Logger, Option, Schedule, type Scope } from "effect"
import type { Redis } from "ioredis"
import { Redis as Valkey } from "iovalkey"
import { readFileSync } from "node:fs"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { inspect as inspectValue } from "node:util"
import { inspect, lock, type LockError, Redsync, tryLock, withLock } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { overTls } from "../../examples/kinds/tls.ts"
import { assertNodeError, Backend, realTime, redisSuite, Subject } from "../../support/conformance.ts"
import { type Logged, logged, onEach, until, valuesOf } from "../../support/faults.ts"
import { abilities } from "../../support/servers/abilities.ts"
import { type Certificates, certificates } from "../../support/servers/certificates.ts"
import { directoryOf, reservePort } from "../../support/servers/Instance.ts"
import { type RedisServer, startServer } from "../../support/servers/RedisServers.ts"
import { kindsOf } from "../../support/trouble.ts"

const three = <A, R>(one: Effect.Effect<A, never, R>) => Effect.all([one, one, one], { concurrency: "unbounded" })

/** A service with connections of its own. */
const service = (layer: Layer.Layer<Redsync>) =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Effect.provide(context))

/**
 * Two services exclude each other, and the one that waits is woken by the release
 * of the other: its own next attempt would come after an hour.
 */
const excludes = (servers: ReadonlyArray<RedisServer>, layer: Layer.Layer<Redsync>) =>
  Effect.gen(function*() {
    const [ours, theirs] = [yield* service(layer), yield* service(layer)]
    const order: Array<string> = []
    const patient = { expiry: "1 minute", retry: Schedule.spaced("1 hour") } as const
    const second = theirs(withLock("excluded", Effect.sync(() => order.push("second")), patient))
    const waiting = yield* ours(withLock(
      "excluded",
      Effect.gen(function*() {
        assert.isTrue(Option.isNone(yield* theirs(Effect.scoped(tryLock("excluded")))))
        const waiting = yield* Effect.forkScoped(second)
        yield* until(
          "somebody waits",
          Effect.map(onEach(servers, kindsOf), (kinds) => kinds.flat().includes("looks"))
        )
        order.push("first")
        return waiting
      }),
      patient
    ))
    yield* Fiber.join(waiting)
    assert.deepStrictEqual(order, ["first", "second"])
  })

// -----------------------------------------------------------------------------
// TLS
// -----------------------------------------------------------------------------

interface TlsServer extends RedisServer {
  /** Where it speaks TLS; the tests' own commands go to the other port. */
  readonly tls: { readonly host: string; readonly port: number }
}

class Tls extends Context.Service<Tls, { readonly pem: Certificates; readonly servers: ReadonlyArray<TlsServer> }>()(
  "effect-redsync/test/Tls"
) {
  static readonly layer = Layer.effect(
    Tls,
    Effect.gen(function*() {
      const pem = yield* certificates
      return { pem, servers: yield* three(tlsServer(pem)) }
    })
  )
}

const tlsServer = (pem: Certificates): Effect.Effect<TlsServer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { port } = yield* Effect.acquireRelease(
      Effect.promise(reservePort),
      ({ release }) => Effect.sync(release)
    )
    const options = {
      "tls-port": String(port),
      "tls-ca-cert-file": pem.ca,
      "tls-cert-file": pem.server.cert,
      "tls-key-file": pem.server.key,
      "tls-auth-clients": "yes"
    }
    const server = yield* startServer({
      args: Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
    })
    return { ...server, tls: { host: "localhost", port } }
  })

const read = ({ ca, client }: Certificates) => ({
  ca: readFileSync(ca),
  cert: readFileSync(client.cert),
  key: readFileSync(client.key)
})

const overTlsSuites = () => {
  // In TLS 1.3 a server refuses the client after the handshake, and its alert may be overtaken by the end of the connection.
  layer(Tls.layer, { excludeTestServices: true, timeout: "60 seconds" })("TLS with a private authority", (it) => {
    it.effect("as the guide has it: locks, and wakes those that wait", () =>
      Effect.gen(function*() {
        const { pem, servers } = yield* Tls
        yield* excludes(servers, overTls(servers.map(({ tls }) => tls), { ca: pem.ca, ...pem.client }))
      }))

    it.effect.each(
      [
        [
          "without a client's certificate",
          (pem: Certificates) => ({ ca: readFileSync(pem.ca) }),
          /ECONNRESET|^TLS: .*certificate required/
        ],
        [
          "with that of another authority",
          (pem: Certificates, other: Certificates) => ({ ...read(other), ca: readFileSync(pem.ca) }),
          /ECONNRESET|^TLS: tlsv1 alert (decrypt error|unknown ca)$/
        ],
        [
          "without the authority",
          (pem: Certificates) => ({ ...read(pem), ca: undefined }),
          /^self-signed certificate in certificate chain$/
        ]
      ] as const
    )("%s it is a failed vote that says so", ([_, tlsOf, words]) =>
      Effect.gen(function*() {
        const { pem, servers: [server] } = yield* Tls
        const node = yield* IoredisNode.make({ ...server!.tls, tls: tlsOf(pem, yield* certificates) })
        assert.isFalse(yield* node.ready!)
        const error = yield* Effect.flip(node.acquire("never", "mine", 60_000))
        assertNodeError(error, node, "acquire", "Disconnected", words)
        assert.strictEqual(yield* server!.command("DBSIZE"), 0)
      }))
  })

  redisSuite(
    "IoredisNode over TLS",
    Layer.effectContext(Effect.gen(function*() {
      const pem = yield* certificates
      const server = yield* tlsServer(pem)
      const node = yield* IoredisNode.make({ ...server.tls, tls: read(pem) })
      assert.isTrue(yield* node.ready!)
      return Context.make(Subject, { node, ...realTime }).pipe(
        Context.add(Backend, { onKey: server.command, flushScripts: server.command("SCRIPT", "FLUSH") })
      )
    }))
  )
}

if ((await abilities()).tls) overTlsSuites()
else {
  it.live("a server that was built without TLS says so, and does not start", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.flatMap(certificates, tlsServer))
      assert(Exit.isFailure(exit))
      assert.match(inspectValue(exit.cause, { depth: 10 }), /tls-port|TLS support/)
    }).pipe(Effect.scoped))
}

// -----------------------------------------------------------------------------
// Unix sockets and databases
// -----------------------------------------------------------------------------

describe("Unix sockets and databases", () => {
  it.live("locks over sockets, and wakes those that wait", () =>
    Effect.gen(function*() {
      const servers = yield* three(startServer({ args: ["--unixsocket", "redis.sock"] }))
      const nodes = servers.map(({ port }) => `unix:${directoryOf(port)}/redis.sock`)
      yield* excludes(servers, Redsync.layer({ nodes }))
    }).pipe(Effect.scoped))

  it.live("locks of one name in two databases are two locks, each of which wakes its own", () =>
    Effect.gen(function*() {
      const servers = yield* three(startServer())
      const inDatabase = (db: number) => Redsync.layer({ nodes: servers.map(({ url }) => `${url}/${db}`) })
      const other = yield* service(inDatabase(2))
      yield* other(withLock("excluded", excludes(servers, inDatabase(3))))
    }).pipe(Effect.scoped))
})

// -----------------------------------------------------------------------------
// the client for Valkey
// -----------------------------------------------------------------------------

it.live("clients of iovalkey: locks, and wakes those that wait", () =>
  Effect.gen(function*() {
    const servers = yield* three(startServer())
    const clients = yield* Effect.forEach(servers, ({ host, port }) =>
      Effect.acquireRelease(
        Effect.sync(() => new Valkey(port, host) as unknown as Redis),
        (client) => Effect.sync(() => client.disconnect())
      ))
    yield* excludes(servers, Redsync.layer({ nodes: clients.map(IoredisNode.fromClient) }))
  }).pipe(Effect.scoped))

// -----------------------------------------------------------------------------
// networks and passwords
// -----------------------------------------------------------------------------

/** The way to a server through something that ends connections on which nothing was said for a while, with or without a word. */
const impatientProxy = (target: RedisServer, idleMillis: number, manner: "cuts" | "forgets" = "cuts") =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const proxy = { cuts: 0 }
      const sockets = new Set<Socket>()
      const server = createServer((client) => {
        const upstream = connect({ host: target.host, port: target.port })
        for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
          sockets.add(socket)
          socket.on("error", () => {})
          socket.on("close", () => {
            sockets.delete(socket)
            other.destroy()
          })
          socket.pipe(other)
        }
        client.setTimeout(idleMillis, () => {
          proxy.cuts++
          if (manner === "cuts") client.destroy()
          else client.unpipe().resume()
        })
      })
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      const { port } = server.address() as AddressInfo
      const close = () => {
        server.close()
        for (const socket of sockets) socket.destroy()
      }
      return { proxy, url: `redis://127.0.0.1:${port}`, close }
    }),
    ({ close }) => Effect.sync(close)
  )

describe("networks and passwords", () => {
  it.live("a proxy that cuts idle connections costs no lock", () =>
    Effect.gen(function*() {
      const servers = yield* three(startServer())
      const proxies = yield* Effect.forEach(servers, (server) => impatientProxy(server, 150))
      const quiet = Layer.provide(Redsync.layer({ nodes: proxies.map(({ url }) => url) }), Logger.layer([]))
      const ours = yield* service(quiet)
      const areCutOff = until("they are cut off", Effect.sync(() => proxies.every(({ proxy }) => proxy.cuts > 0)))
      yield* ours(withLock("idle", (held) =>
        Effect.gen(function*() {
          yield* areCutOff
          let remaining = yield* held.remaining
          yield* until(
            "it is extended on new connections",
            Effect.map(held.remaining, (now) => Duration.isGreaterThan(now, remaining) || (remaining = now, false))
          )
        }), { expiry: "6 seconds", nodeTimeout: "1 second" }))
      yield* ours(withLock("idle", Effect.void))
      // A release that found a node cut off is sent again. A place in line may be left for its minute.
      yield* until(
        "it is released everywhere",
        Effect.map(valuesOf("idle", servers), (values) => values.every((value) => value === null))
      )
    }).pipe(Effect.scoped))

  it.live("a proxy that forgets idle connections without a word is noticed with ioredis' socketTimeout", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const { proxy, url } = yield* impatientProxy(server, 150, "forgets")
      const node = yield* IoredisNode.make({ host: "127.0.0.1", port: Number(new URL(url).port), socketTimeout: 300 })
      assert.isTrue(yield* node.acquire("forgotten", "mine", 60_000))
      yield* until("the connection is forgotten", Effect.sync(() => proxy.cuts > 0))
      const error = yield* Effect.flip(node.release("forgotten", "mine"))
      assertNodeError(error, node, "release", "Disconnected", /Socket timeout/)
      yield* until(
        "it is released on another",
        Effect.map(Effect.option(node.release("forgotten", "mine")), Option.isSome)
      )
      assert.strictEqual(yield* server.command("DBSIZE"), 0)
    }).pipe(Effect.scoped))

  it.live("a password is changed on one server after the other while a lock is held", () =>
    Effect.gen(function*() {
      const servers = yield* three(startServer())
      const everywhere = (...rules: ReadonlyArray<string>) =>
        onEach(servers, ({ command }) => command("ACL", "SETUSER", "locker", ...rules))
      const withPassword = (password: string, logs: Logged) =>
        service(Layer.provide(
          Redsync.layer({ nodes: servers.map(({ url }) => url.replace("redis://", `redis://locker:${password}@`)) }),
          logs.layer
        ))
      // First both are right, so that instances can be moved to the new one.
      yield* everywhere("on", "~*", "&*", "+@all", ">old", ">new")
      const logs = logged()
      const [ours, theirs] = [yield* withPassword("old", logs), yield* withPassword("new", logged())]
      yield* ours(withLock("rotated", (held) =>
        Effect.gen(function*() {
          const [first] = servers
          yield* first.command("ACL", "SETUSER", "locker", "<old")
          yield* first.command("CLIENT", "KILL", "USER", "locker")
          // A failed vote, and two that suffice.
          yield* until(
            "the old password is refused",
            Effect.map(
              inspect("rotated"),
              ({ nodes: [node] }) => node?._tag === "Failed" && node.error.message.includes("WRONGPASS")
            )
          )
          yield* held.extend
          assert.strictEqual(logs.down().length, 1, logs.lines.join("\n"))
          assert.isTrue(Option.isNone(yield* theirs(Effect.scoped(tryLock("rotated")))))
        })))
      yield* everywhere("resetpass", ">new")
      yield* onEach(servers, ({ command }) => command("CLIENT", "KILL", "USER", "locker"))
      const error = yield* ours(Effect.flip(Effect.scoped(lock("rotated", { retry: refusedForGood }))))
      assert.strictEqual(error._tag, "NodesUnavailable")
      yield* theirs(withLock("rotated", Effect.void))
    }).pipe(Effect.scoped))
})

/** Until enough connections have been made again to be told why they are not. */
const refusedForGood = Schedule.spaced("50 millis").pipe(
  Schedule.while(({ input }) => !/WRONGPASS.*WRONGPASS/.test((input as LockError).message))
)
