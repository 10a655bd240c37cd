/**
 * Signals sent to this process. They interrupt the subcommand, unless it handles them
 * itself, as `run` does for as long as its child runs.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import { constants } from "node:os"
import { launch } from "./run/launch.ts"

/** 128 plus the number of the signal, as shells report a process that a signal ended. */
export const exitCodeOf = (signal: NodeJS.Signals): number => 128 + constants.signals[signal]

/** What handles signals at the moment. */
export class Signals extends Context.Service<Signals, { receiver: ((signal: NodeJS.Signals) => void) | undefined }>()(
  "effect-redsync/cli/Signals"
) {}

export const signals = Signals.of({ receiver: undefined })

/** The signals that end a process by default, or that mean something to a child. */
const handled: ReadonlyArray<NodeJS.Signals> = [
  "SIGHUP",
  "SIGINT",
  "SIGPIPE",
  "SIGQUIT",
  "SIGTERM",
  "SIGUSR1",
  "SIGUSR2"
]

/** The signals with which a terminal stops a process. */
const stopping: ReadonlyArray<NodeJS.Signals> = ["SIGTSTP", "SIGTTIN", "SIGTTOU"]

/** Runs the main program: the exit code is that of its result, or of the signal that interrupted it. */
export const runMain = Runtime.makeRunMain(({ fiber, teardown }) => {
  let interruptedBy: NodeJS.Signals | undefined
  const interrupt = (signal: NodeJS.Signals) => {
    interruptedBy ??= signal
    fiber.interruptUnsafe(fiber.id)
  }
  for (const signal of handled) {
    if (launch.ignored.has(signal)) continue
    process.on(signal, () => signals.receiver === undefined ? interrupt(signal) : signals.receiver(signal))
  }
  for (const signal of launch.ignored) {
    // Node has reset them to the system's default action, which ends or stops a process.
    if (handled.includes(signal) || stopping.includes(signal)) process.on(signal, () => {})
  }
  fiber.addObserver((exit) => {
    const isInterrupted = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
    if (isInterrupted && interruptedBy !== undefined) process.exit(exitCodeOf(interruptedBy))
    teardown(exit, (code) => process.exit(code))
  })
})

/** A closed pipe does not end this process. */
export const endOfPipeIsNoSignal = Effect.sync(() => {
  process.removeAllListeners("SIGPIPE").on("SIGPIPE", () => {})
})
