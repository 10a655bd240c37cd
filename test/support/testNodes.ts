/**
 * The nodes of the test kit as our own tests use them: without the layer, in more
 * states, and several views of one server.
 */
import { Effect } from "effect"
import { type LockNode, MemoryNode } from "../../src/index.ts"
import * as ControlledNode from "../../src/internal/testing/controlledNode.ts"

export type { Call, ControlledNode as TestNode, State } from "../../src/internal/testing/controlledNode.ts"

export type Options = Omit<ControlledNode.Options, "memory">

/** A node over a server of its own; it has no waiting lists unless it is given notices. */
export const make = (id: string, options: Options = {}): Effect.Effect<ControlledNode.ControlledNode> =>
  ControlledNode.make({ memory: () => MemoryNode.make(id), notices: "absent", ...options })

/** With the ids `node-1`, `node-2` … */
export const makeMany = (count: number, options: Options = {}): Effect.Effect<Array<ControlledNode.ControlledNode>> =>
  Effect.forEach(Array.from({ length: count }), (_, index) => make(`node-${index + 1}`, options))

/** A node as one service sees it. Several views of one node contend. */
export const view = (node: LockNode, options: Options = {}): Effect.Effect<ControlledNode.ControlledNode> =>
  ControlledNode.make({ memory: () => node, ...options })

/** Views of several nodes, each at its own distance where distances are given. */
export const views = (
  nodes: ReadonlyArray<LockNode>,
  { distances, ...options }: Options & { readonly distances?: ReadonlyArray<number> } = {}
): Effect.Effect<Array<ControlledNode.ControlledNode>> =>
  Effect.forEach(
    nodes,
    (node, index) => view(node, distances === undefined ? options : { ...options, distanceMillis: distances[index]! })
  )

/** The operations that a node was asked for. */
export const operations = ({ calls }: ControlledNode.ControlledNode): Array<string> =>
  calls.map(({ operation }) => operation)

/** What a node was asked of one operation. */
export const callsOf = (node: ControlledNode.ControlledNode, operation: string): Array<ControlledNode.Call> =>
  node.calls.filter((call) => call.operation === operation)
