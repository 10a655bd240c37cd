/**
 * Crowds of waiters in trouble: connections are killed, waiting lists deleted or
 * spoilt, the nodes that have them fail. Nobody waits longer than to the next
 * attempt that the schedule has for them, and hand-overs are quick again as soon
 * as they can be.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, type Scope } from "effect"
import { retryPolicy, withLock } from "../src/index.ts"
import { keyBeside } from "../src/internal/keys.ts"
import { callsOf, holdByAnother, onEach, until, untilEmpty } from "./support/faults.ts"
import { type RedisServer, RedisServers } from "./support/RedisServers.ts"
import {
  child,
  deleteOn,
  killSubscribers,
  killTrackers,
  kindsOf,
  nodesFor,
  onThree,
  service,
  type Three,
  untilListed
} from "./support/trouble.ts"

const delay = 1000
const retry = retryPolicy({ delay, within: "25 seconds" })

/** The longest from one attempt to the next, and what the machine is late. */
const nextAttempt = delay * 1.2 + 500

const services = 4
const fibersEach = 50

/** Services with a crowd of fibers each, all waiting for one lock of another's; when each of them gets it. */
const crowd = (servers: Three) =>
  Effect.gen(function*() {
    yield* holdByAnother("a", servers)
    const turns: Array<number> = []
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
    for (let index = 0; index < services; index++) {
      const { run } = yield* service(servers)
      for (let fiber = 0; fiber < fibersEach; fiber++) {
        fibers.push(
          yield* Effect.forkScoped(run(withLock("a", Effect.sync(() => turns.push(performance.now())), { retry })))
        )
      }
    }
    const server = yield* untilListed(servers, "a", services)
    return {
      /** The server that has the waiting list. */
      server,
      turns,
      /** Everybody's turn, after it was released at that time: the longest that nobody had it, and the whole of it. */
      served: (releasedAt: number) =>
        Effect.gen(function*() {
          for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
          assert.strictEqual(turns.length, services * fibersEach)
          const gaps = turns.map((at, index) => at - (turns[index - 1] ?? releasedAt))
          return { first: gaps[0]!, longest: Math.max(...gaps), total: turns.at(-1)! - releasedAt }
        })
    }
  })

/** Releases another's lock, and says when. */
const release = (servers: ReadonlyArray<RedisServer>) =>
  Effect.suspend(() => Effect.as(deleteOn(servers, "a"), performance.now()))

const list = keyBeside("waiting", "a")

interface Trouble {
  /** What is done to the server that has the waiting list. */
  readonly make: (server: RedisServer) => Effect.Effect<unknown>
  /** How soon the first has its turn after the release. */
  readonly first: number
  /** Whether the others' keys can be deleted only. */
  readonly isDown?: boolean
}

/** The head of the list watches the key, whatever becomes of the list. */
const watched = 300

