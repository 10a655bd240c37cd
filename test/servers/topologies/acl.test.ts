/**
 * The rights that the guide says a Redis user needs: they are enough, none of them
 * is too many, and none reaches what belongs to another prefix.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Option, type Scope } from "effect"
import { Redis } from "ioredis"
import type { LockNode, NodeError } from "../../../src/index.ts"
import { entryText } from "../../../src/internal/nodeContract.ts"
import { companionKey, wakeUpChannel } from "../../../src/internal/redis/keys.ts"
import { releaseAndWake } from "../../../src/internal/redis/scripts.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import type { Notice, PermitLine } from "../../../src/LockNode.ts"
import { until } from "../../support/faults.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import { readPage } from "../../support/pages.ts"
import { abilities } from "../../support/servers/abilities.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"

const { knowsSubcommands } = await abilities()

const rule = [
  ...new Set(
    ["src/guide/deploying.md", "src/guide/semaphores.md"].flatMap((page) =>
      [...readPage(page).matchAll(/^ACL SETUSER locker ([^`]+)^```$/gm)].flatMap(([, rights = ""]) =>
        rights.trim().split(/\s+/)
      )
    )
  )
]
const commands = rule.filter((right) => right.startsWith("+")).map((right) => right.slice(1))

/** A node of a user with these rights, on a server that knows no script. */
const nodeOf = (server: RedisServer, rights: ReadonlyArray<string>, user: string = "locker") =>
  Effect.gen(function*() {
    yield* server.command("ACL", "DELUSER", user)
    yield* server.command("ACL", "SETUSER", user, ...rights)
    yield* server.command("FLUSHALL")
    yield* server.command("SCRIPT", "FLUSH")
    const node = yield* IoredisNode.make(`redis://${user}:password@${server.host}:${server.port}/1`)
    yield* node.ready!
    return node
  })

/** A client of its own for a user, in the database of the nodes. */
const clientOf = ({ host, port }: RedisServer, user: string) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      new Redis({ host, port, db: 1, protocol: 2, ...user !== "default" && { username: user, password: "password" } })
    ),
    (client) => Effect.sync(() => client.disconnect())
  )

/** What a server answers to a user, be it an error. */
const as = (server: RedisServer, user: string, ask: (client: Redis) => Promise<unknown>) =>
  Effect.scoped(
    Effect.flatMap(clientOf(server, user), (client) => Effect.promise(() => ask(client).catch((error) => error)))
  )

/** Everything that readers and writers of a shared lock ask of a node. */
const shareOn = (
  { acquire, shared }: LockNode,
  name: string,
  ask: <A>(operation: Effect.Effect<A, NodeError>) => Effect.Effect<void>
) =>
  Effect.gen(function*() {
    const { fencing, ...readers } = shared!
    yield* ask(acquire(name, "writer", 60_000))
    yield* ask(readers.acquire(name, "reader", 60_000, 60_000))
    yield* ask(readers.yieldToReaders(name, "writer", 60_000))
    yield* ask(fencing!.acquire(name, "reader", 60_000, 1))
    yield* ask(fencing!.raise(name, "reader", 2))
    yield* ask(readers.extend(name, "reader", 60_000))
    yield* ask(readers.announce(name, 60_000))
    yield* ask(readers.announce(name, 0))
    yield* ask(readers.inspect(name))
    yield* ask(readers.release(name, "reader"))
    yield* ask(readers.downgrade(name, "writer", "reader", 60_000))
  })

/** Everything that holders of permits, and those who wait for some, ask of a node. */
const limitOn = (
  { permits }: LockNode,
  line: PermitLine,
  name: string,
  ask: <A>(operation: Effect.Effect<A, NodeError>) => Effect.Effect<void>
) =>
  Effect.gen(function*() {
    const request = { expiryMillis: 60_000, limit: 2, permits: 1, start: 0, step: 1 }
    const entry = { value: entryOf("first").value, permits: 1 }
    yield* ask(permits!.acquire(name, "mine", { ...request, proposal: 1 }))
    yield* ask(permits!.settle(name, "mine", { expiryMillis: 60_000, limit: 2, slots: [1], round: 2, proposal: 1 }))
    yield* ask(permits!.raise(name, "mine", [1], [2]))
    yield* ask(permits!.extend(name, "mine", 60_000, [1]))
    yield* ask(permits!.inspect(name))
    yield* ask(line.join(name, entry, 2, "back"))
    yield* ask(line.leave(name, entry))
    yield* ask(line.join(name, entry, 2, "back"))
    yield* ask(line.release(name, "mine"))
    yield* ask(permits!.acquire(name, "other", request))
    yield* ask(permits!.release(name, "other"))
    yield* ask(permits!.remove(name))
  })

