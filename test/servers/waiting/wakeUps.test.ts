/**
 * Wake-ups: by our own release, by other libraries and by hand, over clusters, and
 * where the servers refuse part of what they take.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Cluster, Redis } from "ioredis"
import * as IoredisNode from "../../../src/IoredisNode.ts"
// @ts-expect-error its package.json does not say where its types are
import Redlock from "redlock"
import { lock, withLock } from "../../../src/index.ts"
import { companionKey, wakeUpChannel } from "../../../src/internal/redis/keys.ts"
import { callsOf, holdByAnother, logged, onEach, until, untilAllAnswer, untilEmpty } from "../../support/faults.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import { allOfClientBut } from "../../support/servers/abilities.ts"
import { RedisCluster, type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"
import { counted, deleteOn, hourly, onThree, service, type Three, untilListed } from "../../support/trouble.ts"

type Run = Effect.Success<ReturnType<typeof service>>["run"]

/** Waits for the lock, and unless the schedule says otherwise gets it only if it is woken. */
const waitFor = (run: Run, name = "a", { retry } = hourly, got = Effect.void) =>
  Effect.forkScoped(run(withLock(name, got, { retry })))

/** For whoever nothing wakes. */
const often = counted("200 millis")

/** Hands the lock from one service to another that waits. */
const handOver = (holder: Run, waiter: Run, name: string, untilItWaits: Effect.Effect<void>, schedule = hourly) =>
  Effect.flatMap(
    holder(withLock(name, () => Effect.tap(waitFor(waiter, name, schedule), untilItWaits))),
    Fiber.join
  )

const clientOf = ({ host, port }: Pick<RedisServer, "host" | "port">) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Redis({ host, port, lazyConnect: true })
      await client.connect()
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

/** The messages to waiters that begin so, from now on. */
const messagesOf = (server: RedisServer, beginning: string) =>
  Effect.gen(function*() {
    const listener = yield* clientOf(server)
    const messages: Array<string> = []
    listener.on("pmessage", (_pattern, _channel, message: string) => {
      if (message.startsWith(beginning)) messages.push(message)
    })
    yield* Effect.promise(() => listener.psubscribe(wakeUpChannel("*")))
    return messages
  })

/** The values to which anybody sets a key on the server from now on, refused ones among them. */
const valuesSet = (server: RedisServer) =>
  Effect.flatMap(clientOf(server), (client) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.promise(() => client.monitor()),
        (monitor) => Effect.sync(() => monitor.disconnect())
      ),
      (monitor) => {
        const values = new Set<string>()
        monitor.on("monitor", (_time: string, [command, _key, value]: ReadonlyArray<string>) => {
          if (/^set$/i.test(command!)) values.add(value!)
        })
        return values
      }
    ))

interface TheirLock {
  readonly release: () => Promise<unknown>
  readonly extend: (millis: number) => Promise<TheirLock>
}

