/**
 * Crowds of waiters in trouble: connections are killed, waiting lists deleted or
 * spoilt, the nodes that have them fail. Nobody waits longer than to the next
 * attempt that the schedule has for them.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, type Scope } from "effect"
import { withLock } from "../../../src/index.ts"
import { companionKey } from "../../../src/internal/redis/keys.ts"
import { callsOf, holdByAnother, onEach, until, untilEmpty } from "../../support/faults.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"
import {
  channelsOf,
  child,
  type Counted,
  counted,
  deleteOn,
  hourly,
  killSubscribers,
  killTrackers,
  kindsOf,
  nodesFor,
  onThree,
  service,
  type Three,
  untilListed
} from "../../support/trouble.ts"

const services = 4
const fibersEach = 50

const everySecond = () => counted(1000)

/**
 * Services with so many fibers each, all waiting for one lock of another's. How long
 * nobody had it is told by the waiters' schedules: in attempts that were due.
 */
const crowd = (servers: Three, schedule: () => Counted, fibersEach: number) =>
  Effect.gen(function*() {
    yield* holdByAnother("a", servers)
    const schedules: Array<Counted> = []
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
    const seen = { turns: 0, longest: 0 }
    const during = { turn: (_turns: number): Effect.Effect<unknown> => Effect.void }
    const startAgain = () => {
      for (const schedule of schedules) schedule.steps = 0
    }
    const turn = Effect.suspend(() => {
      seen.turns++
      seen.longest = Math.max(seen.longest, ...schedules.map(({ steps }) => steps))
      startAgain()
      return during.turn(seen.turns)
    })
    for (let index = 0; index < services; index++) {
      const { run } = yield* service(servers)
      for (let fiber = 0; fiber < fibersEach; fiber++) {
        const counted = schedule()
        schedules.push(counted)
        fibers.push(yield* Effect.forkScoped(run(withLock("a", turn, { retry: counted.retry }))))
      }
    }
    return {
      /** The server that has the waiting list. */
      server: yield* untilListed(servers, "a", services),
      schedules,
      seen,
      /** What a turn does besides, told how many there have been. */
      during,
      /** Releases the other's lock. */
      release: (servers: ReadonlyArray<RedisServer>) => Effect.tap(deleteOn(servers, "a"), Effect.sync(startAgain)),
      /** Waits until everybody has had their turn. */
      served: Effect.gen(function*() {
        for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
        assert.strictEqual(seen.turns, services * fibersEach)
      })
    }
  })

/**
 * Whoever waits is due once a second, and where contenders have parted the nodes
 * among them once more; a machine that stands still adds another.
 */
const toTheNextAttempt = 3

const list = companionKey("line", "a")

interface Trouble {
  /** What is done to the server that has the waiting list. */
  readonly make: (server: RedisServer) => Effect.Effect<unknown>
  /** Whether the first still hears of the release, as it watches the key. */
  readonly isWatched?: boolean
  /** Whether the others' keys can be deleted only. */
  readonly isDown?: boolean
}

const troubles: Record<string, Trouble> = {
  "nothing at all": { make: () => Effect.void, isWatched: true },
  "the subscribers' connections are killed": { make: killSubscribers },
  "the trackers' connections are killed": { make: killTrackers },
  "both are killed": { make: (server) => Effect.andThen(killTrackers(server), killSubscribers(server)) },
  "all normal connections are killed": { make: (server) => server.command("CLIENT", "KILL", "TYPE", "normal") },
  "the list is deleted": { make: (server) => server.command("DEL", list), isWatched: true },
  "the list is a string": {
    make: (server) => server.command("SET", list, "rubbish", "PX", "60000"),
    isWatched: true
  },
  "the list is a hash": {
    make: (server) => Effect.andThen(server.command("DEL", list), server.command("HSET", list, "rub", "bish")),
    isWatched: true
  },
  "the list is full of junk": {
    make: (server) =>
      server.command("LPUSH", list, ...Array.from({ length: 1000 }, (_, index) => `junk ${index} {}\r\n`)),
    isWatched: true
  },
  "the list has everybody many times": {
    make: (server) =>
      Effect.flatMap(
        server.command<Array<string>>("LRANGE", list, "0", "-1"),
        (waiters) => server.command("RPUSH", list, ...Array.from({ length: 50 }, () => waiters).flat())
      ),
    isWatched: true
  },
  "its node is killed": { make: (server) => server.kill, isDown: true },
  "its node is stopped": { make: (server) => server.stop, isDown: true },
  "its node is restarted": { make: (server) => server.restart },
  "its node is flushed": { make: (server) => server.command("FLUSHALL") }
}

