/**
 * Nodes that are clusters, of which one server is in trouble.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option } from "effect"
import { constVoid } from "effect/Function"
import type { Redis } from "ioredis"
import {
  fencedLock,
  type LockNode,
  permits,
  retryPolicy,
  sharedLock,
  withLock,
  withLockIfAvailable,
  withPermits
} from "../../../src/index.ts"
import { companionKey, wakeUpChannel } from "../../../src/internal/redis/keys.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { until } from "../../support/faults.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"
import { clusterClient, migrateSlot, moveSlot, namesOn, threeMasters } from "../../support/servers/cluster.ts"
import { replicatedCluster, untilPromoted } from "../../support/servers/failover.ts"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import { hourly, service } from "../../support/trouble.ts"

/** How many listen to the channel of a waiter on a server. */
const listenersOn = ({ command }: RedisServer, waiterId: string) =>
  Effect.map(command<[string, number]>("PUBSUB", "NUMSUB", wakeUpChannel(waiterId)), ([, count]) => count)

describe("a cluster of which one master is stopped", () => {
  it.live("grants the locks that are on the others", () =>
    Effect.gen(function*() {
      const masters = yield* threeMasters
      const [stopped, ...others] = masters
      const node = IoredisNode.fromClient(yield* clusterClient(masters))
      let asked = 0
      const acquire: LockNode["acquire"] = (key, ...args) => {
        if (key === name) asked++
        return node.acquire(key, ...args)
      }
      const { logs, run } = yield* service([{ ...node, acquire }])
      const [name] = yield* namesOn(stopped, 1)
      const names = yield* Effect.map(Effect.forEach(others, (other) => namesOn(other, 10)), (all) => all.flat())
      yield* stopped.stop
      yield* Effect.ignore(run(withLockIfAvailable(name!, Effect.void))).pipe(
        Effect.andThen(Effect.sleep("10 millis")),
        Effect.forever,
        Effect.forkScoped
      )
      // It did not answer the first time, and is asked one thing at a time from now on.
      yield* until("it is asked again", Effect.sync(() => asked === 2))
      for (const name of names) {
        assert.isTrue(Option.isSome(yield* run(withLockIfAvailable(name, Effect.void))), name)
      }
      const warnings = logs.down()
      assert.strictEqual(warnings.length, 1)
      assert.include(warnings[0], `(${stopped.host}:${stopped.port}) did not answer in time`)
      yield* stopped.resume
    }).pipe(Effect.scoped))
})

describe("a key whose slot has moved", () => {
  it.live("is waited for where it is now, and the cluster is asked for the new master of one that is silent", () =>
    Effect.gen(function*() {
      const masters = yield* threeMasters
      const [from, to] = masters
      const node = IoredisNode.fromClient(yield* clusterClient(masters))
      const [locked, limited, shared] = yield* namesOn(from, 3)
      const id = waiterIdOf("waiter")
      const slotOf = (name: string) => from.command<number>("CLUSTER", "KEYSLOT", name)
      const list = yield* node.waitingList!(id, constVoid)
      assert.isFalse(yield* node.release(locked!, "nobody's"))
      const joins = [
        [locked!, list.join(locked!, entryOf("waiter"), "back")],
        [limited!, list.permits!.join(limited!, { value: entryOf("waiter").value, permits: 1 }, 1, "back")],
        [shared!, list.watch!(shared!)]
      ] as const
      for (const [index, [name, join]] of joins.entries()) {
        const target = masters[1 + index % 2]!
        yield* moveSlot(masters, yield* slotOf(name), target)
        // Once the client has been told, it reads all slots anew.
        yield* join
        assert.strictEqual(yield* listenersOn(target, id), 1)
      }
      assert.strictEqual(node.serverOf!(shared!), `${to.host}:${to.port}`)
      yield* moveSlot(masters, yield* slotOf(shared!), from)
      yield* node.reconnect!
      assert.strictEqual(node.serverOf!(shared!), `${from.host}:${from.port}`)
    }).pipe(Effect.scoped))
})

describe("a slot that moves with its keys", () => {
  it.live("its locks stay held, exclude each other on the way, and pass to those that wait", () =>
    Effect.gen(function*() {
      const masters = yield* threeMasters
      const [from, to] = masters
      const open = Effect.flatMap(clusterClient(masters), (client) => service([IoredisNode.fromClient(client)]))
      const [holding, waiting, other] = yield* Effect.all([open, open, open])
      const once: typeof hourly = { retry: retryPolicy({ tries: 1 }) }
      const kinds = [
        { line: "line", hold: fencedLock, use: (name: string, retry = once) => withLock(name, Effect.void, retry) },
        {
          line: "permit-line",
          hold: (name: string) => permits(name, { limit: 1 }),
          use: (name: string, retry = once) => withPermits(name, Effect.void, { limit: 1, ...retry })
        },
        { line: "line", hold: sharedLock, use: (name: string, retry = once) => withLock(name, Effect.void, retry) }
      ] as const
      const names = yield* namesOn(from, 2 * kinds.length)
      for (const [index, name] of names.entries()) {
        const { hold, line, use } = kinds[index % kinds.length]!
        yield* Effect.gen(function*() {
          const held = yield* holding.run(hold(name))
          const waiter = yield* Effect.forkScoped(waiting.run(use(name, hourly)))
          const length = from.command("LLEN", companionKey(line, name))
          yield* until("it waits", Effect.map(length, (length) => length === 1))
          const slot = yield* from.command<number>("CLUSTER", "KEYSLOT", name)
          const refused = Effect.orDie(Effect.flip(other.run(use(name))))
          // Halfway a script that needs several of the keys is answered TRYAGAIN.
          yield* migrateSlot(masters, slot, from, to, refused)
          yield* held.extend
          assert.strictEqual((yield* refused)._tag, "ErrFailed")
          yield* held.release
          yield* Fiber.join(waiter)
        }).pipe(Effect.scoped)
      }
    }).pipe(Effect.scoped))
})

describe("a master that is gone for good", () => {
  it.live("those that wait are told, wait on the one that takes over, and keep no connection to the other", () =>
    Effect.gen(function*() {
      const { masters: [master, ...others], replica } = yield* replicatedCluster
      const cluster = yield* clusterClient([master, ...others])
      const node = IoredisNode.fromClient(cluster)
      const id = waiterIdOf("waiter")
      const notices: Array<string> = []
      const list = yield* node.waitingList!(id, ({ _tag }) => notices.push(_tag))
      assert.isTrue(yield* node.acquire("b", "another's", 60_000))
      const client = cluster.nodes("master").find(({ options }) => options.port === master.port)!
      const open = new Set<Redis>()
      const duplicate = client.duplicate.bind(client)
      client.duplicate = (...args) => {
        const connection = duplicate(...args)
        const disconnect = connection.disconnect.bind(connection)
        // ioredis itself asks for the slots on such connections.
        if (connection.options.enableOfflineQueue === false) open.add(connection)
        connection.disconnect = (reconnect) => {
          if (reconnect !== true) open.delete(connection)
          disconnect(reconnect)
        }
        return connection
      }
      yield* list.join("b", entryOf("waiter"), "back")
      assert.strictEqual(open.size, 2)
      yield* master.kill
      yield* until("it is told", Effect.sync(() => notices.includes("Resync")))
      yield* untilPromoted(replica)
      yield* until("it waits again", Effect.isSuccess(list.join("b", entryOf("waiter"), "back")))
      assert.strictEqual(yield* listenersOn(replica, id), 1)
      yield* until("its connections are closed", Effect.sync(() => open.size === 0))
    }).pipe(Effect.scoped))
})