/** Everything that can be asked of a node; what it complains of. */
const complaints = (node: LockNode): Effect.Effect<Array<string>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const heard: Array<string> = []
    const hear = (notice: Notice) => {
      if (notice._tag === "Unsupported") heard.push(notice.why)
    }
    const ask = <A>(operation: Effect.Effect<A, NodeError>) =>
      Effect.matchEffect(operation, {
        onFailure: (error) => Effect.sync(() => void heard.push(error.message)),
        onSuccess: () => Effect.void
      })

    yield* ask(node.acquire("locks:a", "mine", 60_000))
    yield* ask(node.extend("locks:a", "mine", 60_000))
    yield* ask(node.inspect("locks:a"))
    yield* ask(node.release("locks:a", "mine"))
    yield* ask(node.remove("locks:a"))
    yield* ask(node.fencing!.acquire("locks:b", "mine", 60_000, 1))
    yield* ask(node.fencing!.raise("locks:b", "mine", 2))
    yield* ask(node.fencing!.acquire("locks:{b}:b", "mine", 60_000, 1))
    yield* ask(node.delayedRestart!(1).abstention!("locks:c"))
    yield* ask(node.replicas!(0, 10).acquire("locks:d", "mine", 60_000))
    for (const name of ["locks:f", "locks:{f}:f"]) yield* shareOn(node, name, ask)
    // Two wait for a lock whose release tells the first of them; the second goes to the front, and leaves.
    const waiter = (name: string) => node.waitingList!(waiterIdOf(name, "locks:"), hear)
    const [first, second] = [yield* waiter("first"), yield* waiter("second")]
    for (const name of ["locks:g", "locks:{g}:g"]) yield* limitOn(node, first.permits!, name, ask)
    for (const name of ["locks:e", "locks:{e}:e"]) {
      yield* ask(node.acquire(name, "mine", 60_000))
      yield* ask(first.join(name, entryOf("first"), "back"))
      yield* ask(second.join(name, entryOf("second"), "front"))
      yield* ask(second.leave(name, entryOf("second")))
      const terms = { expiryMillis: 60_000, proposal: 1, chain: { length: 1, millis: 0 } }
      yield* ask(second.handOver!.listen(name))
      yield* ask(first.handOver!.transfer(name, "mine", entryOf("second", { fenced: true }), terms))
      yield* ask(first.release(name, entryOf("second").value, undefined))
      yield* ask(first.alert!(name))
    }
    return heard
  })

