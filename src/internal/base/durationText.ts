/**
 * Parses durations from the command line and the environment.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

const units = { ms: "millis", s: "seconds", m: "minutes", h: "hours", d: "days" } as const

/** The accepted formats, for error messages. */
export const durationsAreLike = "a duration such as 500ms, 30s, 5m, 2h or \"10 seconds\""

/**
 * A duration with a short or a long unit (`30s`, `30 seconds`), or `0`. Any other number without a unit is ambiguous
 * and rejected.
 */
export const durationOf = (text: string): Option.Option<Duration.Duration> => {
  const trimmed = text.trim()
  if (trimmed === "0") return Option.some(Duration.zero)
  const [, number, unit] = /^([\d.]+)(ms|s|m|h|d)$/.exec(trimmed) ?? []
  const input = unit === undefined ? trimmed : `${number} ${units[unit as keyof typeof units]}`
  return Option.filter(
    Duration.fromInput(input as Duration.Input),
    (duration) => Duration.isGreaterThanOrEqualTo(duration, Duration.zero)
  )
}
