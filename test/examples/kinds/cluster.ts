import { Effect } from "effect"
import { Redsync } from "effect-redsync"
import * as IoredisNode from "effect-redsync/IoredisNode"
import { Cluster } from "ioredis"

// With `replicas: 1`, a master without a replica grants nothing.
export const overCluster = (startAt: Array<{ readonly host: string; readonly port: number }>) => {
  const cluster = Effect.acquireRelease(
    Effect.sync(() => new Cluster(startAt).on("error", () => {})),
    (cluster) => Effect.promise(() => cluster.quit())
  )
  return Redsync.layer({ nodes: [Effect.map(cluster, IoredisNode.fromClient)], replicas: 1 })
}
