/**
 * The first moments of connections and their last, their silence and their order.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Schedule } from "effect"
import { constVoid } from "effect/Function"
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from "ioredis"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { type LockNode, type NodeError, Redsync, withLock } from "../../../src/index.ts"
import { keepConnected } from "../../../src/internal/ioredis/keepConnected.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import type { Notice } from "../../../src/LockNode.ts"
import { assertNodeError } from "../../support/conformance.ts"
import { callsOf, fakeServer, until } from "../../support/faults.ts"
import { type Front, front } from "../../support/front.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import { allOfClientBut } from "../../support/servers/abilities.ts"
import { replicatedCluster, sentinelName, watched } from "../../support/servers/failover.ts"
import { RedisCluster, type RedisServer, startServer } from "../../support/servers/RedisServers.ts"

const names = Array.from({ length: 1000 }, (_, index) => `lock-${index}`)

/** Asks until there is an answer. */
const untilAnswered = <A>(effect: Effect.Effect<A, NodeError>) =>
  until("the node answers", Effect.map(Effect.option(effect), Option.isSome))

/** Starts so many that no server reads them at once, and none of which is answered while the server is stopped. */
const acquireAll = (node: LockNode) =>
  Effect.gen(function*() {
    const fibers = yield* Effect.forEach(names, (name) =>
      Effect.forkScoped(Effect.exit(node.acquire(name, "mine", 60_000))))
    // All are written once the event loop has turned.
    yield* Effect.promise(() =>
      new Promise((resolve) => setImmediate(resolve))
    )
    return fibers
  })

const releaseAll = (node: LockNode) =>
  Effect.forEach(names, (name) => node.release(name, "mine"), { concurrency: "unbounded", discard: true })

/** The server's clients, other than whoever asks. */
const clientsOf = (server: RedisServer) =>
  Effect.map(
    server.command<string>("CLIENT", "LIST"),
    (list) => list.trim().split("\n").filter((line) => !line.includes("name=test-admin"))
  )

describe("waiting lists whose scope is closed", () => {
  it.live("open no connection, whatever is asked of them then", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => new Redis(server.url)),
        (client) => Effect.sync(() => client.disconnect())
      )
      const node = IoredisNode.fromClient(client)
      yield* node.acquire("a", "another", 60_000)
      const list = yield* Effect.scoped(node.waitingList!(waiterIdOf("late"), constVoid))
      const before = (yield* clientsOf(server)).length
      yield* Effect.exit(list.join("a", entryOf("late"), "back"))
      yield* Effect.exit(list.handOver!.listen("a"))
      yield* Effect.exit(list.leave("a", entryOf("late")))
      assert.strictEqual((yield* clientsOf(server)).length, before)
    }).pipe(Effect.scoped))
})

describe("a connection that is open", () => {
  it.live("stays open though nothing is asked on it for longer than connecting may take", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const node = yield* IoredisNode.make({ host: server.host, port: server.port, connectTimeout: 200 })
      yield* untilAnswered(node.inspect("anything"))
      const ids = Effect.map(clientsOf(server), (clients) => clients.map((line) => /id=\d+/.exec(line)?.[0]))
      const before = yield* ids
      yield* Effect.sleep(600)
      assert.deepStrictEqual(yield* ids, before)
    }).pipe(Effect.scoped))
})

describe("a database that the user may not select", () => {
  it.live("is told, and is used on the next connection once it may be", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      yield* server.command("ACL", "SETUSER", "ada", "on", ">pw", "~*", "&*", "+@all", "-select")
      const node = yield* IoredisNode.make(`redis://ada:pw@${server.host}:${server.port}/3`)
      const refused = yield* Effect.flip(node.acquire("a", "mine", 60_000))
      assertNodeError(refused, node, "acquire", "Rejected", /^NOPERM/)
      yield* server.command("ACL", "SETUSER", "ada", "+select")
      yield* server.command("CLIENT", "KILL", "USER", "ada")
      yield* untilAnswered(node.inspect("a"))
      assert.isTrue(yield* node.acquire("a", "mine", 60_000))
      assert.strictEqual(yield* server.command("EXISTS", "a"), 0)
    }).pipe(Effect.scoped))
})

