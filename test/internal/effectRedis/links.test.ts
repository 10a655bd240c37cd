/**
 * What a node over Effect's Redis service takes of it, and gives back.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Queue } from "effect"
import { GivenLink } from "../../../src/internal/effectRedis/givenLink.ts"
import type { NodeRedisClient, RedisService, ServiceLink } from "../../../src/internal/effectRedis/link.ts"
import { notifications } from "../../../src/internal/effectRedis/notifications.ts"
import { ReservedLink } from "../../../src/internal/effectRedis/reservedLink.ts"
import type { Notification } from "../../../src/internal/redis/client.ts"

const settled = Effect.repeat(Effect.yieldNow, { times: 20 })

/** A service that counts the connections that are reserved. */
const reserving = (name: string, ready: Effect.Effect<void> = Effect.void) => {
  const counts = { reserved: 0 }
  const reserve = Effect.acquireRelease(
    Effect.map(ready, () => {
      counts.reserved++
      return { send: () => Effect.succeed(name) }
    }),
    () => Effect.sync(() => counts.reserved--)
  )
  return Object.assign(counts, { reserve, send: () => Effect.succeed("of the pool") })
}

const base = (redis: unknown) => {
  const lost: Array<unknown> = []
  return {
    lost,
    link: {
      redis: redis as RedisService,
      client: undefined,
      lastError: undefined,
      send: undefined,
      entrance: () => undefined,
      connectionId: () => undefined,
      listen: () => () => {},
      lost: (error: unknown) => void lost.push(error)
    } satisfies ServiceLink
  }
}

describe("a reserved connection", () => {
  it.effect("is given back when the service is another one, of which the next is reserved", () =>
    Effect.gen(function*() {
      const [first, second] = [reserving("first"), reserving("second")]
      const { link } = base(first)
      const reserved = new ReservedLink(link, Context.empty())
      const sent = Effect.suspend(() => {
        reserved.entrance()
        return Effect.andThen(settled, Effect.suspend(() => reserved.send!("PING")))
      })
      assert.strictEqual(yield* sent, "first")
      Object.assign(link, { redis: second })
      assert.strictEqual(yield* sent, "second")
      assert.deepStrictEqual([first.reserved, second.reserved], [0, 1])
      reserved.close()
      yield* settled
      assert.deepStrictEqual([first.reserved, second.reserved], [0, 0])
    }))

  it.effect("that is there only after the closing is given back at once", () =>
    Effect.gen(function*() {
      const ready = yield* Deferred.make<void>()
      const service = reserving("late", Deferred.await(ready))
      const reserved = new ReservedLink(base(service).link, Context.empty())
      assert.isDefined(reserved.entrance())
      reserved.close()
      yield* Deferred.succeed(ready, undefined)
      yield* settled
      assert.isUndefined(reserved.send)
      assert.strictEqual(service.reserved, 0)
    }))
})

describe("notifications", () => {
  const opened = (connection: () => string, replies: ReadonlyArray<unknown> = []) =>
    Effect.gen(function*() {
      const queue = yield* Queue.unbounded<{ readonly channel: string; readonly message: string }>()
      const { link, lost } = base({ subscribe: () => Effect.succeed(queue) })
      const heard: Array<Notification> = []
      const rest = [...replies]
      Object.assign(link, {
        connectionId: connection,
        client: { on: () => {}, off: () => {}, options: { emitInvalidate: true } },
        send: () =>
          Effect.suspend(() => {
            const reply = rest.shift()
            return reply instanceof Error ? Effect.fail(reply) : Effect.succeed(reply)
          })
      })
      const list = yield* notifications("node", link, Context.empty())("channel", (one) => heard.push(one))
      const tell = (message: string) => Effect.andThen(Queue.offer(queue, { channel: "channel", message }), settled)
      return { heard, list, lost, tell }
    })

  it.effect("of a connection that was replaced are not heard any more", () =>
    Effect.gen(function*() {
      let connection = "1"
      const { heard, list, tell } = yield* opened(() => connection)
      yield* list.subscribe("a")
      yield* tell("one")
      connection = "2"
      yield* tell("late")
      assert.deepStrictEqual(heard, [{ _tag: "Message", message: "one" }])
    }).pipe(Effect.scoped))

  it.effect("a key that is watched exists, unless the server says that it does not", () =>
    Effect.gen(function*() {
      const failure = new Error("no connection")
      const { list, lost } = yield* opened(() => "1", [5, -1, -2, "-2", failure])
      const exist = yield* Effect.forEach([1, 2, 3, 4, 5], () => list.watchKey("a"))
      assert.deepStrictEqual(exist, [true, true, false, false, true])
      assert.deepStrictEqual(lost, [failure])
    }).pipe(Effect.scoped))
})

describe("a client that was given", () => {
  it("keeps no listener of a node that is closed", () => {
    const listeners = new Set<unknown>()
    const client: NodeRedisClient = {
      on: (_, listener) => listeners.add(listener),
      off: (_, listener) => listeners.delete(listener)
    }
    const link = new GivenLink({ send: () => Effect.void } as never, client)
    const stop = [link.listen("ready", () => {}), link.listen("invalidate", () => {})]
    assert.strictEqual(listeners.size, 2)
    for (const end of stop) end()
    assert.strictEqual(listeners.size, 0)
  })
})
