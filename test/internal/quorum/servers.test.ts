/**
 * A node that is several servers, as a cluster is: one that is silent costs the locks on the others nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { inspect, type LockNode, NodeError, tryLock } from "../../../src/index.ts"
import { partOf } from "../../../src/internal/nodeContract.ts"
import type { WaitingList } from "../../../src/LockNode.ts"
import { open } from "../../support/opened.ts"
import * as TestNodes from "../../support/testNodes.ts"

const nodeTimeout = 400

const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** A node of several servers, each of which has the names that begin with its id. */
const nodeOf = (...servers: ReadonlyArray<LockNode>): LockNode => {
  const of = (key: string) => servers.find(({ id }) => key.startsWith(id))!
  return {
    id: "cluster",
    serverOf: (key) => of(key).id,
    acquire: (key, ...args) => of(key).acquire(key, ...args),
    extend: (key, ...args) => of(key).extend(key, ...args),
    release: (key, ...args) => of(key).release(key, ...args),
    inspect: (key) => of(key).inspect(key),
    remove: (key) => of(key).remove(key),
    waitingList: (...args) =>
      Effect.map(Effect.forEach(servers, (server) => server.waitingList!(...args)), (lists): WaitingList => {
        const at = (key: string) => lists[servers.indexOf(of(key))]!
        return {
          join: (key, ...args) => at(key).join(key, ...args),
          leave: (key, ...args) => at(key).leave(key, ...args),
          release: (key, ...args) => at(key).release(key, ...args)
        }
      })
  }
}

/** Two servers, and a service over the node that they are. */
const two = Effect.gen(function*() {
  const memories = [yield* TestNodes.make("first"), yield* TestNodes.make("second")] as const
  const [first, second] = [
    yield* TestNodes.view(memories[0].memory),
    yield* TestNodes.view(memories[1].memory)
  ]
  const node = nodeOf(first, second)
  const { run, service } = yield* open({ nodes: [node], nodeTimeout })
  yield* Effect.addFinalizer(() => Effect.sync(() => first.state = "up"))
  return { first, second, memories, node, run, service }
})

describe("a server of several that are one node", () => {
  it.effect("is silent alone: locks on the others are granted, and it is asked one thing at a time", () =>
    Effect.gen(function*() {
      const { first, node, run, second, service: { cleanUps, quorum: { health } } } = yield* two
      first.state = "silent"
      yield* begin(run(inspect("first")))
      yield* TestClock.adjust(nodeTimeout)
      assert.isTrue(health.isSilent(partOf(node, "first")))
      const probe = yield* begin(run(inspect("first")))
      for (let index = 0; index < 10; index++) yield* run(Effect.scoped(tryLock(`second ${index}`)))
      assert.strictEqual(TestNodes.callsOf(second, "acquire").length, 10)
      assert.isFalse(health.hasLostQuorum("second"))
      assert.isTrue(health.hasLostQuorum("first"))
      const before = first.pending
      const error = (yield* run(Effect.flip(Effect.scoped(tryLock("first"))))).votes.flatMap((vote) =>
        vote._tag === "Failed" ? [vote.error] : []
      )[0]!
      assert.strictEqual(error.node, "cluster")
      assert.strictEqual(error.reason, "Disconnected")
      assert.strictEqual(first.pending, before)
      yield* TestClock.adjust(nodeTimeout)
      yield* Fiber.join(probe)
      first.state = "up"
      yield* run(inspect("first"))
      assert.isFalse(health.isSilent(partOf(node, "first")))
      assert.isFalse(health.isFailing(partOf(node, "first")))
      assert.strictEqual(cleanUps.size, 0)
    }).pipe(Effect.scoped))

  it.effect("has waiting lists of its own, which are used whatever those of the others do", () =>
    Effect.gen(function*() {
      const { node, service: { waitQueues: { lists } } } = yield* two
      const refused = new NodeError({ node: node.id, operation: "inspect", reason: "Rejected" })
      for (const error of [undefined, refused]) {
        lists.firstInRank("first")!.joinFailed(error)
        assert.isUndefined(lists.firstInRank("first"))
        assert.isDefined(lists.firstInRank("second"))
        assert.isFalse(lists.of(node, "first")!.isUsable)
        lists.renewed(node)
        assert.strictEqual(lists.firstInRank("first") === undefined, error !== undefined)
      }
    }).pipe(Effect.scoped))

  it.effect("is one of a thousand at most of a node", () =>
    Effect.gen(function*() {
      let servers = 0
      const node: LockNode = { ...(yield* TestNodes.make("first")), serverOf: () => `${servers++}` }
      const parts = Array.from({ length: 1000 }, () => partOf(node, "a"))
      assert.isFalse(parts.includes(node))
      assert.strictEqual(partOf(node, "a"), node)
    }))

  it.effect("that is not known, or is asked for in vain, is the node itself", () =>
    Effect.gen(function*() {
      const node = yield* TestNodes.make("first")
      const withServers = (serverOf: (key: string) => unknown) => ({ ...node, serverOf }) as LockNode
      const unknown = [() => undefined, () => 1, () => {
        throw new Error("it is not known")
      }].map(withServers)
      for (const node of unknown) {
        assert.strictEqual(partOf(node, "a"), node)
        const { run } = yield* open({ nodes: [node], nodeTimeout })
        yield* run(Effect.scoped(tryLock("a")))
      }
    }).pipe(Effect.scoped))
})
