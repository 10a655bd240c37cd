/**
 * Remembers which schedules ignore their input. Each step of any other schedule is given an error,
 * which is costly to build for each of a thousand fibers that wait for one lock.
 */
import type * as Schedule from "effect/Schedule"

const withoutInput = new WeakSet<object>()

/** Remembers that the schedule ignores its input. A schedule that is derived from it may still read the input. */
export const ignoresInput = <S extends Schedule.Schedule<unknown>>(schedule: S): S => {
  withoutInput.add(schedule)
  return schedule
}

export const readsInput = (schedule: object): boolean => !withoutInput.has(schedule)
