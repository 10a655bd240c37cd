/**
 * Those who are compared, each over the same servers and behind the same two
 * words: hold a lock while a program runs. Nobody ever gives up; the delays
 * between attempts are each library's own defaults.
 */
import { Redlock as Sesamecare } from "@sesamecare-oss/redlock"
import { Effect, Layer, type Scope } from "effect"
import { Redis } from "ioredis"
import { RedlockMutex } from "redis-semaphore"
// @ts-expect-error its package.json does not say where its types are
import Original from "redlock"
import { Redsync, retryPolicy, withLock } from "../../../src/index.ts"

export interface Client {
  readonly withLock: <A>(name: string, program: Effect.Effect<A>) => Effect.Effect<A>
}

export type Contender = (urls: ReadonlyArray<string>) => Effect.Effect<Client, never, Scope.Scope>

const ours: Contender = (urls) =>
  Effect.map(Layer.build(Redsync.layer({ nodes: urls, retry })), (service) => ({
    withLock: (name, program) => Effect.provide(Effect.orDie(withLock(name, program)), service)
  }))

const retry = retryPolicy({ tries: Number.POSITIVE_INFINITY })

/**
 * Both redlocks leave their keys behind after a split vote, and nobody gets the
 * lock until those expire: with a lease as long as ours, 8 seconds, a crowd comes
 * to a standstill.
 */
const theirExpiryMillis = 1000

interface TheirLock {
  readonly release: () => Promise<unknown>
}

type Take = (name: string) => Promise<TheirLock>

const theirs = (make: (clients: Array<Redis>) => Take): Contender => (urls) =>
  Effect.map(Effect.forEach(urls, connect), (clients) => {
    const take = make(clients)
    return {
      withLock: (name, program) =>
        Effect.acquireUseRelease(
          Effect.promise(() => take(name)),
          () => program,
          (lock) => Effect.promise(() => lock.release())
        )
    }
  })

const connect = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Redis(url, { lazyConnect: true })
      await client.connect()
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

interface RedlockLike {
  readonly acquire: (names: Array<string>, millis: number) => Promise<TheirLock>
  readonly on: (event: "error", listener: () => void) => unknown
}

const redlock = (library: RedlockLike): Take => {
  // Each refusal is an event as well, which ends the process where nobody listens.
  library.on("error", () => {})
  return (name) => library.acquire([name], theirExpiryMillis)
}

const endless = { retryCount: -1 }

export const contenders = {
  "effect-redsync": ours,
  "redlock": theirs((clients) => redlock(new Original(clients, endless) as RedlockLike)),
  "@sesamecare-oss/redlock": theirs((clients) => redlock(new Sesamecare(clients, endless))),
  "redis-semaphore": theirs((clients) => async (name) => {
    const mutex = new RedlockMutex(clients, name, { lockTimeout: theirExpiryMillis, acquireTimeout: Infinity })
    await mutex.acquire()
    return mutex
  })
} satisfies Record<string, Contender>

export type ContenderName = keyof typeof contenders

export const names = Object.keys(contenders) as Array<ContenderName>

/** How each learns of a release. */
export const manner: Record<ContenderName, string> = {
  "effect-redsync": "woken; polls every 410–614 ms besides",
  "redlock": "polls every 100–300 ms",
  "@sesamecare-oss/redlock": "polls every 100–300 ms",
  "redis-semaphore": "polls every 10 ms"
}
