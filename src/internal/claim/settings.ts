/**
 * Validates options and fills in their defaults.
 */
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type { LockError } from "../../LockError.ts"
import type { LockOptions } from "../../LockOptions.ts"
import { invalidOption, isWhole, millis, passes } from "../base/arguments.ts"
import { validityMillis } from "../lease/lease.ts"
import { isReserved, longestValue, mostPermits, mostSlots, sharedMarker } from "../nodeContract.ts"
import type { Traced } from "../telemetry/tracing.ts"
import type { PermitSettings } from "./permitAllocation.ts"

/** The options of one lock, validated and in milliseconds. */
export interface LockSettings extends Traced {
  readonly expiryMillis: number
  readonly validityMillis: number
  readonly nodeTimeoutMillis: number
  readonly driftFactor: number
  readonly autoExtend: boolean
  /** Whether the lock has a fencing token. */
  readonly isFenced: boolean
  /** Whether it is a shared lock, which readers hold together. */
  readonly isShared: boolean
  readonly retry: Schedule.Schedule<unknown, LockError>
}

/** The options of one acquisition of permits, validated. */
export interface PermitLockSettings extends LockSettings, PermitSettings {}

const defaultExpiryMillis = 8000

const defaultDriftFactor = 0.01

/** A year; anything longer is not a lease. */
const longestExpiryMillis = 365 * 24 * 3600 * 1000

const longestNodeTimeoutMillis = 3600 * 1000

/** Five per cent of the expiry, so that a slow node uses up little of the lease; from 50 ms to 1 s. */
const defaultNodeTimeout = (expiryMillis: number) => Math.min(1000, Math.max(50, expiryMillis * 0.05))

export const lockOptions = ["expiry", "retry", "autoExtend", "driftFactor", "nodeTimeout"] as const

export const permitOptions = [...lockOptions, "limit", "permits"] as const

export const serviceOptions = [...lockOptions, "nodes", "prefix", "quorum", "delayedRestart", "replicas"] as const

/** Fills in the defaults. Returns a sentence if an option is invalid. */
export const resolveSettings = (
  options: Partial<Record<keyof LockOptions, unknown>>,
  defaultRetry: Schedule.Schedule<unknown, LockError>
): LockSettings | string => {
  const { autoExtend = true, driftFactor = defaultDriftFactor, retry = defaultRetry } = options
  if (!isSchedule(retry)) {
    return invalidOption("retry", retry, "it must be a Schedule, for instance one made by retryPolicy()")
  }
  if (!Predicate.isBoolean(autoExtend)) return invalidOption("autoExtend", autoExtend, "it must be true or false")
  if (!(Predicate.isNumber(driftFactor) && driftFactor >= 0 && driftFactor < 1)) {
    return invalidOption("driftFactor", driftFactor, "it must be at least 0 and less than 1")
  }
  // Redis counts whole milliseconds; rounding down keeps the lease within the requested expiry.
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
    isShared: false,
    retry
  }
}

/** A limit, and the number of permits that are requested, or a sentence if either is invalid. */
export const checkPermits = (limit: unknown, permits: unknown = 1): PermitSettings | string => {
  if (!(isWhole(limit) && limit >= 1 && limit <= mostSlots)) {
    return invalidOption("limit", limit, `it must be a whole number from 1 to ${mostSlots}`)
  }
  const most = Math.min(limit, mostPermits)
  return isWhole(permits) && permits >= 1 && permits <= most
    ? { limit, permits }
    : invalidOption(
      "permits",
      permits,
      `it must be a whole number from 1 to ${most === limit ? `the limit, ${limit}` : most}`
    )
}

const isSchedule = (u: unknown): u is LockSettings["retry"] => passes(() => Schedule.isSchedule(u))

/** The distinct names of several locks in order of appearance, or a sentence if they are invalid. */
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

/** A reasonable maximum for a key, which every command carries and every waiter keeps. */
const longestNameBytes = 4096

/** A sentence if the name of a lock is invalid. `prefix` precedes it in the key. */
export const checkName = (name: unknown, prefix: string = ""): string | undefined => {
  if (!Predicate.isString(name) || name.length === 0) {
    return invalidOption("name", name, "it must be a non-empty string")
  }
  return checkText("name", name, longestNameBytes, prefix) ??
    (isReserved(prefix + name)
      ? invalidOption("name", prefix + name, `keys that begin with "redsync:", a number and ":" are reserved`)
      : undefined)
}

/** A sentence if the prefix of all names is invalid. */
export const checkPrefix = (prefix: unknown): string | undefined => {
  if (!Predicate.isString(prefix)) return invalidOption("prefix", prefix, "it must be a string")
  return checkText("prefix", prefix, longestNameBytes) ??
    (isReserved(prefix)
      ? invalidOption("prefix", prefix, `keys that begin with "redsync:", a number and ":" are reserved`)
      : undefined)
}

/** A sentence if the value of a lock is invalid. */
export const checkValue = (value: unknown): string | undefined =>
  !Predicate.isString(value) || value.length === 0
    ? invalidOption("value", value, "it must be the value of a lock")
    : value === sharedMarker
    ? invalidOption("value", value, "it stands for all readers of a shared lock, each of which has a value of its own")
    : checkText("value", value, longestValue)

/** A lone surrogate is rejected: UTF-8 replaces every one with the same character, so two names could share a key. */
const checkText = (option: string, text: string, mostBytes: number, prefix: string = ""): string | undefined =>
  /\p{Cs}/u.test(text)
    ? invalidOption(option, text, "it must be well-formed text, without half of a surrogate pair")
    : text.length > mostBytes || Buffer.byteLength(prefix + text) > mostBytes
    ? invalidOption(option, text, `it must have at most ${mostBytes} bytes in UTF-8`)
    : undefined

/** How many milliseconds a server must be up before it votes on new locks, or a sentence if that is invalid. */
export const minUptimeMillis = (delay: unknown): number | string => {
  // Rounding down would let a server vote too early.
  const least = Math.ceil(millis(delay))
  return least > 0 && least <= longestExpiryMillis
    ? least
    : invalidOption("delayedRestart", delay, "it must be a finite duration of more than 0 ms and at most 365 days")
}

/** A sentence if the quorum is invalid for that number of nodes. */
export const checkQuorum = (quorum: unknown, nodes: number): string | undefined => {
  const least = majority(nodes)
  if (quorum === undefined || (isWhole(quorum) && quorum >= least && quorum <= nodes)) return undefined
  const allowed = least === nodes ? `it must be ${nodes}` : `it must be a whole number from ${least} to ${nodes}`
  return invalidOption("quorum", quorum, `${allowed}, a majority of the ${nodes} nodes`)
}

export const majority = (nodes: number): number => Math.floor(nodes / 2) + 1
