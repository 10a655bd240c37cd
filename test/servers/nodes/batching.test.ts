/**
 * Nothing that happens in a callback of ioredis has anybody to catch it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { constVoid } from "effect/Function"
import { type Command, Redis } from "ioredis"
import {
  batchedPerTick,
  listen,
  type ReplyListener,
  type SendCommand,
  viaClient
} from "../../../src/internal/ioredis/batching.ts"
import { until } from "../../support/faults.ts"
import { startServer } from "../../support/servers/RedisServers.ts"

/** Throws whatever it is told, until it has been told so often. */
const throwing = (told: Array<unknown>, often = Infinity): ReplyListener => {
  const hear = (outcome: unknown) => {
    told.push(outcome)
    if (told.length <= often) throw new Error(`thrown after ${String(outcome)}`)
  }
  return { onReply: hear, onError: hear }
}

describe("what a listener throws", () => {
  const ways: ReadonlyArray<readonly [string, (client: Redis) => SendCommand]> = [
    ["a connection of our own", batchedPerTick],
    ["a client of the caller's", viaClient],
    ["a promise", (client) => (name, args, listener) => listen(client.call(name, ...args), listener)]
  ]

  it.live.each(ways)(
    "is what its command fails with, on %s, and all else goes on",
    ([_, sendBy]) =>
      Effect.gen(function*() {
        const server = yield* startServer()
        const client = yield* Effect.acquireRelease(
          Effect.promise(async () => {
            const client = new Redis({ host: server.host, port: server.port, lazyConnect: true })
            await client.connect()
            return client
          }),
          (client) => Effect.sync(() => client.disconnect())
        )
        const send = sendBy(client)
        const once: Array<unknown> = []
        const always: Array<unknown> = []
        const refused: Array<unknown> = []
        const after: Array<unknown> = []
        send("echo", ["one"], throwing(once, 1))
        send("echo", ["two"], throwing(always))
        send("nonsense", [], throwing(refused))
        send("echo", ["three"], { onReply: (reply) => after.push(reply), onError: constVoid })
        yield* until("the last is answered", Effect.sync(() => after.length > 0))
        assert.deepStrictEqual(once.map(String), ["one", "Error: thrown after one"])
        assert.deepStrictEqual(always.map(String), ["two", "Error: thrown after two"])
        assert.lengthOf(refused, 2)
        assert.deepStrictEqual(after, ["three"])
      }).pipe(Effect.scoped)
  )
})

describe("large input", () => {
  /** A client of which only the writing is there. */
  const written = () => {
    const pieces: Array<number> = []
    let destroyed: unknown
    const stream = {
      writable: true,
      write: (text: string, encoding?: BufferEncoding) => pieces.push(Buffer.byteLength(text, encoding)),
      destroy: (error: unknown) => {
        destroyed = error
      }
    }
    const client = {
      options: {},
      stream,
      sendCommand: Object.getOwnPropertyDescriptor(
        {
          sendCommand(command: Command, to: typeof stream) {
            to.write(command.toWritable(stream) as string)
          }
        },
        "sendCommand"
      )!.value as Redis["sendCommand"]
    }
    return { client: client as unknown as Redis, destroyed: () => destroyed, pieces }
  }

  const ignored: ReplyListener = { onReply: constVoid, onError: constVoid }

  it.live.each([["letters", "n"], ["others", "ñ"]] as const)(
    "600 names of a megabyte of %s in one tick are written in pieces",
    ([_, letter]) =>
      Effect.gen(function*() {
        const { client, destroyed, pieces } = written()
        const send = batchedPerTick(client)
        const name = letter.repeat((1 << 20) / Buffer.byteLength(letter))
        for (let index = 0; index < 600; index++) send("set", [name, "value"], ignored)
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        assert.isUndefined(destroyed())
        assert.isAbove(pieces.reduce((sum, length) => sum + length), 600 * (1 << 20))
        for (const length of pieces) assert.isBelow(length, 4 << 20)
      })
  )

  it.live("what no string can hold ends the connection, and nothing else", () =>
    Effect.gen(function*() {
      const { client, destroyed } = written()
      const part = "n".repeat(1 << 28)
      batchedPerTick(client)("set", [part, part, part], ignored)
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      assert.instanceOf(destroyed(), RangeError)
    }))
})
