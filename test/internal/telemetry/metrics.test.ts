/**
 * Metrics, compared number by number with what happened, and shown in a real exporter's
 * format.
 */
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, Fiber, Layer, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import {
  fencedLock,
  forceUnlock,
  LockMetrics,
  type LockNode,
  MemoryNode,
  Redsync,
  retryPolicy,
  type ServiceOptions,
  tryLock,
  tryPermits,
  trySharedLock,
  withLock,
  withLocks,
  withPermits,
  withSharedLock,
  withSharedLockIfAvailable
} from "../../../src/index.ts"
import { withoutHandOver } from "../../support/line.ts"
import { readPage } from "../../support/pages.ts"
import * as TestNodes from "../../support/testNodes.ts"

const guide = readPage("src/guide/operating.md")

/** Runs a program that counts in a registry of its own. */
const counting = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.provideService(program, Metric.MetricRegistry, new Map())

/** All series there are, as `name{attribute=value}` and their count or value. */
const counts = Effect.map(
  Metric.snapshot,
  (series) =>
    Object.fromEntries(series.map(({ attributes = {}, id, state }) => {
      const { unit: _, ...rest } = attributes
      const labels = Object.entries(rest).map(([key, value]) => `${key}=${value}`).sort()
      const value = "count" in state ? Number(state.count) : "value" in state ? Number(state.value) : Number.NaN
      return [`${id.replace("redsync_", "")}{${labels.join(",")}}`, value]
    }))
)

/** The counters and gauges that are about this part. */
const only = (all: Record<string, number>, ...names: ReadonlyArray<string>) =>
  Object.fromEntries(Object.entries(all).filter(([key]) => names.some((name) => key.startsWith(`${name}{`))))

const service = (nodes: ServiceOptions["nodes"]) => Layer.build(Redsync.layer({ nodes }))

