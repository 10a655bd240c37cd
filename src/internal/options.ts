/**
 * Options with their defaults filled in, and what is wrong with those that are
 * wrong.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type { LockError } from "../LockError.ts"
import type { LockOptions } from "../Redsync.ts"
import { validityMillis } from "./lease.ts"
import type { Trace } from "./tracing.ts"

/** The options of one lock, as the algorithm wants them. */
export interface Settings {
  readonly expiryMillis: number
  readonly validityMillis: number
  readonly nodeTimeoutMillis: number
  readonly driftFactor: number
  readonly autoExtend: boolean
  /** Whether the lock comes with a fencing token. */
  readonly isFenced: boolean
  /** Who follows the attempts, if anybody does. */
  readonly trace?: Trace
  readonly retry: Schedule.Schedule<unknown, LockError>
}

const defaultExpiryMillis = 8000
const defaultDriftFactor = 0.01

const millis = (input: Duration.Input): number => {
  const duration = Duration.fromInput(input)
  return duration._tag === "Some" ? Duration.toMillis(duration.value) : Number.NaN
}

/** Five per cent of the expiry, so that a slow node costs little of the lease; 50 ms at least. */
const defaultNodeTimeout = (expiryMillis: number) => Math.max(50, expiryMillis * 0.05)

/** Fills in the defaults. Returns a sentence where an option is wrong. */
export const resolve = (
  options: LockOptions,
  defaultRetry: Schedule.Schedule<unknown, LockError>
): Settings | string => {
  const { autoExtend = true, driftFactor = defaultDriftFactor, retry = defaultRetry } = options
  if (!Schedule.isSchedule(retry)) return wrong("retry", retry, "it must be a Schedule, such as retryPolicy() makes")
  // Redis counts whole milliseconds; rounding down keeps the lease inside what was asked for.
  const expiryMillis = options.expiry === undefined ? defaultExpiryMillis : Math.floor(millis(options.expiry))
  if (!(driftFactor >= 0 && driftFactor < 1)) {
    return wrong("driftFactor", options.driftFactor, "it must be at least 0 and less than 1")
  }
  if (!(expiryMillis > 0 && Number.isSafeInteger(expiryMillis))) {
    return wrong("expiry", options.expiry, "it must be a finite duration of at least 1 ms")
  }
  const validity = validityMillis(expiryMillis, driftFactor)
  if (validity <= 0) {
    const drift = expiryMillis - validity
    return wrong("expiry", options.expiry, `it must be more than the clock drift allowed for, here ${drift} ms`)
  }
  const nodeTimeoutMillis = options.nodeTimeout === undefined
    ? defaultNodeTimeout(expiryMillis)
    : millis(options.nodeTimeout)
  if (!(nodeTimeoutMillis > 0 && Number.isFinite(nodeTimeoutMillis))) {
    return wrong("nodeTimeout", options.nodeTimeout, "it must be a finite duration of more than 0 ms")
  }
  return { expiryMillis, validityMillis: validity, nodeTimeoutMillis, driftFactor, autoExtend, isFenced: false, retry }
}

/** What is wrong with the name of a lock, or with one of several names, if anything. */
export const checkNames = (names: unknown): string | undefined => {
  if (!Array.isArray(names)) return checkName(names)
  return names.length === 0
    ? wrong("names", names, "there must be at least one name")
    : names.map(checkName).find(Predicate.isString)
}

const checkName = (name: unknown): string | undefined =>
  Predicate.isString(name) && name.length > 0 ? undefined : wrong("name", name, "it must be a string that is not empty")

/** What is wrong with the value of a lock, if anything. */
export const checkValue = (value: unknown): string | undefined =>
  Predicate.isString(value) && value.length > 0 ? undefined : wrong("value", value, "it must be the value of a lock")

/** For how long a server has to be up before it votes on new locks, or what is wrong with that. */
export const leastUptimeMillis = (delay: Duration.Input): number | string => {
  const least = millis(delay)
  return least > 0 && Number.isFinite(least)
    ? least
    : wrong("delayedRestart", delay, "it must be a finite duration of more than 0 ms")
}

/** What is wrong with the quorum for so many nodes, if anything. */
export const checkQuorum = (quorum: number | undefined, nodes: number): string | undefined => {
  const least = majority(nodes)
  if (quorum === undefined || (Number.isInteger(quorum) && quorum >= least && quorum <= nodes)) return undefined
  const allowed = least === nodes ? `it must be ${nodes}` : `it must be a whole number from ${least} to ${nodes}`
  return wrong("quorum", quorum, `${allowed}, a majority of the ${nodes} nodes`)
}

export const majority = (nodes: number): number => Math.floor(nodes / 2) + 1

/** One sentence naming the option, its value and what is allowed. */
export const wrong = (option: string, value: unknown, allowed: string): string =>
  `effect-redsync: the option ${option} is ${show(value)}; ${allowed}.`

/** Never the contents of an object: they may be a password. */
const show = (value: unknown): string => {
  if (Duration.isDuration(value)) return Duration.format(value)
  if (Predicate.isString(value)) return JSON.stringify(value)
  if (Array.isArray(value)) return value.length === 0 ? "[]" : "an array"
  return Predicate.isObject(value) ? "an object" : Predicate.isFunction(value) ? "a function" : String(value)
}

/** Wrong arguments are errors of the program: a defect, before any command is sent. */
export const reject = (problem: string): Effect.Effect<never> => Effect.die(new Cause.IllegalArgumentError(problem))