const troubles: Record<string, Trouble> = {
  "nothing at all": { make: () => Effect.void, first: watched },
  "the subscribers' connections are killed": { make: killSubscribers, first: nextAttempt },
  "the trackers' connections are killed": { make: killTrackers, first: nextAttempt },
  "both are killed": {
    make: (server) => Effect.andThen(killTrackers(server), killSubscribers(server)),
    first: nextAttempt
  },
  "all normal connections are killed": {
    make: (server) => server.command("CLIENT", "KILL", "TYPE", "normal"),
    first: nextAttempt
  },
  "the list is deleted": { make: (server) => server.command("DEL", list), first: watched },
  "the list is a string": { make: (server) => server.command("SET", list, "rubbish", "PX", "60000"), first: watched },
  "the list is a hash": {
    make: (server) => Effect.andThen(server.command("DEL", list), server.command("HSET", list, "rub", "bish")),
    first: watched
  },
  "the list is full of junk": {
    make: (server) =>
      server.command("LPUSH", list, ...Array.from({ length: 1000 }, (_, index) => `junk ${index} {}\r\n`)),
    first: watched
  },
  "the list has everybody many times": {
    make: (server) =>
      Effect.flatMap(
        server.command<Array<string>>("LRANGE", list, "0", "-1"),
        (waiters) => server.command("RPUSH", list, ...Array.from({ length: 50 }, () => waiters).flat())
      ),
    first: watched
  },
  "its node is killed": { make: (server) => server.kill, first: nextAttempt, isDown: true },
  "its node is stopped": { make: (server) => server.stop, first: nextAttempt, isDown: true },
  "its node is restarted": { make: (server) => server.restart, first: nextAttempt },
  "its node is flushed": { make: (server) => server.command("FLUSHALL"), first: nextAttempt }
}

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("a crowd waits", (it) => {
  it.effect.each(Object.keys(troubles))(
    "%s: nobody waits beyond the next attempt",
    (name) =>
      onThree(Effect.fnUntraced(function*(servers) {
        const { first, isDown = false, make } = troubles[name]!
        const { server, served } = yield* crowd(servers)
        yield* make(server)
        const up = servers.filter((other) => other !== server || !isDown)
        const releasedAt = yield* release(up)
        const times = yield* served(releasedAt)
        console.log(
          `${name}: first after ${times.first.toFixed(0)} ms, longest ${times.longest.toFixed(0)} ms, ` +
            `${services * fibersEach} turns in ${times.total.toFixed(0)} ms`
        )
        assert.isAtMost(times.first, first, "the first turn")
        assert.isAtMost(times.longest, nextAttempt, "the longest wait")
        // On average a turn takes a few milliseconds, where waiting for the schedule takes hundreds.
        assert.isAtMost(times.total, services * fibersEach * 20 + 3 * nextAttempt, "all turns")
        if (isDown) yield* Effect.andThen(server.resume, name.includes("killed") ? server.restart : Effect.void)
        // A list that was spoilt at the end is of no use to anybody.
        yield* deleteOn(servers, list)
        yield* deleteOn(servers, "a")
        yield* untilEmpty(servers)
      })),
    40_000
  )

  it.effect(
    "connections are killed all the while: nobody waits beyond the next attempt",
    () =>
      onThree(Effect.fnUntraced(function*(servers) {
        const { served, server, turns } = yield* crowd(servers)
        const releasedAt = yield* release(servers)
        let kills = 0
        const killing = yield* Effect.forkScoped(
          Effect.forever(
            Effect.gen(function*() {
              const before = turns.length
              yield* killSubscribers(server)
              yield* killTrackers(server)
              kills++
              yield* until("there were more turns", Effect.sync(() => turns.length > before + 20), "20 seconds")
            })
          )
        )
        const times = yield* served(releasedAt)
        yield* Fiber.interrupt(killing)
        console.log(
          `killed ${kills} times: longest ${times.longest.toFixed(0)} ms, all in ${times.total.toFixed(0)} ms`
        )
        assert.isAtLeast(kills, 3)
        assert.isAtMost(times.longest, nextAttempt)
      })),
    40_000
  )

  it.effect(
    "a lock that is held, but not on the node with the list: waiters keep to their schedule",
    () =>
      onThree(Effect.fnUntraced(function*(servers) {
        const { server } = yield* crowd(servers)
        const before = yield* onEach(servers, (server) => callsOf(server, "set"))
        yield* server.command("DEL", "a")
        const millis = 2000
        yield* Effect.sleep(millis)
        const attempts = (yield* onEach(servers, (server) => callsOf(server, "set")))
          .map((calls, index) => calls - before[index]!)
        // Each service by its schedule, with a few tries for a split vote each time.
        assert.isAtMost(Math.max(...attempts), services * (millis / (delay * 0.8) + 1) * 5, String(attempts))
        yield* release(servers)
      })),
    40_000
  )
})

const long = retryPolicy({ delay: "5 seconds", within: "25 seconds" })