describe("a connection on which nothing is answered", () => {
  it.live("is given up: what was under way fails at once, and nothing of it is left once the server goes on", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const node = yield* IoredisNode.make(server.url)
      assert.isTrue(yield* node.ready!)
      yield* server.stop
      const acquiring = yield* acquireAll(node)
      yield* node.reconnect!
      // The server is still stopped.
      for (const fiber of acquiring) {
        const error = Exit.findErrorOption(yield* Fiber.join(fiber))
        assertNodeError(
          Option.getOrThrow(error),
          node,
          "acquire",
          "Disconnected",
          /given up because the server did not respond/
        )
      }
      yield* server.resume
      yield* untilAnswered(node.inspect("anything"))
      yield* releaseAll(node)
      assert.isFalse(node.mayOvertake!())
      // The old connection is gone, and with it what was not read of it.
      assert.lengthOf(yield* clientsOf(server), 1)
      assert.strictEqual(yield* server.command("DBSIZE"), 0)
    }).pipe(Effect.scoped))

  it.live("that breaks by itself is ended by the server too before anything else is executed", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const proxy = yield* front(server)
      const node = yield* IoredisNode.make(proxy.url)
      assert.isTrue(yield* node.ready!)
      yield* server.stop
      yield* acquireAll(node)
      proxy.cut()
      yield* server.resume
      yield* untilAnswered(node.inspect("anything"))
      yield* releaseAll(node)
      assert.isFalse(node.mayOvertake!())
      assert.lengthOf(yield* clientsOf(server), 1)
      assert.strictEqual(yield* server.command("DBSIZE"), 0)
    }).pipe(Effect.scoped))

  it.live("is ended by the server before anything else is executed, so that nothing of it comes later", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const network = yield* front(server)
      const node = yield* IoredisNode.make(network.url)
      assert.isTrue(yield* node.ready!)
      network.hold()
      const acquiring = yield* Effect.forkScoped(Effect.exit(node.acquire("late", "mine", 60_000)))
      yield* until("the network has it", Effect.sync(() => network.held() > 0))
      yield* node.reconnect!
      assert.isTrue(Exit.isFailure(yield* Fiber.join(acquiring)))
      yield* untilAnswered(node.release("late", "mine"))
      assert.isFalse(node.mayOvertake!())
      network.letGo()
      assert.lengthOf(yield* clientsOf(server), 1)
      assert.strictEqual(yield* server.command("EXISTS", "late"), 0)
    }).pipe(Effect.scoped))

  it.live.each([["may not be told", "kill"], ["does not say which it is", "info"]] as const)(
    "where the server %s to end it, what was sent may overtake",
    ([_, subcommand]) =>
      Effect.gen(function*() {
        const server = yield* startServer()
        const rules = yield* Effect.promise(() => allOfClientBut(subcommand))
        yield* server.command("ACL", "SETUSER", "ada", "on", ">pass", "~*", "&*", "+@all", ...rules)
        const node = yield* IoredisNode.make(server.url.replace("redis://", "redis://ada:pass@"))
        assert.isTrue(yield* node.ready!)
        assert.isTrue(yield* node.acquire("mine", "mine", 60_000))
        // Nothing was under way.
        yield* node.reconnect!
        yield* untilAnswered(node.inspect("anything"))
        assert.isFalse(node.mayOvertake!())
        yield* server.stop
        yield* Effect.forkScoped(node.release("mine", "mine"))
        yield* Effect.yieldNow
        yield* node.reconnect!
        yield* server.resume
        yield* untilAnswered(node.inspect("anything"))
        assert.isTrue(node.mayOvertake!())
      }).pipe(Effect.scoped)
  )

  it.live("is not looked for on a server that was restarted, where another may have its number", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const node = yield* IoredisNode.make(server.url)
      assert.isTrue(yield* node.ready!)
      yield* server.stop
      yield* acquireAll(node)
      yield* server.restart
      yield* untilAnswered(node.inspect("anything"))
      assert.isFalse(node.mayOvertake!())
      assert.notInclude(yield* server.command<string>("INFO", "commandstats"), "client|kill")
    }).pipe(Effect.scoped))
})

