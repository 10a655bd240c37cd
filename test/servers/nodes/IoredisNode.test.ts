import { assert, describe, it, layer } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Option, Result, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { Cluster, Redis, type RedisOptions } from "ioredis"
import { Cluster as ValkeyCluster, Redis as Valkey } from "iovalkey"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { type LockNode, NodeError, Redsync, retryPolicy, withLock } from "../../../src/index.ts"
import { canHaveCompanion } from "../../../src/internal/redis/keys.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { assertDown, assertNodeError, Backend, realTime, redisSuite, Subject } from "../../support/conformance.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import { eventually } from "../../support/servers/Instance.ts"
import { RedisCluster, type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"

const oneServer = Effect.map(RedisServers, ([server]) => server!)

/** A node over a server of its own, and that server. */
const subject = <E>(makeNode: (server: RedisServer) => Effect.Effect<LockNode, E, Scope.Scope>) =>
  Layer.effectContext(Effect.gen(function*() {
    const server = yield* oneServer
    const node = yield* makeNode(server)
    assert.isTrue(yield* node.ready ?? Effect.succeed(true))
    return Context.make(Subject, { node, ...realTime }).pipe(
      Context.add(Backend, { onKey: server.command, flushScripts: server.command("SCRIPT", "FLUSH") })
    )
  })).pipe(Layer.provide(RedisServers.layer(1)))

/** A client as a program has it for other things, with ioredis' own defaults. */
const callersClient = (options: Omit<RedisOptions, "replyMapping">) =>
  Effect.acquireRelease(
    Effect.sync(() => new Redis(options)),
    (client) => Effect.sync(() => client.disconnect())
  )

/** A cluster client, connected. */
const clusterOf = (Client: typeof Cluster) =>
  Effect.flatMap(RedisCluster, (addresses) =>
    Effect.acquireRelease(
      Effect.promise(async () => {
        const cluster = new Client([...addresses], { lazyConnect: true })
        await cluster.connect()
        return cluster
      }),
      (cluster) => Effect.sync(() => cluster.disconnect())
    ))

const callersCluster = clusterOf(Cluster)

redisSuite("IoredisNode over a URL", subject(({ url }) => IoredisNode.make(url)))

redisSuite("IoredisNode over a URL with a database", subject(({ url }) => IoredisNode.make(`${url}/0`)))

redisSuite("IoredisNode over options", subject(({ host, port }) => IoredisNode.make({ host, port })))

redisSuite(
  "IoredisNode over RESP2",
  subject(({ host, port }) => IoredisNode.make({ host, port, protocol: 2 }))
)

redisSuite(
  "IoredisNode over options that change what is sent and how it is answered",
  subject(({ host, port }) =>
    IoredisNode.make({
      host,
      port,
      commandTimeout: 60_000,
      connectionName: "locks",
      enableAutoPipelining: true,
      readOnly: true,
      replyMapping: "resp3",
      stringNumbers: true
    })
  )
)

redisSuite(
  "IoredisNode over a client of the caller's",
  subject(({ host, port }) => Effect.map(callersClient({ host, port }), IoredisNode.fromClient))
)

const clusterSubject = (Client: typeof Cluster) =>
  Layer.effectContext(Effect.gen(function*() {
    const cluster = yield* clusterOf(Client)
    const direct = yield* callersCluster
    return Context.make(Subject, { node: IoredisNode.fromClient(cluster), ...realTime }).pipe(
      Context.add(Backend, {
        onKey: <A>(command: string, ...args: ReadonlyArray<string>) =>
          Effect.promise(() => direct.call(command, ...args) as Promise<A>),
        flushScripts: Effect.promise(() => Promise.all(direct.nodes("master").map((node) => node.script("FLUSH"))))
      })
    )
  })).pipe(Layer.provide(RedisCluster.layer))

redisSuite("IoredisNode over a cluster of the caller's", clusterSubject(Cluster))

redisSuite("IoredisNode over a cluster of iovalkey", clusterSubject(ValkeyCluster as unknown as typeof Cluster))

redisSuite(
  "IoredisNode over a client of iovalkey",
  subject(({ host, port }) =>
    Effect.acquireRelease(
      Effect.sync(() => new Valkey({ host, port })),
      (client) => Effect.sync(() => client.disconnect())
    ).pipe(Effect.map((client) => IoredisNode.fromClient(client as unknown as Redis)))
  )
)

layer(RedisServers.layer(1), { excludeTestServices: true, timeout: "60 seconds" })("IoredisNode", (it) => {
  it.effect("a server that is down fails at once, and works again by itself when it is back", () =>
    Effect.gen(function*() {
      const server = yield* oneServer
      const node = yield* IoredisNode.make(server.url)
      assert.isTrue(yield* node.ready!)
      yield* server.kill
      yield* Effect.ensuring(assertDown(node), server.restart)
      assert.isTrue(yield* untilAnswered(node.acquire("back", "mine", 1000)))
    }))

  it.effect("a server that is down from the start does not fail the node", () =>
    Effect.gen(function*() {
      const server = yield* oneServer
      yield* server.kill
      const node = yield* IoredisNode.make(server.url)
      assert.isFalse(yield* node.ready!)
      yield* Effect.ensuring(assertDown(node), server.restart)
      assert.isTrue(yield* untilAnswered(node.acquire("late", "mine", 1000)))
    }))

  it.effect("options of the caller's that would send a command later are not used", () =>
    Effect.gen(function*() {
      const server = yield* oneServer
      const node = yield* IoredisNode.make({
        host: server.host,
        port: server.port,
        enableOfflineQueue: true,
        autoResendUnfulfilledCommands: true,
        maxRetriesPerRequest: null
      })
      assert.isTrue(yield* node.ready!)
      yield* server.kill
      yield* Effect.ensuring(assertDown(node), server.restart)
      assert.isTrue(yield* untilAnswered(node.remove("nothing").pipe(Effect.as(true))))
      assert.strictEqual(yield* server.command("DBSIZE"), 0)
    }))

  it.effect("of 50 MB under a lock's name next to nothing is fetched, whatever looks at it", () =>
    Effect.gen(function*() {
      const server = yield* oneServer
      const node = yield* IoredisNode.make(server.url)
      yield* server.command("SETRANGE", "blob", String(50 * 1024 * 1024 - 1), "x")
      const sent = Effect.map(
        server.command<string>("INFO", "stats"),
        (stats) => Number(/total_net_output_bytes:(\d+)/.exec(stats)![1])
      )
      const before = yield* sent
      assert.isFalse(yield* node.acquire("blob", "mine", 60_000))
      assert.strictEqual(Option.getOrThrow(yield* node.inspect("blob")).bytes, 50 * 1024 * 1024)
      assert.isFalse(yield* node.extend("blob", "mine", 60_000))
      assert.isFalse(yield* node.replace!("blob", "mine", "new", 60_000))
      const list = yield* node.waitingList!(waiterIdOf("we"), () => {})
      const { ahead, ttlMillis } = yield* list.join("blob", entryOf("we"), "back")
      assert.deepStrictEqual({ ahead, ttlMillis }, { ahead: 0, ttlMillis: Infinity })
      yield* list.leave("blob", entryOf("we"))
      const { released, woke } = yield* list.release("blob", "mine", undefined)
      assert.deepStrictEqual({ released, woke }, { released: false, woke: false })
      const message = yield* Effect.flip(
        withLock("blob", Effect.void, { retry: retryPolicy({ tries: 1 }) })
      ).pipe(
        Effect.map((error) => error.message),
        Effect.provide(Redsync.layer({ nodes: [server.url] })),
        // On its clock the node has all the time it takes to answer.
        Effect.provide(TestClock.layer())
      )
      assert.match(message, /a string of 52428800 bytes/)
      assert.isBelow((yield* sent) - before, 200_000)
    }))

  it.effect("a database number keeps keys apart", () =>
    Effect.gen(function*() {
      const server = yield* oneServer
      const node = yield* IoredisNode.make(`${server.url}/3`)
      assert.isTrue(yield* node.ready!)
      assert.isTrue(yield* node.acquire("apart", "mine", 60_000))
      assert.strictEqual(yield* server.command("EXISTS", "apart"), 0)
      assert.match(yield* server.command<string>("INFO", "keyspace"), /db3:keys=1,/)
    }))

  it.effect("a database that the server does not have is an error, and no other is used instead", () =>
    Effect.gen(function*() {
      const server = yield* oneServer
      const node = yield* IoredisNode.make(`${server.url}/99`)
      yield* node.ready!
      const error = yield* Effect.flip(node.acquire("elsewhere", "mine", 60_000))
      assertNodeError(error, node, "acquire", "Rejected", /DB index is out of range/)
      assert.strictEqual(yield* server.command("EXISTS", "elsewhere"), 0)
    }))

  it.effect("numbers as strings, an option of ioredis, are numbers all the same", () =>
    Effect.gen(function*() {
      const { host, port } = yield* oneServer
      const node = yield* IoredisNode.make({ host, port, stringNumbers: true })
      assert.isTrue(yield* node.ready!)
      assert.isTrue(yield* node.acquire("strings", "mine", 60_000))
      assert.isTrue(yield* node.extend("strings", "mine", 60_000))
      assert.isNumber(Option.getOrThrow(yield* node.inspect("strings")).ttlMillis)
      assert.isTrue(yield* node.release("strings", "mine"))
    }))

  it.effect("a Unix socket", () =>
    Effect.gen(function*() {
      const path = yield* socketTo(yield* oneServer)
      const node = yield* IoredisNode.make(`unix:${path}?db=1`)
      assert.strictEqual(node.id, `${path}/1`)
      assert.isTrue(yield* node.ready!)
      assert.isTrue(yield* node.acquire("by socket", "mine", 60_000))
    }))

  it.effect("a URL that cannot be understood is a defect", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(IoredisNode.make("redis://ada:hunter2@host/abc"))
      const defect = Exit.findDefect(exit)
      assert.strictEqual(defect._tag, "Success")
      assert(defect._tag === "Success" && Cause.isIllegalArgumentError(defect.success))
      assert.include(defect.success.message, `the option target is "redis://***@host/abc"`)
    }))
})

