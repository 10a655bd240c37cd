/**
 * How a command fails: with an exit code for scripts and a line for people. The
 * codes are those of sysexits.h where it has one.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { errorExitCode, errorReported } from "effect/Runtime"
import type { LockError } from "../LockError.ts"

export const wrongUsage = 64
export const nodesUnavailable = 69
export const lockLost = 70
export const cannotWrite = 74
export const heldByAnother = 75
export const beyondReach = 77
export const cannotExecute = 126
export const notFound = 127

/** Ends the process with the code. The message is printed unless it is empty. */
export class Failure extends Data.TaggedError("Failure")<{ readonly code: number; readonly message: string }> {
  override readonly [errorExitCode] = this.code
  override readonly [errorReported] = false
}

export const fail = (code: number, message: string): Effect.Effect<never, Failure> =>
  Effect.fail(new Failure({ code, message }))

/** An error of the library, as the failure of a command. */
export const fromLockError = ({ _tag, message }: LockError): Failure =>
  new Failure({ code: _tag === "ErrFailed" ? heldByAnother : nodesUnavailable, message })

/** The library's message about an invalid option, as wrong usage. */
export const wrongUsageOf = (message: string): Failure =>
  new Failure({ code: wrongUsage, message: message.replace(/^.*effect-redsync: /s, "") })

/** An invalid option is a defect in a program, but wrong usage on a command line. */
export const wrongOptionsAreUsage = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Failure, R> =>
  Effect.catchDefect(effect, (defect): Effect.Effect<never, Failure> =>
    Cause.isIllegalArgumentError(defect)
      ? Effect.fail(wrongUsageOf(defect.message))
      : Effect.die(defect))
