/**
 * Tools that watch ioredis see the commands of our own connections, in either of
 * the ways there are: they put a function around `sendCommand`, or are told.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { constVoid } from "effect/Function"
import { type Command, Redis } from "ioredis"
import { tracingChannel } from "node:diagnostics_channel"
import { Redsync, withLock } from "../../../src/index.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const oneLock = (name: string) =>
  Effect.flatMap(RedisServers, (servers) =>
    withLock(name, Effect.succeed("ran")).pipe(
      Effect.provide(Redsync.layer({ nodes: servers.map(({ url }) => url) })),
      Effect.scoped
    ))

const counted = (names: ReadonlyArray<string>) => ({
  set: names.filter((name) => name === "set").length,
  evalsha: names.filter((name) => name === "evalsha").length
})

const eachNodeOnce = { set: 3, evalsha: 3 }

/** As instrumentations do: the commands are looked at, and their ends taken hold of as functions without an object. */
const wrapped = (seen: Array<string>, settled: Array<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { prototype } = Redis
      const original = Object.getOwnPropertyDescriptor(prototype, "sendCommand")!
      prototype.sendCommand = function(this: Redis, command: Command, ...rest) {
        seen.push(command.name)
        const { reject, resolve } = command
        command.resolve = (reply: unknown) => {
          settled.push(command.name)
          resolve(reply)
        }
        command.reject = (error: Error) => reject(error)
        const promise = (original.value as Redis["sendCommand"]).call(this, command, ...rest)
        assert.instanceOf(promise, Promise)
        return promise
      }
      return original
    }),
    (original) => Effect.sync(() => Object.defineProperty(Redis.prototype, "sendCommand", original))
  )

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "30 seconds" })("tools that watch ioredis", (it) => {
  it.effect("are not taken for there where there are none", () =>
    Effect.sync(() => {
      // oxlint-disable-next-line typescript/unbound-method -- is looked at, not called
      assert.isFalse("prototype" in Redis.prototype.sendCommand)
      assert.isFalse(tracingChannel("ioredis:command").hasSubscribers)
    }))

  it.effect("see all of a command if they wrap the method that sends it", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const settled: Array<string> = []
      yield* wrapped(seen, settled)
      assert.strictEqual(yield* oneLock("wrapped"), "ran")
      assert.deepStrictEqual(counted(seen), eachNodeOnce)
      assert.deepStrictEqual(counted(settled), eachNodeOnce)
    }))

  it.effect("are told of a command and its end", () =>
    Effect.gen(function*() {
      const sent: Array<string> = []
      const ended: Array<string> = []
      const channel = tracingChannel<{ readonly command: string }>("ioredis:command")
      const listeners = {
        end: constVoid,
        asyncStart: constVoid,
        error: constVoid,
        start: ({ command }: { readonly command: string }) => void sent.push(command),
        asyncEnd: ({ command }: { readonly command: string }) => void ended.push(command)
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => channel.subscribe(listeners)),
        () => Effect.sync(() => channel.unsubscribe(listeners))
      )
      assert.strictEqual(yield* oneLock("told"), "ran")
      assert.deepStrictEqual(counted(sent), eachNodeOnce)
      assert.deepStrictEqual(counted(ended), eachNodeOnce)
    }))
})
