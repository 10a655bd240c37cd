/**
 * Holders in trouble: what stops their program in time, and keeps it from
 * touching what is another's by then.
 */
import { assert, layer } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber } from "effect"
import { lock, LockLost, retryPolicy, withLock } from "../src/index.ts"
import { another, onEach, timed, until, untilEmpty, valuesOf } from "./support/faults.ts"
import { RedisServers } from "./support/RedisServers.ts"
import { child, deleteOn, nodesFor, onThree, service, type Three } from "./support/trouble.ts"

const retry = retryPolicy({ delay: "100 millis", within: "10 seconds" })

const expiry = 1000

/**
 * A holder in another process stands still past its expiry and goes on once we
 * have the lock: what it says from then on, while our keys stay as they are.
 */
const outlives = (
  servers: Three,
  options: { readonly doing: string; readonly busyMillis?: number },
  standStill: (holder: Effect.Success<ReturnType<typeof child>>) => Effect.Effect<void>,
  goOn: (holder: Effect.Success<ReturnType<typeof child>>) => Effect.Effect<unknown>
) =>
  Effect.gen(function*() {
    const { run } = yield* service(servers)
    const holder = yield* child("holder", { ...nodesFor(servers), name: "a", expiry, busyMillis: 1800, ...options })
    yield* holder.hear("held")
    yield* standStill(holder)
    return yield* run(withLock("a", (ours) =>
      Effect.gen(function*() {
        const before = yield* valuesOf("a", servers)
        // Where the holder's key had not expired yet there is none of ours.
        const mine = servers.filter((_, index) => before[index] === ours.value)
        assert.isAtLeast(mine.length, 2)
        assert.notInclude(holder.lines, "awake", "it slept too short")
        const said = holder.lines.length
        yield* goOn(holder)
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
            { doing },
            (holder) => Effect.andThen(holder.tell("be busy"), holder.hear("busy")),
            (holder) => holder.hear("awake")
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
            { doing },
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
        const { logs, run } = yield* service(servers, { expiry: "2 seconds", nodeTimeout: "100 millis" })
        yield* run(withLock("a", (held) =>
          Effect.gen(function*() {
            yield* onEach([a, b], (server) => server.stop)
            yield* until("a round has failed", Effect.sync(() => logs.down().length === 2))
            assert.isAbove(Duration.toMillis(yield* held.remaining), 500)
            yield* onEach([a, b], (server) => server.resume)
            // Past the end of the lease that there was when they stopped.
            yield* Effect.sleep("2 seconds")
            assert.isAbove(Duration.toMillis(yield* held.remaining), 1000)
            assert.deepStrictEqual(yield* valuesOf("a", servers), servers.map(() => held.value))
          })))
      })))

    it.effect("and goes on after the lease: lost for want of nodes, in time", () =>
      onThree(Effect.fnUntraced(function*(servers) {
        const [a, b, c] = servers
        const { run } = yield* service(servers, { expiry: "1 second", nodeTimeout: "100 millis" })
        let endsIn = 0
        let stoppedAt = 0
        let ended = 0
        const error = yield* Effect.flip(run(withLock("a", (held) =>
          Effect.gen(function*() {
            yield* onEach([a, b], (server) => server.stop)
            stoppedAt = performance.now()
            endsIn = Duration.toMillis(yield* held.remaining)
            return yield* Effect.never
          }).pipe(Effect.onInterrupt(() =>
            Effect.sync(() => {
              ended = performance.now() - stoppedAt
            })
          )))))
        const told = performance.now() - stoppedAt
        assert(error instanceof LockLost)
        assert.strictEqual(error.reason, "NodesUnavailable")
        assert.deepStrictEqual(error.votes.map(({ _tag, node }) => [node, _tag === "Failed"]), [
          [`${a.host}:${a.port}`, true],
          [`${b.host}:${b.port}`, true],
          [`${c.host}:${c.port}`, false]
        ])
        // Not before its time, and 10 ms and 2 ms before the keys expire, save for what the machine is late.
        assert.isAtLeast(ended, endsIn - 20)
        assert.isAtMost(ended, endsIn + 200)
        assert.isAtMost(told, endsIn + 200)
        yield* onEach([a, b], (server) => server.resume)
        // What was sent to them meanwhile does not bring the keys back for good.
        yield* untilEmpty(servers)
        yield* run(withLock("a", Effect.void))
      })))
  }
)

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
          const { run } = yield* service(servers, { expiry: "1500 millis", nodeTimeout: "100 millis" })
          let takenAt = 0
          let interrupted = false
          const holder = run(withLock("a", (held) =>
            Effect.gen(function*() {
              yield* until(
                "it is on all servers",
                Effect.map(valuesOf("a", servers), (values) => values.every((value) => value === held.value))
              )
              yield* takings[taking](servers)
              takenAt = performance.now()
              return yield* Effect.never
            }).pipe(Effect.onInterrupt(() =>
              Effect.sync(() => {
                interrupted = true
              })
            ))))
          const error = yield* Effect.flip(holder)
          const millis = performance.now() - takenAt
          assert(error instanceof LockLost)
          assert.strictEqual(error.reason, "Taken")
          assert.isTrue(interrupted)
          // A third of the expiry, a node timeout, and what the machine is late.
          assert.isAtMost(millis, 500 + 100 + 150)
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
        }))
    )

    it.effect("a lock in a scope says so too", () =>
      onThree(Effect.fnUntraced(function*(servers) {
        const { run } = yield* service(servers, { expiry: "1500 millis", nodeTimeout: "100 millis" })
        yield* run(Effect.scoped(Effect.gen(function*() {
          const held = yield* lock("a")
          const lost = yield* Effect.forkChild(Effect.exit(held.lost))
          yield* onEach(servers, (server) => server.command("FLUSHALL"))
          const [millis, exit] = yield* timed(Fiber.join(lost))
          assert.isTrue(Exit.isFailure(exit))
          assert.isAtMost(millis, 750)
          assert.strictEqual(Duration.toMillis(yield* held.remaining), 0)
        })))
      })))
  }
)
