/**
 * What the replies of servers mean, whichever client reads them.
 */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { KeyState, PermitGrant, PermitHolder, PermitState } from "../../LockNode.ts"
import { isToken, longestValue, mostSlots } from "../nodeContract.ts"

/**
 * What a reply means; `undefined` if it is not a possible reply to our commands. It
 * never throws, whatever the reply.
 */
export type Meaning<A extends {}> = (reply: unknown) => A | undefined

/** An exact whole number. Some clients are configured to return numbers as strings. */
export const wholeNumber: Meaning<number> = (reply) => {
  const number = typeof reply === "string" && /^-?\d{1,16}$/.test(reply) ? Number(reply) : reply
  return Number.isSafeInteger(number) ? number as number : undefined
}

/** A number of things or of milliseconds. */
export const count: Meaning<number> = (reply) => {
  const number = wholeNumber(reply)
  return number !== undefined && number >= 0 ? number : undefined
}

/** Whether a script or `DEL` reported success. */
export const oneOrZero: Meaning<boolean> = (reply) => {
  const number = wholeNumber(reply)
  return number === 1 ? true : number === 0 ? false : undefined
}

/** Whether `SET NX` set the key. */
export const okOrNull: Meaning<boolean> = (reply) => reply === "OK" ? true : reply === null ? false : undefined

/** The time to live as `PTTL` returns it: `-1` for a key without expiry, `-2` for no key. */
const timeToLive: Meaning<number> = (reply) => {
  const millis = wholeNumber(reply)
  return millis !== undefined && millis >= -2 ? millis : undefined
}

const expiring = (millis: number) => millis < 0 ? Number.POSITIVE_INFINITY : millis

/** The reply of the inspect script: type, value and time to live of the key, and its length if it is too long. */
export const decodeKeyState: Meaning<Option.Option<KeyState>> = (reply) => {
  if (!Array.isArray(reply)) return undefined
  const [type, value, ttl, length]: ReadonlyArray<unknown> = reply
  const millis = timeToLive(ttl)
  if (typeof type !== "string" || !/^[\w-]{1,64}$/.test(type) || typeof value !== "string" || millis === undefined) {
    return undefined
  }
  if ((type === "none") !== (millis === -2) || (type !== "string" && value !== "") || value.length > longestValue) {
    return undefined
  }
  if (type === "none") return Option.none()
  const state = { type, value, ttlMillis: expiring(millis) }
  if (length === undefined) return Option.some(state)
  const bytes = count(length)
  return bytes === undefined || value !== "" ? undefined : Option.some({ ...state, bytes })
}

/** The token of a script that increments the counter; `None` for 0. */
export const decodeToken: Meaning<Option.Option<number>> = (reply) => {
  const token = count(reply)
  return token === undefined ? undefined : token === 0 ? Option.none() : Option.some(token)
}

/** The reply of the join script. */
export const joined: Meaning<{
  readonly ahead: number
  readonly ttlMillis: number
  /** Whether the holder was notified. */
  readonly told: boolean
  readonly isOurs: boolean
  readonly isShared: boolean
  /** The server's clock in microseconds, if the user may read it. */
  readonly serverMicros: number | undefined
}> = (reply) => {
  if (!Array.isArray(reply)) return undefined
  const [ahead, millis] = [count(reply[0]), timeToLive(reply[1])]
  const [told, isOurs] = [count(reply[2]), oneOrZero(reply[3])]
  if (ahead === undefined || millis === undefined || told === undefined || isOurs === undefined) return undefined
  if (told > 2) return undefined
  const ttlMillis = millis === -2 ? 0 : Math.max(1, expiring(millis))
  return { ahead, ttlMillis, told: told === 1, isOurs, isShared: told === 2, serverMicros: serverTime(reply.slice(4)) }
}

/** The reply to `TIME` in microseconds. */
export const serverTime: Meaning<number> = (reply) => {
  if (!Array.isArray(reply)) return undefined
  const [seconds, micros] = [count(reply[0]), count(reply[1])]
  return seconds === undefined || micros === undefined ? undefined : wholeNumber(seconds * 1_000_000 + micros)
}

/** What a script that wakes the next waiter or hands the lock over did and could not do. */
export interface WakeUp {
  readonly released: boolean
  readonly woke: boolean
  readonly handedOver: boolean
  /** Whether there was neither a key nor anybody to wake. */
  readonly isVacant: boolean
  /** Whether the user may `PUBLISH` to the next waiter. */
  readonly mayTell: boolean
  /** Whether the user may remove it from the list. */
  readonly mayPop: boolean
}

/** The reply of such a script: a sum of flags. */
export const wakeUp: Meaning<WakeUp> = (reply) => {
  const sum = wholeNumber(reply)
  if (sum === undefined || ![0, 1, 2, 3, 4, 5, 8, 9, 19, 32].includes(sum)) return undefined
  return {
    released: (sum & 1) > 0,
    woke: (sum & 2) > 0,
    handedOver: (sum & 16) > 0,
    isVacant: sum === 32,
    mayTell: (sum & 4) === 0,
    mayPop: (sum & 8) === 0
  }
}

const numbers = (reply: unknown, isValid: (number: number) => boolean): ReadonlyArray<number> | undefined => {
  if (reply === "") return []
  if (typeof reply !== "string" || !/^\d{1,16}(,\d{1,16})*$/.test(reply)) return undefined
  const all = reply.split(",").map(Number)
  return all.every(isValid) ? all : undefined
}

/** Distinct slots of a semaphore. */
export const slots: Meaning<ReadonlyArray<number>> = (reply) => {
  const all = numbers(reply, (slot) => slot < mostSlots)
  return all === undefined || new Set(all).size < all.length ? undefined : all
}

/** The reply of a script that takes slots; `0` for one that was not executed. */
export const permitGrant: Meaning<PermitGrant> = (reply) => {
  if (wholeNumber(reply) === 0) return { slots: [], tokens: [], free: 0, lastLimit: 0, ttlMillis: 0 }
  if (!Array.isArray(reply)) return undefined
  const [free, limit, ttl, taken, counted]: ReadonlyArray<unknown> = reply
  const grant = {
    slots: slots(taken),
    tokens: numbers(counted, isToken),
    free: wholeNumber(free),
    lastLimit: count(limit),
    ttlMillis: count(ttl)
  }
  if (!Object.values(grant).every(Predicate.isNotUndefined)) return undefined
  const { length } = grant.tokens!
  return length === 0 || length === grant.slots!.length ? grant as PermitGrant : undefined
}

/** The last limit of a semaphore, and for each holder its value, its time to live and its slots. */
export const permitState: Meaning<PermitState> = (reply) => {
  if (!Array.isArray(reply) || reply.length % 3 !== 1) return undefined
  const limit = count(reply[0])
  if (limit === undefined) return undefined
  const holders: Array<PermitHolder> = []
  for (let index = 1; index < reply.length; index += 3) {
    const [value, ttl, held]: ReadonlyArray<unknown> = reply.slice(index, index + 3)
    const ttlMillis = count(ttl)
    const all = slots(held)
    if (typeof value !== "string" || value.length > longestValue || ttlMillis === undefined || all === undefined) {
      return undefined
    }
    holders.push({ value, slots: all, ttlMillis })
  }
  return { limit, holders }
}
