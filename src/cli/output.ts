/**
 * What the command line prints. Messages go to standard error; they are written
 * at once and past Node's streams, which would make a pipe that the command of
 * `run` shares with us non-blocking under its feet.
 */
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { writeSync } from "node:fs"
import { isatty } from "node:tty"

/** Prints a line on standard error. */
export const say = (text: string): Effect.Effect<void> =>
  Effect.sync(() => {
    try {
      writeSync(2, `redsync: ${text}\n`)
    } catch {
      // Nobody reads it, which is no reason to let go of a lock.
    }
  })

/** URLs that stand where none belongs, in an unknown option perhaps, have their credentials masked. */
export const withoutPasswords = (text: string): string => text.replaceAll(/(\w+:\/\/)[^\s"'@]*@/g, "$1***@")

/** The library's log as plain lines on standard error. */
export const logToStandardError = Logger.layer([
  Logger.make(({ fiber, message }) => {
    const words = (Array.isArray(message) ? message : [message]).map(String).join(" ")
    Effect.runSyncWith(fiber.context)(say(words))
  })
])

/** For commands that show the state of the nodes themselves. */
export const noLog = Logger.layer([])

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 }
export type Colour = keyof typeof codes
export type Paint = (colour: Colour, text: string) => string

const coloured: Paint = (colour, text) => `\x1b[${codes[colour]}m${text}\x1b[0m`
export const plainly: Paint = (_, text) => text

/** Colours where standard output is a terminal that wants them. */
export const paint: Effect.Effect<Paint> = Effect.sync(() => {
  const { NO_COLOR, TERM } = process.env
  return isatty(1) && !NO_COLOR && TERM !== "dumb" ? coloured : plainly
})

export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`
