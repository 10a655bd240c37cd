import { Effect } from "effect"
import { Redsync } from "effect-redsync"
import * as IoredisNode from "effect-redsync/IoredisNode"
import { Cluster } from "ioredis"

// One node, whatever the number of its masters: each name has one master at a time.
export const overCluster = (startAt: Array<{ readonly host: string; readonly port: number }>) => {
  const cluster = Effect.acquireRelease(
    Effect.sync(() => new Cluster(startAt)),
    (cluster) => Effect.promise(() => cluster.quit())
  )
  return Redsync.layer({ nodes: [Effect.map(cluster, IoredisNode.fromClient)], replicas: 1 })
}