/** A list that was spoilt at the end is of no use to anybody. */
const cleanUp = (servers: Three) =>
  Effect.all([deleteOn(servers, list), deleteOn(servers, "a"), untilEmpty(servers)], { discard: true })

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("a crowd waits", (it) => {
  it.effect.each(Object.keys(troubles))(
    "%s: nobody waits beyond the next attempt",
    (name) =>
      onThree(Effect.fnUntraced(function*(servers) {
        const { isDown = false, make } = troubles[name]!
        const { release, seen, served, server } = yield* crowd(servers, everySecond, fibersEach)
        yield* make(server)
        yield* release(servers.filter((other) => other !== server || !isDown))
        yield* served
        assert.isAtMost(seen.longest, toTheNextAttempt)
        if (isDown) yield* Effect.andThen(server.resume, name.includes("killed") ? server.restart : Effect.void)
        yield* cleanUp(servers)
      }))
  )

  it.effect.each(Object.keys(troubles).filter((name) => troubles[name]!.isWatched))(
    "%s: the first hears of the release",
    (name) =>
      onThree(Effect.fnUntraced(function*(servers) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { release, seen, server } = yield* crowd(servers, () => counted("1 hour"), 1)
          yield* troubles[name]!.make(server)
          yield* release(servers)
          yield* until("the first has its turn", Effect.sync(() => seen.turns > 0))
        }))
        yield* cleanUp(servers)
      }))
  )

  it.effect("connections are killed all the while: nobody waits beyond the next attempt", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { during, release, seen, served, server } = yield* crowd(servers, everySecond, fibersEach)
      const kill = Effect.andThen(killSubscribers(server), killTrackers(server))
      during.turn = (turns) => turns % 20 === 0 ? kill : Effect.void
      yield* release(servers)
      yield* served
      assert.isAtMost(seen.longest, toTheNextAttempt)
    })))

  it.effect("a lock that is held, but not on the node with the list: waiters keep to their schedule", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { release, schedules, served, server } = yield* crowd(servers, everySecond, 1)
      const attempts = onEach(servers, (server) => callsOf(server, "set"))
      const before = yield* attempts
      const due = () => schedules.reduce((sum, { steps }) => sum + steps, 0)
      const dueBefore = due()
      yield* server.command("DEL", "a")
      yield* until("each was due twice", Effect.sync(() => due() >= dueBefore + 2 * services))
      const made = (yield* attempts).map((calls, index) => calls - before[index]!)
      // A few for a split vote each time, and a few for looks that find the key gone. As fast as it goes were hundreds.
      assert.isAtMost(Math.max(...made), (due() - dueBefore + services) * 20, String(made))
      yield* release(servers)
      yield* served
    })))
})

const waiting = (
  run: Effect.Success<ReturnType<typeof service>>["run"],
  { retry } = hourly
): Effect.Effect<Fiber.Fiber<unknown, unknown>, never, Scope.Scope> =>
  Effect.forkScoped(run(withLock("a", Effect.void, { retry })))