describe("a connection of the caller's", () => {
  it.live("that is replaced while a command is under way lets it overtake, as the server is not told anything", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const network = yield* front(server)
      const node = IoredisNode.fromClient(yield* callersClient(network))
      assert.isTrue(yield* node.acquire("mine", "mine", 60_000))
      network.cut()
      yield* until("it has connected again", Effect.sync(() => network.taken() === 2))
      assert.isTrue(yield* node.acquire("another", "mine", 60_000))
      assert.isFalse(node.mayOvertake!())
      network.hold()
      const releasing = yield* Effect.forkScoped(node.release("mine", "mine"))
      yield* until("the network has it", Effect.sync(() => network.held() > 0))
      network.cut()
      // The client sends it again.
      assert.isTrue(yield* Fiber.join(releasing))
      assert.isTrue(node.mayOvertake!())
      // What is sent from now on is sent on the new connection.
      assert.isFalse(node.mayOvertake!(0))
      assert.isUndefined(node.reconnect)
    }).pipe(Effect.scoped))

  it.live("that is to a cluster, and answers in another order, has sent one of two again", () =>
    Effect.gen(function*() {
      const replies: Array<(reply: unknown) => void> = []
      const call = () => new Promise((resolve) => replies.push(resolve))
      const cluster = yield* callersCluster([{ host: "nobody.invalid", port: 1 }], { lazyConnect: true })
      const node = IoredisNode.fromClient(Object.assign(cluster, { call, status: "ready" }))
      const ask = <A>(effect: Effect.Effect<A, NodeError>) => Effect.forkScoped(effect, { startImmediately: true })
      const inOrder = [yield* ask(node.acquire("a", "mine", 1000)), yield* ask(node.release("a", "mine"))]
      const others = [yield* ask(node.acquire("b", "mine", 1000)), yield* ask(node.release("c", "mine"))]
      const { length } = yield* node.waitingList!(waiterIdOf("waiter"), constVoid)
      const lengths = [yield* ask(length!("d")), yield* ask(length!("e"))]
      for (const [index, reply] of [[5, 0], [4, 0], [3, 1], [2, "OK"], [0, "OK"], [1, 1]] as const) {
        replies[index]!(reply)
      }
      yield* Effect.forEach([...inOrder, ...others], (fiber) => Fiber.join<boolean, NodeError>(fiber))
      yield* Effect.forEach(lengths, (fiber) => Fiber.join(fiber))
      assert.isFalse(node.mayOvertake!())
      const [first, second] = [yield* ask(node.acquire("a", "mine", 1000)), yield* ask(node.release("a", "mine"))]
      replies[7]!(0)
      yield* Fiber.join(second)
      assert.isTrue(node.mayOvertake!())
      replies[6]!("OK")
      yield* Fiber.join(first)
    }).pipe(Effect.scoped))
})

