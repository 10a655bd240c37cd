/** This library as a contender, by its public API. */
import { Effect, Layer, Option, Scope } from "effect"
import { Redsync, tryLock, withLock } from "../../../src/index.ts"
import { expiryMillis, freshName, mustBeRefused, type Open, takenName } from "./work.ts"

const works = {
  "lock and unlock": Effect.suspend(() => withLock(freshName(), Effect.void)),
  "refused": Effect.flatMap(
    Effect.scoped(tryLock(takenName)),
    (lock) => Option.isSome(lock) ? Effect.die(mustBeRefused()) : Effect.void
  )
}

export const open: Open = async (urls) => {
  const service = await Effect.runPromise(
    Layer.buildWithScope(Redsync.layer({ nodes: urls, expiry: expiryMillis }), Scope.makeUnsafe())
  )
  return {
    repeat: (work, inFlight, isOver) => {
      const loop = Effect.gen(function*() {
        for (;;) {
          const before = performance.now()
          yield* works[work]
          if (isOver(performance.now() - before)) return
        }
      })
      const loops = Effect.all(Array.from({ length: inFlight }, () => loop), {
        concurrency: "unbounded",
        discard: true
      })
      return Effect.runPromise(Effect.provide(loops, service))
    },
    hold: (name, body) => Effect.runPromise(Effect.provide(withLock(name, Effect.promise(body)), service))
  }
}
