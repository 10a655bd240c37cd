/**
 * Flags whose values are durations.
 */
import * as Flag from "effect/cli/Flag"
import type * as Duration from "effect/Duration"
import { durationOf, durationsAreLike } from "../internal/base/durationText.ts"

export const durationFlag = (name: string): Flag.Flag<Duration.Duration> =>
  Flag.String(name).pipe(
    Flag.withMetavar("duration"),
    Flag.filterMap(durationOf, () => durationsAreLike)
  )
