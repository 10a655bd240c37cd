/** Nodes by names of their own, where each process knows their servers by other addresses. */
import type { LockNode } from "../../src/index.ts"

/** The same node under another id: services that know a node by the same id stand in the same line. */
export const named = (id: string, node: LockNode): LockNode => ({
  ...node,
  id,
  ...node.delayedRestart && { delayedRestart: (millis) => named(id, node.delayedRestart!(millis)) },
  ...node.replicas && { replicas: (count, millis) => named(id, node.replicas!(count, millis)) }
})
