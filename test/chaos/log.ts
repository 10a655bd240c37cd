/**
 * The log of a chaos run: what every process saw and did, line by line in one
 * file that all of them append to. Times are microseconds on the machine's
 * monotonic clock, which all processes share.
 */
import { closeSync, openSync, readSync, writeSync } from "node:fs"

export type Event =
  /** The first step of a program that has the lock; `leaseEnd` is to when it was promised by then. */
  | {
    readonly kind: "entered"
    readonly at: number
    readonly process: number
    readonly hold: number
    readonly name: string
    readonly leaseEnd: number
    readonly waited: number
    readonly token: number
    /** Of a shared lock. */
    readonly shared?: boolean
    /** Of permits: their slots, the token of each, and how many there are in all. */
    readonly permits?: {
      readonly slots: ReadonlyArray<number>
      readonly tokens: ReadonlyArray<number>
      readonly limit: number
    }
  }
  /** The program has found its lease extended. */
  | {
    readonly kind: "extended"
    readonly at: number
    readonly process: number
    readonly hold: number
    readonly leaseEnd: number
  }
  /** The program has done its last step, or was interrupted. */
  | { readonly kind: "left"; readonly at: number; readonly process: number; readonly hold: number }
  /** How a call failed. */
  | { readonly kind: "failed"; readonly at: number; readonly process: number; readonly reason: string }
  /** The process found that its event loop had not turned for a while. */
  | { readonly kind: "stood still"; readonly at: number; readonly process: number; readonly from: number }
  /** Written by who did it to the process. */
  | { readonly kind: "stopped" | "resumed" | "killed"; readonly at: number; readonly process: number }
  | { readonly kind: "fault"; readonly at: number; readonly fault: string }

export const now = (): number => Number(process.hrtime.bigint() / 1000n)

/** Appends to the log at once: what is written is not lost with the process. */
export const writer = (path: string): (event: Event) => void => {
  const file = openSync(path, "a")
  return (event) => {
    writeSync(file, `${JSON.stringify(event)}\n`)
  }
}

export interface Reader {
  /** What was appended since the last call. */
  readonly next: () => Array<Event>
  readonly close: () => void
}

export const reader = (path: string): Reader => {
  const file = openSync(path, "a+")
  const chunk = Buffer.alloc(1 << 20)
  let position = 0
  let rest = ""
  return {
    next: () => {
      const events: Array<Event> = []
      for (;;) {
        const size = readSync(file, chunk, 0, chunk.length, position)
        if (size === 0) return events
        position += size
        const lines = (rest + chunk.toString("latin1", 0, size)).split("\n")
        rest = lines.pop()!
        for (const line of lines) events.push(JSON.parse(line))
      }
    },
    close: () => closeSync(file)
  }
}
