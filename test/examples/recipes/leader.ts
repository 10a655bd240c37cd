// One instance leads; when it ends, dies or loses the lock, another takes over.
import { Console, Deferred, Effect, Fiber, Schedule } from "effect"
import { Redsync, withLock } from "effect-redsync"

// The others wait for ever. A leader that dies is followed after its expiry, one that ends at once.
const asLeader = <A, E, R>(work: Effect.Effect<A, E, R>) =>
  withLock("leader", work, { expiry: "5 seconds", retry: Schedule.spaced("1 second") }).pipe(
    // The work was interrupted, or too few nodes answered: stand in line again.
    Effect.retry({ while: Redsync.isLockError, schedule: Schedule.spaced("1 second") })
  )

const instance = (name: string, elected: Deferred.Deferred<void>) =>
  asLeader(Effect.gen(function*() {
    yield* Console.log(`${name} leads`)
    yield* Deferred.succeed(elected, undefined)
    return yield* Effect.never
  })).pipe(Effect.provide(Redsync.layerEnv()))

await Effect.runPromise(Effect.gen(function*() {
  const [first, second] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  const a = yield* Effect.forkChild(instance("a", first))
  yield* Deferred.await(first)
  // => a leads
  const b = yield* Effect.forkChild(instance("b", second))
  yield* Fiber.interrupt(a)
  yield* Deferred.await(second)
  // => b leads
  yield* Fiber.interrupt(b)
}))
