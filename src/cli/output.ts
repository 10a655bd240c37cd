/**
 * What the command line prints. It is written synchronously, without Node's streams:
 * these would make a pipe that we share with the command of `run` non-blocking, and
 * would report output as written that could not be. Messages go to standard error.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { constants, fstatSync, openSync, writeSync } from "node:fs"
import { isatty } from "node:tty"
import { unprintable, untrusted } from "../internal/base/text.ts"
import { cannotWrite, Failure } from "./failure.ts"

/**
 * Standard error. A pipe that nobody reads must not keep us from extending a lock. So we open it again in non-blocking
 * mode; the command's descriptor stays as it is.
 */
const standardError = ((): number => {
  try {
    return fstatSync(2).isFIFO() ? openSync("/proc/self/fd/2", constants.O_WRONLY | constants.O_NONBLOCK) : 2
  } catch {
    return 2
  }
})()

/** Prints a line of untrusted text on standard error. */
export const say = (text: string): Effect.Effect<void> =>
  Effect.sync(() => {
    try {
      writeSync(standardError, `redsync: ${untrusted(text, Number.POSITIVE_INFINITY)}\n`)
    } catch {
      // Nobody reads it, or the pipe is full. That is no reason to give up a lock.
    }
  })

/** Whether writing to standard output has failed. */
let isClosed = false

/** Prints a line on standard output. If that fails, the command ends and prints nothing more. */
const print = (text: string): void => {
  if (isClosed) return
  try {
    writeAll(1, Buffer.from(`${text}\n`))
  } catch (cause) {
    isClosed = true
    const { code, message } = cause as NodeJS.ErrnoException
    if (code !== "EPIPE") throw new Failure({ code: cannotWrite, message: `cannot write the output: ${message}` })
    // The reader has closed the pipe, as `head` does. Node ignores the signal that other programs get for this.
    process.emit("SIGPIPE", "SIGPIPE")
  }
}

const writeAll = (fd: number, bytes: Uint8Array): void => {
  for (let written = 0; written < bytes.length;) {
    try {
      written += writeSync(fd, bytes, written)
    } catch (cause) {
      // Another process has made it non-blocking, and it is full.
      if ((cause as NodeJS.ErrnoException).code !== "EAGAIN") throw cause
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
    }
  }
}

/** What `Console.log` writes to. */
export const standardOutput = Layer.succeed(
  Console.Console,
  Object.assign(Object.create(console) as Console.Console, { log: print })
)

/** Turns a `Failure` that had to be thrown into a typed failure. */
export const asFailure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Failure, R> =>
  Effect.catchDefect(
    effect,
    (defect): Effect.Effect<never, Failure> => defect instanceof Failure ? Effect.fail(defect) : Effect.die(defect)
  )

/** Masks the credentials of URLs in a message, for instance about an unknown option. */
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

/**
 * Lines as rows of a terminal of that size, which must not break them itself: then it is known how many there are. If
 * there are too many, the last row says so.
 */
export const fitted = (
  lines: ReadonlyArray<string>,
  { columns, rows }: { readonly columns: number; readonly rows: number }
): ReadonlyArray<string> => {
  // Some terminals do not know their size.
  if (!(columns > 1 && rows > 1)) return lines
  // The last column stays empty: some terminals erase what they have just written there.
  const row = new RegExp(String.raw`(?:(?:\x1b\[\d*m)*[^\x1b]){1,${columns - 1}}(?:\x1b\[\d*m)*`, "gu")
  const broken = lines.flatMap((line) => line.match(row) ?? [line])
  const most = rows - 1
  return broken.length <= most
    ? broken
    : [...broken.slice(0, most - 1), `and ${counted(broken.length - most + 1, "more line")}`]
}

/** JSON with all unprintable characters escaped, so that it cannot affect a terminal. */
export const json = (value: unknown): string =>
  JSON.stringify(value).replace(
    new RegExp(unprintable, "gu"),
    (text) => text.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")
  )

/** "1 node", "3 nodes". */
export const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`

/** The size of a quorum, as text. */
export const quorumOf = (quorum: number): string => `quorum ${quorum}`

export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`