layer(RedisServers.layer(1, { password: "right 100%" }), { excludeTestServices: true, timeout: "60 seconds" })(
  "IoredisNode and passwords",
  (it) => {
    it.effect("the right one, of the default user", () =>
      Effect.gen(function*() {
        const server = yield* oneServer
        const node = yield* IoredisNode.make(server.url)
        assert.isTrue(yield* node.ready!)
        assert.isTrue(yield* node.acquire("default user", "mine", 60_000))
        assert.strictEqual(node.id, `${server.host}:${server.port}`)
      }))

    it.effect("the right one, of a user who may use only what a lock needs", () =>
      Effect.gen(function*() {
        const { command, host, port } = yield* oneServer
        const commands = ["set", "get", "del", "pexpire", "pttl", "type", "evalsha", "eval"].map((name) => `+${name}`)
        yield* command("ACL", "SETUSER", "ada", "on", ">p@ss", "~*", "+@connection", "+info", ...commands)
        const node = yield* IoredisNode.make(`redis://ada:p%40ss@${host}:${port}`)
        assert.isTrue(yield* node.ready!)
        assert.isTrue(yield* node.acquire("ada's", "mine", 60_000))
        assert.isTrue(yield* node.extend("ada's", "mine", 60_000))
        assert.isTrue(Option.isSome(yield* node.inspect("ada's")))
        assert.isTrue(yield* node.release("ada's", "mine"))
        assert.isFalse(yield* node.remove("ada's"))
      }))

    it.effect("a user who may not run scripts is told so by the server", () =>
      Effect.gen(function*() {
        const { command, host, port } = yield* oneServer
        yield* command("ACL", "SETUSER", "bob", "on", ">hunter2", "~*", "+@all", "-evalsha", "-eval", "-get")
        const node = yield* IoredisNode.make(`redis://bob:hunter2@${host}:${port}`)
        assert.isTrue(yield* node.ready!)
        const error = yield* Effect.flip(node.release("bob's", "mine"))
        assertNodeError(error, node, "release", "Rejected", /^NOPERM /)
        yield* command("ACL", "SETUSER", "bob", "+evalsha", "+eval")
        const inside = yield* Effect.flip(node.release("bob's", "mine"))
        assert.strictEqual(inside.reason, "Rejected")
        assert.match(inside.message, /can't run|permission/)
      }))

    it.effect.each(
      [
        ["the wrong password", "redis://:hunter2@", /^WRONGPASS /],
        ["an unknown user", "redis://eve:hunter2@", /^WRONGPASS /],
        ["no password", "redis://", /^NOAUTH /]
      ] as const
    )("%s is refused in the server's words, without the password", ([_, prefix, words]) =>
      Effect.gen(function*() {
        const { host, port } = yield* oneServer
        const node = yield* IoredisNode.make(`${prefix}${host}:${port}`)
        assert.isFalse(yield* node.ready!)
        const error = yield* Effect.flip(node.acquire("never", "mine", 60_000))
        assertNodeError(error, node, "acquire", "Rejected", words)
        const everything = [
          error.message,
          String(error),
          JSON.stringify(error),
          Cause.pretty(Cause.fail(error)),
          node.id
        ]
        assert.notInclude(everything.join("\n"), "hunter2")
      }))
  }
)

/** What the caller would notice if we changed it. */
const footprint = (client: Redis | Cluster) => ({
  options: { ...client.options },
  listeners: Object.fromEntries(client.eventNames().map((event) => [String(event), client.listenerCount(event)])),
  status: client.status
})

layer(Layer.merge(RedisServers.layer(1), RedisCluster.layer), { excludeTestServices: true, timeout: "60 seconds" })(
  "a client of the caller's",
  (it) => {
    const untouched = (client: Redis | Cluster, ping: () => Promise<string>) =>
      Effect.gen(function*() {
        const before = footprint(client)
        yield* withLock("theirs", Effect.sync(() => assert.deepStrictEqual(footprint(client), before))).pipe(
          Effect.provide(Redsync.layer({ nodes: [IoredisNode.fromClient(client)] }))
        )
        assert.deepStrictEqual(footprint(client), before)
        assert.strictEqual(yield* Effect.promise(ping), "PONG")
      })

    it.effect("is neither closed nor changed", () =>
      Effect.gen(function*() {
        const { host, port } = yield* oneServer
        const client = yield* callersClient({ host, port })
        yield* Effect.promise(() => client.ping())
        yield* untouched(client, () => client.ping())
      }))

    it.effect("is neither closed nor changed where it is a cluster", () =>
      Effect.gen(function*() {
        const cluster = yield* callersCluster
        yield* Effect.promise(() => cluster.ping())
        yield* untouched(cluster, () => cluster.ping())
      }))

    it.effect("need not be connected", () =>
      Effect.gen(function*() {
        const { host, port } = yield* oneServer
        const client = yield* callersClient({ host, port, lazyConnect: true })
        assert.isTrue(yield* IoredisNode.fromClient(client).acquire("connects", "mine", 60_000))
      }))

    it.effect("has its own key prefix", () =>
      Effect.gen(function*() {
        const { command, host, port } = yield* oneServer
        const client = yield* callersClient({ host, port, keyPrefix: "app:" })
        const node = IoredisNode.fromClient(client)
        assert.isTrue(yield* node.acquire("prefixed", "mine", 60_000))
        assert.isTrue(yield* node.extend("prefixed", "mine", 60_000))
        assert.strictEqual(yield* command("GET", "app:prefixed"), "mine")
        assert.isTrue(yield* node.release("prefixed", "mine"))
      }))

    it.effect.each([["no prefix", ""], ["a prefix", "app:"], ["a hash tag", "{app}:"], ["an open brace", "app{"]])(
      "keeps what stands beside a lock in its slot, where it is a cluster with %s",
      ([_, keyPrefix]) =>
        Effect.gen(function*() {
          const addresses = yield* RedisCluster
          const cluster = yield* Effect.acquireRelease(
            Effect.sync(() => new Cluster([...addresses], { keyPrefix })),
            (cluster) => Effect.sync(() => cluster.disconnect())
          )
          const node = IoredisNode.fromClient(cluster)
          const fencing = node.fencing!
          const list = yield* node.waitingList!(waiterIdOf("we"), () => {})
          for (const name of ["a", "{a}", "a{b}c", "{a", "a}b", "{}a"]) {
            const counted = yield* Effect.result(fencing.acquire(name, "mine", 60_000, 7))
            if (canHaveCompanion(name, keyPrefix)) {
              assert.deepStrictEqual(counted, Result.succeed(Option.some(7)))
              assert.isTrue(yield* fencing.raise(name, "mine", 8))
              assert.deepStrictEqual(yield* fencing.replace!(name, "mine", "new", 60_000, 1), Option.some(9))
            } else {
              assert(Result.isFailure(counted))
              assert.match(counted.failure.message, /a cluster cannot keep a fencing counter for the name/)
              const read = yield* Effect.flip(node.shared!.acquire(name, "reader", 60_000))
              assert.match(read.message, /a cluster cannot keep readers for the name/)
              const request = { expiryMillis: 60_000, limit: 1, permits: 1, start: 0, step: 1, proposal: 1 }
              const permit = yield* Effect.flip(node.permits!.acquire(name, "holder", request))
              assert.match(permit.message, /a cluster cannot keep a fencing counter for the name/)
              assert.deepStrictEqual((yield* node.permits!.inspect(name)).holders, [])
              assert.deepStrictEqual(yield* node.inspect(name), Option.none())
              yield* node.acquire(name, "new", 60_000)
            }
            yield* list.join(name, entryOf("we"), "back")
            yield* list.leave(name, entryOf("we"))
            const { released, woke } = yield* list.release(name, "new", undefined)
            assert.deepStrictEqual({ released, woke }, { released: true, woke: false })
          }
        })
    )

    const isOpen = (client: Redis | Cluster) =>
      client.status === "ready" ? Promise.resolve() : new Promise<void>((resolve) => client.once("ready", resolve))
    /** The ways in which a program closes its client. */
    const closings: ReadonlyArray<readonly [string, (client: Redis | Cluster) => Promise<unknown>, lazy?: boolean]> = [
      ["that has quit", async (client) => {
        await isOpen(client)
        await client.quit()
      }],
      ["that has ended", async (client) => {
        await isOpen(client)
        const ended = new Promise((resolve) => client.once("end", resolve))
        client.disconnect()
        await ended
      }],
      ["that was disconnected while it connected", async (client) => client.disconnect()],
      ["that was disconnected before it connected", async (client) => client.disconnect(), true]
    ]

    it.effect.each(closings)(
      "%s is a node that is down at once, also where it is a cluster",
      ([_, close, lazy = false]) =>
        Effect.gen(function*() {
          const { host, port } = yield* oneServer
          const addresses = [...yield* RedisCluster]
          for (const enableOfflineQueue of [true, false]) {
            const options = { enableOfflineQueue, lazyConnect: lazy }
            const clients = [
              new Redis({ host, port, ...options }),
              new Valkey({ host, port, ...options }) as unknown as Redis,
              new Cluster(addresses, options),
              new ValkeyCluster(addresses, options) as unknown as Cluster
            ]
            for (const client of clients) {
              client.on("error", () => {})
              yield* Effect.promise(() => close(client))
              const node = IoredisNode.fromClient(client)
              const error = yield* Effect.flip(node.acquire("closed", "mine", 1000))
              assert.strictEqual(error.reason, "Disconnected")
              assert.isFalse(yield* node.ready!)
              const list = yield* node.waitingList!(waiterIdOf("we"), () => {})
              yield* Effect.flip(list.join("closed", entryOf("we"), "back"))
            }
          }
        })
    )

    it.effect("that is a cluster, and is closed while requests wait for its connection, fails them", () =>
      Effect.gen(function*() {
        const cluster = new Cluster([...yield* RedisCluster])
        const node = IoredisNode.fromClient(cluster)
        const waiting = yield* Effect.forkChild(Effect.flip(node.acquire("closed", "mine", 1000)), {
          startImmediately: true
        })
        cluster.disconnect()
        assert.strictEqual((yield* Fiber.join(waiting)).reason, "Disconnected")
      }))

    it.effect("is known by its address, never by its credentials", () =>
      Effect.gen(function*() {
        const lazy = { lazyConnect: true, username: "ada", password: "hunter2" }
        const id = (options: Omit<RedisOptions, "replyMapping">) =>
          Effect.map(callersClient({ ...lazy, ...options }), idOf)
        assert.strictEqual(yield* id({ host: "a", port: 7000 }), "a:7000")
        assert.strictEqual(yield* id({ host: "a" }), "a:6379")
        assert.strictEqual(yield* id({ host: "a", db: 3 }), "a:6379/3")
        assert.strictEqual(yield* id({ path: "/run/redis.sock", db: 3 }), "/run/redis.sock/3")
        assert.strictEqual(yield* id({ name: "main", sentinels: [{ host: "s", port: 1 }] }), "sentinel main at s:1")
        const addresses = (yield* RedisCluster).map(({ host, port }) => `${host}:${port}`)
        const [kind, known] = idOf(yield* callersCluster).split(" ")
        assert.strictEqual(kind, "cluster")
        assert.sameMembers(known!.split(","), addresses)
      }))

    it.effect("is known by its address before it is connected, where it is a cluster", () =>
      Effect.sync(() => {
        const lazy = { lazyConnect: true, redisOptions: { password: "hunter2" } }
        const clusters = [{ host: "a", port: 7000 }, "redis://:hunter2@b:7000"].map((node) => new Cluster([node], lazy))
        assert.deepStrictEqual(clusters.map(idOf), ["cluster a:7000", "cluster b:7000"])
      }))
  }
)

const idOf = (client: Redis | Cluster) => IoredisNode.fromClient(client).id

describe("IoredisNode.isClient", () => {
  const timeout = new NodeError({ node: "a", operation: "remove", reason: "Timeout" })

  it.each(["redis://a", { host: "a" }, {}, null, undefined, timeout])("not %j", (other) => {
    assert.isFalse(IoredisNode.isClient(other))
  })

  it("a client and a cluster", () => {
    assert.isTrue(IoredisNode.isClient(new Redis({ lazyConnect: true })))
    assert.isTrue(IoredisNode.isClient(new Cluster([{ host: "a" }], { lazyConnect: true })))
  })
})

/** A connection that is being made again is there when a command succeeds. */
const untilAnswered = <A>(effect: Effect.Effect<A, NodeError>): Effect.Effect<A> =>
  Effect.promise(() => eventually("the node answers again", () => Effect.runPromise(effect)))

/** The path of a Unix socket that leads to the server. */
const socketTo = ({ host, port }: RedisServer) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const path = `${tmpdir()}/effect-redsync-${process.pid}.sock`
      const proxy = createServer((socket) => socket.pipe(connect({ host, port })).pipe(socket))
      await new Promise<void>((resolve) => proxy.listen(path, resolve))
      return { path, proxy }
    }),
    ({ proxy }) => Effect.sync(() => proxy.close())
  ).pipe(Effect.map(({ path }) => path))
