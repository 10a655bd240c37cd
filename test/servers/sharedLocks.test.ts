/**
 * Shared locks on real servers: readers beside no writer, whatever happens; both
 * sides have their turn; and other libraries take readers for a holder.
 */
import { assert, layer } from "@effect/vitest"
import { Duration, Effect, Fiber, Option, Random, Schedule } from "effect"
import { Redis } from "ioredis"
import { RedlockMutex } from "redis-semaphore"
import {
  Lock,
  lock,
  Redsync,
  retryPolicy,
  sharedLock,
  tryLock,
  trySharedLock,
  withLock,
  withSharedLock
} from "../../src/index.ts"
import { companionKey } from "../../src/internal/redis/keys.ts"
import { until, untilEmpty, urls } from "../support/faults.ts"
import { type RedisServer, RedisServers } from "../support/servers/RedisServers.ts"
import { hourly } from "../support/trouble.ts"

/** What holders believe, by their own leases: a writer is alone, and readers are with readers. */
const makeWitness = () => {
  const inside = new Set<Lock>()
  const seen = { exclusive: 0, shared: 0, violations: 0, mostReaders: 0 }
  return {
    seen,
    enters: (held: Lock) =>
      Effect.sync(() => {
        const believing = [...inside].filter((other) => Duration.toMillis(Effect.runSync(other.remaining)) > 0)
        if (believing.some(({ mode }) => mode === "exclusive" || held.mode === "exclusive")) seen.violations++
        inside.add(held)
        seen[held.mode as "exclusive" | "shared"]++
        if (held.mode === "shared") seen.mostReaders = Math.max(seen.mostReaders, believing.length + 1)
      }),
    leaves: (held: Lock) => Effect.sync(() => void inside.delete(held))
  }
}

/** Readers and writers of one name, some of which vanish, and some of which become readers. */
const clients = (witness: ReturnType<typeof makeWitness>, rounds: number) => {
  const options = { expiry: "400 millis", retry: retryPolicy({ delay: "20 millis", within: "20 seconds" }) } as const
  const use = (held: Lock, millis: number) => Effect.andThen(witness.enters(held), Effect.sleep(millis))
  const round = Effect.scoped(Effect.gen(function*() {
    const [kind, millis] = [yield* Random.nextIntBetween(0, 20), yield* Random.nextIntBetween(0, 15)]
    const held = yield* kind < 14 ? sharedLock("a", options) : lock("a", options)
    yield* use(held, millis)
    // Vanished: nothing releases it, and it counts until its lease is over.
    if (kind === 0) return yield* held.abandon
    yield* witness.leaves(held)
    if (kind === 15) {
      const reader = yield* Lock.downgrade(held)
      yield* use(reader, millis)
      yield* witness.leaves(reader)
    }
  }))
  // A client whose lock is not available within its time, or is lost, goes on.
  return Effect.repeat(Effect.ignore(round), { times: rounds - 1 })
}