describe("the first moments of a connection", () => {
  it.live("a Sentinel that takes the connection and says nothing is passed over", () =>
    Effect.gen(function*() {
      const { primary, sentinels } = yield* watched
      const silent = yield* front("nothing is said")
      const layer = Redsync.layer({
        nodes: [IoredisNode.make({ sentinels: [silent, ...sentinels], name: sentinelName })]
      })
      yield* withLock("passed", Effect.void, { retry: Schedule.spaced("50 millis") }).pipe(Effect.provide(layer))
      assert.strictEqual(yield* primary.command("EXISTS", "passed"), 0)
      yield* until("nobody is connected to it any more", Effect.sync(() => silent.open() === 0))
    }).pipe(Effect.scoped))

  it.live("a Sentinel that is to tell of failovers goes on being listened to", () =>
    Effect.gen(function*() {
      const { sentinels } = yield* watched
      const [{ host, port }] = sentinels as [{ readonly host: string; readonly port: number }]
      const node = yield* IoredisNode.make({ sentinels: [{ host, port }], name: sentinelName, failoverDetector: true })
      assert.isTrue(yield* node.ready!)
      const sentinel = yield* Effect.acquireRelease(
        Effect.sync(() => new Redis({ host, port, enableReadyCheck: false })),
        (sentinel) => Effect.sync(() => sentinel.disconnect())
      )
      const listeners = Effect.promise(async () =>
        String(await sentinel.call("CLIENT", "LIST")).match(/sub=1/g)?.length
      )
      yield* until("it listens", Effect.map(listeners, (count) => count === 1))
      // By then the reply to its subscription has long been read.
      for (let i = 0; i < 50; i++) assert.strictEqual(yield* listeners, 1)
    }).pipe(Effect.scoped))

  it.live("when Sentinels come back, so does the node", () =>
    Effect.gen(function*() {
      const { sentinels: [sentinel] } = yield* watched
      const network = yield* front("closed at once")
      const node = yield* IoredisNode.make({ sentinels: [network], name: sentinelName })
      assert.isFalse(yield* node.ready!)
      const error = yield* Effect.flip(node.acquire("name", "mine", 60_000))
      assertNodeError(error, node, "acquire", "Disconnected", /^All sentinels are unreachable/)
      network.behind = sentinel!
      yield* untilAnswered(node.acquire("name", "mine", 60_000))
    }).pipe(Effect.scoped))

  it.live("functions of the caller's that throw do so to nobody", () =>
    Effect.gen(function*() {
      const server = yield* fakeServer("ERR refused")
      const network = yield* front({ host: "127.0.0.1", port: Number(new URL(server.url).port) })
      const thrown = () => {
        throw new Error("from the caller")
      }
      const node = yield* IoredisNode.make({
        host: network.host,
        port: network.port,
        reconnectOnError: thrown,
        retryStrategy: thrown
      })
      const refused = yield* Effect.flip(node.acquire("name", "mine", 60_000))
      assertNodeError(refused, node, "acquire", "Rejected", /^ERR refused$/)
      network.cut()
      server.error = ""
      yield* untilAnswered(node.acquire("name", "mine", 60_000))
    }).pipe(Effect.scoped))

  it.live.each<readonly [how: string, strategy: () => number]>([
    ["throws", () => {
      throw new Error("from the caller")
    }],
    ["says what is no time", () => Number.NaN],
    ["says more than a timer can count", () => Number.POSITIVE_INFINITY]
  ])("a strategy of the caller's that %s is asked again after a while", ([_, strategy]) =>
    Effect.gen(function*() {
      let asked = 0
      const count = () => {
        asked++
        return strategy()
      }
      const begun = performance.now()
      yield* IoredisNode.make({ host: "127.0.0.1", port: 1, retryStrategy: count })
      yield* until("it was asked again", Effect.sync(() => asked === 2))
      yield* IoredisNode.make({
        sentinels: [{ host: "127.0.0.1", port: 1 }],
        name: sentinelName,
        sentinelRetryStrategy: count
      })
      yield* until("the other was, too", Effect.sync(() => asked >= 6))
      // Without a pause in between there would be far more.
      assert.isAtMost(asked, 10 + (performance.now() - begun) / 25)
    }).pipe(Effect.scoped))

  it.live("a strategy of the caller's that fails later fails for nobody, and gives up", () =>
    Effect.gen(function*() {
      let asked = 0
      const later = async () => {
        asked++
        throw new Error("from the caller")
      }
      yield* IoredisNode.make({
        sentinels: [{ host: "127.0.0.1", port: 1 }],
        name: sentinelName,
        sentinelRetryStrategy: later as never
      })
      const node = yield* IoredisNode.make({ host: "127.0.0.1", port: 1, retryStrategy: later as never })
      yield* until("both were asked", Effect.sync(() => asked === 2))
      const error = yield* Effect.flip(node.acquire("name", "mine", 60_000))
      assertNodeError(error, node, "acquire", "Disconnected", /ECONNREFUSED/)
      assert.strictEqual(asked, 2)
    }).pipe(Effect.scoped))

  it.live("a server that takes the connection and says nothing is left, and tried again", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const network = yield* front("nothing is said")
      const node = yield* IoredisNode.make({ host: network.host, port: network.port, connectTimeout: 500 })
      const overTls = yield* IoredisNode.make({ host: network.host, port: network.port, connectTimeout: 50, tls: {} })
      assertNodeError(
        yield* Effect.flip(overTls.acquire("name", "mine", 60_000)),
        overTls,
        "acquire",
        "Disconnected",
        /ETIMEDOUT/
      )
      const error = yield* Effect.flip(node.acquire("name", "mine", 60_000))
      assertNodeError(error, node, "acquire", "Disconnected", /but the server does not respond/)
      yield* until("it was tried again", Effect.sync(() => network.taken() > 1))
      network.behind = server
      yield* untilAnswered(node.acquire("name", "mine", 60_000))
    }).pipe(Effect.scoped))

  it.live("what waits for the connection is sent in the order in which it came, but not what was given up", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const network = yield* front(server)
      yield* server.stop
      const node = yield* IoredisNode.make(network.url)
      const givenUp = yield* Effect.forkScoped(node.acquire("name", "given up", 60_000))
      const acquired = yield* Effect.forkScoped(node.acquire("name", "mine", 60_000))
      const released = yield* Effect.forkScoped(node.release("name", "mine"))
      yield* until("it is connected", Effect.sync(() => network.taken() > 0))
      yield* Fiber.interrupt(givenUp)
      yield* server.resume
      assert.isTrue(yield* Fiber.join(acquired))
      assert.isTrue(yield* Fiber.join(released))
      assert.strictEqual(yield* server.command("DBSIZE"), 0)
      assert.strictEqual(yield* callsOf(server, "set"), 1)
    }).pipe(Effect.scoped))
})

