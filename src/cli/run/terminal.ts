/**
 * Whether there is a controlling terminal, on which job control depends, whatever
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

/** Answers each line with the signals received since the previous line. */
const script = `
for signal in HUP INT QUIT TERM USR1 USR2; do trap "got=\\"\\$got SIG$signal\\"" $signal; done
while :; do
  before=$got
  if read -r line; then
    answer=$got
    # More may have arrived by now.
    got=\${got#"$answer"}
    echo "$answer"
  elif [ "$got" = "$before" ]; then
    exit
  fi
done
`

/**
 * Tells whether a signal was sent to our whole process group, as signals typed at a
 * terminal are, or to us alone: it is a process in the same group, which receives only
 * the former.
 */
export class Witness {
  #process: ChildProcess
  #isDone = false
  /** Signals that were sent to the group, and have not been asked for yet. */
  readonly #toAll = new Set<string>()
  readonly #questions: Array<{ readonly signal: NodeJS.Signals; readonly answer: (wasSentToAll: boolean) => void }> = []

  constructor() {
    this.#process = this.#start()
  }

  #start(): ChildProcess {
    const process = spawn("/bin/sh", ["-c", script, "redsync-witness"], { stdio: ["pipe", "pipe", "ignore"] })
    process.stdin.on("error", () => {})
    process.on("error", () => {})
    process.once("exit", (_, signal) => {
      // It had not yet begun to trap signals.
      if (signal !== null) this.#toAll.add(signal)
      while (this.#questions.length > 0) this.#answer()
      if (!this.#isDone) this.#process = this.#start()
    })
    let begun = ""
    process.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (begun + text).split("\n")
      begun = lines.pop()!
      for (const line of lines) {
        for (const signal of line.split(" ")) this.#toAll.add(signal)
        this.#answer()
      }
    })
    return process
  }

  /** Calls back with whether the signal, which has just arrived, was sent to the whole group. */
  ask(signal: NodeJS.Signals, answer: (wasSentToAll: boolean) => void): void {
    this.#questions.push({ signal, answer })
    if (this.#process.pid === undefined) this.#answer()
    else this.#process.stdin!.write("\n")
  }

  #answer(): void {
    const question = this.#questions.shift()
    question?.answer(this.#toAll.delete(question.signal))
  }

  done(): void {
    this.#isDone = true
    this.#process.stdin!.end()
  }
}
