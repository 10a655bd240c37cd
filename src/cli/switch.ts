/**
 * Flags that are given or not.
 */
import * as Flag from "effect/cli/Flag"

/** Without a value of its own, as otherwise it would take a lock called "1" or "no" for its value. */
export const switchFlag = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(
    Flag.withOptionalValue("true"),
    Flag.withDescription(description),
    Flag.withDefault(false)
  )