const waiting = (
  run: Effect.Success<ReturnType<typeof service>>["run"]
): Effect.Effect<Fiber.Fiber<number, unknown>, never, Scope.Scope> =>
  Effect.forkScoped(run(withLock("a", Effect.sync(() => performance.now()), { retry: long })))

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("a waiter", (it) => {
  it.effect("whose process is killed at the head of the list is skipped", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const holder = yield* service(servers)
      const { run } = yield* service(servers)
      yield* holder.run(withLock("a", () =>
        Effect.gen(function*() {
          const first = yield* child("waiter", { ...nodesFor(servers), name: "a" })
          yield* untilListed(servers, "a", 1)
          const second = yield* waiting(run)
          yield* untilListed(servers, "a", 2)
          yield* first.signal("SIGKILL")
          return { first, second }
        }))).pipe(Effect.flatMap(({ first, second }) =>
          Effect.gen(function*() {
            const releasedAt = performance.now()
            const millis = (yield* Fiber.join(second)) - releasedAt
            assert.isAtMost(millis, 300)
            assert.notInclude(first.lines, "held")
          })
        ))
    })))

  it.effect("whose process is stopped at the head of the list delays the others no longer than to their next attempt", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const holder = yield* service(servers)
      const { run } = yield* service(servers)
      const second = yield* holder.run(withLock("a", () =>
        Effect.gen(function*() {
          const first = yield* child("waiter", { ...nodesFor(servers), name: "a" })
          yield* untilListed(servers, "a", 1)
          const second = yield* Effect.forkScoped(
            run(withLock("a", Effect.sync(() => performance.now()), { retry }))
          )
          yield* untilListed(servers, "a", 2)
          yield* first.signal("SIGSTOP")
          return second
        })))
      const releasedAt = performance.now()
      assert.isAtMost((yield* Fiber.join(second)) - releasedAt, nextAttempt)
    })))

  it.effect("is not kept waiting beyond its next attempt by one before it that tries more rarely", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { logs, run } = yield* service(servers)
      yield* holdByAnother("a", servers)
      // Nothing tells them of a release.
      yield* onEach(servers, (server) => server.command("ACL", "SETUSER", "default", "-subscribe"))
      yield* Effect.forkScoped(run(withLock("a", Effect.void, { retry: retryPolicy({ delay: "15 seconds" }) })))
      yield* until("it is told so", Effect.sync(() => logs.down().length > 0))
      const second = yield* Effect.forkScoped(run(withLock("a", Effect.sync(() => performance.now()), { retry })))
      yield* Effect.yieldNow
      const releasedAt = yield* release(servers)
      const millis = yield* Effect.timeout(Fiber.join(second), "4 seconds").pipe(
        Effect.map((at) => at - releasedAt),
        Effect.ensuring(onEach(servers, (server) => server.command("ACL", "SETUSER", "default", "+subscribe")))
      )
      assert.isAtMost(millis, nextAttempt)
    })))

  it.effect("opens connections for waiting when it first waits; they come back when they are lost", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { run } = yield* service(servers)
      const onlyAsks = servers.map(() => ["asks"])
      const kinds = onEach(servers, kindsOf)
      yield* run(withLock("a", Effect.void))
      // Waiting behind one's own needs no node.
      yield* run(Effect.all([withLock("a", Effect.sleep("20 millis")), withLock("a", Effect.void)], {
        concurrency: "unbounded"
      }))
      assert.deepStrictEqual(yield* kinds, onlyAsks)
      yield* holdByAnother("a", servers)
      const waiter = yield* waiting(run)
      const server = yield* untilListed(servers, "a", 1)
      const expected = servers.map((other) => other === server ? ["asks", "hears", "looks"] : ["asks"])
      const areThere = (what: string) =>
        until(what, Effect.map(kinds, (kinds) => JSON.stringify(kinds) === JSON.stringify(expected)))
      yield* areThere("two more to the node with the list, and none to the others")
      for (const kill of [killSubscribers, killTrackers]) {
        const looks = yield* callsOf(server, "get")
        yield* kill(server)
        yield* until("it looks at the key again", Effect.map(callsOf(server, "get"), (calls) => calls > looks))
        yield* areThere("it is back")
      }
      // And they work: the key is watched once more.
      const releasedAt = yield* release(servers)
      assert.isAtMost((yield* Fiber.join(waiter)) - releasedAt, 300)
      yield* areThere("they stay for the next wait")
    })))

  it.effect("finds another list where the node with its own is stopped", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      yield* holdByAnother("a", servers)
      const { run } = yield* service(servers)
      const waiter = yield* Effect.forkScoped(run(withLock("a", Effect.sync(() => performance.now()), { retry })))
      const server = yield* untilListed(servers, "a", 1)
      const others = servers.filter((other) => other !== server)
      yield* Effect.gen(function*() {
        yield* server.stop
        yield* untilListed(others, "a", 1)
        const releasedAt = yield* release(others)
        assert.isAtMost((yield* Fiber.join(waiter)) - releasedAt, 300)
      }).pipe(Effect.ensuring(server.resume))
      yield* deleteOn(servers, "a")
      yield* deleteOn(servers, list)
    })))

  it.effect("that is interrupted leaves no place behind, nor one whose service is closed", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      yield* holdByAnother("a", servers)
      const { run } = yield* service(servers)
      const waiter = yield* waiting(run)
      const server = yield* untilListed(servers, "a", 1)
      yield* Fiber.interrupt(waiter)
      yield* until("its place is gone", Effect.map(server.command<number>("EXISTS", list), (exists) => exists === 0))
      yield* Effect.scoped(Effect.gen(function*() {
        const { run } = yield* service(servers)
        yield* Effect.forkDetach(run(withLock("a", Effect.never, { retry: long })))
        yield* untilListed(servers, "a", 1)
      }))
      assert.strictEqual(yield* server.command<number>("EXISTS", list), 0)
      yield* release(servers)
    })))
})
