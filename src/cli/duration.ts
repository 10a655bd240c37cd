/**
 * Durations as people write them on a command line: `500ms`, `30s`, `5m`, `0`.
 */
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

export const durationFlag = (name: string): Flag.Flag<Duration.Duration> =>
  Flag.String(name).pipe(
    Flag.withMetavar("duration"),
    Flag.filterMap(
      (text) => {
        const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim()) ?? []
        if (unit !== undefined) return Option.some(Duration.millis(Number(number) * units[unit as keyof typeof units]))
        return text.trim() === "0" ? Option.some(Duration.zero) : Option.none()
      },
      (text) => `${JSON.stringify(text)} is no duration; write 500ms, 30s, 5m or 2h`
    )
  )