describe("a connection to a server that is not what it was", () => {
  it.live("is made anew where the address leads to another primary, once in a while where it does not", () =>
    Effect.gen(function*() {
      const [old, other] = yield* Effect.all([startServer(), startServer()])
      yield* old.command("REPLICAOF", other.host, String(other.port))
      const network = yield* front(old)
      const node = yield* IoredisNode.make(network.url)
      assert.isTrue(yield* node.ready!)
      const tries = 200
      for (let index = 0; index < tries; index++) yield* Effect.exit(node.acquire("read only", "mine", 60_000))
      // As many as there were seconds, or a few more; not as many as were refused.
      assert.isBelow(network.taken(), tries / 4)
      network.behind = other
      yield* until(
        "the other primary is found",
        Effect.map(Effect.exit(node.acquire("found", "mine", 60_000)), Exit.isSuccess)
      )
      assert.strictEqual(yield* other.command("GET", "found"), "mine")
    }).pipe(Effect.scoped))

  it.live.each([
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "ERR Error running script (call to f_0): @user_script:3: @user_script: 3: -READONLY You can't write against a read only replica."
  ])("is made anew whatever the words of the server: %s", (words) =>
    Effect.gen(function*() {
      const { url } = yield* fakeServer(words)
      const network = yield* front({ host: "127.0.0.1", port: Number(new URL(url).port) })
      const node = yield* IoredisNode.make(network.url)
      assert.isTrue(yield* node.ready!)
      assert.strictEqual((yield* Effect.flip(node.release("name", "mine"))).reason, "Rejected")
      yield* until("it has connected again", Effect.sync(() => network.taken() === 2))
    }).pipe(Effect.scoped))

  it.live("is left alone where it is the caller's", () =>
    Effect.gen(function*() {
      const [server, other] = yield* Effect.all([startServer(), startServer()])
      yield* server.command("REPLICAOF", other.host, String(other.port))
      const network = yield* front(server)
      const node = IoredisNode.fromClient(yield* callersClient(network))
      for (let index = 0; index < 3; index++) {
        const error = yield* Effect.flip(node.acquire("read only", "mine", 60_000))
        assertNodeError(error, node, "acquire", "Rejected", /^READONLY /)
      }
      assert.strictEqual(network.taken(), 1)
    }).pipe(Effect.scoped))
})

describe("a server that says what was not asked", () => {
  it.live.each([
    "$-1",
    "*-1",
    ":1",
    "_",
    ">1\r\n_",
    ">3\r\n+subscribe\r\n_\r\n:1",
    ">3\r\n+subscribe\r\n+x\r\n:1",
    "!!"
  ])(
    "loses its connection, and nothing else happens: %j",
    (unasked) =>
      Effect.gen(function*() {
        const server = yield* fakeServer("")
        const node = yield* IoredisNode.make(server.url)
        assert.isTrue(yield* node.acquire("name", "mine", 60_000))
        server.error = `ERR refused\r\n${unasked}`
        assertNodeError(
          yield* Effect.flip(node.acquire("name", "mine", 60_000)),
          node,
          "acquire",
          "Rejected",
          /^ERR refused$/
        )
        // An exception that nobody catches is one of the test.
        yield* Effect.exit(node.acquire("name", "mine", 60_000))
        server.error = ""
        yield* untilAnswered(node.acquire("name", "mine", 60_000))
      }).pipe(Effect.scoped)
  )
})

/** A client as a program has it for other things. */
const callersClient = (
  { host, port }: { readonly host: string; readonly port: number },
  options: Omit<RedisOptions, "replyMapping"> = {}
) =>
  Effect.acquireRelease(
    Effect.sync(() => new Redis({ host, port, ...options })),
    (client) => Effect.sync(() => client.disconnect())
  )

