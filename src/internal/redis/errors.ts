/**
 * Turns the errors of servers and clients into those of a node.
 */
import * as Option from "effect/Option"
import { NodeError } from "../../LockError.ts"
import { masked, quoted, untrusted } from "../base/text.ts"
import { abstentionReason, isReserved } from "../nodeContract.ts"
import type { Arguments } from "./client.ts"
import { readHeld } from "./scripts.ts"

/** The first message in a chain of causes, which may be long or circular. */
export const messageOf = (error: unknown, depth: number = 0): string => {
  if (typeof error === "string") return error
  if (!(error instanceof Error) || depth === 10) return "no reason given"
  if (typeof error.message === "string" && error.message !== "") return error.message
  // For a host with several addresses there is one error for each.
  return messageOf(error instanceof AggregateError ? error.errors[0] : error.cause, depth + 1)
}

/** Whether an error, or what caused it, is of a class with such a name, whichever client it comes from. */
const isA = (name: RegExp, error: unknown, depth: number = 0): boolean =>
  error instanceof Error && depth < 10 && (name.test(error.constructor?.name) || isA(name, error.cause, depth + 1))

/** The error replies of servers. */
const reply = /^(ReplyError|ErrorReply|SimpleError|BlobError)$/

/** A client, or its pool of connections, has given up waiting. */
const timeout = /^(TimeoutError|CommandTimeoutDuringMaintenanceError)$/

/** What a server says about a command in a script, without the place in the script: Redis 6.2 puts it in front, later ones at the end. */
export const withoutPlace = (message: string): string =>
  message.replace(/^ERR Error running script \(call to \w+\): (?:@user_script: ?\d+: )+-?/, "")
    .replace(/ script: (\w+, )?on @.*$/s, "")

/**
 * Turns the error of a client into that of a node. Only the message of the client's error is kept,
 * since clients attach the command with its arguments, such as a password. The message is untrusted
 * input, and may repeat one of the secrets.
 */
export const toNodeError = (
  node: string,
  operation: NodeError["operation"],
  error: unknown,
  secrets: ReadonlyArray<string> = []
): NodeError => {
  // A server that does not know a command repeats its arguments, such as a password.
  const message = withoutPlace(messageOf(error))
    // What the client of a cluster says if servers kept giving this answer, or if there is no connection to one.
    .replace(/^Too many Cluster redirections\. Last error: (?:Reply)?Error: /, "")
    .replace(/, with args beginning with.*$/s, "")
    // OpenSSL puts its message between an address of its own and the line of its source.
    .replace(/^.*:SSL routines:[^:]*:([^:]*):.*$/s, "TLS: $1")
  const [, up = 0, least = 0] = /^ABSTAINS (\d{1,15}) (\d{1,15})$/.exec(message) ?? []
  const abstains = abstentionReason(Number(up), Number(least))
  if (Option.isSome(abstains)) return new NodeError({ node, operation, reason: "Abstained", cause: abstains.value })
  // Servers' errors begin with a code in capitals, such as READONLY or NOAUTH; all others come from the client.
  const reason = isA(reply, error) || /^[A-Z]{3,} /.test(message)
    ? "Rejected"
    : isA(timeout, error) || message === "Command timed out"
    ? "Timeout"
    : "Disconnected"
  return new NodeError({ node, operation, reason, cause: new Error(untrusted(masked(message, secrets, node))) })
}

/** What an error says of a key of our own that was modified by hand. */
export const notWhatItShouldHold = "does not hold what it should"

/**
 * The error of a script, naming what the server does not name: the command that the
 * user may not run, or the keys of which one was modified by hand.
 */
export const scriptError = (lua: string, keys: Arguments, error: unknown): unknown => {
  const message = messageOf(error)
  const isUnknown = /Unknown (?:\w+ )?command called from/.test(message)
  if (isUnknown || message.includes("The user executing the script can't run this command")) {
    const command = commandIn(lua, message)
    if (command === undefined) return error
    const what = isUnknown
      ? `ERR unknown command '${command}'`
      : `NOPERM this user has no permissions to run the '${command}' command`
    return new Error(`${what} in a script`, { cause: error })
  }
  const words = withoutPlace(message).replace(/^(ERR )?user_script:\d+: /, "")
  if (!/^WRONGTYPE |^attempt to |^bad argument #|command arguments must be/.test(words)) return error
  const own = keys.map(String).filter(isReserved)
  return own.length === 0
    ? error
    : new Error(`ERR the key ${own.map((key) => quoted(key)).join(" or ")} ${notWhatItShouldHold}: ${words}`, {
      cause: error
    })
}

/**
 * Up to Redis 7.0, servers name the line in the script instead of the command; Redis 7.0 does not
 * even name the line if the command runs under `pcall`.
 */
const commandIn = (lua: string, message: string): string | undefined => {
  const line = /@user_script: ?(\d+)/.exec(message)?.[1]
  const source = line === undefined ? readHeld : lua.split("\n")[Number(line) - 1] ?? ""
  return /redis\.p?call\("(\w+)"/.exec(source)?.[1]?.toLowerCase()
}
