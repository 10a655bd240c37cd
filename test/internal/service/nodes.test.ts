/**
 * What can be a node of a service, and what becomes of nodes that are opened.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Deferred, Effect, Exit, Layer, Option, Redacted, Scope } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import { lock, type LockNode, MemoryNode, Redsync, type ServiceOptions } from "../../../src/index.ts"
import * as TestNodes from "../../support/testNodes.ts"

class Broken extends Data.TaggedError("Broken")<{}> {}

const message = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "it worked"

/** What making a service with these nodes dies with. */
const refusal = (nodes: ReadonlyArray<unknown>, options: Partial<ServiceOptions> = {}) =>
  Redsync.make({ ...options, nodes: nodes as ServiceOptions["nodes"] }).pipe(
    Effect.scoped,
    Effect.exit,
    Effect.map(message)
  )

const idsOf = (options: ServiceOptions) =>
  Redsync.make(options).pipe(
    Effect.flatMap(({ topology }) => topology),
    Effect.map(({ nodes }) => nodes),
    Effect.scoped
  )

describe("a URL", () => {
  it.effect("may be redacted, and is not shown then either", () =>
    Effect.gen(function*() {
      const url = Redacted.make("redis://ada:hunter2@127.0.0.1:1/3")
      assert.deepStrictEqual(yield* idsOf({ nodes: [url, "redis://127.0.0.1:2"] }), ["127.0.0.1:1/3", "127.0.0.1:2"])
      for (const wrong of ["redis://:hunter2@", "http://ada:hunter2@h", "hunter2@h:1", "hunter2"]) {
        for (const node of [wrong, Redacted.make(wrong)]) {
          const said = yield* refusal(["redis://127.0.0.1:1", node])
          assert.include(said, "the option nodes, entry 2, is ")
          assert.notInclude(said, "hunter2")
        }
      }
      assert.include(yield* refusal([Redacted.make(7)]), "the option nodes, entry 1, is ")
    }))

  it.effect("that is redacted is not shown even where it looks like no secret", () =>
    Effect.gen(function*() {
      for (const secret of ["hunter2:6379", "http://hunter2/token", "redis://h/hunter2", "redis+sentinel://hunter2"]) {
        const said = yield* refusal([Redacted.make(secret)])
        assert.include(said, `the option nodes, entry 1, is "<redacted>"; it `)
        assert.notInclude(said, "hunter2")
      }
      const wiped = Redacted.make("redis://a")
      Redacted.wipeUnsafe(wiped)
      assert.include(yield* refusal([wiped]), "entry 1, is an object; it must be a node that can be read")
    }))

  it.effect("without a scheme is shown, with what is missing", () =>
    Effect.gen(function*() {
      const said = yield* refusal(["localhost:6379"])
      assert.include(said, `nodes, entry 1, is "localhost:6379"; it has no scheme; write "redis://localhost:6379".`)
    }))
})

