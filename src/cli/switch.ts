/**
 * Flags that are either given or not.
 */
import * as Flag from "effect/cli/Flag"

/** Takes no value: otherwise it would take a lock called "1" or "no" for its value. */
export const switchFlag = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(
    Flag.withOptionalValue("true"),
    Flag.withDescription(description),
    Flag.withDefault(false)
  )
