/**
 * Semaphores on real servers, on whose connections the commands of several services
 * meet: never more than the limit, and no slot twice.
 */
import { assert, layer } from "@effect/vitest"
import { Duration, Effect, Random } from "effect"
import { Redsync, retryPolicy, type Semaphore } from "../../src/index.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"

/** Who believes to have which slot. */
class Watch {
  readonly seen = { grants: 0, killed: 0, most: 0, twice: 0 }
  readonly #holders = new Map<number, Semaphore.Permits>()

  /** Someone has permits now. Those whose lease is over have none any more. */
  readonly enter = Effect.fnUntraced(function*(this: Watch, permits: Semaphore.Permits) {
    for (const [slot, { remaining }] of this.#holders) {
      if (Duration.isZero(yield* remaining)) this.#holders.delete(slot)
    }
    this.seen.grants++
    for (const slot of permits.slots) {
      if (this.#holders.has(slot)) this.seen.twice++
      this.#holders.set(slot, permits)
    }
    this.seen.most = Math.max(this.seen.most, this.#holders.size)
  })

  leave(permits: Semaphore.Permits): void {
    for (const slot of permits.slots) if (this.#holders.get(slot) === permits) this.#holders.delete(slot)
  }
}

/** Takes permits again and again, in several services, some of which are never released. */
const rush = (
  watch: Watch,
  options: { readonly limit: number; readonly services: number; readonly workers: number; readonly turns: number }
) =>
  Effect.gen(function*() {
    const { limit, services, turns, workers } = options
    const nodes = (yield* RedisServers).map(({ url }) => url)
    const worker = (redsync: Redsync) =>
      Effect.gen(function*() {
        for (let turn = 0; turn < turns; turn++) {
          const hold = Effect.fnUntraced(function*(permits: Semaphore.Permits) {
            yield* watch.enter(permits)
            if (yield* Random.nextBoolean) yield* Effect.yieldNow
            else yield* Effect.sleep((yield* Random.next) * 10)
            if ((yield* Random.next) < 0.03) {
              // Its claim counts to the end of the lease.
              watch.seen.killed++
              return yield* permits.abandon
            }
            watch.leave(permits)
          })
          yield* Effect.ignore(
            redsync.withPermits("s", hold, {
              limit,
              permits: yield* Random.nextIntBetween(1, 4),
              expiry: "1 second",
              retry: retryPolicy({ delay: "10 millis", within: "20 seconds" })
            })
          )
        }
      })
    const service = Effect.scoped(
      Effect.flatMap(Redsync.make({ nodes }), (redsync) =>
        Effect.all(Array.from({ length: workers }, () => worker(redsync)), { concurrency: "unbounded" }))
    )
    yield* Effect.all(
      Array.from({ length: services }, () =>
        service),
      { concurrency: "unbounded" }
    )
  })

/** The keys of semaphores that are left once every lease is over. */
const keysLeft = Effect.flatMap(
  RedisServers,
  (servers) =>
    Effect.forEach(servers, ({ command }) => command<number>("EXISTS", "redsync:1:permits:{s}")).pipe(
      Effect.map((counts) => counts.reduce((sum, count) => sum + count, 0))
    )
)

const untilGone = Effect.repeat(keysLeft, { until: (left) => left === 0 })

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("semaphores", (it) => {
  it.effect("never more than the limit, no slot twice, though holders are killed", () =>
    Effect.gen(function*() {
      const watch = new Watch()
      yield* rush(watch, { limit: 8, services: 6, workers: 3, turns: 15 })
      assert.strictEqual(watch.seen.twice, 0)
      assert.isAtMost(watch.seen.most, 8)
      assert.isAtLeast(watch.seen.grants, 200)
      yield* untilGone
    }))

  it.effect("nor while one of three servers stops and is killed", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const watch = new Watch()
      const faults = Effect.gen(function*() {
        yield* Effect.repeat(Effect.sleep(5), { until: () => watch.seen.grants > 40 })
        yield* server!.stop
        yield* Effect.repeat(Effect.sleep(5), { until: () => watch.seen.grants > 80 })
        yield* server!.resume
        yield* Effect.repeat(Effect.sleep(5), { until: () => watch.seen.grants > 120 })
        yield* server!.kill
      })
      yield* Effect.raceFirst(
        Effect.andThen(faults, Effect.never),
        rush(watch, { limit: 8, services: 6, workers: 3, turns: 15 })
      )
      assert.strictEqual(watch.seen.twice, 0)
      assert.isAtMost(watch.seen.most, 8)
      assert.isAtLeast(watch.seen.grants, 150)
      yield* Effect.ignore(server!.kill)
    }))
})