const crowd = (servers: ReadonlyArray<RedisServer>, fault: Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const witness = makeWitness()
    const service = Effect.provide(
      Effect.all(Array.from({ length: 6 }, () => clients(witness, 15)), { concurrency: "unbounded", discard: true }),
      Redsync.layer({ nodes: urls(servers) })
    )
    const all = Effect.all([service, service, service], { concurrency: "unbounded", discard: true })
    yield* Effect.raceFirst(all, Effect.andThen(fault, Effect.never))
    assert.strictEqual(witness.seen.violations, 0)
    assert.isAbove(witness.seen.exclusive, 0)
    assert.isAbove(witness.seen.mostReaders, 1)
    return witness.seen
  })

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "90 seconds" })("shared locks", (it) => {
  it.effect("never a reader beside a writer, and nothing is left", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      yield* crowd(servers, Effect.void)
      yield* untilEmpty(servers)
    }))

  it.effect("with one of three servers stopped, and back", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      yield* crowd(servers, servers[0]!.stop)
      yield* servers[0]!.resume
      yield* untilEmpty(servers)
    }))

  it.effect("a downgrade that is interrupted at whatever moment leaves the lock to the next, and nothing else", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const other = yield* Redsync.make({ nodes: urls(servers) })
      yield* Effect.gen(function*() {
        for (let moment = 1; moment <= 40; moment++) {
          const writer = yield* lock("a", hourly)
          const next = yield* Effect.forkChild(other.withLock("a", Effect.void, hourly))
          const fiber = yield* Effect.forkChild(Effect.scoped(Effect.andThen(Lock.downgrade(writer), Effect.never)))
          for (let turn = 0; turn < moment; turn++) yield* moment % 2 === 0 ? Effect.yieldNow : Effect.sleep(0)
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(Duration.toMillis(yield* writer.remaining), 0)
          yield* Fiber.join(next)
        }
      }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: urls(servers) })))
      yield* untilEmpty(servers)
    }).pipe(Effect.scoped))

  it.effect("a writer behind readers that come all the time is woken when those inside have left", () =>
    Effect.gen(function*() {
      const nodes = urls(yield* RedisServers)
      const reader = Effect.forever(withSharedLock("stream", Effect.sleep("20 millis"), hourly))
      const streams = yield* Effect.forEach(
        [0, 7, 14],
        (after) =>
          Effect.forkChild(Effect.provide(Effect.andThen(Effect.sleep(after), reader), Redsync.layer({ nodes })))
      )
      yield* Effect.gen(function*() {
        yield* until("readers are inside", Effect.map(Redsync.inspect("stream"), ({ readers }) => readers.length > 1))
        yield* withLock("stream", Effect.void, { retry: Schedule.spaced("200 millis") })
        yield* until("they are again", Effect.map(Redsync.inspect("stream"), ({ readers }) => readers.length > 1))
      }).pipe(Effect.provide(Redsync.layer({ nodes })))
      yield* Fiber.interruptAll(streams)
    }))

  it.effect("readers that wait for a writer of another service are woken by its release", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const nodes = urls(servers)
      const written = yield* Effect.scoped(Effect.gen(function*() {
        yield* lock("written")
        const readers = yield* Effect.forEach([1, 2, 3], () =>
          Effect.forkDetach(Effect.provide(withSharedLock("written", Effect.void, hourly), Redsync.layer({ nodes }))))
        const [server] = servers
        const waits = server!.command<number>("HEXISTS", companionKey("turns", "written"), "r")
        yield* until(
          "a reader waits",
          Effect.map(waits, (count) =>
            count > 0)
        )
        return readers
      })).pipe(Effect.provide(Redsync.layer({ nodes })))
      yield* Fiber.joinAll(written)
    }))

  it.effect("RedlockMutex of redis-semaphore is refused while readers hold, and refuses them", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const redis = yield* Effect.forEach(servers, ({ host, port }) =>
        Effect.acquireRelease(
          Effect.sync(() => new Redis({ host, port })),
          (client) => Effect.sync(() => client.disconnect())
        ))
      const mutex = () =>
        new RedlockMutex(redis, "theirs", { acquireAttemptsLimit: 1, lockTimeout: 60_000, refreshInterval: 0 })
      yield* Effect.gen(function*() {
        const [one, other] = [yield* sharedLock("mutex:theirs"), yield* sharedLock("mutex:theirs")]
        const refused = mutex()
        assert.isFalse(yield* Effect.promise(() => refused.tryAcquire()))
        yield* Effect.promise(() => refused.release())
        yield* one.release
        assert.isFalse(yield* Effect.promise(() => refused.tryAcquire()))
        assert.isTrue(yield* other.isHeld)
        yield* other.release
        const granted = mutex()
        assert.isTrue(yield* Effect.promise(() => granted.tryAcquire()))
        assert.deepStrictEqual(yield* trySharedLock("mutex:theirs"), Option.none())
        yield* Effect.promise(() => granted.release())
        assert.isTrue(Option.isSome(yield* trySharedLock("mutex:theirs")))
        assert.deepStrictEqual(yield* tryLock("mutex:theirs"), Option.none())
      }).pipe(Effect.scoped, Effect.provide(Redsync.layer({ nodes: urls(servers) })))
    }))
})