/** Another library, which knows nothing of waiting lists. */
const redlockOver = (servers: Three) =>
  Effect.map(Effect.forEach(servers, clientOf), (clients): {
    readonly acquire: (names: Array<string>, millis: number) => Promise<TheirLock>
  } => new Redlock(clients, { retryCount: 0, automaticExtensionThreshold: 0 }))

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("the first in line", (it) => {
  it.effect("is woken by another library's release", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const redlock = yield* redlockOver(servers)
      const held = yield* Effect.promise(() => redlock.acquire(["a"], 30_000))
      const { run } = yield* service(servers)
      const waiter = yield* waitFor(run)
      yield* untilListed(servers, "a", 1)
      yield* Effect.promise(() => held.release())
      yield* Fiber.join(waiter)
    })))

  it.effect("is not woken for good by another library's extension", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const redlock = yield* redlockOver(servers)
      let held = yield* Effect.promise(() => redlock.acquire(["a"], 1000))
      const { run } = yield* service(servers)
      const waiter = yield* waitFor(run)
      const server = yield* untilListed(servers, "a", 1)
      const attempts = yield* callsOf(server, "set")
      for (let round = 0; round < 5; round++) {
        const looks = yield* callsOf(server, "pttl")
        held = yield* Effect.promise(() => held.extend(20_000))
        yield* until("it has looked", Effect.map(callsOf(server, "pttl"), (calls) => calls > looks))
      }
      // Their extension is a SET.
      assert.strictEqual(yield* callsOf(server, "set"), attempts + 5, "a look is no attempt")
      yield* Effect.promise(() => held.release())
      yield* Fiber.join(waiter)
    })))

  it.effect("is woken by a DEL by hand", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      yield* holdByAnother("a", servers)
      const order: Array<string> = []
      const enter = (who: string, run: Run) => waitFor(run, "a", hourly, Effect.sync(() => order.push(who)))
      const first = yield* enter("first", (yield* service(servers)).run)
      yield* untilListed(servers, "a", 1)
      const second = yield* enter("second", (yield* service(servers)).run)
      yield* untilListed(servers, "a", 2)
      yield* deleteOn(servers, "a")
      yield* Fiber.joinAll([first, second])
      assert.deepStrictEqual(order, ["first", "second"])
    })))

  it.effect("is woken by a holder that finds its lock deleted, for it watches no key whose holder has waited, too", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [before, holder, next] = [yield* service(servers), yield* service(servers), yield* service(servers)]
      const patient = { ...hourly, expiry: "1 hour" } as const
      const first = yield* before.run(lock("a", patient))
      const second = yield* Effect.forkScoped(holder.run(lock("a", patient)))
      yield* untilListed(servers, "a", 1)
      yield* first.release
      const held = yield* Fiber.join(second)
      const waiter = yield* waitFor(next.run)
      const server = yield* untilListed(servers, "a", 1)
      const wokenUp = yield* messagesOf(server, "W ")
      yield* deleteOn(servers, "a")
      const lost = yield* Effect.flip(holder.run(held.extend))
      assert.strictEqual(lost._tag, "LockLost")
      yield* until("it is woken", Effect.sync(() => wokenUp.length > 0))
      yield* Fiber.join(waiter)
    })))

  it.effect("is woken by a FLUSHALL, which names no key", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      yield* holdByAnother("a", servers)
      const waiter = yield* waitFor((yield* service(servers)).run)
      yield* untilListed(servers, "a", 1)
      yield* onEach(servers, (server) => server.command("FLUSHALL"))
      yield* Fiber.join(waiter)
    })))

  it.effect("is told of a FLUSHALL by its holder, and so are those behind, who watch no key", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [before, holder, first, second] = [
        yield* service(servers),
        yield* service(servers),
        yield* service(servers),
        yield* service(servers)
      ]
      const patient = { ...hourly, expiry: "1 hour" } as const
      const earlier = yield* before.run(lock("a", patient))
      const taken = yield* Effect.forkScoped(holder.run(lock("a", patient)))
      yield* untilListed(servers, "a", 1)
      yield* earlier.release
      const held = yield* Fiber.join(taken)
      const waiters = [yield* waitFor(first.run)]
      yield* untilListed(servers, "a", 1)
      waiters.push(yield* waitFor(second.run))
      const server = yield* untilListed(servers, "a", 2)
      const alerts = yield* messagesOf(server, "L ")
      yield* onEach(servers, (server) => server.command("FLUSHALL"))
      yield* held.release
      yield* until("all are told", Effect.sync(() => alerts.length >= 3))
      yield* Fiber.joinAll(waiters)
    })))

  it.effect("is woken by the expiry of a key without holder", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const services = [yield* service(servers), yield* service(servers)]
      yield* onEach(servers, (server) => server.command("SET", "a", "nobody's", "PX", "2000"))
      const waiters = yield* Effect.forEach(services, ({ run }) => waitFor(run))
      yield* untilListed(servers, "a", 2)
      yield* Fiber.joinAll(waiters)
    })))
})

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("a release", (it) => {
  it.effect("hands over to another service, every time", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [one, other] = [yield* service(servers), yield* service(servers)]
      yield* Effect.all([one.run(untilAllAnswer), other.run(untilAllAnswer)])
      for (let turn = 0; turn < 60; turn++) {
        const [holder, next] = turn % 2 === 0 ? [one, other] : [other, one]
        yield* handOver(holder.run, next.run, "a", Effect.asVoid(untilListed(servers, "a", 1)))
      }
    })))

  it.effect("wakes exactly one, in the order in which they came", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const holder = yield* service(servers)
      const order: Array<number> = []
      let goOn = () => {}
      const waiters: Array<Fiber.Fiber<unknown, unknown>> = []
      let values: ReadonlyArray<ReadonlySet<string>> = []
      yield* holder.run(withLock("a", () =>
        Effect.gen(function*() {
          for (let index = 0; index < 4; index++) {
            const { run } = yield* service(servers)
            waiters.push(
              yield* Effect.forkScoped(run(withLock(
                "a",
                Effect.callback<void>((resume) => {
                  order.push(index)
                  goOn = () => resume(Effect.void)
                }),
                hourly
              )))
            )
            yield* untilListed(servers, "a", index + 1)
          }
          values = yield* Effect.forEach(servers, valuesSet)
        })))
      for (let turn = 1; turn <= 4; turn++) {
        yield* until(`turn ${turn}`, Effect.sync(() => order.length === turn))
        yield* until("all nodes were asked", Effect.sync(() => values.every((of) => of.size >= turn)))
        // A node that is slow to hand over is asked as well, with the same value.
        for (const of of values) assert.strictEqual(of.size, turn, "one claim for each turn")
        goOn()
      }
      yield* Effect.forEach(waiters, Fiber.await)
      assert.deepStrictEqual(order, [0, 1, 2, 3])
    })))
})

