/**
 * Making a service from the options of a layer.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { RedisOptions } from "ioredis"
import * as IoredisNode from "../../IoredisNode.ts"
import type { LockNode } from "../../LockNode.ts"
import type { LockOptions } from "../../LockOptions.ts"
import { given, invalidOption, isWhole } from "../base/arguments.ts"
import { untrusted } from "../base/text.ts"
import {
  checkPrefix,
  checkQuorum,
  layerOptions,
  type LockSettings,
  majority,
  minUptimeMillis,
  resolveSettings
} from "../claim/settings.ts"
import { checkLockNode, checkTarget, isLockNode } from "../ioredis/nodeOptions.ts"
import { maskPassword, nodeAddress } from "../ioredis/url.ts"
import { LockService } from "./service.ts"

/** The options of a layer, as they were checked. */
export interface Checked {
  readonly options: LockOptions
  readonly settings: LockSettings
  readonly nodes: ReadonlyArray<CheckedNode>
  readonly prefix: string
  readonly quorum: number
  readonly minUptimeMillis: number
  readonly replicas: number
}

interface CheckedNode {
  /** What it will be called. */
  readonly id: string
  readonly input: RedisOptions | LockNode
}

/** The options, each looked at once, or what is wrong with them. */
export const checkLayer = (input: unknown, defaultRetry: LockSettings["retry"]): Checked | string => {
  const read = given(input, layerOptions)
  if (Predicate.isString(read)) return read
  const { delayedRestart, nodes: inputs, prefix = "", quorum, replicas = 0, ...options } = read
  const nodes = checkNodes(inputs)
  if (Predicate.isString(nodes)) return nodes
  const leastUptime = checkDelayedRestart(delayedRestart, nodes)
  if (Predicate.isString(leastUptime)) return leastUptime
  const problem = checkQuorum(quorum, nodes.length) ?? checkReplicas(replicas, nodes) ?? checkPrefix(prefix)
  if (problem !== undefined) return problem
  const settings = resolveSettings(options, defaultRetry)
  return Predicate.isString(settings) ? settings : {
    options: options as LockOptions,
    settings,
    nodes,
    prefix: prefix as string,
    quorum: quorum as number | undefined ?? majority(nodes.length),
    minUptimeMillis: leastUptime,
    replicas: replicas as number
  }
}

const checkDelayedRestart = (delay: unknown, nodes: ReadonlyArray<CheckedNode>): number | string => {
  if (delay === undefined) return 0
  const least = minUptimeMillis(delay)
  if (Predicate.isString(least)) return least
  const unable = nodes.find(({ input }) => isLockNode(input) && !Predicate.isFunction(input.delayedRestart))
  return unable === undefined
    ? least
    : invalidOption("delayedRestart", delay, `the node ${untrusted(unable.id)} cannot tell when it was restarted`)
}

const mostReplicas = 100

const checkReplicas = (replicas: unknown, nodes: ReadonlyArray<CheckedNode>): string | undefined => {
  if (!isWhole(replicas) || replicas < 0 || replicas > mostReplicas) {
    return invalidOption("replicas", replicas, `it must be a whole number of at least 0 and at most ${mostReplicas}`)
  }
  const unable = nodes.find(({ input }) => isLockNode(input) && !Predicate.isFunction(input.replicas))
  return replicas === 0 || unable === undefined
    ? undefined
    : invalidOption("replicas", replicas, `the node ${untrusted(unable.id)} cannot wait for any`)
}

const checkNodes = (inputs: unknown): ReadonlyArray<CheckedNode> | string => {
  try {
    if (!Array.isArray(inputs) || inputs.length === 0) {
      const shown = Predicate.isString(inputs) ? maskPassword(inputs) : inputs
      return invalidOption("nodes", shown, "it must be an array of at least one node")
    }
    const nodes = Array.from(inputs, checkNode)
    const wrongOne = nodes.find(Predicate.isString)
    if (wrongOne !== undefined) return wrongOne
    const ids = (nodes as ReadonlyArray<CheckedNode>).map(({ id }) => id)
    const twice = ids.find((id, index) => ids.indexOf(id) !== index)
    return twice === undefined
      ? nodes as ReadonlyArray<CheckedNode>
      : `effect-redsync: the option nodes has ${untrusted(twice)} twice; each counts once.`
  } catch {
    return invalidOption("nodes", inputs, "it must be an array of nodes that can be read")
  }
}

const checkNode = (node: unknown): CheckedNode | string => {
  if (isLockNode(node)) return checkLockNode(node) ?? { id: node.id, input: node }
  if (IoredisNode.isClient(node)) return checkNode(IoredisNode.fromClient(node))
  const input = checkTarget(node)
  return Predicate.isString(input) ? input : { id: nodeAddress(input), input }
}

/** Opens the nodes, and a service over them for as long as the scope is open. */
export const makeService = Effect.fnUntraced(function*(checked: Checked) {
  const { minUptimeMillis, options, quorum, replicas, settings } = checked
  const opened = yield* Effect.forEach(
    checked.nodes,
    ({ input }) => isLockNode(input) ? Effect.succeed(input) : IoredisNode.make(input)
  )
  const nodes = opened
    .map((node) => minUptimeMillis > 0 ? node.delayedRestart!(minUptimeMillis) : node)
    .map((node) => replicas > 0 ? node.replicas!(replicas, settings.nodeTimeoutMillis / 3) : node)
  const service = new LockService(nodes, quorum, checked.prefix, options, settings, yield* Effect.context<never>())
  yield* Effect.addFinalizer(() => service.close)
  yield* service.rooms.open(service.prefix + service.id)
  yield* service.ready
  return service
})
