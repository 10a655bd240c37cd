import { Effect, Layer } from "effect"
import { Redsync } from "effect-redsync"
import { Cluster } from "ioredis"

// One node, whatever the number of its masters: each name has one master at a time.
export const overCluster = (startAt: Array<{ readonly host: string; readonly port: number }>) =>
  Layer.unwrap(Effect.gen(function*() {
    const cluster = yield* Effect.acquireRelease(
      Effect.sync(() => new Cluster(startAt)),
      (cluster) => Effect.promise(() => cluster.quit())
    )
    return Redsync.layer({ nodes: [cluster], replicas: 1 })
  }))
