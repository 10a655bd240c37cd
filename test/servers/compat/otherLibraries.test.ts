/**
 * Other libraries' locks and ours are the same locks: on one key, whoever has it
 * keeps the others out.
 */
import { assert, layer } from "@effect/vitest"
import { Redlock as Sesamecare } from "@sesamecare-oss/redlock"
import { Effect, Option } from "effect"
import { Redis } from "ioredis"
import { RedlockMutex } from "redis-semaphore"
// @ts-expect-error its package.json does not say where its types are
import Original from "redlock"
import {
  ErrFailed,
  lock,
  Redsync,
  retryPolicy,
  sharedLock,
  tryLock,
  trySharedLock,
  withLock
} from "../../../src/index.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

/** What both libraries' locks can do. */
interface TheirLock {
  readonly value: string
  readonly release: () => Promise<unknown>
  readonly extend: (millis: number) => Promise<TheirLock>
}

interface TheirLibrary {
  readonly acquire: (names: Array<string>, millis: number) => Promise<TheirLock>
  readonly on: (event: "error", listener: (error: unknown) => void) => unknown
}

const once = { retryCount: 0, automaticExtensionThreshold: 0 }

const libraries: Record<string, (clients: ReadonlyArray<Redis>) => TheirLibrary> = {
  "redlock": (clients) => new Original(clients, once) as TheirLibrary,
  "@sesamecare-oss/redlock": (clients) => new Sesamecare(clients, once)
}

const clientsOf = Effect.flatMap(
  RedisServers,
  (servers) =>
    Effect.forEach(servers, ({ host, port }) =>
      Effect.acquireRelease(
        Effect.promise(async () => {
          const client = new Redis({ host, port, lazyConnect: true })
          await client.connect()
          return client
        }),
        (client) => Effect.sync(() => client.disconnect())
      ))
)

const theirs = (library: string) =>
  Effect.gen(function*() {
    const clients = yield* clientsOf
    const theirs = libraries[library]!(clients)
    // Each refusal is an event as well, which ends the process where nobody listens.
    theirs.on("error", () => {})
    return theirs
  })

const acquire = (library: TheirLibrary, name: string) =>
  Effect.promise(() => library.acquire([name], 60_000).catch(() => undefined))

