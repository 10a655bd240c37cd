/** A service to look into, over nodes in memory, which a test can close when it likes. */
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { Redsync } from "../../src/index.ts"
import type { LockService } from "../../src/internal/service/service.ts"

export interface Opened {
  readonly service: LockService
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Redsync.Redsync>>
  /** Begins to close it, if nobody has; ends when it is closed. */
  readonly close: Effect.Effect<void>
}

export const open = (options: Redsync.LayerOptions): Effect.Effect<Opened, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(Redsync.layer(options), scope)
    return {
      service: Context.get(context, Redsync.Redsync),
      run: Effect.provide(context),
      close: Scope.close(scope, Exit.void)
    }
  })