// -----------------------------------------------------------------------------
// users who may not do everything
// -----------------------------------------------------------------------------

/** What a user may not do, and whether a release still wakes the next at once. */
const users = {
  "without the list's keys": { rules: ["resetkeys", "~a", "~is*"], wakes: false, says: /has no waiting lists/ },
  "without the commands on lists": { rules: ["-@list"], wakes: false, says: /has no waiting lists/ },
  "without PUBLISH": { rules: ["-publish"], wakes: true, says: /./ },
  "without the channels": { rules: ["resetchannels"], wakes: false, says: /has no waiting lists/ },
  "without the channel of invalidations": {
    rules: ["resetchannels", "&redsync:*"],
    wakes: true,
    says: /cannot notify/
  },
  "without CLIENT TRACKING": { rules: await allOfClientBut("tracking"), wakes: true, says: /cannot notify/ },
  "without SUBSCRIBE": { rules: ["-subscribe"], wakes: false, says: /has no waiting lists/ }
}

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("a user", (it) => {
  it.effect.each(Object.keys(users) as Array<keyof typeof users>)(
    "%s: one log line, and all else works",
    (user) =>
      onThree(Effect.fnUntraced(function*(servers) {
        const { rules, says, wakes } = users[user]
        yield* onEach(servers, (server) =>
          Effect.andThen(
            server.command("ACL", "DELUSER", "ada"),
            server.command("ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all", ...rules)
          ))
        const nodes = servers.map(({ host, port }) => `redis://ada:secret@${host}:${port}`)
        const [one, other] = [yield* service(nodes), yield* service(nodes)]
        // Twice, since what is found out in the first round has to do for the second.
        for (let round = 0; round < 2; round++) {
          const list = round === 0 ? [one, other] as const : [other, one] as const
          const waiter = yield* list[0].run(withLock("a", () =>
            Effect.gen(function*() {
              const waiter = yield* waitFor(list[1].run, "a", wakes ? hourly : often)
              if (wakes) {
                yield* untilListed(servers, "a", 1)
              } else yield* until("it is said", Effect.sync(() => list[1].logs.lines.length > 0))
              return waiter
            })))
          yield* Fiber.join(waiter)
          yield* untilEmpty(servers)
        }
        // What a connection for hearing is refused may come later than the turn. The first to wait watches the key, as its
        // holder, which has never waited itself, does not listen.
        yield* until("it is said", Effect.sync(() => other.logs.lines.length > 0))
        for (const { logs } of [one, other]) {
          // One for each node at most; each has waited once, which takes one node.
          for (const server of servers) assert.isAtMost(logs.down(server).length, 1, logs.lines.join("\n"))
          for (const line of logs.lines) assert.match(line, says)
          assert.notInclude(logs.lines.join("\n"), "secret")
        }
      }))
  )
})

// -----------------------------------------------------------------------------
// clusters, and nodes without waiting lists
// -----------------------------------------------------------------------------

const clusterClient = Effect.flatMap(RedisCluster, (addresses) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const cluster = new Cluster([...addresses], { lazyConnect: true })
      await cluster.connect()
      return cluster
    }),
    (cluster) => Effect.sync(() => cluster.disconnect())
  ))

