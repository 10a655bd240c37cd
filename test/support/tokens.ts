/** Clients whose clocks differ, and the tokens that they get. */
import { assert } from "@effect/vitest"
import { Clock, type Context, Effect, Layer, type Scope } from "effect"
import { type Fencing, type LockNode, Redsync, withFencedLock } from "../../src/index.ts"

/** A client with a wall clock of its own, so many milliseconds ahead. */
export const client = (
  nodes: ReadonlyArray<LockNode>,
  ahead: number = 0
): Effect.Effect<Context.Context<Redsync>, never, Scope.Scope> =>
  Clock.clockWith((clock) => {
    const nanos = BigInt(ahead) * 1_000_000n
    const shifted: Clock.Clock = Object.assign(Object.create(clock) as Clock.Clock, {
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + ahead,
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + nanos
    })
    return Effect.provideService(Layer.build(Redsync.layer({ nodes })), Clock.Clock, shifted)
  })

export const tokenOf = (service: Context.Context<Redsync>, name: string = "a") =>
  Effect.provide(withFencedLock(name, Effect.succeed), service)

export const assertIncreasing = (tokens: ReadonlyArray<Fencing.FencingToken>) => {
  for (let index = 1; index < tokens.length; index++) {
    assert.isAbove(tokens[index]!, tokens[index - 1]!, `token ${index} of ${tokens.join(" ")}`)
  }
}
