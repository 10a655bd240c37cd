/**
 * Waiters that stand in the waiting list of a node by hand.
 */
import { Effect } from "effect"
import { serviceIdLength } from "../../src/internal/nodeContract.ts"
import type { LineEntry, LockNode } from "../../src/LockNode.ts"

/** The same node as one that hands no locks over, so that waiters are woken. */
export const withoutHandOver = (node: LockNode): LockNode => ({
  ...node,
  waitingList: (waiterId, onNotice) =>
    Effect.map(node.waitingList!(waiterId, onNotice), ({ handOver: _, ...list }) => list)
})

/** The id of a waiter with such a name. */
export const waiterIdOf = (name: string, prefix = ""): string =>
  prefix + name.replaceAll(/[^\w+/]/g, "").padEnd(serviceIdLength, "0").slice(-serviceIdLength)

/** What the waiter stands in line with. */
export const entryOf = (name: string, options: Partial<LineEntry> = {}): LineEntry => ({
  value: waiterIdOf(name).padEnd(28, "1"),
  mode: "exclusive",
  weight: 1,
  fenced: false,
  ...options
})
