// Single flight: of all callers that miss the cache at once, one computes and the others read.
import { Console, Effect, Option } from "effect"
import { Redsync, withLock } from "effect-redsync"

const shared = new Map<string, string>() // your Redis, your database
const read = (key: string) => Effect.sync(() => Option.fromNullishOr(shared.get(key)))
const compute = (key: string) =>
  Console.log(`computing ${key}`).pipe(
    Effect.andThen(Effect.sleep("20 millis")),
    Effect.andThen(Effect.sync(() => {
      shared.set(key, "a value")
      return "a value"
    }))
  )

const orElse = <E, R>(key: string, otherwise: Effect.Effect<string, E, R>) =>
  Effect.flatMap(read(key), Option.match({ onNone: () => otherwise, onSome: Effect.succeed }))

const cached = (key: string) =>
  // Looked up again under the lock: another caller may have filled it meanwhile.
  orElse(key, withLock(`fill:${key}`, orElse(key, compute(key)))).pipe(
    // A cache must not cause failures: without a lock, each caller computes the value itself.
    Effect.catchTags({
      ErrFailed: () => compute(key),
      LockLost: () => compute(key),
      NodesUnavailable: () => compute(key)
    })
  )

const instance = cached("user:42").pipe(Effect.provide(Redsync.layerEnv()))
const values = await Effect.runPromise(Effect.all([instance, instance, instance], { concurrency: "unbounded" }))
// => computing user:42

console.log(values.join())
// => a value,a value,a value
