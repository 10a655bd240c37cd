import { Redsync } from "effect-redsync"

export const overSentinel = (sentinels: Array<{ readonly host: string; readonly port: number }>) =>
  Redsync.layer({
    // One node for each group that Sentinel watches. The detector leaves a primary that was replaced, but lives on.
    nodes: [{ sentinels, name: "main", failoverDetector: true }],
    // A vote counts once so many replicas have it.
    replicas: 1
  })
