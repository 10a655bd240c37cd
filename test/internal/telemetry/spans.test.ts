/**
 * Spans, compared with what happened.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule, Tracer } from "effect"
import { TestClock } from "effect/testing"
import {
  fencedLock,
  forceUnlock,
  lock,
  MemoryNode,
  Redsync,
  retryPolicy,
  type ServiceOptions,
  withLock,
  withLocks,
  withPermits
} from "../../../src/index.ts"
import { attributes } from "../../../src/internal/telemetry/attributes.ts"
import { readPage } from "../../support/pages.ts"
import * as TestNodes from "../../support/testNodes.ts"

const guide = readPage("src/guide/operating.md")

const service = (nodes: ServiceOptions["nodes"]) => Layer.build(Redsync.layer({ nodes }))

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
  it.effect("of permits tell their slots", () =>
    Effect.gen(function*() {
      const { spans, traced } = recording()
      const [slots] = yield* traced(
        withPermits("s", (permits) => Effect.succeed([permits.slots]), { limit: 3, permits: 2 }).pipe(
          Effect.provide(Redsync.layerMemory())
        )
      )
      assert.deepStrictEqual(
        spans.map(({ attributes, name }) => [name, attributes.get("redsync.slots")]),
        [["Redsync.acquire", undefined], ["Redsync.hold", slots], ["Redsync.release", slots]]
      )
    }))

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

  it.effect("tell attempts from a hand-over", () =>
    Effect.gen(function*() {
      const nodes = MemoryNode.makeMany(3)
      const [theirs, ours] = [yield* service(nodes), yield* service(nodes)]
      const { spans, traced } = recording()
      yield* Effect.forkChild(Effect.provide(withLock("a", Effect.sleep(100)), theirs))
      const waiting = withLock("a", Effect.void, { retry: Schedule.spaced("1 hour") })
      yield* Effect.forkChild(waiting.pipe(Effect.provide(ours), traced))
      // The holder hears of the waiter before it releases.
      yield* Effect.repeat(TestClock.adjust(1), { times: 9 })
      yield* TestClock.adjust(200)
      const events = spans[0]!.events.map(([name, , attributes]) => [name, attributes["redsync.votes"]])
      const all = (vote: string) => nodes.map(({ id }) => `${id} ${vote}`)
      assert.deepStrictEqual(events.map(([name]) => name), ["attempt", "hand-over"])
      assert.includeMembers(all("Granted"), events[1]![1] as Array<string>)
    }).pipe(Effect.scoped))

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
