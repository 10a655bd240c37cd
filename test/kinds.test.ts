/**
 * Locks on Redis as it is found in the field: behind TLS, on a Unix socket, in a
 * database of its own, behind a proxy that cuts idle connections, with passwords
 * that change. What the README recommends is what is tested.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, Schedule, type Scope } from "effect"
import { readFileSync } from "node:fs"
import { IoredisNode, Redsync, tryLock, withLock } from "../src/index.ts"
import { overTls } from "./examples/kinds/tls.ts"
import { type Certificates, certificates } from "./support/certificates.ts"
import { assertNodeError, Backend, realTime, redisSuite, Subject } from "./support/conformance.ts"
import { onEach, until } from "./support/faults.ts"
import { directoryOf, reservePort } from "./support/Instance.ts"
import { type RedisServer, startServer } from "./support/RedisServers.ts"
import { kindsOf } from "./support/trouble.ts"

const three = <A, R>(one: Effect.Effect<A, never, R>) => Effect.all([one, one, one], { concurrency: "unbounded" })

/** A service with connections of its own. */
const service = (layer: Layer.Layer<Redsync.Redsync>) =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Effect.provide(context))

/**
 * Two services exclude each other, and the one that waits is woken by the release
 * of the other: its own next attempt would come after an hour.
 */
const excludes = (servers: ReadonlyArray<RedisServer>, layer: Layer.Layer<Redsync.Redsync>) =>
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

// In TLS 1.3 a server refuses the client after the handshake, and its alert may be overtaken by the end of the connection.
layer(Tls.layer, { excludeTestServices: true, timeout: "60 seconds" })("TLS with a private authority", (it) => {
  it.effect("as the README has it: locks, and wakes those that wait", () =>
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
