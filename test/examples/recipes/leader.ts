// One instance leads; when it ends, dies or loses the lock, another takes over.
import { Console, Deferred, Effect, Layer } from "effect"
import { Leader, Redsync } from "effect-redsync"

// What every instance builds. A leader that crashes is replaced when its lease ends; a leader that shuts down, at once.
const instance = (name: string, elected: Deferred.Deferred<void>) =>
  Leader.singleton(
    "leader",
    Console.log(`${name} leads`).pipe(
      Effect.andThen(Deferred.succeed(elected, undefined)),
      Effect.andThen(Effect.never)
    ),
    { expiry: "5 seconds" }
  ).pipe(Layer.provide(Redsync.layerEnv()))

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const [first, second] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  yield* Effect.scoped(Effect.gen(function*() {
    yield* Layer.build(instance("a", first))
    yield* Deferred.await(first)
  }))
  // => a leads
  yield* Layer.build(instance("b", second))
  yield* Deferred.await(second)
  // => b leads
})))
