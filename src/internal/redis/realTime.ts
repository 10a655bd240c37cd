/**
 * Real time: what happens on sockets does not follow the program's clock.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { monotonicMillis } from "../base/clock.ts"

const clock = Context.get(Context.empty(), Clock.Clock)

export const nowMillis = (): number => monotonicMillis(clock)

/** Runs something after a delay; the returned function cancels it. */
export const schedule = (millis: number, run: () => void): () => void => {
  const fiber = Effect.runFork(Effect.andThen(Effect.sleep(millis), Effect.sync(run)))
  return () => fiber.interruptUnsafe()
}

/** Lets an effect sleep and wait in real time. */
export const inRealTime: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.provideService(
  Clock.Clock,
  clock
)