describe("metrics", () => {
  it.effect("count what happened to locks, and nothing else", () =>
    counting(Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const ours = yield* service(nodes)
      const theirs = yield* counting(service(nodes))
      const retry = retryPolicy({ tries: 2, delay: 100 })
      yield* Effect.gen(function*() {
        // granted at once, held for a second, one of them extended by hand
        const work = yield* Effect.forkChild(withLock("a", Effect.sleep("1 second")))
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(only(yield* counts, "locks_held", "waiters"), {
          "locks_held{mode=exclusive}": 1,
          "waiters{mode=exclusive}": 0
        })
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(work)
        yield* withLocks(["b", "c"], ([b]) => b!.extend)
        yield* Effect.scoped(fencedLock("f"))

        // held by another: tried once, tried twice, interrupted
        const other = yield* Effect.forkChild(Effect.provide(withLock("a", Effect.never), theirs))
        yield* TestClock.adjust(0)
        yield* Effect.scoped(tryLock("a"))
        const waiting = yield* Effect.forkChild(Effect.exit(withLock("a", Effect.void, { retry })))
        const interrupted = yield* Effect.forkChild(withLock("a", Effect.void))
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(only(yield* counts, "locks_held", "waiters"), {
          "locks_held{mode=exclusive}": 0,
          "waiters{mode=exclusive}": 2
        })
        yield* Fiber.interrupt(interrupted)
        yield* TestClock.adjust("200 millis")
        yield* Fiber.join(waiting)
        yield* Fiber.interrupt(other)

        // taken away, and found by the next extension
        const taken = yield* Effect.forkChild(Effect.exit(withLock("a", Effect.never)))
        yield* TestClock.adjust(0)
        yield* Effect.provide(forceUnlock("a"), theirs)
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(taken)

        // too few nodes
        for (const node of nodes.slice(1)) node.state = { rejects: "OOM is near" }
        yield* Effect.exit(withLock("a", Effect.void, { retry: retryPolicy({ tries: 1 }) }))
      }).pipe(Effect.provide(ours))
      const all = yield* counts
      assert.deepStrictEqual(only(all, "acquisitions_total", "wait_seconds"), {
        "acquisitions_total{mode=exclusive,outcome=granted}": 5,
        "acquisitions_total{mode=exclusive,outcome=held_by_another}": 2,
        "acquisitions_total{mode=exclusive,outcome=interrupted}": 1,
        "acquisitions_total{mode=exclusive,outcome=nodes_unavailable}": 1,
        "wait_seconds{mode=exclusive,outcome=granted}": 5,
        "wait_seconds{mode=exclusive,outcome=held_by_another}": 2,
        "wait_seconds{mode=exclusive,outcome=interrupted}": 1,
        "wait_seconds{mode=exclusive,outcome=nodes_unavailable}": 1
      })
      assert.deepStrictEqual(only(all, "locks_held", "hold_seconds", "losses_total", "extensions_total", "waiters"), {
        "locks_held{mode=exclusive}": 0,
        "hold_seconds{mode=exclusive}": 5,
        "losses_total{mode=exclusive,reason=Taken}": 1,
        "extensions_total{mode=exclusive,outcome=extended}": 1,
        "extensions_total{mode=exclusive,outcome=taken}": 1,
        "waiters{mode=exclusive}": 0
      })
    })).pipe(Effect.scoped))

  it.effect("add up to what was asked of each node", () =>
    counting(Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      nodes[2]!.state = { rejects: "OOM is near" }
      yield* Effect.gen(function*() {
        for (let round = 0; round < 10; round++) yield* withLock("a", Effect.void)
        nodes[2]!.state = "up"
        for (let round = 0; round < 5; round++) yield* withLock("a", Effect.void)
        yield* TestClock.adjust("1 minute")
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
      const all = yield* counts
      for (const node of nodes) {
        for (const operation of ["acquire", "release"] as const) {
          const votes = Object.entries(only(all, "votes_total"))
            .filter(([key]) => key.includes(`node=${node.id},operation=${operation},`))
            .reduce((sum, [, count]) => sum + count, 0)
          assert.strictEqual(votes, TestNodes.callsOf(node, operation).length, `${node.id} ${operation}`)
        }
        assert.strictEqual(all[`node_up{node=${node.id}}`], 1)
      }
      assert.strictEqual(all["votes_total{node=node-3,operation=acquire,vote=Rejected}"], 10)
      assert.strictEqual(all["votes_total{node=node-3,operation=acquire,vote=Granted}"], 5)
      for (const node of nodes) {
        const answers = Object.entries(only(all, "votes_total"))
          .filter(([key]) => key.includes(`node=${node.id},`) && !key.includes("vote=Rejected"))
          .reduce((sum, [, count]) => sum + count, 0)
        assert.strictEqual(all[`node_latency_seconds{node=${node.id}}`], answers, node.id)
      }
    })))

  it.effect("tell a node that is down, and one that is back", () =>
    counting(Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      yield* Effect.gen(function*() {
        for (const state of ["up", { rejects: "OOM is near" }, "up"] as const) {
          nodes[0]!.state = state
          yield* withLock("a", Effect.void)
          assert.strictEqual((yield* counts)["node_up{node=node-1}"], state === "up" ? 1 : 0)
        }
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
    })))

  it.effect("tell how many nodes may fail before there is no quorum, for as long as the service is there", () =>
    counting(Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(5)
      const margin = Effect.map(counts, (all) => all["quorum_margin{}"])
      yield* Effect.gen(function*() {
        assert.strictEqual(yield* margin, 2)
        for (const [index, expected] of [1, 0, -1, -2, -3].entries()) {
          nodes[index]!.state = { rejects: "OOM is near" }
          yield* Effect.exit(withLock("a", Effect.void, { retry: retryPolicy({ tries: 1 }) }))
          assert.strictEqual(yield* margin, expected)
        }
        for (const node of nodes.slice(1)) node.state = "up"
        yield* withLock("a", Effect.void)
        assert.strictEqual(yield* margin, 1)
        const another = yield* service(nodes)
        yield* Effect.provide(withLock("b", Effect.void), another)
        assert.strictEqual(yield* margin, 2)
      }).pipe(Effect.provide(Redsync.layer({ nodes })), Effect.scoped)
      assert.strictEqual(yield* margin, 0)
    })))

  it.effect("are those of the definitions, with the labels and values named there, and no others", () =>
    counting(Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const retry = retryPolicy({ tries: 1 })
      yield* Effect.gen(function*() {
        const held = yield* Effect.forkChild(Effect.exit(withLock("a", TestClock.adjust("3 seconds"))))
        yield* Effect.exit(withLock("a", Effect.void, { retry }))
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(held)
        const lost = yield* Effect.forkChild(Effect.exit(withLock("b", Effect.never)))
        yield* TestClock.adjust(0)
        yield* forceUnlock("b")
        yield* Fiber.join(lost)
        yield* withPermits("s", withPermits("s", Effect.void, { limit: 3 }), { limit: 2 })
        for (const node of nodes) node.state = { rejects: "OOM is near" }
        yield* Effect.exit(withLock("c", Effect.void, { retry }))
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
      const node = MemoryNode.make()
      const ours = yield* service([node])
      yield* inTurn("d", yield* service([withoutHandOver(node)]), ours)
      yield* inTurn("e", yield* service([node]), ours)

      const definitions = Object.values<LockMetrics.Definition>(LockMetrics.definitions)
      const values = (text: string) => text.replaceAll(/ \(.*?\)/g, "").split(", ")
      const series = yield* Metric.snapshot
      assert.deepStrictEqual(new Set(series.map(({ id }) => id)), new Set(definitions.map(({ name }) => name)))
      for (const { attributes = {}, id, type } of series) {
        const definition = definitions.find(({ name }) => name === id)!
        const { unit, ...labels } = attributes
        assert.strictEqual(unit, definition.unit)
        assert.strictEqual(type.toLowerCase(), definition.type)
        assert.deepStrictEqual(Object.keys(labels).sort(), Object.keys(definition.attributes).sort())
        for (const [label, value] of Object.entries(labels)) {
          const text = definition.attributes[label]!
          const of = definitions.find(({ name }) => text === `see ${name}`)?.attributes[label] ?? text
          if (label !== "node") assert.include(values(of), value)
        }
      }
    })).pipe(Effect.scoped))

  /** One after the other has the lock, and the second waits for the first to release it. */
  const inTurn = (name: string, first: Context.Context<Redsync>, second: Context.Context<Redsync>) =>
    Effect.gen(function*() {
      const holder = yield* Effect.forkChild(Effect.provide(withLock(name, Effect.never), first))
      yield* TestClock.adjust(1)
      const waiter = yield* Effect.forkChild(Effect.provide(withLock(name, Effect.void), second))
      // In two steps, so that the notifications arrive.
      yield* TestClock.adjust(1)
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(holder)
      yield* TestClock.adjust(1)
      yield* Fiber.join(waiter)
    })

  it.effect("tell wake-ups that were used from those that were wasted", () =>
    counting(Effect.gen(function*() {
      const node = MemoryNode.make("m")
      const ours = yield* service([node])
      const theirs = yield* counting(service([withoutHandOver(node)]))
      for (let round = 1; round <= 3; round++) {
        yield* inTurn(`lock-${round}`, theirs, ours)
        assert.deepStrictEqual(only(yield* counts, "wake_ups_total"), {
          "wake_ups_total{mode=exclusive,outcome=used}": round
        })
      }
    })).pipe(Effect.scoped))

  it.effect("tell locks that were handed over", () =>
    counting(Effect.gen(function*() {
      const nodes = [MemoryNode.make("m")]
      const ours = yield* service(nodes)
      const theirs = yield* counting(service(nodes))
      for (let round = 1; round <= 3; round++) {
        yield* inTurn(`lock-${round}`, theirs, ours)
        assert.deepStrictEqual(only(yield* counts, "hand_overs_total", "wake_ups_total"), {
          "hand_overs_total{mode=exclusive,outcome=taken}": round
        })
      }
    })).pipe(Effect.scoped))

  it.effect("count a turn that comes when nobody waits any more as wasted", () =>
    counting(Effect.gen(function*() {
      const memory = MemoryNode.make()
      let hear: Parameters<NonNullable<LockNode["waitingList"]>>[1] = () => {}
      const node: LockNode = {
        ...memory,
        waitingList: (waiterId, onNotice) => {
          hear = onNotice
          return memory.waitingList!(waiterId, onNotice)
        }
      }
      yield* Effect.provide(Effect.void, yield* service([node]))
      hear({ _tag: "WakeUp", key: "a", value: "nobody's", next: undefined })
      assert.deepStrictEqual(only(yield* counts, "wake_ups_total"), {
        "wake_ups_total{mode=exclusive,outcome=wasted}": 1
      })
    })).pipe(Effect.scoped))

  it.effect.each<
    readonly [mode: string, wait: Effect.Effect<void, unknown, Redsync>, take: (node: LockNode) => unknown]
  >([
    [
      "permits",
      withPermits("a", Effect.void, { limit: 1 }),
      ({ permits }) => permits!.acquire("a", "other", { expiryMillis: 60_000, limit: 1, permits: 1, start: 0, step: 1 })
    ],
    ["shared", withSharedLock("a", Effect.void), (node) => node.acquire("a", "other", 60_000)]
  ])("tell how many wait for %s, for as long as they do", ([mode, wait, take]) =>
    counting(Effect.gen(function*() {
      const node = MemoryNode.make()
      yield* take(node) as Effect.Effect<unknown>
      yield* Effect.gen(function*() {
        const waiting = [yield* Effect.forkChild(wait), yield* Effect.forkChild(wait)]
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* counts)[`waiters{mode=${mode}}`], 2)
        yield* Fiber.interruptAll(waiting)
        assert.strictEqual((yield* counts)[`waiters{mode=${mode}}`], 0)
        assert.deepStrictEqual(only(yield* counts, "acquisitions_total"), {
          [`acquisitions_total{mode=${mode},outcome=interrupted}`]: 2
        })
      }).pipe(Effect.provide(Redsync.layer({ nodes: [node] })))
    })))

  it.effect("count single attempts by what was to be held", () =>
    counting(Effect.gen(function*() {
      yield* Effect.gen(function*() {
        for (const _ of [1, 2]) {
          yield* tryLock("a")
          yield* trySharedLock("b")
          yield* withLock("c", withSharedLockIfAvailable("c", Effect.void))
          yield* tryPermits("s", { limit: 1 })
        }
      }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory()))
      assert.deepStrictEqual(only(yield* counts, "acquisitions_total"), {
        "acquisitions_total{mode=exclusive,outcome=granted}": 3,
        "acquisitions_total{mode=exclusive,outcome=held_by_another}": 1,
        "acquisitions_total{mode=shared,outcome=granted}": 2,
        "acquisitions_total{mode=shared,outcome=held_by_another}": 2,
        "acquisitions_total{mode=permits,outcome=granted}": 1,
        "acquisitions_total{mode=permits,outcome=held_by_another}": 1
      })
    })))

  it.effect("tell how many permits are held, and by how many holders", () =>
    counting(
      Effect.gen(function*() {
        const held = Effect.map(counts, (all) => [all["permits_held{}"], all["locks_held{mode=permits}"]])
        yield* withPermits(
          "s",
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* held, [2, 1])
            yield* withPermits("s", Effect.map(held, (now) => assert.deepStrictEqual(now, [5, 2])), {
              limit: 5,
              permits: 3
            })
            assert.deepStrictEqual(yield* held, [2, 1])
          }),
          { limit: 5, permits: 2 }
        ).pipe(Effect.andThen(held), Effect.map((now) => assert.deepStrictEqual(now, [0, 0])))
      }).pipe(Effect.provide(Redsync.layerMemory()))
    ))

  it.effect("tell in which round permits were granted, and when the votes stayed split", () =>
    counting(Effect.gen(function*() {
      const nodes = MemoryNode.makeMany(3)
      const inOtherOrders = nodes.map((node, start): LockNode => ({
        ...node,
        permits: {
          ...node.permits!,
          acquire: (key, value, request) => node.permits!.acquire(key, value, { ...request, start, step: 1 })
        }
      }))
      yield* Effect.provide(withPermits("a", Effect.void, { limit: 3 }), Redsync.layer({ nodes }))
      yield* Effect.gen(function*() {
        yield* withPermits("a", Effect.void, { limit: 3 })
        for (const [index, node] of nodes.entries()) {
          const slots = [0, 1, 2].filter((slot) => slot !== index)
          yield* node.permits!.settle("a", "another's", { expiryMillis: 60_000, limit: 3, slots, round: 2 })
        }
        yield* Effect.scoped(tryPermits("a", { limit: 3 }))
      }).pipe(Effect.provide(Redsync.layer({ nodes: inOtherOrders })))
      assert.deepStrictEqual(only(yield* counts, "permit_rounds_total"), {
        "permit_rounds_total{round=1}": 1,
        "permit_rounds_total{round=2}": 1,
        "permit_rounds_total{round=split}": 1
      })
    })))

  it.effect("count the locks of several names that were granted, not those that were refused", () =>
    counting(Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(1)
      yield* nodes[0]!.acquire("b", "another's", 60_000)
      yield* Effect.exit(withLocks(["a", "b"], () => Effect.void, { retry: retryPolicy({ tries: 1 }) })).pipe(
        Effect.provide(Redsync.layer({ nodes }))
      )
      assert.deepStrictEqual(only(yield* counts, "acquisitions_total"), {
        "acquisitions_total{mode=exclusive,outcome=granted}": 1,
        "acquisitions_total{mode=exclusive,outcome=held_by_another}": 1
      })
    })))

  it.effect("measure in seconds", () =>
    counting(Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(1, { distanceMillis: 50 })
      const held = yield* Effect.forkChild(
        withLock("a", Effect.sleep("2 seconds")).pipe(Effect.provide(Redsync.layer({ nodes })))
      )
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(held)
      const sums = (yield* Metric.snapshot).flatMap(({ id, state }) => "sum" in state ? [[id, state.sum]] : [])
      assert.deepStrictEqual(Object.fromEntries(sums), {
        "redsync_wait_seconds": 0.1,
        "redsync_hold_seconds": 2.1,
        "redsync_node_latency_seconds": 0.2
      })
    })))

  it.effect("as text for Prometheus", () =>
    counting(Effect.gen(function*() {
      yield* withLock("a", TestClock.adjust("2 seconds")).pipe(Effect.provide(Redsync.layerMemory({ count: 1 })))
      const lines = (yield* PrometheusMetrics.format()).split("\n")
      for (
        const line of [
          "# HELP redsync_acquisitions_total Acquisitions that have ended, by outcome",
          "# TYPE redsync_acquisitions_total counter",
          "redsync_acquisitions_total{mode=\"exclusive\",outcome=\"granted\"} 1",
          "# TYPE redsync_locks_held gauge",
          "redsync_locks_held{mode=\"exclusive\"} 0",
          "# TYPE redsync_hold_seconds histogram"
        ]
      ) assert.include(lines, line)
      assert.include(lines, "redsync_hold_seconds_sum{mode=\"exclusive\"} 2")
    })))

  it("the table in the guide is that of the definitions", () => {
    const cell = (text: string) => text.replaceAll("|", "\\|")
    const rows = Object.values<LockMetrics.Definition>(LockMetrics.definitions).map((
      { attributes, description, name, type, unit }
    ) => [
      `\`${name}\``,
      unit === undefined ? type : `${type}, ${unit}`,
      description,
      Object.entries(attributes).map(([name, values]) => `\`${name}\`: ${values}`).join("; ")
    ])
    const cells = (line: string) => line.split("|").slice(1, -1).map((cell) => cell.trim())
    const [, table = ""] = /<!-- metrics -->\n+(.*?)\n+<!-- \/metrics -->/s.exec(guide) ?? []
    assert.deepStrictEqual(table.split("\n").slice(2).map(cells), rows.map((row) => row.map(cell)))
  })
})
