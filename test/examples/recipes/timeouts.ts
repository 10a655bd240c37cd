// How long to wait, and what to do instead.
import { Console, Effect, Option } from "effect"
import { Redsync, retryPolicy, withLock, withLockIfAvailable } from "effect-redsync"

const work = Effect.succeed("done")

const program = Effect.gen(function*() {
  // No waiting: if another process is already working on it, skip it.
  const now = yield* withLockIfAvailable("busy", work)
  yield* Console.log(Option.getOrElse(now, () => "skipped"))
  // => skipped

  // A limited wait, then a fallback. Only a busy lock is expected here: other errors still fail.
  const patient = { retry: retryPolicy({ delay: "20 millis", within: "100 millis" }) }
  const later = yield* withLock("busy", work, patient).pipe(
    Effect.catchTag("ErrFailed", () => Effect.succeed("queued for later"))
  )
  yield* Console.log(later)
  // => queued for later

  // A limit on waiting and working together: the work is interrupted and the lock released.
  const bounded = yield* withLock("slow", Effect.never).pipe(Effect.timeoutOption("100 millis"))
  yield* Console.log(Option.isNone(bounded))
  // => true
})

await Effect.runPromise(withLock("busy", program).pipe(Effect.provide(Redsync.layerEnv())))
