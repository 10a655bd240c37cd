/**
 * Options with their defaults filled in, and what is wrong with those that are
 * wrong.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type { LockError } from "../../LockError.ts"
import type { LockOptions } from "../../Redsync.ts"
import { quoted } from "../base/text.ts"
import { validityMillis } from "../lease/lease.ts"
import { isReserved } from "../redis/keys.ts"
import { longestValue } from "../redis/scripts.ts"
import type { Trace } from "../telemetry/tracing.ts"

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

/** A year: what is meant to last longer is no lease. */
const longestExpiryMillis = 365 * 24 * 3600 * 1000
const longestNodeTimeoutMillis = 3600 * 1000

/** Five per cent of the expiry, so that a slow node costs little of the lease; at least 50 ms and at most a second. */
const defaultNodeTimeout = (expiryMillis: number) => Math.min(1000, Math.max(50, expiryMillis * 0.05))

export const lockOptions = ["expiry", "retry", "autoExtend", "driftFactor", "nodeTimeout"] as const

export const layerOptions = [...lockOptions, "nodes", "prefix", "quorum", "delayedRestart", "replicas"] as const

/**
 * The options that are given, each looked at once, so that what was checked is
 * what is used. One that is `undefined` is not given; one that does not exist is
 * a mistake, unless others are ignored. Returns a sentence where something is wrong.
 */
export const given = <K extends string>(
  options: unknown,
  known: ReadonlyArray<K>,
  others: "refused" | "ignored" = "refused"
): Partial<Record<K, unknown>> | string => {
  try {
    if (!isRecord(options, known)) return wrong("options", options, `it must be an object with ${oneOf(known)}`)
    const unknown = Object.keys(options).find((key) => !known.includes(key as K) && options[key] !== undefined)
    if (unknown !== undefined && others === "refused") return misspelt(unknown, known)
  } catch {
    return wrong("options", options, "it must be an object that can be read")
  }
  const read: Partial<Record<K, unknown>> = {}
  for (const key of known) {
    try {
      const value = options[key]
      if (value !== undefined) read[key] = value
    } catch {
      return `effect-redsync: the option ${key} cannot be read: its getter throws.`
    }
  }
  return read
}

/** An object of no class, or of one that has some of what is known. */
const isRecord = (u: unknown, known: ReadonlyArray<string>): u is Record<string, unknown> =>
  Predicate.isObject(u) && (isPlain(u) || known.some((key) => key in u))

