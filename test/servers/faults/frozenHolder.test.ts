/**
 * Holders in trouble: what stops their program in time, and keeps it from
 * touching what is another's by then.
 */
import { assert, layer } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Metric } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { lock, LockLost, retryPolicy, withLock } from "../../../src/index.ts"
import { another, onEach, until, untilEmpty, valuesOf } from "../../support/faults.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"
import { child, deleteOn, nodesFor, onThree, service, type Three } from "../../support/trouble.ts"

const retry = retryPolicy({ delay: "100 millis", within: "1 minute" })

/** So long that the holder gets to stand still before it ends, and so short that the test does not. */
const expiry = 2000

/**
 * A holder in another process stands still past its expiry and goes on once we
 * have the lock: what it says from then on, while our keys stay as they are.
 */
const outlives = (
  servers: Three,
  doing: string,
  standStill: (holder: Effect.Success<ReturnType<typeof child>>) => Effect.Effect<unknown>,
  goOn: (holder: Effect.Success<ReturnType<typeof child>>, wake: Effect.Effect<void>) => Effect.Effect<unknown>
) =>
  Effect.gen(function*() {
    const { run } = yield* service(servers)
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-redsync-test-"))),
      (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
    )
    const busyUntil = join(directory, "awake")
    const holder = yield* child("holder", { ...nodesFor(servers), name: "a", expiry, doing, busyUntil })
    yield* holder.hear("held")
    yield* standStill(holder)
    return yield* run(withLock("a", (ours) =>
      Effect.gen(function*() {
        const before = yield* valuesOf("a", servers)
        // Where the holder's key had not expired yet there is none of ours.
        const mine = servers.filter((_, index) => before[index] === ours.value)
        assert.isAtLeast(mine.length, 2)
        const said = holder.lines.length
        yield* goOn(holder, Effect.sync(() => writeFileSync(busyUntil, "")))
        yield* holder.hear("closed")
        assert.deepStrictEqual(yield* valuesOf("a", mine), mine.map(() => ours.value))
        assert.isTrue(yield* ours.isHeld)
        yield* untilEmpty(servers.filter((server) => !mine.includes(server)))
        return holder.lines.slice(said)
      }), { retry, expiry: "20 seconds" }))
  })

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })(
  "a holder that stands still",
  (it) => {
    it.effect.each(["starting", "computing", "sleeping", "asking", "delegating", "yielding"])(
      "a busy event loop while it is %s: interrupted before its next step, and nobody else's key touched",
      (doing) =>
        onThree(Effect.fnUntraced(function*(servers) {
          const lines = yield* outlives(
            servers,
            doing,
            (holder) => Effect.andThen(holder.tell("be busy"), holder.hear("busy")),
            (_, wake) => wake
          )
          assert.deepStrictEqual(lines, ["awake", "lost: Expired", "closed"])
        }))
    )

    it.effect.each(["sleeping", "asking", "delegating"])(
      "a stopped process that was %s and goes on: the same",
      (doing) =>
        onThree(Effect.fnUntraced(function*(servers) {
          const lines = yield* outlives(
            servers,
            doing,
            (holder) => Effect.andThen(holder.hear("step"), holder.signal("SIGSTOP")),
            (holder) => holder.signal("SIGCONT")
          )
          assert.deepStrictEqual(lines, ["lost: Expired", "closed"])
        }))
    )
  }
)

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })(
  "a majority that is stopped",
  (it) => {
    it.effect("and goes on within the lease: the holder never notices", () =>
      onThree(Effect.fnUntraced(function*(servers) {
        const [a, b] = servers
        const { logs, run } = yield* service(servers, { expiry: "4 seconds", nodeTimeout: "100 millis" })
        yield* run(withLock("a", (held) =>
          Effect.gen(function*() {
            yield* onEach([a, b], (server) => server.stop)
            yield* until("a round has failed", Effect.sync(() => logs.down().length === 2))
            yield* onEach([a, b], (server) => server.resume)
            const left = yield* held.remaining
            yield* until(
              "it is extended",
              Effect.map(held.remaining, (remaining) => Duration.isGreaterThan(remaining, left))
            )
            assert.deepStrictEqual(yield* valuesOf("a", servers), servers.map(() => held.value))
          })))
      })))

    it.effect("and goes on after the lease: lost for want of nodes", () =>
      onThree(Effect.fnUntraced(function*(servers) {
        const [a, b, c] = servers
        const { run } = yield* service(servers, { expiry: "1 second", nodeTimeout: "100 millis" })
        let left: Duration.Duration | undefined
        const error = yield* Effect.flip(run(withLock("a", (held) =>
          Effect.gen(function*() {
            yield* onEach([a, b], (server) => server.stop)
            return yield* Effect.never
          }).pipe(Effect.onInterrupt(() =>
            Effect.map(held.remaining, (remaining) => {
              left = remaining
            })
          )))))
        assert(error instanceof LockLost)
        assert.strictEqual(error.reason, "NodesUnavailable")
        assert.deepStrictEqual(error.votes.map(({ _tag, node }) => [node, _tag === "Failed"]), [
          [`${a.host}:${a.port}`, true],
          [`${b.host}:${b.port}`, true],
          [`${c.host}:${c.port}`, false]
        ])
        // Not before its time.
        assert.deepStrictEqual(left, Duration.zero)
        yield* onEach([a, b], (server) => server.resume)
        // What was sent to them meanwhile does not bring the keys back for good.
        yield* untilEmpty(servers)
        yield* run(withLock("a", Effect.void))
      })))
  }
)

