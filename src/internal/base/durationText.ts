/**
 * Durations as people write them, on a command line and in the environment.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

const units = { ms: "millis", s: "seconds", m: "minutes", h: "hours", d: "days" } as const

/** What a text has to be like. */
export const durationsAreLike = "a duration such as 500ms, 30s, 5m, 2h or \"10 seconds\""

/**
 * A duration with a unit, short as in `30s` or long as in `30 seconds`, or `0`. A number alone could be of anything.
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
