/**
 * Making a service from the options of a layer.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { RedisOptions } from "ioredis"
import * as IoredisNode from "../IoredisNode.ts"
import type { LockNode } from "../LockNode.ts"
import type { LayerOptions, NodeInput } from "../Redsync.ts"
import { checkQuorum, leastUptimeMillis, majority, resolve, type Settings, wrong } from "./options.ts"
import { Service } from "./service.ts"
import { addressOf, maskPassword, parseRedisUrl } from "./url.ts"

/** The settings that are the defaults of a service, or what is wrong with its options. */
export const resolveLayer = (options: LayerOptions, defaultRetry: Settings["retry"]): Settings | string =>
  checkNodes(options.nodes) ?? checkQuorum(options.quorum, options.nodes.length) ?? checkDelayedRestart(options) ??
    checkReplicas(options) ?? resolve(options, defaultRetry)

const checkDelayedRestart = ({ delayedRestart, nodes }: LayerOptions): string | undefined => {
  if (delayedRestart === undefined) return undefined
  const least = leastUptimeMillis(delayedRestart)
  if (Predicate.isString(least)) return least
  const unable = nodes.find((node) => isLockNode(node) && node.delayedRestart === undefined) as LockNode | undefined
  return unable && wrong("delayedRestart", delayedRestart, `the node ${unable.id} cannot tell when it was restarted`)
}

const checkReplicas = ({ nodes, replicas }: LayerOptions): string | undefined => {
  if (replicas === undefined) return undefined
  if (!Number.isInteger(replicas) || replicas < 0) {
    return wrong("replicas", replicas, "it must be a whole number of at least 0")
  }
  const unable = nodes.find((node) => isLockNode(node) && node.replicas === undefined) as LockNode | undefined
  return replicas === 0 ? undefined : unable && wrong("replicas", replicas, `the node ${unable.id} cannot wait for any`)
}

const checkNodes = (nodes: ReadonlyArray<NodeInput>): string | undefined => {
  if (!Array.isArray(nodes) || nodes.length === 0) {
    return wrong(
      "nodes",
      Predicate.isString(nodes) ? maskPassword(nodes) : nodes,
      "it must be an array of at least one node"
    )
  }
  const ids = nodes.map(idOf)
  const wrongOne = ids.find(Result.isFailure)
  if (wrongOne !== undefined) return wrongOne.failure
  const names = ids.map(Result.getOrThrow)
  const twice = names.find((id, index) => names.indexOf(id) !== index)
  return twice === undefined ? undefined : `effect-redsync: the option nodes has ${twice} twice; each counts once.`
}

/** What a node will be called, or what is wrong with it. */
const idOf = (node: unknown): Result.Result<string, string> => {
  if (Predicate.isString(node)) return Result.map(parseRedisUrl(node), addressOf)
  if (isLockNode(node)) return Result.succeed(node.id)
  if (IoredisNode.isClient(node)) return Result.succeed(IoredisNode.fromClient(node).id)
  const isPlain = Predicate.isObject(node) && [Object.prototype, null].includes(Object.getPrototypeOf(node))
  return isPlain
    ? Result.succeed(addressOf(node as RedisOptions))
    : Result.fail(wrong("nodes", [node], "each must be a URL, ioredis options, an ioredis client or a LockNode"))
}

/** Opens the nodes, and a service over them for as long as the scope is open. */
export const makeService = Effect.fnUntraced(function*(options: LayerOptions, settings: Settings) {
  const opened = yield* Effect.forEach(options.nodes, toNode)
  const leastUptime = options.delayedRestart === undefined ? 0 : leastUptimeMillis(options.delayedRestart) as number
  const { replicas = 0 } = options
  const nodes = opened
    .map((node) => leastUptime > 0 ? node.delayedRestart!(leastUptime) : node)
    .map((node) => replicas > 0 ? node.replicas!(replicas, settings.nodeTimeoutMillis / 3) : node)
  const quorum = options.quorum ?? majority(nodes.length)
  const service = new Service(nodes, quorum, options, settings, yield* Effect.context<never>())
  yield* Effect.addFinalizer(() => service.close)
  yield* service.rooms.open(service.randomValue())
  yield* service.ready
  return service
})

const toNode = (input: NodeInput): Effect.Effect<LockNode, never, Scope.Scope> =>
  isLockNode(input)
    ? Effect.succeed(input)
    : IoredisNode.isClient(input)
    ? Effect.succeed(IoredisNode.fromClient(input))
    : IoredisNode.make(input)

const isLockNode = (u: unknown): u is LockNode => Predicate.hasProperty(u, "acquire") && Predicate.isFunction(u.acquire)
