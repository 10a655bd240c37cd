/**
 * Metrics and spans: compared number by number with what happened, and shown in
 * real exporters' formats.
 */
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, Fiber, Layer, Logger, Metric, References, Tracer } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp, OtlpExporter, PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { createServer } from "node:http"
import {
  fencedLock,
  forceUnlock,
  lock,
  LockMetrics,
  MemoryNode,
  Redsync,
  retryPolicy,
  type ServiceOptions,
  tryLock,
  withLock,
  withLocks
} from "../../../src/index.ts"
import { attributes } from "../../../src/internal/telemetry/attributes.ts"
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
        for (const node of nodes) node.state = { rejects: "OOM is near" }
        yield* Effect.exit(withLock("c", Effect.void, { retry }))
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
      const node = MemoryNode.make()
      const ours = yield* service([node])
      const theirs = yield* service([node])
      const other = yield* Effect.forkChild(Effect.provide(withLock("a", Effect.never), theirs))
      yield* TestClock.adjust(1)
      const waiting = yield* Effect.forkChild(Effect.provide(withLock("a", Effect.void), ours))
      yield* TestClock.adjust(1)
      yield* Fiber.interrupt(other)
      yield* TestClock.adjust(1)
      yield* Fiber.join(waiting)

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
          const of = definitions.find(({ name }) => text === `as of ${name}`)?.attributes[label] ?? text
          if (label !== "node") assert.include(values(of), value)
        }
      }
    })).pipe(Effect.scoped))

  it.effect("tell wake-ups that were used from those that were wasted", () =>
    counting(Effect.gen(function*() {
      const nodes = [MemoryNode.make("m")]
      const ours = yield* service(nodes)
      const theirs = yield* counting(service(nodes))
      for (let round = 1; round <= 3; round++) {
        const other = yield* Effect.forkChild(Effect.provide(withLock("a", Effect.never), theirs))
        yield* TestClock.adjust(1)
        const waiting = yield* Effect.forkChild(Effect.provide(withLock("a", Effect.void), ours))
        yield* TestClock.adjust(1)
        yield* Fiber.interrupt(other)
        yield* TestClock.adjust(1)
        yield* Fiber.join(waiting)
        assert.deepStrictEqual(only(yield* counts, "wake_ups_total"), {
          "wake_ups_total{mode=exclusive,outcome=used}": round
        })
      }
    })).pipe(Effect.scoped))

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

// -----------------------------------------------------------------------------
// spans
// -----------------------------------------------------------------------------

/** Keeps the spans in the order in which they began. */
const recording = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, traced: Effect.provideService(Tracer.Tracer, tracer) }
}

const parentOf = (span: Tracer.NativeSpan) => span.parent._tag === "Some" ? span.parent.value.spanId : undefined

/** A line for each span: when it began and ended in milliseconds, its name, and what is attached to it. */
const drawn = (spans: ReadonlyArray<Tracer.NativeSpan>) => {
  const millis = (nanos: bigint) => String(Number(nanos / 1_000_000n)).padStart(3)
  const depth = (span: Tracer.NativeSpan): number => {
    const parent = spans.find(({ spanId }) => spanId === parentOf(span))
    return parent === undefined ? 0 : 1 + depth(parent)
  }
  return spans.map((span) => {
    assert(span.status._tag === "Ended")
    const attributes = [...span.attributes]
      .filter(([key]) => key !== "redsync.quorum")
      .map(([key, value]) => `${key}=${[value].flat().join(", ")}`)
    const time = `${millis(span.status.startTime)} – ${millis(span.status.endTime)} ms`
    return [time, `${"  ".repeat(depth(span))}${span.name}`.padEnd(18), ...attributes].join("  ").trimEnd()
  }).join("\n")
}