describe("a client of the caller's that queues nothing", () => {
  it.live.each([["connects", {}], ["is yet to connect", { lazyConnect: true }]] as const)(
    "is waited for at first while it %s, and at no other time",
    ([_, options]) =>
      Effect.gen(function*() {
        const server = yield* startServer()
        const client = yield* callersClient(server, { ...options, enableOfflineQueue: false })
        const layer = Redsync.layer({ nodes: [IoredisNode.fromClient(client)] })
        assert.strictEqual(
          yield* withLock("first", Effect.succeed("held"), { retry: Schedule.recurs(0) }).pipe(Effect.provide(layer)),
          "held"
        )
        assert.deepStrictEqual(client.eventNames(), [])
        const node = IoredisNode.fromClient(client)
        yield* server.kill
        yield* until("it is disconnected", Effect.sync(() => client.status !== "ready"))
        assertNodeError(yield* Effect.flip(node.inspect("name")), node, "inspect", "Disconnected", /./)
      }).pipe(Effect.scoped)
  )

  it.live.each([["connects", {}], ["is yet to connect", { lazyConnect: true }]] as const)(
    "is waited for at first while it %s, where it is a cluster",
    ([_, options]) =>
      Effect.gen(function*() {
        const cluster = yield* callersCluster(yield* RedisCluster, { ...options, enableOfflineQueue: false })
        assert.isTrue(yield* IoredisNode.fromClient(cluster).acquire("first", "mine", 60_000))
        for (const event of ["ready", "end", "reconnecting"]) assert.strictEqual(cluster.listenerCount(event), 0)
      }).pipe(Effect.scoped, Effect.provide(RedisCluster.layer))
  )

  it.live("is not waited for without end where there is no server", () =>
    Effect.gen(function*() {
      const network = yield* front("closed at once")
      const client = yield* callersClient(network, { enableOfflineQueue: false })
      client.on("error", () => {})
      const node = IoredisNode.fromClient(client)
      assert.isFalse(yield* node.ready!)
      assertNodeError(yield* Effect.flip(node.inspect("name")), node, "inspect", "Disconnected", /./)
    }).pipe(Effect.scoped))
})

describe("a key prefix", () => {
  it.live("of a connection of our own is before all keys, and those that wait hear", () =>
    Effect.gen(function*() {
      const { command, host, port } = yield* startServer()
      const service = Redsync.layer({ nodes: [IoredisNode.make({ host, port, keyPrefix: "app:" })] })
      const patient = { expiry: "1 minute", retry: Schedule.spaced("1 hour") } as const
      yield* command("SET", "app:name", "another library", "PX", "60000")
      const waiting = yield* withLock("name", command<ReadonlyArray<string>>("KEYS", "*"), patient).pipe(
        Effect.provide(service),
        Effect.forkScoped
      )
      yield* until(
        "the key is watched",
        Effect.map(command<string>("INFO", "clients"), (info) => /tracking_clients:[1-9]/.test(info))
      )
      yield* command("DEL", "app:name")
      const keys = yield* Fiber.join(waiting)
      assert.include(keys, "app:name")
      for (const key of keys) assert.match(key, /^app:/)
    }).pipe(Effect.scoped))
})

