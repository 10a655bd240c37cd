/**
 * What all nodes must agree on beyond the types of `LockNode`.
 */
import * as Option from "effect/Option"
import { NodeError } from "../LockError.ts"
import type { KeyState, LineEntry, LockNode } from "../LockNode.ts"
import { handled, passes, showValue } from "./base/arguments.ts"
import { masked, quoted } from "./base/text.ts"

/** Whether the key of a lock would have the form of the library's own keys. */
export const isReserved = (name: string): boolean => /^redsync:\d+:/.test(name)

/** The number of characters that all values of a service have in common, at their beginning. */
export const serviceIdLength = 12

/** The waiter that a value belongs to, given the id of another waiter with the same prefix. */
export const waiterOf = (value: string, waiterId: string): string =>
  waiterId.slice(0, -serviceIdLength) + value.slice(0, serviceIdLength)

/** An entry of a waiting list as text: mode, weight, `f` if fenced, and the value. */
export const entryText = ({ fenced, value, weight }: LineEntry): string => `x${weight}${fenced ? "f" : ""}:${value}`

/** The entry that a text stands for, if it is the text of one. */
export const entryOf = (text: string): LineEntry | undefined => {
  const [, weight, fenced, value] = /^x(\d{1,6})(f?):([\w+/]{13,64})$/.exec(text) ?? []
  return value === undefined
    ? undefined
    : { value, mode: "exclusive", weight: Number(weight), fenced: fenced === "f" }
}

/** The value of a key while readers hold the lock. No lock has it as its own. */
export const sharedMarker = "redsync:shared"

/** A key that never exists, read to check that a node replies. */
export const healthKey = "redsync:1:health"

/** How long a fencing counter lives after it was last written. */
export const fencingCounterTtlMillis = 3_600_000

/** A longer string cannot be the value of a lock, and is not fetched. */
export const longestValue = 256

/** Whether a number can be a fencing token. */
export const isToken = (number: number): boolean => Number.isSafeInteger(number) && number > 0 && number <= largest

/** The largest limit of a semaphore. */
export const mostSlots = 10_000

/** The largest number of permits of one holder. */
export const mostPermits = 1000

/** The round of slots that have been extended, and which no settlement changes any more. */
export const extendedRound = 9

/** One of the servers of a node that is several, such as a cluster. */
export class NodeServer {
  readonly node: LockNode
  readonly id: string

  constructor(node: LockNode, server: string) {
    this.node = node
    this.id = `${node.id} (${server})`
  }
}

/** The most servers of a node that are told apart, which bounds memory. */
const mostServers = 1000

/** What answers for a key: the node or, if that is several servers, the one that has the key. */
export const partOf = (node: LockNode, key: string): LockNode | NodeServer => {
  const server = node.serverOf === undefined ? undefined : serverOf(node, key)
  if (server === undefined) return node
  let servers = serversOf.get(node)
  if (servers === undefined) serversOf.set(node, servers = new Map())
  let part = servers.get(server)
  if (part === undefined && servers.size >= mostServers) return node
  if (part === undefined) servers.set(server, part = new NodeServer(node, server))
  return part
}

export const nodeOf = (part: LockNode | NodeServer): LockNode => part instanceof NodeServer ? part.node : part

/** Each server is always represented by the same object. */
const serversOf = new WeakMap<LockNode, Map<string, NodeServer>>()

/** A custom node may throw, or answer with anything. */
const serverOf = (node: LockNode, key: string): string | undefined => {
  try {
    const server: unknown = handled(node.serverOf!(key))
    return typeof server === "string" ? server : undefined
  } catch {
    return undefined
  }
}

/** The id that the server of a node has given itself for this run, once it is known. */
export const runIds = new WeakMap<LockNode, () => string | undefined>()

/** The error of an unexpected reply, which counts as a failed vote. */
export const unexpected = (
  node: string,
  operation: NodeError["operation"],
  reply: unknown,
  secrets: ReadonlyArray<string> = []
): NodeError => {
  const cause = new Error(masked(`unexpected reply ${shown(reply)}`, secrets, node))
  return new NodeError({ node, operation, reason: "Rejected", cause })
}

const shown = (reply: unknown): string => {
  if (typeof reply === "string") return quoted(reply, 100)
  return passes(() => Array.isArray(reply))
    ? `an array of ${(reply as ReadonlyArray<unknown>).length}`
    : showValue(reply)
}

const unsent = new WeakSet<NodeError>()

/** Marks the failure of a request that was never sent, and therefore never takes effect. */
export const markUnsent = (error: NodeError): NodeError => {
  unsent.add(error)
  return error
}

export const isUnsent = (error: NodeError): boolean => unsent.has(error)

/** Why a server that has been up for the given time abstains until it has been up for longer; `None` if it does not. */
export const abstentionReason = (upMillis: number, minUptimeMillis: number): Option.Option<string> => {
  return upMillis >= minUptimeMillis
    ? Option.none()
    : Option.some(`up for only ${Math.floor(upMillis / 1000)} s, votes after ${Math.ceil(minUptimeMillis / 1000)} s`)
}

/** What a key holds instead of a lock, if it is not a lock. */
export const notALockReason = ({ bytes, ttlMillis, type = "string" }: KeyState): string | undefined => {
  if (type !== "string") return `a ${type}`
  if (bytes !== undefined) return `a string of ${bytes} bytes`
  return ttlMillis === Number.POSITIVE_INFINITY ? "a string without expiry" : undefined
}

/**
 * The largest number accepted in a reply, slightly below the largest safe integer:
 * clients parse numbers digit by digit and lose precision just before it.
 */
export const largest = 9_007_199_254_740_900