layer(RedisCluster.layer, { excludeTestServices: true, timeout: "60 seconds" })("over a cluster", (it) => {
  const setUp = Effect.gen(function*() {
    const admin = yield* clusterClient
    const logs = logged()
    const one = yield* service([IoredisNode.fromClient(yield* clusterClient)], {}, logs)
    const other = yield* service([IoredisNode.fromClient(yield* clusterClient)], {}, logs)
    const untilListed = (name: string) =>
      until(
        "it waits",
        Effect.map(Effect.promise(() => admin.llen(companionKey("line", name))), (length) => length >= 1)
      )
    const keys = Effect.promise(() => Promise.all(admin.nodes("master").map((node) => node.keys("*")))).pipe(
      Effect.map((keys) => keys.flat())
    )
    return { admin, keys, logs, one, other, untilListed }
  })

  it.effect("whoever waits is woken, whatever slot the name is in", () =>
    Effect.scoped(Effect.gen(function*() {
      const { admin, keys, logs, one, other, untilListed } = yield* setUp
      const names = ["a", "b", "c", "d", "{tag}:1", "orders:{42}:invoice", "spaces and ünïcode"]
      const slots = yield* Effect.promise(() => Promise.all(names.map((name) => admin.cluster("KEYSLOT", name))))
      assert.strictEqual(new Set(slots.map((slot) => Math.floor(slot / 5461.34))).size, 3, "all three masters")
      for (const name of names) {
        yield* handOver(one.run, other.run, name, untilListed(name))
        // And where the holder is no service of ours.
        yield* Effect.promise(() => admin.set(name, "theirs", "PX", 30_000))
        const waiter = yield* waitFor(other.run, name)
        yield* untilListed(name)
        yield* Effect.promise(() => admin.del(name))
        yield* Fiber.join(waiter)
      }
      yield* until("nothing is left", Effect.map(keys, (keys) => keys.length === 0))
      assert.deepStrictEqual(logs.lines, [])
    })))

  it.effect("a message is delivered once, though every master passes it on to the others", () =>
    Effect.scoped(Effect.gen(function*() {
      const cluster = yield* clusterClient
      const id = waiterIdOf("once")
      const told: Array<string> = []
      const list = yield* IoredisNode.fromClient(cluster).waitingList!(id, (notice) => {
        if (notice._tag === "WakeUp") told.push(notice.key)
      })
      const masters = yield* Effect.promise(() =>
        Promise.all(["a", "b", "c"].map(async (key) => {
          const owner = cluster.slots[await cluster.cluster("KEYSLOT", key)]![0]
          const master = cluster.nodes("master").find(({ options }) => `${options.host}:${options.port}` === owner)!
          return { key, master, address: { host: master.options.host!, port: master.options.port! } }
        }))
      )
      const [a, ...others] = masters
      assert.strictEqual(new Set(masters.map(({ master }) => master)).size, 3)
      const wake = ({ key, master }: (typeof masters)[number]) =>
        Effect.promise(() => master.publish(wakeUpChannel(id), `W ${entryOf("once").value} - ${key}`))
      // What the masters have passed on; our own connections to them have been sent it by then.
      const passedOn: Array<string> = []
      for (const { address } of others) {
        const listener = yield* clientOf(address)
        yield* Effect.promise(() => listener.subscribe(wakeUpChannel(id)))
        listener.on("message", (_, message) => passedOn.push(message))
      }
      yield* list.join(a!.key, entryOf("once"), "back")
      // Where nobody listens who would hear it first, it may come from anywhere.
      yield* wake(others[0]!)
      yield* until("it has come", Effect.sync(() => told.length > 0))
      assert.deepStrictEqual(told.splice(0), ["b"])
      for (const { key } of others) yield* list.join(key, entryOf("once"), "back")
      passedOn.length = 0
      yield* wake(a!)
      yield* until("it is passed on", Effect.sync(() => passedOn.length === 2))
      for (const other of others) yield* wake(other)
      yield* until("the last ones have come", Effect.sync(() => told.includes("b") && told.includes("c")))
      assert.deepStrictEqual(told.sort(), ["a", "b", "c"])
      for (const { key } of masters) yield* list.leave(key, entryOf("once"))
    })))

  it.effect.each(["odd}name", "x{}y", "{}{x}"])(
    "%s, whose list would be in another slot, waits on the schedule, which is said once",
    (name) =>
      Effect.scoped(Effect.gen(function*() {
        const { keys, one, other } = yield* setUp
        const isSaid = until("it is said", Effect.sync(() => other.logs.lines.length > 0))
        for (let round = 0; round < 3; round++) yield* handOver(one.run, other.run, name, isSaid, often)
        // Both services write to one log.
        assert.isAtMost(other.logs.lines.length, 2, other.logs.lines.join("\n"))
        yield* until("nothing is left", Effect.map(keys, (keys) => keys.length === 0))
      }))
  )

  it.effect("such a name leaves the others their wake-ups", () =>
    Effect.scoped(Effect.gen(function*() {
      const { keys, one, other, untilListed } = yield* setUp
      yield* one.run(withLock("odd}name", Effect.void))
      yield* other.run(withLock("odd}name", Effect.void))
      yield* handOver(one.run, other.run, "a", untilListed("a"))
      yield* until("nothing is left", Effect.map(keys, (keys) => keys.length === 0))
    })))
})

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("a node without lists", (it) => {
  it.effect("waits on the schedule", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const nodes = yield* Effect.forEach(servers, ({ url }) => IoredisNode.make(url))
      const { logs, run } = yield* service(nodes.map(({ waitingList: _, ...node }) => node))
      yield* holdByAnother("a", servers)
      const before = yield* callsOf(servers[0], "set")
      const waiter = yield* waitFor(run, "a", often)
      yield* until("it was refused", Effect.map(callsOf(servers[0], "set"), (calls) => calls > before))
      yield* deleteOn(servers, "a")
      yield* Fiber.join(waiter)
      assert.deepStrictEqual(logs.lines, [])
    })))
})