describe("a cluster of the caller's", () => {
  it.live(
    "that is still connecting, with replicas: a release never overtakes what it is to undo",
    () =>
      Effect.gen(function*() {
        const { masters: [master, ...masters], replica } = yield* replicatedCluster
        const startup = [master, ...masters].map(({ host, port }) => ({ host, port }))
        // The server has the script of the release, which then goes through at once.
        yield* IoredisNode.fromClient(yield* callersCluster(startup, {})).release("b", "nobody's")
        const node = IoredisNode.fromClient(yield* callersCluster(startup, {})).replicas!(1, 5000)
        const answers = yield* Effect.all([node.acquire("b", "mine", 60_000), node.release("b", "mine")], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(answers, [true, true])
        const another = yield* callersCluster(startup, {})
        yield* withLock("b", Effect.void, { nodeTimeout: "5 seconds" }).pipe(
          Effect.provide(Redsync.layer({ nodes: [IoredisNode.fromClient(another)], replicas: 1 }))
        )
        for (const { command } of [master, replica]) assert.strictEqual(yield* command("DBSIZE"), 0)
      }).pipe(Effect.scoped),
    60_000
  )

  it.live.each(
    [
      ["", { keyPrefix: "app:" }],
      [" in redisOptions", { redisOptions: { keyPrefix: "app:" } }],
      [", another than in redisOptions", { keyPrefix: "app:", redisOptions: { keyPrefix: "other:" } }]
    ] as const
  )(
    "with a key prefix%s, those that wait hear from the master that has the key",
    ([_, options]) =>
      Effect.gen(function*() {
        const addresses = yield* RedisCluster
        const [ours, theirs] = yield* Effect.all([
          callersCluster(addresses, options),
          callersCluster(addresses, options)
        ])
        const direct = yield* callersCluster(addresses, {})
        const ownerOf = (key: string) =>
          Effect.promise(async () => direct.slots[await direct.cluster("KEYSLOT", key)]![0])
        yield* until("the slots are known", Effect.sync(() => direct.status === "ready"))
        const candidates = Array.from({ length: 20 }, (_, index) => `lock-${index}`)
        const moved = yield* Effect.filter(candidates, (name) =>
          Effect.zipWith(ownerOf(name), ownerOf(`app:${name}`), (without, withIt) => without !== withIt))
        const name = moved[0]!
        const owner = yield* ownerOf(`app:${name}`)
        const patient = { expiry: "1 minute", retry: Schedule.spaced("1 hour") } as const
        const listened = Effect.promise(() =>
          Promise.all(
            direct.nodes("master").map(async (master) => {
              const channels = await master.pubsub("CHANNELS", "redsync:turn:*")
              return [`${master.options.host}:${master.options.port}`, channels.length] as const
            })
          )
        )
        const waits = Effect.map(listened, (all) =>
          all.some(([, channels]) => channels > 0))
        const waiter = withLock(name, Effect.succeed("its turn"), patient).pipe(
          Effect.provide(Redsync.layer({ nodes: [IoredisNode.fromClient(theirs)] })),
          Effect.forkScoped
        )
        // The release of one of us wakes the next, who listens where the key is and nowhere else.
        const waiting = yield* withLock(
          name,
          Effect.gen(function*() {
            const waiting = yield* waiter
            yield* until("somebody waits", waits)
            for (const [address, channels] of yield* listened) assert.strictEqual(channels, address === owner ? 1 : 0)
            return waiting
          }),
          patient
        ).pipe(Effect.provide(Redsync.layer({ nodes: [IoredisNode.fromClient(ours)] })))
        assert.strictEqual(yield* Fiber.join(waiting), "its turn")
        // The first in line watches the key.
        yield* Effect.promise(() => direct.set(`app:${name}`, "another library", "PX", 60_000))
        const watching = yield* waiter
        yield* until("somebody waits", waits)
        yield* until(
          "the key is watched",
          Effect.promise(async () => {
            const master = direct.nodes("master").find(({ options }) => `${options.host}:${options.port}` === owner)!
            return /tracking_total_keys:[1-9]/.test(await master.info("stats"))
          })
        )
        yield* Effect.promise(() => direct.del(`app:${name}`))
        assert.strictEqual(yield* Fiber.join(watching), "its turn")
      }).pipe(Effect.scoped, Effect.provide(RedisCluster.layer)),
    60_000
  )

  it.live("that makes pipelines by itself: what is sent at once for different slots goes each to its master", () =>
    Effect.gen(function*() {
      const cluster = yield* callersCluster(yield* RedisCluster, { enableAutoPipelining: true })
      const node = IoredisNode.fromClient(cluster)
      const names = Array.from({ length: 50 }, (_, index) => `lock-${index}`)
      const each = (ask: (name: string) => Effect.Effect<boolean, NodeError>) =>
        Effect.map(Effect.forEach(names, ask, { concurrency: "unbounded" }), (answers) => answers.every(Boolean))
      for (const _ of ["the scripts are new", "the scripts are known"]) {
        assert.isTrue(yield* each((name) => node.acquire(name, "mine", 60_000)))
        assert.isTrue(yield* each((name) => node.extend(name, "mine", 60_000)))
        assert.isTrue(yield* each((name) => node.release(name, "mine")))
      }
      assert.isTrue(cluster.options.enableAutoPipelining)
    }).pipe(Effect.scoped, Effect.provide(RedisCluster.layer)))
})

const callersCluster = (
  addresses: ReadonlyArray<{ readonly host: string; readonly port: number }>,
  options: Omit<ClusterOptions, "redisOptions"> & { readonly redisOptions?: { readonly keyPrefix: string } }
) =>
  Effect.acquireRelease(
    Effect.sync(() => new Cluster([...addresses], options)),
    (cluster) => Effect.sync(() => cluster.disconnect())
  )

describe("connections for hearing", () => {
  it.live("are made anew beside the one that was given up, and hear again", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const network = yield* front(server)
      const node = yield* IoredisNode.make(network.url)
      assert.isTrue(yield* node.ready!)
      const heard: Array<Notice> = []
      const list = yield* node.waitingList!(waiterIdOf("waiter"), (notice) => heard.push(notice))
      yield* server.command("SET", "name", "theirs", "PX", "60000")
      yield* list.join("name", entryOf("waiter"), "back")
      network.hold()
      const unanswered = yield* Effect.forkScoped(Effect.exit(node.inspect("name")))
      yield* until("the network has it", Effect.sync(() => network.held() > 0))
      yield* node.reconnect!
      assert.isTrue(Exit.isFailure(yield* Fiber.join(unanswered)))
      yield* untilAnswered(node.inspect("name"))
      yield* list.join("name", entryOf("waiter"), "back")
      yield* until("notices may have been missed", Effect.sync(() => heard.some(({ _tag }) => _tag === "Resync")))
      yield* until(
        "the change is heard",
        Effect.gen(function*() {
          yield* list.join("name", entryOf("waiter"), "back")
          yield* server.command("PEXPIRE", "name", "60000")
          return heard.some(({ _tag }) => _tag === "KeyChanged")
        })
      )
      yield* server.command("DEL", "name")
      yield* list.leave("name", entryOf("waiter"))
    }).pipe(Effect.scoped))
})