/** Of no class, in whichever realm it was made. */
export const isPlain = (u: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(u)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

const misspelt = (key: string, known: ReadonlyArray<string>): string =>
  `effect-redsync: there is no option ${quoted(key)} here; did you mean ${nearest(key, known)}?`

const oneOf = (known: ReadonlyArray<string>) => `${known.slice(0, -1).join(", ")} or ${known.at(-1)}`

/** The known word that takes the fewest changes of one letter. */
export const nearest = (word: string, known: ReadonlyArray<string>): string => {
  const changes = known.map((other) => distance(word.slice(0, 40).toLowerCase(), other.toLowerCase()))
  return known[changes.indexOf(Math.min(...changes))]!
}

const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i++) {
    const above = row
    row = [i]
    for (let j = 1; j <= b.length; j++) {
      row.push(Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
  }
  return row[b.length]!
}

const units = ["weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds"] as const

/** Stricter than Effect, which takes a number that is none, and an object without any unit, for no time at all. */
export const millis = (input: unknown): number => {
  try {
    if (Array.isArray(input)) return input.some(Number.isNaN) ? Number.NaN : toMillis(input)
    if (!Predicate.isObject(input) || Duration.isDuration(input)) {
      return Number.isNaN(input) ? Number.NaN : toMillis(input)
    }
    const parts = given(input, units)
    const numbers = Object.values(parts)
    return numbers.length > 0 && numbers.every((part) => Predicate.isNumber(part) && !Number.isNaN(part))
      ? toMillis(parts)
      : Number.NaN
  } catch {
    return Number.NaN
  }
}

const toMillis = (input: unknown) => Duration.toMillis(Duration.fromInputUnsafe(input as Duration.Input))

/** Fills in the defaults. Returns a sentence where an option is wrong. */
export const resolve = (
  options: Partial<Record<keyof LockOptions, unknown>>,
  defaultRetry: Schedule.Schedule<unknown, LockError>
): Settings | string => {
  const { autoExtend = true, driftFactor = defaultDriftFactor, retry = defaultRetry } = options
  if (!isSchedule(retry)) return wrong("retry", retry, "it must be a Schedule, such as retryPolicy() makes")
  if (!Predicate.isBoolean(autoExtend)) return wrong("autoExtend", autoExtend, "it must be true or false")
  if (!(Predicate.isNumber(driftFactor) && driftFactor >= 0 && driftFactor < 1)) {
    return wrong("driftFactor", driftFactor, "it must be at least 0 and less than 1")
  }
  // Redis counts whole milliseconds; rounding down keeps the lease inside what was asked for.
  const expiryMillis = options.expiry === undefined ? defaultExpiryMillis : Math.floor(millis(options.expiry))
  if (!(expiryMillis > 0 && expiryMillis <= longestExpiryMillis)) {
    return wrong("expiry", options.expiry, "it must be a finite duration of at least 1 ms and at most 365 days")
  }
  const validity = validityMillis(expiryMillis, driftFactor)
  if (validity <= 0) {
    const drift = expiryMillis - validity
    return wrong("expiry", options.expiry, `it must be more than the clock drift allowed for, here ${drift} ms`)
  }
  const nodeTimeoutMillis = options.nodeTimeout === undefined
    ? defaultNodeTimeout(expiryMillis)
    : millis(options.nodeTimeout)
  if (!(nodeTimeoutMillis > 0 && nodeTimeoutMillis <= longestNodeTimeoutMillis)) {
    return wrong(
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

const isSchedule = (u: unknown): u is Settings["retry"] => {
  try {
    return Schedule.isSchedule(u)
  } catch {
    return false
  }
}

/** The names of several locks, each once and in the order in which they first appear, or what is wrong with them. */
export const checkNames = (names: unknown, prefix?: string): ReadonlyArray<string> | string => {
  try {
    if (!Array.isArray(names) && !(names instanceof Set)) return wrong("names", names, "it must be an array or a Set")
    const all: ReadonlyArray<unknown> = [...new Set<unknown>(names)]
    if (all.length === 0) return wrong("names", all, "there must be at least one name")
    return all.map((name) => checkName(name, prefix)).find(Predicate.isString) ?? all as ReadonlyArray<string>
  } catch {
    return wrong("names", names, "it must be an array or a Set that can be read")
  }
}

/** As much as a key should have: every command carries it, and every waiter keeps it. */
const longestNameBytes = 4096

/** What is wrong with the name of a lock, if anything. `prefix` stands before it in the key. */
export const checkName = (name: unknown, prefix: string = ""): string | undefined => {
  if (!Predicate.isString(name) || name.length === 0) {
    return wrong("name", name, "it must be a string that is not empty")
  }
  return checkText("name", name, longestNameBytes, prefix) ??
    (isReserved(prefix + name)
      ? wrong("name", prefix + name, `keys that begin with "redsync:", a number and ":" are our own`)
      : undefined)
}

/** What is wrong with what stands before all names, if anything. */
export const checkPrefix = (prefix: unknown): string | undefined => {
  if (!Predicate.isString(prefix)) return wrong("prefix", prefix, "it must be a string")
  return checkText("prefix", prefix, longestNameBytes) ??
    (isReserved(prefix)
      ? wrong("prefix", prefix, `keys that begin with "redsync:", a number and ":" are our own`)
      : undefined)
}

/** What is wrong with the value of a lock, if anything. */
export const checkValue = (value: unknown): string | undefined =>
  Predicate.isString(value) && value.length > 0
    ? checkText("value", value, longestValue)
    : wrong("value", value, "it must be the value of a lock")

/** Half of a surrogate pair cannot be sent: all of them would become the same character. */
const checkText = (option: string, text: string, mostBytes: number, prefix: string = ""): string | undefined =>
  /\p{Cs}/u.test(text)
    ? wrong(option, text, "it has half of a surrogate pair, which cannot be told from another on its way to Redis")
    : text.length > mostBytes || Buffer.byteLength(prefix + text) > mostBytes
    ? wrong(option, text, `it must have at most ${mostBytes} bytes in UTF-8`)
    : undefined

/** For how many milliseconds a server has to be up before it votes on new locks, or what is wrong with that. */
export const leastUptimeMillis = (delay: unknown): number | string => {
  // Rounding down would let a server vote too soon.
  const least = Math.ceil(millis(delay))
  return least > 0 && least <= longestExpiryMillis
    ? least
    : wrong("delayedRestart", delay, "it must be a finite duration of more than 0 ms and at most 365 days")
}

/** What is wrong with the quorum for so many nodes, if anything. */
export const checkQuorum = (quorum: unknown, nodes: number): string | undefined => {
  const least = majority(nodes)
  if (quorum === undefined || (isWhole(quorum) && quorum >= least && quorum <= nodes)) return undefined
  const allowed = least === nodes ? `it must be ${nodes}` : `it must be a whole number from ${least} to ${nodes}`
  return wrong("quorum", quorum, `${allowed}, a majority of the ${nodes} nodes`)
}

export const isWhole = (u: unknown): u is number => Number.isSafeInteger(u)

export const majority = (nodes: number): number => Math.floor(nodes / 2) + 1

/** One sentence naming the option, its value and what is allowed. */
export const wrong = (option: string, value: unknown, allowed: string): string =>
  `effect-redsync: the option ${option} is ${show(value)}; ${allowed}.`

/** Never the contents of an object: they may be a password. */
const show = (value: unknown): string => {
  try {
    if (Duration.isDuration(value)) return Duration.format(value)
    if (Predicate.isString(value)) return quoted(value)
    if (Array.isArray(value)) return value.length === 0 ? "[]" : "an array"
    return Predicate.isObject(value) ? "an object" : Predicate.isFunction(value) ? "a function" : String(value)
  } catch {
    return "something that cannot be read"
  }
}

/** Wrong arguments are errors of the program: a defect, before any command is sent. */
export const reject = (problem: string): Effect.Effect<never> => Effect.die(new Cause.IllegalArgumentError(problem))
