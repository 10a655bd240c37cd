/**
 * Options with their defaults filled in, and what is wrong with those that are
 * wrong.
 */
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type { LockError } from "../../LockError.ts"
import type { LockOptions } from "../../LockOptions.ts"
import { invalidOption, isWhole, millis } from "../base/arguments.ts"
import { validityMillis } from "../lease/lease.ts"
import { isReserved, longestValue } from "../nodeContract.ts"
import type { Traced } from "../telemetry/tracing.ts"

/** The options of one lock, as the algorithm wants them. */
export interface LockSettings extends Traced {
  readonly expiryMillis: number
  readonly validityMillis: number
  readonly nodeTimeoutMillis: number
  readonly driftFactor: number
  readonly autoExtend: boolean
  /** Whether the lock comes with a fencing token. */
  readonly isFenced: boolean
  readonly retry: Schedule.Schedule<unknown, LockError>
}

const defaultExpiryMillis = 8000

const defaultDriftFactor = 0.01

/** A year: what is meant to last longer is no lease. */
const longestExpiryMillis = 365 * 24 * 3600 * 1000

const longestNodeTimeoutMillis = 3600 * 1000

/** Five per cent of the expiry, so that a slow node costs little of the lease; at least 50 ms and at most a second. */
const defaultNodeTimeout = (expiryMillis: number) => Math.min(1000, Math.max(50, expiryMillis * 0.05))

export const lockOptions = ["expiry", "retry", "autoExtend", "driftFactor", "nodeTimeout"] as const

export const layerOptions = [...lockOptions, "nodes", "prefix", "quorum", "delayedRestart", "replicas"] as const

/** Fills in the defaults. Returns a sentence where an option is wrong. */
export const resolveSettings = (
  options: Partial<Record<keyof LockOptions, unknown>>,
  defaultRetry: Schedule.Schedule<unknown, LockError>
): LockSettings | string => {
  const { autoExtend = true, driftFactor = defaultDriftFactor, retry = defaultRetry } = options
  if (!isSchedule(retry)) return invalidOption("retry", retry, "it must be a Schedule, such as retryPolicy() makes")
  if (!Predicate.isBoolean(autoExtend)) return invalidOption("autoExtend", autoExtend, "it must be true or false")
  if (!(Predicate.isNumber(driftFactor) && driftFactor >= 0 && driftFactor < 1)) {
    return invalidOption("driftFactor", driftFactor, "it must be at least 0 and less than 1")
  }
  // Redis counts whole milliseconds; rounding down keeps the lease inside what was asked for.
  const expiryMillis = options.expiry === undefined ? defaultExpiryMillis : Math.floor(millis(options.expiry))
  if (!(expiryMillis > 0 && expiryMillis <= longestExpiryMillis)) {
    return invalidOption("expiry", options.expiry, "it must be a finite duration of at least 1 ms and at most 365 days")
  }
  const validity = validityMillis(expiryMillis, driftFactor)
  if (validity <= 0) {
    const drift = expiryMillis - validity
    return invalidOption("expiry", options.expiry, `it must be more than the clock drift allowed for, here ${drift} ms`)
  }
  const nodeTimeoutMillis = options.nodeTimeout === undefined
    ? defaultNodeTimeout(expiryMillis)
    : millis(options.nodeTimeout)
  if (!(nodeTimeoutMillis > 0 && nodeTimeoutMillis <= longestNodeTimeoutMillis)) {
    return invalidOption(
      "nodeTimeout",
      options.nodeTimeout,
      "it must be a finite duration of more than 0 ms and at most an hour"
    )
  }
  return {
    expiryMillis,
    validityMillis: validity,
    nodeTimeoutMillis,
    driftFactor,
    autoExtend,
    isFenced: false,
    retry
  }
}

const isSchedule = (u: unknown): u is LockSettings["retry"] => {
  try {
    return Schedule.isSchedule(u)
  } catch {
    return false
  }
}

/** The names of several locks, each once and in the order in which they first appear, or what is wrong with them. */
export const checkNames = (names: unknown, prefix?: string): ReadonlyArray<string> | string => {
  try {
    if (!Array.isArray(names) && !(names instanceof Set)) {
      return invalidOption("names", names, "it must be an array or a Set")
    }
    const all: ReadonlyArray<unknown> = [...new Set<unknown>(names)]
    if (all.length === 0) return invalidOption("names", all, "there must be at least one name")
    return all.map((name) => checkName(name, prefix)).find(Predicate.isString) ?? all as ReadonlyArray<string>
  } catch {
    return invalidOption("names", names, "it must be an array or a Set that can be read")
  }
}

/** As much as a key should have: every command carries it, and every waiter keeps it. */
const longestNameBytes = 4096

/** What is wrong with the name of a lock, if anything. `prefix` stands before it in the key. */
export const checkName = (name: unknown, prefix: string = ""): string | undefined => {
  if (!Predicate.isString(name) || name.length === 0) {
    return invalidOption("name", name, "it must be a string that is not empty")
  }
  return checkText("name", name, longestNameBytes, prefix) ??
    (isReserved(prefix + name)
      ? invalidOption("name", prefix + name, `keys that begin with "redsync:", a number and ":" are our own`)
      : undefined)
}

/** What is wrong with what stands before all names, if anything. */
export const checkPrefix = (prefix: unknown): string | undefined => {
  if (!Predicate.isString(prefix)) return invalidOption("prefix", prefix, "it must be a string")
  return checkText("prefix", prefix, longestNameBytes) ??
    (isReserved(prefix)
      ? invalidOption("prefix", prefix, `keys that begin with "redsync:", a number and ":" are our own`)
      : undefined)
}

/** What is wrong with the value of a lock, if anything. */
export const checkValue = (value: unknown): string | undefined =>
  Predicate.isString(value) && value.length > 0
    ? checkText("value", value, longestValue)
    : invalidOption("value", value, "it must be the value of a lock")

/** Half of a surrogate pair cannot be sent: all of them would become the same character, and two names the same key. */
const checkText = (option: string, text: string, mostBytes: number, prefix: string = ""): string | undefined =>
  /\p{Cs}/u.test(text)
    ? invalidOption(option, text, "it must be well-formed text, without half of a surrogate pair")
    : text.length > mostBytes || Buffer.byteLength(prefix + text) > mostBytes
    ? invalidOption(option, text, `it must have at most ${mostBytes} bytes in UTF-8`)
    : undefined

/** For how many milliseconds a server has to be up before it votes on new locks, or what is wrong with that. */
export const minUptimeMillis = (delay: unknown): number | string => {
  // Rounding down would let a server vote too soon.
  const least = Math.ceil(millis(delay))
  return least > 0 && least <= longestExpiryMillis
    ? least
    : invalidOption("delayedRestart", delay, "it must be a finite duration of more than 0 ms and at most 365 days")
}

/** What is wrong with the quorum for so many nodes, if anything. */
export const checkQuorum = (quorum: unknown, nodes: number): string | undefined => {
  const least = majority(nodes)
  if (quorum === undefined || (isWhole(quorum) && quorum >= least && quorum <= nodes)) return undefined
  const allowed = least === nodes ? `it must be ${nodes}` : `it must be a whole number from ${least} to ${nodes}`
  return invalidOption("quorum", quorum, `${allowed}, a majority of the ${nodes} nodes`)
}

export const majority = (nodes: number): number => Math.floor(nodes / 2) + 1