const ours = Effect.map(RedisServers, (servers) => Redsync.layer({ nodes: servers.map(({ url }) => url) }))

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("interop", (it) => {
  it.effect.each(Object.keys(libraries))(
    "%s holds: we are refused, and get it once it is released",
    (library) =>
      Effect.gen(function*() {
        const name = `held by ${library}`
        const other = yield* theirs(library)
        const held = yield* acquire(other, name)
        assert(held !== undefined)
        yield* Effect.gen(function*() {
          const refused = yield* Effect.flip(withLock(name, Effect.void, { retry: retryPolicy({ tries: 1 }) }))
          assert.instanceOf(refused, ErrFailed)
          assert.match(
            refused.message,
            /held by another for about (60\.0|5\d\.\d) s more/
          )
          assert.strictEqual(Option.getOrThrow((yield* Redsync.inspect(name)).holder).value, held.value)
          yield* Effect.promise(() => held.release())
          assert.isTrue(Option.isSome(yield* tryLock(name)))
        }).pipe(Effect.scoped, Effect.provide(yield* ours))
      })
  )

  it.effect.each(Object.keys(libraries))(
    "%s is refused while we hold, and gets it once we release",
    (library) =>
      Effect.gen(function*() {
        const name = `refused to ${library}`
        const other = yield* theirs(library)
        yield* Effect.gen(function*() {
          const held = yield* lock(name)
          assert.isUndefined(yield* acquire(other, name))
          yield* held.extend
          assert.isUndefined(yield* acquire(other, name))
          assert.isTrue(yield* held.release)
        }).pipe(Effect.scoped, Effect.provide(yield* ours))
        assert.isDefined(yield* acquire(other, name))
      })
  )

  it.effect.each(Object.keys(libraries))(
    "%s is refused while readers hold, and refuses them",
    (library) =>
      Effect.gen(function*() {
        const name = `read beside ${library}`
        const other = yield* theirs(library)
        yield* Effect.gen(function*() {
          const readers = [yield* sharedLock(name), yield* sharedLock(name)]
          assert.isUndefined(yield* acquire(other, name))
          for (const reader of readers) {
            assert.isTrue(yield* reader.isHeld)
            assert.isTrue(yield* reader.release)
          }
          const held = yield* acquire(other, name)
          assert(held !== undefined)
          assert.deepStrictEqual(yield* trySharedLock(name), Option.none())
          yield* Effect.promise(() => held.extend(30_000).then((extended) => extended.release()))
          assert.isTrue(Option.isSome(yield* trySharedLock(name)))
          // What they had is theirs no more, and they notice in their own way.
          assert.isTrue(yield* Effect.promise(() => held.release().then(() => false, () => true)))
        }).pipe(Effect.scoped, Effect.provide(yield* ours))
      })
  )

  it.effect.each(Object.keys(libraries))(
    "%s gets what we wait for, we get it as soon as it lets go",
    (library) =>
      Effect.gen(function*() {
        const name = `waited for after ${library}`
        const other = yield* theirs(library)
        const held = yield* acquire(other, name)
        assert(held !== undefined)
        yield* Effect.gen(function*() {
          const released = Effect.promise(() => held.extend(30_000).then((extended) => extended.release()))
          const waiting = withLock(name, Effect.succeed("ours"), { retry: retryPolicy({ delay: "20 millis" }) })
          const [result] = yield* Effect.all([waiting, released], { concurrency: "unbounded" })
          assert.strictEqual(result, "ours")
        }).pipe(Effect.provide(yield* ours))
      })
  )

  it.effect.each(Object.keys(libraries))(
    "contenders of both kinds, %s and ours, take turns",
    (library) =>
      Effect.gen(function*() {
        const name = `shared with ${library}`
        const other = yield* theirs(library)
        let inside = 0
        const turns = { ours: 0, theirs: 0 }
        const work = (who: "ours" | "theirs") =>
          Effect.gen(function*() {
            assert.strictEqual(++inside, 1)
            yield* Effect.sleep("2 millis")
            inside--
            turns[who]++
          })
        const retry = retryPolicy({ delay: "10 millis", within: "20 seconds" })
        const theirTurn: Effect.Effect<void> = Effect.flatMap(acquire(other, name), (held) =>
          held === undefined
            ? Effect.andThen(Effect.sleep(5 + turns.theirs), theirTurn)
            : Effect.andThen(work("theirs"), Effect.promise(() => held.release())))
        const ourTurn = withLock(name, work("ours"), { retry })
        yield* Effect.all(
          [...Array.from({ length: 5 }, () => ourTurn), ...Array.from({ length: 5 }, () => theirTurn)],
          {
            concurrency: "unbounded"
          }
        ).pipe(Effect.provide(yield* ours))
        assert.deepStrictEqual(turns, { ours: 5, theirs: 5 })
      })
  )

  // Its locks are under the name with "mutex:" before it.
  it.effect("redis-semaphore's mutexes and our readers keep each other out", () =>
    Effect.gen(function*() {
      const clients = yield* clientsOf
      const options = { lockTimeout: 60_000, refreshInterval: 0, acquireAttemptsLimit: 1 }
      const mutex = () => new RedlockMutex(clients, "read", options)
      const tryAcquire = (mutex: RedlockMutex) => Effect.promise(() => mutex.tryAcquire())
      yield* Effect.gen(function*() {
        const held = mutex()
        assert.isTrue(yield* tryAcquire(held))
        assert.deepStrictEqual(yield* trySharedLock("mutex:read"), Option.none())
        yield* Effect.promise(() => held.release())
        const readers = [yield* sharedLock("mutex:read"), yield* sharedLock("mutex:read")]
        assert.isFalse(yield* tryAcquire(mutex()))
        for (const reader of readers) {
          assert.isTrue(yield* reader.isHeld)
          assert.isTrue(yield* reader.release)
        }
        // What it loses to readers it does not take from them.
        const lost = mutex()
        assert.isTrue(yield* tryAcquire(lost))
        yield* Redsync.forceUnlock("mutex:read")
        const successor = yield* sharedLock("mutex:read")
        yield* Effect.promise(() => lost.release())
        assert.isTrue(yield* successor.isHeld)
      }).pipe(Effect.scoped, Effect.provide(yield* ours))
    }))
})