/** It has got the lock. */
const isServed = (fiber: Fiber.Fiber<unknown, unknown>) =>
  Effect.map(Fiber.await(fiber), (exit) => assert.isTrue(Exit.isSuccess(exit)))

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("a waiter", (it) => {
  it.effect("whose process is killed at the head of the list is skipped", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const holder = yield* service(servers)
      const { run } = yield* service(servers)
      const { first, second } = yield* holder.run(withLock("a", () =>
        Effect.gen(function*() {
          const first = yield* child("waiter", { ...nodesFor(servers), name: "a" })
          yield* untilListed(servers, "a", 1)
          const second = yield* waiting(run)
          const server = yield* untilListed(servers, "a", 2)
          yield* first.signal("SIGKILL")
          yield* until("the server knows", Effect.map(channelsOf(server), ({ length }) => length === 1))
          return { first, second }
        })))
      yield* isServed(second)
      assert.notInclude(first.lines, "held")
    })))

  it.effect("whose process is stopped at the head of the list delays the others no longer than to their next attempt", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const holder = yield* service(servers)
      const { run } = yield* service(servers)
      const schedule = everySecond()
      const second = yield* holder.run(withLock("a", () =>
        Effect.gen(function*() {
          const first = yield* child("waiter", { ...nodesFor(servers), name: "a" })
          yield* untilListed(servers, "a", 1)
          const second = yield* waiting(run, schedule)
          yield* untilListed(servers, "a", 2)
          yield* first.signal("SIGSTOP")
          return second
        })))
      schedule.steps = 0
      yield* isServed(second)
      assert.isAtMost(schedule.steps, toTheNextAttempt)
    })))

  it.effect("is not kept waiting beyond its next attempt by one before it that tries more rarely", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { logs, run } = yield* service(servers)
      yield* holdByAnother("a", servers)
      const allow = (rule: string) => onEach(servers, (server) => server.command("ACL", "SETUSER", "default", rule))
      yield* Effect.addFinalizer(() => allow("+subscribe"))
      // Nothing tells them of a release.
      yield* allow("-subscribe")
      yield* waiting(run)
      yield* until("it is told so", Effect.sync(() => logs.down().length > 0))
      const schedule = everySecond()
      const second = yield* waiting(run, schedule)
      yield* Effect.yieldNow
      yield* deleteOn(servers, "a")
      schedule.steps = 0
      yield* isServed(second)
      assert.isAtMost(schedule.steps, toTheNextAttempt)
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
      const expected = servers.map((other) => other === server ? ["asks", "hears", "looks"] : ["asks", "hears"])
      const areThere = (what: string) =>
        until(what, Effect.map(kinds, (kinds) => JSON.stringify(kinds) === JSON.stringify(expected)))
      yield* areThere("one to hear from each node, and one to watch the key on the node with the list")
      for (const kill of [killSubscribers, killTrackers]) {
        const looks = yield* callsOf(server, "pttl")
        yield* kill(server)
        yield* until("it looks at the key again", Effect.map(callsOf(server, "pttl"), (calls) => calls > looks))
        yield* areThere("it is back")
      }
      // And they work: the key is watched once more.
      yield* deleteOn(servers, "a")
      yield* isServed(waiter)
      yield* areThere("they stay for the next wait")
    })))

  it.effect("finds another list where the node with its own is stopped", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      yield* holdByAnother("a", servers)
      const { run } = yield* service(servers)
      const schedule = everySecond()
      const waiter = yield* waiting(run, schedule)
      const server = yield* untilListed(servers, "a", 1)
      const others = servers.filter((other) => other !== server)
      yield* Effect.gen(function*() {
        yield* server.stop
        yield* untilListed(others, "a", 1)
        // From its next attempt on nothing but a wake-up can make it ask.
        schedule.delay = "1 hour"
        schedule.steps = 0
        yield* until("it has asked", Effect.sync(() => schedule.steps > 0))
        yield* untilListed(others, "a", 1)
        yield* deleteOn(others, "a")
        yield* isServed(waiter)
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
        yield* Effect.forkDetach(run(withLock("a", Effect.never, hourly)))
        yield* untilListed(servers, "a", 1)
      }))
      assert.strictEqual(yield* server.command<number>("EXISTS", list), 0)
      yield* deleteOn(servers, "a")
    })))
})