describe("spans", () => {
  it.effect("of a contended acquisition, as the guide shows them", () =>
    Effect.gen(function*() {
      const nodes = ["a", "b", "c"].map((id) => MemoryNode.make(id))
      const theirs = yield* service(nodes)
      const ours = yield* service(nodes)
      const { spans, traced } = recording()
      yield* Effect.forkChild(Effect.provide(withLock("invoices:42", Effect.sleep(120)), theirs))
      const charge = Effect.withSpan(Effect.sleep(80), "charge")
      const fiber = yield* Effect.forkChild(
        withLock("invoices:42", charge).pipe(Effect.withSpan("request"), Effect.provide(ours), traced)
      )
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      const [, shown] = /<!-- trace -->\n+```\n(.*?)\n```/s.exec(guide) ?? []
      assert.strictEqual(drawn(spans), shown)
    }).pipe(Effect.scoped))

  it.effect("link the work to the waiting, and say how each ended", () =>
    Effect.gen(function*() {
      const { spans, traced } = recording()
      yield* Effect.gen(function*() {
        yield* traced(Effect.scoped(fencedLock("a")))
        yield* traced(Effect.scoped(lock("a")))
        yield* traced(withLocks(["b", "a"], Effect.void))
        yield* Effect.exit(traced(withLock("a", Effect.fail("broken"))))
      }).pipe(Effect.provide(Redsync.layerMemory({ count: 3 })))
      const names = ["Redsync.acquire", "Redsync.hold", "Redsync.release"]
      assert.deepStrictEqual(spans.map(({ name }) => name), [...names, ...names, ...names, ...names])
      for (let index = 0; index < spans.length; index += 3) {
        const [acquire, hold, release] = spans.slice(index)
        assert.strictEqual(acquire!.kind, "internal")
        assert.deepStrictEqual([...hold!.links, ...release!.links].map(({ span }) => span.spanId), [
          acquire!.spanId,
          acquire!.spanId
        ])
        assert.isTrue([acquire, hold, release].every((span) => span!.status._tag === "Ended"))
      }
      assert.isAbove(Number(spans[1]!.attributes.get("redsync.token")), -1)
      assert.deepStrictEqual(spans[6]!.attributes.get("redsync.lock"), ["b", "a"])
      assert.strictEqual(spans[0]!.attributes.get("redsync.quorum"), 2)
      assert(spans[10]!.status._tag === "Ended" && spans[10]!.status.exit._tag === "Failure")
    }))

  it.effect("say what they failed with", () =>
    Effect.gen(function*() {
      const { spans, traced } = recording()
      const once = { retry: retryPolicy({ tries: 1 }) }
      const failures: ReadonlyArray<Effect.Effect<never, unknown, Redsync>> = [
        Effect.fail({ _tag: "NotFound" }),
        Effect.fail("broken"),
        Effect.die(new TypeError("broken")),
        Effect.interrupt,
        forceUnlock("a").pipe(Effect.andThen(Effect.never))
      ]
      yield* Effect.gen(function*() {
        for (const failure of failures) yield* Effect.exit(traced(withLock("a", failure)))
        yield* Effect.exit(traced(Effect.scoped(Effect.andThen(lock("a"), Effect.fail({ _tag: "NotFound" })))))
        yield* withLock("a", Effect.exit(traced(withLock("a", Effect.void, once))))
      }).pipe(Effect.provide(Redsync.layerMemory()))
      const failed = spans.filter(({ attributes }) => attributes.has("error.type"))
      assert.deepStrictEqual(failed.map(({ attributes, name }) => `${name} ${String(attributes.get("error.type"))}`), [
        "Redsync.hold NotFound",
        "Redsync.hold _OTHER",
        "Redsync.hold TypeError",
        "Redsync.hold LockLost",
        "Redsync.hold NotFound",
        "Redsync.acquire ErrFailed"
      ])
      assert.strictEqual(failed[3]!.attributes.get("redsync.reason"), "Taken")
    }))

  it("and log lines have the attributes that the guide lists", () => {
    const [, table = ""] = /<!-- attributes -->\n+(.*?)\n+<!-- \/attributes -->/s.exec(guide) ?? []
    const listed = [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name)
    assert.deepStrictEqual(listed, Object.values(attributes))
  })

  it.effect("of a failed acquisition tell the attempts and the votes", () =>
    Effect.gen(function*() {
      const nodes = yield* TestNodes.makeMany(3)
      const { spans, traced } = recording()
      nodes[0]!.state = { rejects: "OOM is near" }
      nodes[1]!.state = { rejects: "OOM is near" }
      const fiber = yield* withLock("a", Effect.void, { retry: retryPolicy({ tries: 3, delay: 100 }) }).pipe(
        Effect.exit,
        Effect.provide(Redsync.layer({ nodes })),
        traced,
        Effect.forkChild
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      const [span] = spans
      assert.strictEqual(spans.length, 1)
      assert.strictEqual(span!.attributes.get("redsync.attempts"), 3)
      const votes = ["node-1 Rejected", "node-2 Rejected", "node-3 Pending"]
      assert.deepStrictEqual(span!.events.map(([name]) => name), ["attempt", "attempt", "attempt"])
      assert.deepStrictEqual(span!.attributes.get("redsync.votes"), votes)
    }))

  it.effect("none without a tracer", () =>
    Effect.gen(function*() {
      const span = yield* withLock("a", Effect.currentParentSpan.pipe(Effect.option))
      assert.strictEqual(span._tag, "None")
    }).pipe(Effect.provide(Redsync.layerMemory())))
})

// -----------------------------------------------------------------------------
// logs
// -----------------------------------------------------------------------------

describe("logs", () => {
  it.effect("one structured line for each change of a node's state and for each lost lock, and no other", () =>
    Effect.gen(function*() {
      const lines: Array<readonly [level: string, message: string, about: object]> = []
      const logger = Logger.make(({ fiber, logLevel, message }) => {
        lines.push([logLevel, [message].flat().join(" "), fiber.getRef(References.CurrentLogAnnotations)])
      })
      const nodes = yield* TestNodes.makeMany(3)
      yield* Effect.gen(function*() {
        yield* withLock("a", Effect.void)
        assert.deepStrictEqual(lines, [])
        nodes[0]!.state = { rejects: "OOM is near" }
        for (let round = 0; round < 3; round++) yield* withLock("a", Effect.void)
        nodes[0]!.state = "up"
        for (let round = 0; round < 3; round++) yield* withLock("a", Effect.void)
        yield* TestClock.adjust("1 second")
        yield* Effect.exit(withLock("b", TestClock.adjust("1 minute"), { autoExtend: false }))
      }).pipe(Effect.provide(Layer.provide(Redsync.layer({ nodes }), Logger.layer([logger]))))
      assert.deepStrictEqual(lines, [
        ["Warn", "Lock node node-1 answered with an error: OOM is near", {
          "redsync.node": "node-1",
          "redsync.reason": "Rejected"
        }],
        ["Info", "Lock node node-1 answers again", { "redsync.node": "node-1" }],
        [
          "Warn",
          "Lock \"b\" was lost: its lease ended, never extended",
          { "redsync.lock": "b", "redsync.reason": "Expired" }
        ]
      ])
    }))
})

// -----------------------------------------------------------------------------
// OTLP
// -----------------------------------------------------------------------------

/** Stands in for a collector: takes OTLP over HTTP in JSON, and keeps what it parses. */
const collector = Effect.acquireRelease(
  Effect.promise(() => {
    const received: Array<{ readonly path: string; readonly body: any }> = []
    const server = createServer((request, response) => {
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => {
        received.push({ path: request.url!, body: JSON.parse(Buffer.concat(chunks).toString()) })
        response.setHeader("content-type", "application/json").end("{}")
      })
    })
    return new Promise<{ readonly url: string; readonly received: typeof received; readonly close: () => void }>(
      (resolve) =>
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as { readonly port: number }
          resolve({ url: `http://127.0.0.1:${port}`, received, close: () => server.close() })
        })
    )
  }),
  ({ close }) => Effect.sync(close)
)