describe("the last moments of a connection", () => {
  it.live("ioredis may turn to the Sentinels after it was closed, and gets connections that are closed", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const network = yield* front(server)
      const client = new Redis({
        sentinels: [{ host: "127.0.0.1", port: network.port }],
        name: "primary",
        failoverDetector: true,
        lazyConnect: true
      })
      keepConnected(client).close()
      // As when the connection to the primary is made in this very moment.
      const { connector } = client as unknown as {
        readonly connector: { readonly initFailoverDetector: () => Promise<void> }
      }
      yield* Effect.promise(() => connector.initFailoverDetector())
      assert.strictEqual(network.open(), 0)
    }).pipe(Effect.scoped))

  it.live("nothing is left of those for hearing, which the server never answered", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const network = yield* front(server)
      const client = yield* callersClient(server)
      // What is made after the model of this client leads to nobody.
      client.options.port = network.port
      network.behind = "nothing is said"
      yield* Effect.gen(function*() {
        const list = yield* IoredisNode.fromClient(client).waitingList!(waiterIdOf("waiter"), constVoid)
        yield* Effect.forkScoped(list.join("name", entryOf("waiter"), "back"))
        yield* until("it is connected", Effect.sync(() => network.open() > 0))
      }).pipe(Effect.scoped)
      yield* until("no connection is left", Effect.sync(() => network.open() === 0))
    }).pipe(Effect.scoped))

  it.live("whatever it was at, nothing is left when it is closed", () =>
    Effect.gen(function*() {
      const [server, silent, closing] = yield* Effect.all([
        startServer(),
        front("nothing is said"),
        front("closed at once")
      ])
      const stopped = yield* front(server)
      // Far longer than anybody waits for the end of the process.
      const forAnHour = { connectTimeout: 3_600_000, sentinelCommandTimeout: 3_600_000 }
      const at = ({ host, port }: Front) => ({ host, port })
      const nodes = [
        { ...at(silent), ...forAnHour },
        { ...at(silent), ...forAnHour, tls: {} },
        { sentinels: [at(silent)], name: "main", ...forAnHour },
        { sentinels: [at(closing), at(silent)], name: "main", ...forAnHour },
        { sentinels: [at(closing)], name: "main" },
        at(closing),
        { host: "nobody.invalid" },
        at(stopped)
      ]
      yield* server.stop
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [opener, JSON.stringify(nodes)], { stdio: ["pipe", "inherit", "inherit"] })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const exited = once(child, "exit")
      yield* until(
        "all are under way",
        Effect.sync(() => silent.open() === 4 && closing.taken() > 4 && stopped.open() === 1)
      )
      child.stdin.end()
      yield* until("no connection is left", Effect.sync(() => silent.open() + stopped.open() === 0))
      assert.deepStrictEqual(yield* Effect.promise(() => exited), [0, null])
    }).pipe(Effect.scoped))
})

const opener = fileURLToPath(new URL("../../support/children/opener.ts", import.meta.url))
