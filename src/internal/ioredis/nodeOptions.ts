/**
 * Checks ioredis options. ioredis itself accepts any options: with a misspelt one, locks would be
 * on another server, or in another database, than intended.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { RedisOptions } from "ioredis"
import { given, invalidOption, isPlain, isWhole, passes } from "../base/arguments.ts"
import { maskPassword } from "../base/text.ts"
import { hasCredentials, parseRedisUrl } from "./url.ts"

/** What an option must be, in words, and the check. */
type Rule = readonly [allowed: string, isAllowed: (u: unknown) => boolean]

const longestTimer = 2 ** 31 - 1

const wholeFrom = (least: number, most: number): Rule => [
  `it must be a whole number from ${least} to ${most}`,
  (u) => isWhole(u) && u >= least && u <= most
]
/** `null` is the default of ioredis for these options. */
const orNull = ([allowed, isAllowed]: Rule): Rule => [allowed, (u) => u === null || isAllowed(u)]
const text: Rule = orNull(["it must be a string", Predicate.isString])
const flag: Rule = ["it must be true or false", Predicate.isBoolean]
const time: Rule = orNull([
  `it must be a number of milliseconds from 0 to ${longestTimer}`,
  (u) => Predicate.isNumber(u) && u >= 0 && u <= longestTimer
])
const aClass: Rule = orNull([
  "it must be a class",
  (u) => Predicate.isFunction(u) && u.prototype !== undefined
])
const hook: Rule = orNull(["it must be a function", Predicate.isFunction])
const record: Rule = orNull(["it must be an object that can be read", (u) => Predicate.isObject(u) && isReadable(u)])
const anything: Rule = ["", () => true]

const host: Rule = [
  "it must be the name or address of a host, without a scheme, user or port",
  (u) => Predicate.isString(u) && /^[^\s/?#@\p{C}]+$/u.test(u)
]
const port = wholeFrom(1, 65535)
const family: Rule = ["it must be 0, 4 or 6", (u) => u === 0 || u === 4 || u === 6]

const sentinel: Record<string, Rule> = { host, port, family }

const rules: Record<string, Rule> = {
  host,
  port,
  family,
  db: wholeFrom(0, longestTimer),
  path: orNull([
    "it must be the path of a socket",
    (u) => Predicate.isString(u) && u !== "" && !u.includes("\0") && !hasCredentials(u)
  ]),
  name: orNull([
    "it must be the name that the Sentinels give the primary",
    (u) => Predicate.isString(u) && u !== "" && !hasCredentials(u)
  ]),
  role: [`it must be "master": replicas cannot take locks`, (u) => u === "master"],
  username: text,
  password: text,
  sentinelUsername: text,
  sentinelPassword: text,
  keyPrefix: text,
  connectionName: text,
  clientInfoTag: text,
  connectTimeout: time,
  disconnectTimeout: time,
  commandTimeout: time,
  socketTimeout: time,
  blockingTimeout: time,
  blockingTimeoutGrace: time,
  sentinelCommandTimeout: time,
  maxLoadingRetryTime: time,
  keepAlive: time,
  maxRetriesPerRequest: orNull(wholeFrom(0, longestTimer)),
  sentinelMaxConnections: wholeFrom(1, longestTimer),
  protocol: ["it must be 2 or 3", (u) => u === 2 || u === 3],
  replyMapping: anything,
  noDelay: flag,
  disableClientInfo: flag,
  autoResubscribe: flag,
  autoResendUnfulfilledCommands: flag,
  readOnly: flag,
  stringNumbers: flag,
  monitor: ["it must be false: a connection that monitors cannot take locks", (u) => u === false],
  enableAutoPipelining: flag,
  autoPipeliningIgnoredCommands: ["it must be an array", Array.isArray],
  offlineQueue: flag,
  commandQueue: flag,
  enableOfflineQueue: flag,
  enableReadyCheck: flag,
  lazyConnect: flag,
  enableTLSForSentinelMode: flag,
  updateSentinels: flag,
  failoverDetector: flag,
  retryStrategy: hook,
  reconnectOnError: hook,
  sentinelRetryStrategy: hook,
  sentinelReconnectStrategy: hook,
  Connector: aClass,
  tls: record,
  sentinelTLS: record,
  natMap: orNull(["it must be an object or a function", (u) => Predicate.isObject(u) || Predicate.isFunction(u)]),
  scripts: record,
  preferredSlaves: anything,
  himportFieldsets: anything,
  sentinels: orNull([
    "it must be an array of at least one { host, port }",
    (u) => Array.isArray(u) && u.length > 0 && u.every((one) => Predicate.isObject(one))
  ])
}

const isReadable = (u: object): boolean => {
  try {
    Object.entries(u)
    return true
  } catch {
    return false
  }
}

/** The checked ioredis options, or what is wrong with them. */
const checkIoredisOptions = (options: unknown): RedisOptions | string => {
  const read = checkRules("", options, rules)
  if (Predicate.isString(read)) return read
  if (!Array.isArray(read["sentinels"])) return read
  if (!Predicate.isString(read["name"])) {
    return invalidOption("name", read["name"], "it must be the name that the Sentinels give the primary")
  }
  const sentinels = read["sentinels"].map((one) => checkRules("sentinels ", one, sentinel, "ignored"))
  const problem = sentinels.find(Predicate.isString)
  return problem ?? { ...read, sentinels } as RedisOptions
}

/** The ioredis options that a URL or options stand for, or what is wrong with them. */
export const checkTarget = (target: unknown): RedisOptions | string => {
  if (Predicate.isString(target)) return Result.merge(parseRedisUrl(target, "target"))
  return passes(() => Predicate.isObject(target) && isPlain(target))
    ? checkIoredisOptions(target)
    : invalidOption("target", target, "it must be a URL or ioredis options")
}

const checkRules = (
  path: string,
  options: unknown,
  rules: Record<string, Rule>,
  others: "refused" | "ignored" = "refused"
): Record<string, unknown> | string => {
  const read = given(options, Object.keys(rules), others)
  if (Predicate.isString(read)) return read
  for (const [key, value] of Object.entries(read)) {
    const [allowed, isAllowed] = rules[key]!
    if (!isAllowed(value)) return invalidOption(path + key, withoutSecret(value), allowed)
  }
  return read
}

/** Masks a URL, or the end of one, in an option that should not have one. */
const withoutSecret = (value: unknown): unknown =>
  Predicate.isString(value) && /@|:\/\//.test(value) ? maskPassword(value) : value
