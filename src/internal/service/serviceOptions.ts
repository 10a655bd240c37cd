/**
 * Makes a service from its options.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { LockNode } from "../../LockNode.ts"
import type { LockOptions } from "../../LockOptions.ts"
import { dieWithIllegalArgument, given, invalidOption, isWhole } from "../base/arguments.ts"
import { untrusted } from "../base/text.ts"
import {
  checkPrefix,
  checkQuorum,
  type LockSettings,
  majority,
  minUptimeMillis,
  resolveSettings,
  serviceOptions
} from "../claim/settings.ts"
import { checkLockNodes, checkNodes, type NodeSource, openNodes, type UrlNodes } from "./nodes.ts"
import { LockService } from "./service.ts"

/** The validated options of a service. */
export interface CheckedOptions {
  readonly options: LockOptions
  readonly settings: LockSettings
  readonly nodes: ReadonlyArray<NodeSource>
  readonly prefix: string
  readonly quorum: number
  /** As given, for errors; `minUptimeMillis` is its value. */
  readonly delayedRestart: unknown
  readonly minUptimeMillis: number
  readonly replicas: number
}

/** The options, each read once, or why they are invalid. */
export const checkOptions = (
  input: unknown,
  defaultRetry: LockSettings["retry"],
  urlNodes: UrlNodes
): CheckedOptions | string => {
  const read = given(input, serviceOptions)
  if (Predicate.isString(read)) return read
  const { delayedRestart, nodes: inputs, prefix = "", quorum, replicas = 0, ...options } = read
  const nodes = checkNodes(inputs, urlNodes)
  if (Predicate.isString(nodes)) return nodes
  const leastUptime = delayedRestart === undefined ? 0 : minUptimeMillis(delayedRestart)
  if (Predicate.isString(leastUptime)) return leastUptime
  const problem = checkQuorum(quorum, nodes.length) ?? checkReplicas(replicas) ?? checkPrefix(prefix)
  if (problem !== undefined) return problem
  const settings = resolveSettings(options, defaultRetry)
  if (Predicate.isString(settings)) return settings
  const checked = {
    options: options as LockOptions,
    settings,
    nodes,
    prefix: prefix as string,
    quorum: quorum as number | undefined ?? majority(nodes.length),
    delayedRestart,
    minUptimeMillis: leastUptime,
    replicas: replicas as number
  }
  return checkAbilities(checked, nodes.flatMap(({ node }) => node ?? [])) ?? checked
}

const mostReplicas = 100

const checkReplicas = (replicas: unknown): string | undefined =>
  isWhole(replicas) && replicas >= 0 && replicas <= mostReplicas
    ? undefined
    : invalidOption("replicas", replicas, `it must be a whole number of at least 0 and at most ${mostReplicas}`)

/** What the options require that a node cannot do, if anything. */
const checkAbilities = (
  { delayedRestart, minUptimeMillis, replicas }: CheckedOptions,
  nodes: ReadonlyArray<LockNode>
): string | undefined => {
  const without = (ability: "delayedRestart" | "replicas") =>
    nodes.find((node) => !Predicate.isFunction(node[ability]))?.id
  const untimed = minUptimeMillis > 0 ? without("delayedRestart") : undefined
  if (untimed !== undefined) {
    return invalidOption(
      "delayedRestart",
      delayedRestart,
      `the node ${untrusted(untimed)} cannot tell when it was restarted`
    )
  }
  const alone = replicas > 0 ? without("replicas") : undefined
  return alone === undefined
    ? undefined
    : invalidOption("replicas", replicas, `the node ${untrusted(alone)} cannot wait for replicas`)
}

/** Opens the nodes, and a service over them for as long as the scope is open. */
export const makeService = Effect.fnUntraced(function*(checked: CheckedOptions) {
  const { minUptimeMillis, options, prefix, quorum, replicas, settings } = checked
  const opened = yield* openNodes(checked.nodes)
  if (Predicate.isString(opened)) return yield* dieWithIllegalArgument(opened)
  const unable = checkAbilities(checked, opened)
  if (unable !== undefined) return yield* dieWithIllegalArgument(unable)
  const nodes = opened
    .map((node) => minUptimeMillis > 0 ? node.delayedRestart!(minUptimeMillis) : node)
    .map((node) => replicas > 0 ? node.replicas!(replicas, settings.nodeTimeoutMillis / 3) : node)
  const problem = checkLockNodes(nodes, "its delayedRestart and replicas must return a LockNode")
  if (problem !== undefined) return yield* dieWithIllegalArgument(problem)
  const service = LockService.make(nodes, quorum, prefix, options, settings, yield* Effect.context<never>())
  yield* Effect.addFinalizer(() => service.close)
  yield* service.waitQueues.open(prefix + service.values.serviceId)
  yield* service.ready
  return service
})
