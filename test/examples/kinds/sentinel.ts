import { Redsync } from "effect-redsync"
import * as IoredisNode from "effect-redsync/IoredisNode"

export const overSentinel = (sentinels: Array<{ readonly host: string; readonly port: number }>) =>
  Redsync.layer({
    // One node for each group that Sentinel watches. The detector leaves a primary that was replaced but still runs.
    nodes: [IoredisNode.make({ sentinels, name: "main", failoverDetector: true })],
    // A vote counts only once this many replicas have acknowledged the write.
    replicas: 1
  })
