/**
 * Validation of what a caller passed: options, durations, and the sentences that reject them.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Predicate from "effect/Predicate"
import { maskPassword, quoted } from "./text.ts"

/**
 * Reads each known option exactly once, so that the value that was checked is the
 * value that is used. An option that is `undefined` counts as absent. An unknown
 * option is an error unless `others` is `"ignored"`. Returns a sentence if the
 * options are invalid.
 */
export const given = <K extends string>(
  options: unknown,
  known: ReadonlyArray<K>,
  others: "refused" | "ignored" = "refused"
): Partial<Record<K, unknown>> | string => {
  try {
    if (!isRecord(options, known)) return invalidOptions(options, `an object with ${oneOf(known)}`)
    const unknown = Object.keys(options).find((key) => !known.includes(key as K) && options[key] !== undefined)
    if (unknown !== undefined && others === "refused") return misspelt(unknown, known)
  } catch {
    return invalidOptions(options, "an object that can be read")
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

/** Whether something passes a test. What cannot be tested, such as a revoked proxy, does not. */
export const passes = (test: () => boolean): boolean => {
  try {
    return test()
  } catch {
    return false
  }
}

/** Returns the value. If it is a promise that nobody awaits, its rejection does not end the process. */
export const handled = <A>(value: A): A => {
  passes(() => {
    if (Predicate.isPromiseLike(value)) value.then(constVoid, constVoid)
    return true
  })
  return value
}

/** A plain object, or an instance of a class that has at least one of the known keys. */
const isRecord = (u: unknown, known: ReadonlyArray<string>): u is Record<string, unknown> =>
  Predicate.isObject(u) && (isPlain(u) || known.some((key) => key in u))

/** Whether an object has no class, whichever realm it comes from. */
export const isPlain = (u: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(u)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

const misspelt = (key: string, known: ReadonlyArray<string>): string =>
  `effect-redsync: there is no option ${quoted(key)} here; did you mean ${nearest(key, known)}?`

const oneOf = (known: ReadonlyArray<string>) => `${known.slice(0, -1).join(", ")} or ${known.at(-1)}`

/** The known word with the smallest edit distance. */
const nearest = (word: string, known: ReadonlyArray<string>): string => {
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

/**
 * A duration in milliseconds, or `NaN` if it is invalid. Stricter than Effect, which reads `NaN`
 * and an object without a unit as zero.
 */
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

export const isWhole = (u: unknown): u is number => Number.isSafeInteger(u)

/** One sentence with the option or environment variable, its value and what is allowed. */
export const invalidOption = (option: string, value: unknown, allowed: string): string =>
  `effect-redsync: ${option.startsWith("REDSYNC_") ? "" : "the option "}${option} is ${showValue(value)}; ${allowed}.`

const invalidOptions = (options: unknown, allowed: string): string =>
  `effect-redsync: the options are ${showValue(options)}; they must be ${allowed}.`

/** One sentence about a program that is a function, and has returned anything but an effect. */
export const invalidResult = (result: unknown): string =>
  `effect-redsync: the option program is a function that returned ${showValue(result)}; it must return an Effect.`

/** Never shows the contents of an object, or the password in a URL that was passed by mistake. */
export const showValue = (value: unknown): string => {
  try {
    if (Duration.isDuration(value)) return Duration.format(value)
    if (Predicate.isString(value)) return quoted(value.includes("://") ? maskPassword(value) : value)
    if (Array.isArray(value)) return value.length === 0 ? "[]" : "an array"
    if (Predicate.isPromiseLike(value)) return "a Promise"
    return Predicate.isObject(value) ? "an object" : Predicate.isFunction(value) ? "a function" : String(value)
  } catch {
    return "something that cannot be read"
  }
}

/** Invalid arguments are bugs in the calling program: a defect, raised before any command is sent. */
export const dieWithIllegalArgument = (problem: string): Effect.Effect<never> =>
  Effect.die(new Cause.IllegalArgumentError(problem))
