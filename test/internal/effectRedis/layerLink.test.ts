/**
 * A Redis service that is built from a layer, and built again.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { LayerLink } from "../../../src/internal/effectRedis/layerLink.ts"
import type { NodeRedisClient } from "../../../src/internal/effectRedis/link.ts"
import { until } from "../../support/faults.ts"

class NodeRedis extends Context.Service<NodeRedis, { readonly client: NodeRedisClient }>()(
  "@effect/platform-node/NodeRedis"
) {}

describe("a service from a layer", () => {
  it.live("that is built again is another connection, of which its listeners hear", () =>
    Effect.gen(function*() {
      // Each client counts its own connections, so their first ones have the same number.
      const layer = Layer.sync(NodeRedis, () => ({ client: { on: () => {}, off: () => {}, socketEpoch: 1 } })).pipe(
        Layer.merge(Layer.sync(Redis.Redis, () => ({ send: () => Effect.never }) as never))
      )
      const link = new LayerLink()
      const heard: Array<string | undefined> = []
      link.listen("ready", () => heard.push(link.connectionId()))
      yield* Effect.forkScoped(link.keep(layer))
      const isBuilt = Effect.sync(() => link.connectionId() !== undefined)
      yield* until("it is built", isBuilt)
      const first = link.connectionId()
      assert.deepStrictEqual(heard, [])
      yield* link.reconnect
      yield* until("it is built again", Effect.sync(() => heard.length > 0))
      assert.notStrictEqual(link.connectionId(), first)
      assert.deepStrictEqual(heard, [link.connectionId()])
    }).pipe(Effect.scoped))
})
