// Many reports read a catalogue at once, in all instances; a rebuild has it for itself.
import { Console, Effect, Latch } from "effect"
import { Redsync, withLock, withSharedLock } from "effect-redsync"

let version = 1
const rebuild = withLock(
  "catalogue",
  Effect.gen(function*() {
    version = NaN
    yield* Effect.sleep("10 millis")
    version = 2
    yield* Console.log("rebuilt")
  })
)

// Each waits until the other has begun, so they read together.
const begun = [Latch.makeUnsafe(), Latch.makeUnsafe()] as const
const report = (one: 0 | 1) =>
  withSharedLock(
    "catalogue",
    Effect.gen(function*() {
      yield* begun[one].open
      yield* begun[one === 0 ? 1 : 0].await
      yield* Console.log(`reporting on version ${version}`)
    })
  ).pipe(Effect.provide(Redsync.layerEnv()))

const reports = Effect.all([report(0), report(1)], { concurrency: "unbounded" })
const program = Effect.gen(function*() {
  yield* reports
  yield* rebuild
  yield* reports
})
await Effect.runPromise(program.pipe(Effect.provide(Redsync.layerEnv())))
// => reporting on version 1
// => reporting on version 1
// => rebuilt
// => reporting on version 2
// => reporting on version 2
