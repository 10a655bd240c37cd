/**
 * Metrics and spans as they arrive at a collector.
 */
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, Layer, Metric } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp, OtlpExporter } from "effect/observability"
import { createServer } from "node:http"
import { LockMetrics, Redsync, withLock } from "../../../src/index.ts"

/** Runs a program that counts in a registry of its own. */
const counting = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.provideService(program, Metric.MetricRegistry, new Map())

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