describe("a node that is opened", () => {
  it.effect("is open as long as the service, and closed when the last lock is released", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const node = MemoryNode.make("opened")
      const opened = Effect.acquireRelease(
        Effect.sync(() => {
          log.push("opened")
          return node
        }),
        () =>
          Effect.map(Effect.orDie(node.inspect("a")), (key) => log.push(Option.isNone(key) ? "closed" : "closed early"))
      )
      const layer = Redsync.layer({ nodes: [opened] })
      assert.deepStrictEqual(log, [])
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layer, scope)
      yield* lock("a").pipe(Effect.provide(context), Scope.provide(yield* Scope.make()))
      assert.deepStrictEqual(log, ["opened"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log, ["opened", "closed"])
    }))

  it.effect("fails the layer with its own error, and closes those that are open", () =>
    Effect.gen(function*() {
      const closed: Array<string> = []
      const good = Effect.acquireRelease(
        Effect.succeed(MemoryNode.make("good")),
        () => Effect.sync(() => closed.push("good"))
      )
      const layer = Redsync.layer({ nodes: [good, Effect.andThen(Effect.yieldNow, Effect.fail(new Broken()))] })
      const error = yield* Effect.flip(Effect.provide(Redsync.health, layer))
      assert.instanceOf(error, Broken)
      assert.deepStrictEqual(closed, ["good"])
    }))

  it.effect("has what it requires from the layer's context", () =>
    Effect.gen(function*() {
      // No command is sent here.
      const redis = Layer.succeed(Redis.Redis, {} as Redis.Redis["Service"])
      const layer = Redsync.layerRedis({ id: "ambient", quorum: 1 })
      const { nodes } = yield* Effect.provide(Redsync.topology, Layer.provide(layer, redis))
      assert.deepStrictEqual(nodes, ["ambient"])
    }))

  it.effect("is opened beside the others, not after them", () =>
    Effect.gen(function*() {
      const second = yield* Deferred.make<void>()
      const nodes = [
        Effect.as(Deferred.await(second), MemoryNode.make("first")),
        Effect.as(Deferred.succeed(second, undefined), MemoryNode.make("second"))
      ]
      assert.deepStrictEqual(yield* idsOf({ nodes }), ["first", "second"])
    }))

  it.effect("is refused where it cannot be read, as one that is given", () =>
    Effect.gen(function*() {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      const secretive = Object.defineProperty({ ...MemoryNode.make("secretive") }, "waitingList", {
        get() {
          throw new Error("no")
        }
      })
      for (const unreadable of [proxy, secretive]) {
        for (const node of [unreadable, Effect.succeed(unreadable)]) {
          const said = yield* refusal([MemoryNode.make("a"), node])
          assert.match(said, /the option nodes, entry 2, is .*; it must be a node that can be read/)
        }
      }
    }))

  it.effect("is checked like one that is given", () =>
    Effect.gen(function*() {
      const { remove: _, ...incomplete } = MemoryNode.make("incomplete")
      const { delayedRestart: __, ...timeless } = MemoryNode.make("timeless")
      const { replicas: ___, ...alone } = MemoryNode.make("alone")
      const entry = "the option nodes, entry 1, is "
      assert.include(
        yield* refusal([Effect.succeed("redis://a")]),
        `${entry}"redis://a"; the effect must open a LockNode`
      )
      assert.include(yield* refusal([Effect.void]), `${entry}undefined; the effect must open a LockNode`)
      assert.include(
        yield* refusal([Effect.succeed(incomplete)]),
        "the LockNode incomplete must have a function remove"
      )
      const twice = [MemoryNode.make("a"), Effect.succeed(MemoryNode.make("a"))]
      assert.include(yield* refusal(twice), "the option nodes has a twice")
      for (const given of [[timeless], [Effect.succeed(timeless)]]) {
        assert.include(
          yield* refusal(given, { delayedRestart: "1 second" }),
          `the option delayedRestart is "1 second"; the node timeless cannot tell when it was restarted`
        )
      }
      for (const given of [[alone], [Effect.succeed(alone)]]) {
        assert.include(yield* refusal(given, { replicas: 1 }), "replicas is 1; the node alone cannot wait for replicas")
      }
    }))
})

describe("a service", () => {
  it.effect("is there once a quorum of its nodes is ready", () =>
    Effect.gen(function*() {
      const [first, second, third] = MemoryNode.makeMany(3)
      const opening = yield* Effect.forkChild(
        Redsync.make({ nodes: [first!, { ...second!, ready: Effect.never }, third!] }).pipe(Effect.scoped)
      )
      yield* TestClock.adjust(0)
      assert.isDefined(opening.pollUnsafe())
    }))

  it.effect("gives replicas a third of the node timeout, so that a node that waits for them can still answer in time", () =>
    Effect.gen(function*() {
      const asked: Array<ReadonlyArray<number>> = []
      const node: LockNode = {
        ...MemoryNode.make(),
        replicas: (...args) => {
          asked.push(args)
          return MemoryNode.make()
        }
      }
      yield* Redsync.make({ nodes: [node], replicas: 2, nodeTimeout: "300 millis" })
      assert.deepStrictEqual(asked, [[2, 100]])
    }).pipe(Effect.scoped))

  it.effect("is ready though its user may not read the key of the health check, and not if it may not do anything", () =>
    Effect.gen(function*() {
      const node = yield* TestNodes.make("node")
      const service = yield* Redsync.make({ nodes: [node] })
      const states = yield* Effect.forEach(["NOPERM no permissions", "NOAUTH Authentication required."], (rejects) => {
        node.state = { rejects }
        return Effect.map(service.health, ({ isReady, nodes }) => [isReady, nodes[0]!._tag])
      })
      assert.deepStrictEqual(states, [[true, "Up"], [false, "Down"]])
      node.state = "up"
    }).pipe(Effect.scoped))
})
