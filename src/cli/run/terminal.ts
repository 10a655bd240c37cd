/**
 * Having a controlling terminal, which is what job control goes by, whatever
 * standard input, output and error are.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, constants, openSync } from "node:fs"

const canOpenTerminal = (): boolean => {
  try {
    closeSync(openSync("/dev/tty", constants.O_RDWR | constants.O_NOCTTY))
    return true
  } catch {
    return false
  }
}

export const hasTerminal: boolean = canOpenTerminal()

/**
 * Tells whether a signal went to all of our process group, as what is typed at a
 * terminal does, or to us alone: a process in the same group, which such a signal
 * ends, and which answers as long as it lives.
 */
export class Witness {
  #process: ChildProcess
  #isDone = false

  constructor() {
    this.#process = this.#start()
  }

  get pid(): number | undefined {
    return this.#process.pid
  }

  #start(): ChildProcess {
    const process = spawn("cat", { stdio: ["pipe", "pipe", "ignore"] })
    process.stdin.on("error", () => {})
    process.on("error", () => {})
    process.once("exit", () => {
      if (!this.#isDone) this.#process = this.#start()
    })
    return process
  }

  /** Calls back if the signal, which just came, went to us alone. */
  ifToUsAlone(signal: NodeJS.Signals, then: () => void): void {
    const process = this.#process
    if (process.pid === undefined) return then()
    const died = (_: number | null, of: NodeJS.Signals | null) => {
      process.stdout!.off("data", answered)
      if (of !== signal) then()
    }
    const answered = () => {
      process.off("exit", died)
      then()
    }
    process.once("exit", died)
    process.stdout!.once("data", answered)
    process.stdin!.write("\n")
  }

  done(): void {
    this.#isDone = true
    this.#process.stdin!.end()
  }
}
