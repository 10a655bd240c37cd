/**
 * Which schedules do not look at what they are given. An error is made for each step of those that may: of a thousand
 * fibers that wait for one lock hardly any needs it.
 */
import type * as Schedule from "effect/Schedule"

const withoutInput = new WeakSet<object>()

/** Remembers that the schedule does not look at its input. One that is made from it may. */
export const ignoresInput = <S extends Schedule.Schedule<unknown>>(schedule: S): S => {
  withoutInput.add(schedule)
  return schedule
}

export const readsInput = (schedule: object): boolean => !withoutInput.has(schedule)