/** How many rounds of extensions in this test have succeeded so far. */
const extended = Effect.map(
  Metric.snapshot,
  (series) =>
    series.reduce(
      (sum, { attributes, id, state }) =>
        id === "redsync_extensions_total" && attributes?.["outcome"] === "extended" && "count" in state
          ? sum + Number(state.count)
          : sum,
      0
    )
)

/** Runs a test that counts for itself. */
const counting = Effect.provideServiceEffect(Metric.MetricRegistry, Effect.sync(() => new Map()))

/** By hand, on the servers that are given. */
const takings = {
  "FLUSHALL": (servers: Three) => onEach(servers, (server) => server.command("FLUSHALL")),
  "FLUSHALL of a majority": ([a, b]: Three) => onEach([a, b], (server) => server.command("FLUSHALL")),
  "DEL": (servers: Three) => deleteOn(servers, "a"),
  "DEL on a majority": ([a, b]: Three) => deleteOn([a, b], "a"),
  "another's value": (servers: Three) =>
    onEach(servers, (server) => server.command("SET", "a", another, "PX", "60000")),
  "another's value on a majority": ([a, b]: Three) =>
    onEach([a, b], (server) => server.command("SET", "a", another, "PX", "60000"))
}

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })(
  "a lock that is taken away",
  (it) => {
    it.effect.each(Object.keys(takings) as Array<keyof typeof takings>)(
      "%s: found by the next round, and what is another's stays",
      (taking) =>
        onThree(Effect.fnUntraced(function*(servers) {
          const { run } = yield* service(servers, { expiry: "2 seconds", nodeTimeout: "500 millis" })
          let before = 0
          let interrupted = false
          const holder = run(withLock("a", (held) =>
            Effect.gen(function*() {
              yield* until(
                "it is on all servers",
                Effect.map(valuesOf("a", servers), (values) => values.every((value) => value === held.value))
              )
              yield* takings[taking](servers)
              before = yield* extended
              return yield* Effect.never
            }).pipe(Effect.onInterrupt(() =>
              Effect.sync(() => {
                interrupted = true
              })
            ))))
          const error = yield* Effect.flip(holder)
          assert(error instanceof LockLost)
          assert.strictEqual(error.reason, "Taken")
          assert.isTrue(interrupted)
          assert.strictEqual(yield* extended, before)
          const theirs = taking.startsWith("another's") ? taking.endsWith("majority") ? 2 : 3 : 0
          const expected = servers.map((_, index) => index < theirs ? another : null)
          yield* until(
            "only theirs is left",
            Effect.map(valuesOf("a", servers), (values) => values.every((value, index) => value === expected[index]))
          )
          for (const server of servers.slice(0, theirs)) {
            assert.isAbove(yield* server.command<number>("PTTL", "a"), 50_000, "not ours to extend")
          }
          yield* deleteOn(servers, "a")
        }, counting))
    )

    it.effect("a lock in a scope says so too", () =>
      onThree(Effect.fnUntraced(function*(servers) {
        const { run } = yield* service(servers, { expiry: "2 seconds", nodeTimeout: "500 millis" })
        yield* run(Effect.scoped(Effect.gen(function*() {
          const held = yield* lock("a")
          const lost = yield* Effect.forkChild(Effect.exit(held.lost))
          yield* onEach(servers, (server) => server.command("FLUSHALL"))
          assert.isTrue(Exit.isFailure(yield* Fiber.join(lost)))
          assert.strictEqual(Duration.toMillis(yield* held.remaining), 0)
        })))
      })))
  }
)
