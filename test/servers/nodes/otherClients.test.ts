/**
 * The port of a Redis client: the least that another client has to implement, of which
 * everything else follows.
 */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Fiber, identity, Layer } from "effect"
import { Redis } from "ioredis"
import { withLock } from "../../../src/index.ts"
import { unexpected } from "../../../src/internal/nodeContract.ts"
import type { RedisClient } from "../../../src/internal/redis/client.ts"
import { scriptError, toNodeError } from "../../../src/internal/redis/errors.ts"
import * as Node from "../../../src/internal/redis/node.ts"
import type { Meaning } from "../../../src/internal/redis/replies.ts"
import type { NodeError } from "../../../src/LockError.ts"
import { Backend, realTime, redisSuite, Subject } from "../../support/conformance.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"
import { hourly, onThree, service, untilListed } from "../../support/trouble.ts"

const connect = ({ host, port }: RedisServer) =>
  Effect.acquireRelease(
    Effect.sync(() => new Redis({ host, port })),
    (connection) => Effect.sync(() => connection.disconnect())
  )

/** A client that sends sources, and delivers messages only. */
const clientOf = Effect.fnUntraced(function*(server: RedisServer) {
  const connection = yield* connect(server)
  const id = `other ${server.port}`

  const send = <A extends {}>(
    operation: NodeError["operation"],
    meaning: Meaning<A>,
    name: string,
    args: ReadonlyArray<string | number>,
    explained: (error: unknown) => unknown = identity
  ): Effect.Effect<A, NodeError> =>
    Effect.tryPromise({
      try: () => connection.call(name, ...args),
      catch: (error) => toNodeError(id, operation, explained(error))
    }).pipe(Effect.flatMap((reply) => {
      const answer = meaning(reply)
      return answer === undefined ? Effect.fail(unexpected(id, operation, reply)) : Effect.succeed(answer)
    }))

  const client: RedisClient = {
    id,
    traits: { resends: true },
    command: send,
    script: (operation, meaning, { lua }, keys, args) =>
      send(
        operation,
        meaning,
        "eval",
        [lua, keys.length, ...keys, ...args],
        (error) => scriptError(lua, keys, error)
      ),
    notifications: (channel, onNotification) =>
      Effect.map(connect(server), (subscriber) => {
        subscriber.on("message", (_, message: string) => onNotification({ _tag: "Message", message }))
        return {
          subscribe: () => Effect.asVoid(Effect.promise(() => subscriber.subscribe(channel))),
          watchKey: () => Effect.succeed(true)
        }
      })
  }
  return client
})

redisSuite(
  "another client",
  Layer.effectContext(Effect.gen(function*() {
    const [server] = yield* RedisServers
    return Context.make(Subject, { node: Node.make(yield* clientOf(server!)), ...realTime }).pipe(
      Context.add(Backend, { onKey: server!.command, flushScripts: server!.command("SCRIPT", "FLUSH") })
    )
  })).pipe(Layer.provide(RedisServers.layer(1)))
)

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("another client", (it) => {
  it.effect("wakes the next waiter, and is woken", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const open = Effect.flatMap(Effect.forEach(servers, clientOf), (clients) =>
        service(clients.map((client) => Node.make(client))))
      const holder = yield* open
      const waiter = yield* open
      const waiting = yield* holder.run(withLock("a", () =>
        Effect.tap(
          Effect.forkScoped(waiter.run(withLock("a", Effect.succeed("its turn"), hourly))),
          untilListed(servers, "a", 1)
        )))
      assert.strictEqual(yield* Fiber.join(waiting), "its turn")
    })))

  it.effect("has only the abilities that its client has", () =>
    Effect.scoped(Effect.gen(function*() {
      const [server] = yield* RedisServers
      const { notifications: _, ...client } = yield* clientOf(server!)
      const node = Node.make(client)
      assert.notProperty(node, "waitingList")
      assert.notProperty(node, "replicas")
      assert.notProperty(node, "reconnect")
      assert.notProperty(node, "mayOvertake")
    })))
})
