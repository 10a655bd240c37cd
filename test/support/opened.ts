/** A service to look into, over nodes in memory, which a test can close when it likes. */
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { Redsync, type ServiceOptions } from "../../src/index.ts"
import { urlNodes } from "../../src/internal/ioredis/nodes.ts"
import { makeRedsync } from "../../src/internal/service/redsync.ts"
import type { LockService } from "../../src/internal/service/service.ts"
import { checkOptions, makeService } from "../../src/internal/service/serviceOptions.ts"
import * as IoredisNode from "../../src/IoredisNode.ts"

/** The parts of the service in the context. */
export class Parts extends Context.Service<Parts, LockService>()("test/Parts") {}

/** `Redsync.layer`, with the parts of its service. */
export const layer = (options: ServiceOptions): Layer.Layer<Redsync | Parts> => {
  const checked = checkOptions(options, Redsync.defaultRetry, urlNodes(IoredisNode.make))
  if (typeof checked === "string") throw new Error(checked)
  const opened = Effect.map(
    makeService(checked),
    (service) => Context.add(Context.make(Redsync.Redsync, makeRedsync(service)), Parts, service)
  )
  return Layer.effectContext(opened as Effect.Effect<Context.Context<Redsync | Parts>, never, Scope.Scope>)
}

export interface Opened {
  readonly service: LockService
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Redsync | Parts>>
  /** Begins to close it, if nobody has; ends when it is closed. */
  readonly close: Effect.Effect<void>
}

export const open = (options: ServiceOptions): Effect.Effect<Opened, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(layer(options), scope)
    return {
      service: Context.get(context, Parts),
      run: Effect.provide(context),
      close: Scope.close(scope, Exit.void)
    }
  })
