/**
 * What the servers' replies mean, whichever client carries them.
 */
import * as Option from "effect/Option"
import { NodeError } from "../LockError.ts"
import type { KeyState } from "../LockNode.ts"
import { masked, untrusted } from "./text.ts"

/** A script or `DEL` that did it. */
export const isOne = (reply: unknown): boolean => Number(reply) === 1

/** A `SET NX` that did it. */
export const isOk = (reply: unknown): boolean => reply === "OK"

/** What the inspect script answers: type, value and time to live of the key. */
export const keyState = (reply: unknown): Option.Option<KeyState> => {
  const [type, value, ttl] = reply as [string, string, unknown]
  // Some clients are set up to give numbers as strings.
  const ttlMillis = Number(ttl)
  return type === "none" ? Option.none() : Option.some({ type, value, ttlMillis: ttlMillis < 0 ? Infinity : ttlMillis })
}

/** The answer of a script that counts up: none for 0. */
export const tokenOf = (reply: unknown): Option.Option<number> => {
  // Some clients are set up to give numbers as strings.
  const token = Number(reply)
  return token === 0 ? Option.none() : Option.some(token)
}

/** Why a server that has been up for so long abstains until it has been up for longer, if it does. */
export const abstention = (upMillis: number, leastUptimeMillis: number): Option.Option<string> => {
  const seconds = (millis: number) => `${Math.ceil(millis / 1000)} s`
  return upMillis >= leastUptimeMillis
    ? Option.none()
    : Option.some(`restarted ${seconds(upMillis)} ago, waits ${seconds(leastUptimeMillis - upMillis)} more`)
}

/** The first message in a chain of causes. */
const words = (error: unknown): string =>
  error instanceof Error ? error.message || words(error.cause) : typeof error === "string" ? error : "no reason given"

/**
 * The error of a client as that of a node. Of the client's error only the words
 * are kept: clients put the command with its arguments, such as a password, on it.
 * They are from outside, and may repeat one of the secrets.
 */
export const nodeError = (
  node: string,
  operation: NodeError["operation"],
  error: unknown,
  secrets: ReadonlyArray<string> = []
): NodeError => {
  // A server that does not know a command repeats its arguments, such as a password.
  const message = words(error).replace(/, with args beginning with.*$/s, "")
    // What OpenSSL says stands between an address of its own and the line of its source.
    .replace(/^.*:SSL routines:[^:]*:([^:]*):.*$/s, "TLS: $1")
  const abstains = /^ABSTAINS (\d+) (\d+)$/.exec(message)
  if (abstains !== null) {
    const why = Option.getOrThrow(abstention(Number(abstains[1]), Number(abstains[2])))
    return new NodeError({ node, operation, reason: "Abstained", cause: why })
  }
  // Servers' errors begin with a code in capitals, such as READONLY or NOAUTH; all else comes from the connection.
  const reason = /^[A-Z]{3,} /.test(message) ? "Rejected" : "Disconnected"
  return new NodeError({ node, operation, reason, cause: new Error(untrusted(masked(message, secrets, node))) })
}

/** What a key is instead of a lock, if it is none. */
export const notALockReason = ({ ttlMillis, type = "string" }: KeyState): string | undefined =>
  type !== "string" ? `a ${type}` : ttlMillis === Number.POSITIVE_INFINITY ? "a string without expiry" : undefined
