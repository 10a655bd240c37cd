/**
 * A node that is several servers, as a cluster is: one that is silent costs the locks on the others nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { inspect, type LockNode, MemoryNode, NodeError, tryLock } from "../../../src/index.ts"
import { partOf } from "../../../src/internal/nodeContract.ts"
import { NodeHealth } from "../../../src/internal/quorum/nodeHealth.ts"
import { Metrics } from "../../../src/internal/telemetry/metrics.ts"
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

  const named = (server: string) => `Lock node cluster (${server})`

  /** The health of a node whose server for each key is what `servers` says, what it logs and its metrics. */
  const watched = Effect.gen(function*() {
    const servers: Record<string, string | undefined> = { a: "first", b: "second" }
    const node: LockNode = { ...MemoryNode.make("cluster"), serverOf: (key) => servers[key] }
    const lines: Array<string> = []
    const gauges: Array<string> = []
    const context = yield* Effect.context<never>()
    const metrics = Object.assign(new Metrics(context), {
      nodeUp: (_: string, isUp: boolean) => gauges.push(isUp ? "up" : "down"),
      quorumMarginChanged: (change: number) => gauges.push(`margin ${change}`)
    })
    const health = new NodeHealth([node], 0, {
      clock: yield* Clock.Clock,
      metrics,
      log: (level, message) => lines.push(`${level} ${message}`),
      fork: Effect.runForkWith(context)
    })
    let sent = 0
    /** A request that was sent now; the returned function is called with its outcome. */
    const ask = (key: string) => {
      const [request, part] = [++sent, partOf(node, key)]
      return (reason?: NodeError["reason"]) => {
        const error = reason && new NodeError({ node: node.id, operation: "acquire", reason })
        health.recordAnswer(part, request, { key, operation: "acquire" }, error, 0, sent)
      }
    }
    gauges.length = 0
    return { ask, gauges, health, lines, node, servers }
  })

  it.effect("is down by itself: the node is up once all of its servers are", () =>
    Effect.gen(function*() {
      const { ask, gauges, lines } = yield* watched
      ask("a")()
      ask("a")("Disconnected")
      for (let index = 0; index < 3; index++) {
        ask("b")()
        ask("a")("Disconnected")
      }
      ask("b")("Timeout")
      ask("a")()
      ask("b")()
      assert.deepStrictEqual(gauges, ["up", "down", "margin -1", "down", "up", "margin 1"])
      assert.deepStrictEqual(lines, [
        `Warn ${named("first")} is not connected`,
        `Warn ${named("second")} did not answer in time`,
        `Info ${named("first")} answers again`,
        `Info ${named("second")} answers again`
      ])
    }))

  it.effect("answers again when another has its keys and answers, whatever comes of earlier requests to it", () =>
    Effect.gen(function*() {
      const { ask, gauges, health, lines, servers } = yield* watched
      let responding = 0
      health.onResponding = () => responding++
      const late = ask("a")
      ask("a")("Timeout")
      ask("b")()
      assert.isTrue(health.hasUnreachable)
      servers["a"] = "third"
      // It has not answered anything yet.
      ask("b")()
      assert.isTrue(health.hasUnreachable)
      ask("a")()
      assert.isFalse(health.hasUnreachable)
      late("Timeout")
      assert.isFalse(health.hasUnreachable)
      assert.strictEqual(responding, 1)
      assert.strictEqual(gauges.at(-2), "up")
      const pair = [`Warn ${named("first")} did not answer in time`, `Info ${named("first")} answers again`]
      assert.deepStrictEqual(lines, pair)
      // If it is back with its keys, it is what it was before.
      servers["a"] = "first"
      ask("a")("Timeout")
      ask("a")()
      assert.deepStrictEqual(lines, [...pair, ...pair])
    }))

  it.effect("answers for the node, if it was not known which server has the key", () =>
    Effect.gen(function*() {
      const { ask, health, lines, servers } = yield* watched
      servers["a"] = undefined
      ask("a")("Disconnected")
      servers["a"] = "first"
      ask("b")()
      assert.isTrue(health.hasUnreachable)
      ask("a")()
      assert.isFalse(health.hasUnreachable)
      assert.deepStrictEqual(lines, ["Warn Lock node cluster is not connected", "Info Lock node cluster answers again"])
    }))
})
