/**
 * Those who are compared, each over the same servers and behind the same two
 * words: hold a lock while a program runs. Nobody ever gives up; the delays
 * between attempts are each library's own defaults.
 */
import { Effect, Layer, type Scope } from "effect"
import { Redis } from "ioredis"
import { Redsync, retryPolicy, withFencedLock, withLock } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { named } from "../../support/named.ts"
import { type Peer, peers } from "../peers.ts"

export interface Client {
  readonly withLock: <A>(name: string, program: Effect.Effect<A>) => Effect.Effect<A>
}

export type Contender = (urls: ReadonlyArray<string>) => Effect.Effect<Client, never, Scope.Scope>

/** Named alike by all, though some know them by other addresses. */
const ours = (
  hold: <A>(name: string, program: Effect.Effect<A>) => Effect.Effect<A, unknown, Redsync>
): Contender =>
(urls) =>
  Effect.map(Layer.build(Redsync.layer({ nodes: urls.map(nodeAt), retry })), (service) => ({
    withLock: (name, program) => Effect.provide(Effect.orDie(hold(name, program)), service)
  }))

const nodeAt = (url: string, index: number) =>
  Effect.map(IoredisNode.make(url), (node) => named(`node-${index + 1}`, node))

const retry = retryPolicy({ tries: Number.POSITIVE_INFINITY })

/**
 * Both redlocks leave their keys behind after a split vote, and nobody gets the
 * lock until those expire: with a lease as long as ours, 8 seconds, a crowd comes
 * to a standstill.
 */
const theirExpiryMillis = 1000

const theirs = (make: Peer): Contender => (urls) =>
  Effect.gen(function*() {
    const clients = yield* Effect.forEach(urls, connect)
    const take = yield* Effect.promise(() => make(clients, { expiryMillis: theirExpiryMillis, waits: true }))
    return {
      withLock: (name, program) =>
        Effect.acquireUseRelease(
          Effect.promise(() => take(name)),
          () => program,
          (release) => Effect.promise(release)
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

export const contenders = {
  "effect-redsync": ours(withLock),
  "effect-redsync, fenced": ours((name, program) => withFencedLock(name, () => program)),
  "redlock": theirs(peers["redlock"]),
  "@sesamecare-oss/redlock": theirs(peers["@sesamecare-oss/redlock"]),
  "redis-semaphore": theirs(peers["redis-semaphore"]),
  "redlock-universal": theirs(peers["redlock-universal"])
} satisfies Record<string, Contender>

export type ContenderName = keyof typeof contenders

/** Each library once, by its plain lock. */
export const libraries = (Object.keys(contenders) as Array<ContenderName>)
  .filter((name) => name !== "effect-redsync, fenced")

/** Those that wait for the answers of all nodes. */
export const waitsForAll: ReadonlySet<ContenderName> = new Set(["redis-semaphore", "redlock-universal"])

/** How each learns of a release. */
export const manner: Record<ContenderName, string> = {
  "effect-redsync": "handed over; also polls every 410–614 ms",
  "effect-redsync, fenced": "the same, with the next token",
  "redlock": "polls every 100–300 ms",
  "@sesamecare-oss/redlock": "polls every 100–300 ms",
  "redis-semaphore": "polls every 10 ms",
  "redlock-universal": "polls every 200 ms"
}
