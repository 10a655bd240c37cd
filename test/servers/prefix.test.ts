/**
 * Services with a prefix: what of theirs carries it, and that those with different
 * ones on the same servers have nothing to do with each other.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import {
  ErrFailed,
  forceUnlock,
  inspect,
  lock,
  LockLost,
  MemoryNode,
  NodesUnavailable,
  Redsync,
  retryPolicy,
  tryLock,
  unlock,
  withFencedLock,
  withLock,
  withLocks
} from "../../src/index.ts"
import { onEach, until } from "../support/faults.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"
import * as TestNodes from "../support/testNodes.ts"
import { channelsOf, hourly, onThree, service, untilListed } from "../support/trouble.ts"

const once = { retry: retryPolicy({ tries: 1 }) }

const errorOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Exit.findErrorOption(exit)) : undefined

describe("a prefix", () => {
  const withPrefix = Effect.gen(function*() {
    const nodes = yield* TestNodes.makeMany(3)
    const context = yield* Layer.build(Redsync.layer({ nodes, prefix: "app:" }))
    yield* Effect.addFinalizer(() => Effect.sync(() => nodes.forEach((node) => node.state = "up")))
    return { nodes, run: Effect.provide(context) }
  })

  it.effect("is before every key, and nothing else that a caller sees", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* withPrefix
      const held = yield* run(lock("a"))
      assert.strictEqual(held.name, "a")
      assert.strictEqual(nodes[0]!.valueOf("app:a"), held.value)
      yield* held.extend
      assert.isTrue(yield* held.isHeld)
      const { holder, name } = yield* run(inspect("a"))
      assert.strictEqual(name, "a")
      assert.strictEqual(Option.getOrThrow(holder).value, held.value)
      assert.isFalse(yield* run(unlock("a", "another's")))
      const value = yield* held.detach
      const adopted = yield* run(Redsync.adopt("a", value))
      assert.strictEqual(adopted.name, "a")
      assert.isTrue(yield* adopted.release)
      yield* run(withLocks(["b", "c"], Effect.void))
      yield* run(forceUnlock("d"))
      yield* run(tryLock("e"))
      assert.deepStrictEqual(
        [...new Set(nodes.flatMap((node) => node.calls.map(({ key }) => key)))].sort(),
        ["app:a", "app:b", "app:c", "app:d", "app:e"]
      )
    }).pipe(Effect.scoped))

  it.effect("is in the messages of errors, whose lock is as given", () =>
    Effect.gen(function*() {
      const { nodes, run } = yield* withPrefix
      const held = yield* run(lock("a"))
      const failed = errorOf(yield* Effect.exit(run(Effect.scoped(lock("a", once)))))
      assert.instanceOf(failed, ErrFailed)
      for (const node of nodes) yield* Effect.orDie(node.remove("app:a"))
      const lost = errorOf(yield* Effect.exit(held.extend))
      assert.instanceOf(lost, LockLost)
      for (const node of nodes) node.state = "down"
      const unavailable = errorOf(yield* Effect.exit(run(Effect.scoped(lock("a", once)))))
      assert.instanceOf(unavailable, NodesUnavailable)
      for (const error of [failed, lost, unavailable]) {
        assert.strictEqual(error.lock, "a")
        assert.match(error.message, /[Ll]ock "app:a"/)
      }
      for (const node of nodes) node.state = "up"
      yield* TestClock.adjust(1000)
    }).pipe(Effect.scoped))

  it.effect("keeps apart what has another: both hold the same name, and neither sees or deletes the other's", () =>
    Effect.gen(function*() {
      const nodes = MemoryNode.makeMany(3)
      const [a, b, none] = yield* Effect.forEach(
        ["a:", "b:", ""],
        (prefix) => Effect.map(Layer.build(Redsync.layer({ nodes, prefix })), (context) => Effect.provide(context))
      )
      const first = yield* a!(lock("x"))
      const second = Option.getOrThrow(yield* b!(tryLock("x")))
      assert.isTrue(Option.isSome(yield* none!(Effect.scoped(tryLock("x")))))
      // Together they are one name.
      assert.isTrue(Option.isNone(yield* none!(tryLock("a:x"))))
      assert.isFalse(yield* b!(unlock("x", first.value)))
      assert.isTrue(yield* b!(forceUnlock("x")))
      assert.isTrue(yield* first.isHeld)
      assert.isFalse(yield* second.isHeld)
    }).pipe(Effect.scoped))
})

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("two prefixes on one set", (it) => {
  it.effect("neither wake nor hear each other, and share no key beside a lock", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [a, b] = [yield* service(servers, { prefix: "a:" }), yield* service(servers, { prefix: "b:" })]
      const holdA = yield* a.run(lock("x"))
      const holdB = yield* b.run(lock("x"))
      const [a2, b2] = [yield* service(servers, { prefix: "a:" }), yield* service(servers, { prefix: "b:" })]
      const waitingA = yield* Effect.forkScoped(a2.run(withLock("x", Effect.void, hourly)))
      const waitingB = yield* Effect.forkScoped(b2.run(withLock("x", Effect.void, hourly)))
      const listA = yield* untilListed(servers, "a:x", 1)
      yield* untilListed(servers, "b:x", 1)
      const keys = (yield* onEach(servers, (server) => server.command<Array<string>>("KEYS", "redsync:*"))).flat()
      assert.deepStrictEqual(keys.sort(), ["redsync:1:line:{a:x}", "redsync:1:line:{b:x}"])
      // One for each that waits, on every server: the prefix and the twelve characters of its service.
      const channels = Effect.map(
        onEach(servers, channelsOf),
        (channels) => [...new Set(channels.flat().map((channel) => channel.slice(0, -12)))].sort()
      )
      yield* until("both listen", Effect.map(channels, ({ length }) => length === 2))
      assert.deepStrictEqual(yield* channels, ["redsync:turn:a:", "redsync:turn:b:"])
      // Whoever is woken is taken out of its list by that.
      yield* holdB.release
      yield* Fiber.join(waitingB)
      assert.isUndefined(waitingA.pollUnsafe())
      assert.strictEqual(yield* listA.command<number>("LLEN", "redsync:1:line:{a:x}"), 1)
      assert.isTrue(yield* holdA.isHeld)
      yield* holdA.release
      yield* Fiber.join(waitingA)
      yield* a.run(withFencedLock("x", () => Effect.void))
      const counters = (yield* onEach(servers, (server) => server.command<Array<string>>("KEYS", "redsync:1:f*")))
        .flat()
      assert.deepStrictEqual([...new Set(counters)], ["redsync:1:fencing:{a:x}"])
      yield* onEach(servers, (server) => server.command("DEL", "redsync:1:fencing:{a:x}"))
    })))
})