layer(RedisServers.layer(1), { excludeTestServices: true, timeout: "60 seconds" })("the rights of the guide", (it) => {
  const scenario = (rights: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      return yield* complaints(yield* nodeOf(server!, rights))
    })

  it.effect("are enough for everything", () =>
    Effect.gen(function*() {
      assert.isAbove(commands.length, 15)
      assert.deepStrictEqual(yield* scenario(rule), [])
    }))

  it.effect.each(commands)("without %s there is a complaint that names it", (command) =>
    Effect.gen(function*() {
      const heard = yield* scenario(rule.filter((right) => right !== `+${command}`))
      const [container] = command.split("|")
      const named = knowsSubcommands ? command : container
      assert.isTrue(
        heard.some((words) =>
          words.includes(`'${named}' command`) || words.includes(`'${container}' command in a script`) ||
          words.includes(`may not ${command.toUpperCase()} `)
        ),
        `It said ${JSON.stringify(heard)}`
      )
    }))

  it.effect.each(rule.filter((right) => /^[~&]/.test(right)))(
    "without %s there is a complaint",
    (right) =>
      Effect.gen(function*() {
        const heard = yield* scenario(rule.filter((other) => other !== right))
        assert.isNotEmpty(heard)
      })
  )

  it.effect("without strlen a long string is told by its length all the same", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const node = yield* nodeOf(server!, rule)
      yield* as(server!, "default", (client) => client.set("locks:long", "x".repeat(1000)))
      assert.deepStrictEqual(
        yield* node.inspect("locks:long"),
        Option.some({ type: "string", value: "", ttlMillis: Infinity, bytes: 1000 })
      )
    }))

  it.effect("do not reach what belongs to another prefix", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const ours = yield* nodeOf(server!, rule)
      const others = yield* nodeOf(server!, rule.map((right) => right.replace("locks:", "others:")), "neighbour")
      for (const name of ["others:a", "others:{x}:a"]) {
        const heard: Array<Notice> = []
        const list = yield* others.waitingList!(waiterIdOf("waiter", "others:"), (notice) => heard.push(notice))
        assert.deepStrictEqual(yield* others.fencing!.acquire(name, "theirs", 60_000, 7), Option.some(7))
        yield* list.join(name, entryOf("waiter"), "back")

        const [counter, queue] = [companionKey("fencing", name), companionKey("line", name)]
        const attacks = [
          ["get", name],
          ["get", counter],
          ["set", counter, "9007199254740900"],
          ["del", counter],
          ["lpop", queue],
          ["rpush", queue, entryText(entryOf("waiter"))],
          ["del", queue],
          ["publish", wakeUpChannel(waiterIdOf("waiter", "others:")), name],
          ["subscribe", wakeUpChannel(waiterIdOf("waiter", "others:"))],
          ["subscribe", wakeUpChannel("*")],
          // Whoever releases our lock would tell the neighbour that it is its turn.
          [
            "eval",
            releaseAndWake,
            "2",
            "locks:a",
            companionKey("line", "locks:a"),
            "mine",
            name,
            "redsync:turn:others:",
            ""
          ]
        ]
        yield* as(server!, "locker", (client) =>
          client.rpush(companionKey("line", "locks:a"), entryText(entryOf("waiter"))))
        for (const [command, ...args] of attacks) {
          const answer = yield* as(server!, "locker", (client) =>
            client.call(command!, ...args))
          assert.match(String(answer), command === "eval" ? /^4$/ : /NOPERM/, `${command} ${args.join(" ")}`)
        }
        const questions: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
          ours.acquire(name, "mine", 60_000),
          ours.fencing!.acquire(name, "mine", 60_000, 1),
          ours.fencing!.raise(name, "theirs", 100),
          ours.release(name, "theirs")
        ]
        for (const question of questions) {
          assert.match((yield* Effect.flip(question)).message, /NOPERM/)
        }
        yield* Effect.flip(
          (yield* ours.waitingList!(waiterIdOf("waiter", "locks:"), () => {})).join(name, entryOf("waiter"), "back")
        )
        yield* as(server!, "locker", (client) =>
          client.publish("__redis__:invalidate", "nothing"))

        // All is as it was, and whoever waits hears of nothing but the release.
        assert.deepStrictEqual(
          yield* Effect.map(list.release(name, "theirs", undefined), ({ released, woke }) => ({ released, woke })),
          { released: true, woke: true }
        )
        const turns = () => heard.filter(({ _tag }) => _tag === "WakeUp").length
        yield* until("it is its turn", Effect.sync(() => turns() > 0))
        assert.strictEqual(turns(), 1)
        assert.isFalse(heard.some(({ _tag }) => _tag === "Resync"))
        assert.deepStrictEqual(yield* others.fencing!.acquire(name, "theirs", 60_000, 1), Option.some(8))
        yield* others.release(name, "theirs")
      }
    }))

  it.effect("but tracking in broadcast mode reveals the names of all keys that change, as the guide says", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      yield* nodeOf(server!, rule)
      const told: Array<string> = []
      const ears = yield* clientOf(server!, "locker")
      ears.on("messageBuffer", (_, keys: unknown) => told.push(String(keys)))
      const eyes = yield* clientOf(server!, "locker")
      yield* Effect.promise(async () => {
        const id = await ears.client("ID")
        await ears.subscribe("__redis__:invalidate")
        await eyes.client("TRACKING", "ON", "REDIRECT", id, "BCAST")
      })
      yield* server!.command("SET", "others:secret", "value")
      yield* until("the name is told", Effect.sync(() => told.includes("others:secret")))
    }))
})