describe("OTLP", () => {
  it.live("metrics and spans reach a collector", () =>
    counting(Effect.gen(function*() {
      const { received, url } = yield* collector
      const exporters: Context.Context<OtlpExporter.Flusher> = yield* Layer.build(
        Otlp.layerJson({ baseUrl: url, resource: { serviceName: "billing" } }).pipe(
          Layer.provide(FetchHttpClient.layer)
        )
      )
      yield* Effect.gen(function*() {
        yield* withLock("a", Effect.sleep("5 millis")).pipe(Effect.provide(Redsync.layerMemory({ count: 3 })))
        yield* (yield* OtlpExporter.Flusher).flush
      }).pipe(Effect.provide(exporters))
      const metrics = received.filter(({ path }) => path === "/v1/metrics")
        .flatMap(({ body }) => body.resourceMetrics[0].scopeMetrics[0].metrics)
      const names = Object.values(LockMetrics.definitions).map(({ name }) => name)
      for (const name of ["redsync_acquisitions_total", "redsync_hold_seconds", "redsync_votes_total"]) {
        assert.include(names, name)
        assert.isTrue(metrics.some((metric) => metric.name === name), name)
      }
      const hold = metrics.find(({ name }) => name === "redsync_hold_seconds")
      assert.strictEqual(hold.unit, "s")
      assert.strictEqual(Number(hold.histogram.dataPoints[0].count), 1)
      const spans = received.filter(({ path }) => path === "/v1/traces")
        .flatMap(({ body }) => body.resourceSpans[0].scopeSpans[0].spans)
      assert.deepStrictEqual(spans.map(({ name }) => name), ["Redsync.acquire", "Redsync.hold", "Redsync.release"])
      assert.strictEqual(spans[1].links[0].spanId, spans[0].spanId)
    })).pipe(Effect.scoped))
})
