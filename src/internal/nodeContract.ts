/**
 * What all nodes have to agree on beyond the types of `LockNode`.
 */
import * as Option from "effect/Option"
import { NodeError } from "../LockError.ts"
import type { KeyState } from "../LockNode.ts"
import { masked, quoted } from "./base/text.ts"

/** Whether a lock of that name could be mistaken for a key of ours. */
export const isReserved = (name: string): boolean => /^redsync:\d+:/.test(name)

/** A key that is never there, to ask whether a node answers. */
export const healthKey = "redsync:1:health"

/** How long a fencing counter lives after it was last written. */
export const counterMillis = 3_600_000

/** Strings of more bytes are no locks' values, and are not fetched. */
export const longestValue = 256

/** Whether a number can be a fencing token. */
export const isToken = (number: number): boolean => Number.isSafeInteger(number) && number > 0 && number <= largest

/** A reply that means nothing is a failed vote, and says what came. */
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
  if (Array.isArray(reply)) return `an array of ${reply.length}`
  return typeof reply === "object" && reply !== null ? "an object" : String(reply)
}

const unsent = new WeakSet<NodeError>()

/** Marks the failure of a request that was never sent, so that nothing comes of it. */
export const markUnsent = (error: NodeError): NodeError => {
  unsent.add(error)
  return error
}

export const isUnsent = (error: NodeError): boolean => unsent.has(error)

/** Why a server that has been up for the given time abstains until it has been up for longer; `None` if it does not. */
export const abstentionReason = (upMillis: number, minUptimeMillis: number): Option.Option<string> => {
  const seconds = (millis: number) => `${Math.ceil(millis / 1000)} s`
  return upMillis >= minUptimeMillis
    ? Option.none()
    : Option.some(`restarted ${seconds(upMillis)} ago, waits ${seconds(minUptimeMillis - upMillis)} more`)
}

/** What a key is instead of a lock, if it is none. */
export const notALockReason = ({ bytes, ttlMillis, type = "string" }: KeyState): string | undefined => {
  if (type !== "string") return `a ${type}`
  if (bytes !== undefined) return `a string of ${bytes} bytes`
  return ttlMillis === Number.POSITIVE_INFINITY ? "a string without expiry" : undefined
}

/**
 * The largest number in a reply: a little less than what both sides could keep exact,
 * since clients put a number together digit by digit and lose the last ones before.
 */
export const largest = 9_007_199_254_740_900
