/**
 * Checks what was given as the nodes of a service, and opens the nodes.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { LockNode } from "../../LockNode.ts"
import { handled, invalidOption } from "../base/arguments.ts"
import { untrusted } from "../base/text.ts"

/** The source of a node. */
export interface NodeSource {
  /** Its id, unless that is known only once it is open. */
  readonly id: string | undefined
  /** The node itself, if it is already open. */
  readonly node: LockNode | undefined
  readonly open: Effect.Effect<LockNode, unknown, unknown>
}

/** How URLs become nodes, whichever client is used for it. */
export interface UrlNodes {
  /** Text with several URLs. */
  readonly split: (text: string) => ReadonlyArray<string>
  /**
   * A node, or why the URL is invalid. `option` names the option that has the URL, `shown` is what
   * to show instead of a secret URL.
   */
  readonly node: (url: string, option: string, shown?: string) => UrlNode | string
}

export interface UrlNode {
  readonly id: string
  readonly open: Effect.Effect<LockNode, never, Scope.Scope>
}

/** The nodes as given, each read once, or why they are invalid. */
export const checkNodes = (inputs: unknown, urlNodes: UrlNodes): ReadonlyArray<NodeSource> | string => {
  try {
    if (Predicate.isString(inputs)) return "effect-redsync: the option nodes is a string; it must be an array of nodes."
    if (!Array.isArray(inputs) || inputs.length === 0) {
      return invalidOption("nodes", inputs, "it must be an array of at least one node")
    }
    const sources = Array.from(inputs, (input, index) => {
      const option = `nodes, entry ${index + 1},`
      return ifReadable(option, input, () => checkNode(input, option, urlNodes))
    })
    const problem = sources.find(Predicate.isString)
    return problem ?? checkIds(sources as ReadonlyArray<NodeSource>) ?? sources as ReadonlyArray<NodeSource>
  } catch {
    return invalidOption("nodes", inputs, "it must be an array of nodes that can be read")
  }
}

/** The result of a check, or a sentence if the getters or traps of what is checked throw. */
const ifReadable = <A>(option: string, input: unknown, check: () => A): A | string => {
  try {
    return check()
  } catch {
    return invalidOption(option, input, "it must be a node that can be read")
  }
}

const checkNode = (input: unknown, option: string, urlNodes: UrlNodes): NodeSource | string => {
  const isRedacted = Redacted.isRedacted(input)
  const url = isRedacted ? Redacted.value(input) : input
  if (Predicate.isString(url)) {
    const node = urlNodes.node(url, option, isRedacted ? "<redacted>" : undefined)
    return Predicate.isString(node) ? node : { ...node, node: undefined }
  }
  if (isLockNode(input)) {
    return checkLockNode(input, option) ?? { id: input.id, node: input, open: Effect.succeed(input) }
  }
  if (Effect.isEffect(input)) return { id: undefined, node: undefined, open: input as NodeSource["open"] }
  return invalidOption(
    option,
    input,
    "it must be a URL, a LockNode or an effect that opens one; options and clients of ioredis go through " +
      "IoredisNode.make and IoredisNode.fromClient"
  )
}

const isLockNode = (u: unknown): u is LockNode => Predicate.hasProperty(u, "acquire") && Predicate.isFunction(u.acquire)

/** Opens the nodes, each for as long as the scope is open. Succeeds with them, or with why one is invalid. */
export const openNodes = (
  sources: ReadonlyArray<NodeSource>
): Effect.Effect<ReadonlyArray<LockNode> | string, unknown, unknown> =>
  Effect.map(
    Effect.forEach(sources, ({ open }) => open, { concurrency: "unbounded" }),
    (opened) => checkLockNodes(opened, "the effect must open a LockNode") ?? checkIds(opened) ?? opened
  )

/** Why one of the nodes is invalid, if any is; `otherwise` is the reason given for what is not a node at all. */
export const checkLockNodes = (nodes: ReadonlyArray<unknown>, otherwise: string): string | undefined =>
  nodes
    .map((node, index) => {
      const option = `nodes, entry ${index + 1},`
      return ifReadable(option, node, () =>
        isLockNode(node) ? checkLockNode(node, option) : invalidOption(option, handled(node), otherwise))
    })
    .find(Predicate.isString)

const checkIds = (nodes: ReadonlyArray<{ readonly id: string | undefined }>): string | undefined => {
  const ids = nodes.map(({ id }) => id).filter(Predicate.isString)
  const twice = ids.find((id, index) => ids.indexOf(id) !== index)
  return twice === undefined
    ? undefined
    : `effect-redsync: the option nodes has ${untrusted(twice)} twice; it must be given only once.`
}

/** Why a possibly custom node is invalid, if it is. */
const checkLockNode = (node: LockNode, option: string): string | undefined => {
  const { id } = node
  if (!Predicate.isString(id) || id === "") {
    return invalidOption(option, node, "the id of a LockNode must be a non-empty string")
  }
  const missing = operations.find((name) => !Predicate.isFunction(node[name]))
  if (missing !== undefined) {
    return invalidOption(option, node, `the LockNode ${untrusted(id)} must have a function ${missing}`)
  }
  for (const [name, [allowed, isAllowed]] of Object.entries(optional)) {
    const trait = node[name as keyof LockNode]
    if (trait !== undefined && !isAllowed(trait)) {
      return invalidOption(option, node, `${name} of the LockNode ${untrusted(id)} must be ${allowed}`)
    }
  }
  const { fencing } = node
  return fencing === undefined || (Predicate.isFunction(fencing?.acquire) && Predicate.isFunction(fencing.raise))
    ? undefined
    : invalidOption(
      option,
      node,
      `the fencing of the LockNode ${untrusted(id)} must have the functions acquire and raise`
    )
}

const operations = ["acquire", "extend", "release", "inspect", "remove"] as const

type Rule = readonly [allowed: string, isAllowed: (u: unknown) => boolean]

const aFunction: Rule = ["a function", Predicate.isFunction]
const anEffect: Rule = ["an effect", Effect.isEffect]

const permitOperations = ["acquire", "settle", "extend", "release", "raise", "inspect", "remove"] as const

const aPermitStore: Rule = [
  `an object with the functions ${permitOperations.join(", ")}`,
  (u) => Predicate.isObject(u) && permitOperations.every((name) => Predicate.isFunction(u[name]))
]

const sharedOperations = [
  "acquire",
  "extend",
  "release",
  "downgrade",
  "inspect",
  "yieldToReaders",
  "announce"
] as const

const sharedHolds: Rule = [
  `an object with the functions ${sharedOperations.join(", ")}`,
  (u) => Predicate.isObject(u) && sharedOperations.every((name) => Predicate.isFunction(u[name]))
]

const optional: Partial<Record<keyof LockNode, Rule>> = {
  replace: aFunction,
  resends: ["true or false", Predicate.isBoolean],
  ready: anEffect,
  reconnect: anEffect,
  mayOvertake: aFunction,
  serverOf: aFunction,
  delayedRestart: aFunction,
  abstention: aFunction,
  replicas: aFunction,
  waitingList: aFunction,
  permits: aPermitStore,
  shared: sharedHolds
}
