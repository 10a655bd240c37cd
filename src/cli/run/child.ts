/**
 * The command that `run` runs, and the processes that it starts: this tree gets our
 * signals, stops and continues with us, and does not outlive the lock.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { fstatSync } from "node:fs"
import { constants } from "node:os"
import { untrusted } from "../../internal/base/text.ts"
import type { Failure } from "../failure.ts"
import { say } from "../output.ts"
import { exitCodeOf } from "../signals.ts"
import { cannotRun, hindrance } from "./executable.ts"
import { launch } from "./launch.ts"
import { find, type Process } from "./processes.ts"
import { hasTerminal, Witness } from "./terminal.ts"
import { Tree } from "./tree.ts"
import { Watchdog } from "./watchdog.ts"

export interface Command {
  readonly program: string
  readonly args: ReadonlyArray<string>
  readonly env: NodeJS.ProcessEnv
}

type End = { readonly code: number } | { readonly failure: Failure }

/** In the environment of every process that a command starts; has several marks if one `run` runs under another. */
const markVariable = "REDSYNC_RUN"

/**
 * At a terminal the command stays in our process group, as job control requires: keys
 * typed there, such as Ctrl-C and Ctrl-Z, reach the whole foreground job: us, the
 * command, and what it is piped to. Elsewhere it gets a group and a session of its own.
 */
export class Child {
  readonly watchdog: Watchdog
  readonly #tree: Tree
  readonly #witness = hasTerminal ? new Witness() : undefined
  readonly #group: number | undefined
  readonly #command: Process | undefined
  readonly #mayGoOn: () => boolean
  readonly #ended = Latch.makeUnsafe(false)
  #end: End | undefined
  /** The processes of the tree that we may not send signals to, since they have become another user. */
  #beyondReach: ReadonlyArray<Process> = []

  /** `mayGoOn` says whether the command may continue when we are continued after a stop. */
  constructor(command: Command, graceMillis: number, mayGoOn: () => boolean) {
    this.#mayGoOn = mayGoOn
    const mark = randomBytes(12).toString("hex")
    this.watchdog = new Watchdog(mark, graceMillis, process.env)
    this.#tree = new Tree(mark, this.watchdog.pid)
    const marks = [process.env[markVariable], mark].filter(Boolean).join(",")
    const child = start({ ...command, env: { ...command.env, [markVariable]: marks } })
    if ("failure" in child) {
      this.#conclude(child)
      return
    }
    child.once("exit", (code, signal) => this.#conclude({ code: signal === null ? code! : exitCodeOf(signal) }))
    child.once("error", (error) => this.#conclude({ failure: cannotRun(command.program, codeOf(error)) }))
    if (child.pid === undefined) return
    const { pid } = child
    const born = find(pid)?.start ?? -1
    if (born < 0 && find(process.pid) === undefined) {
      Effect.runSync(
        say(
          "no processes are visible here: if the lock is lost, only the command itself is terminated, not the processes it starts"
        )
      )
    }
    this.#tree.begin(pid, born, !hasTerminal)
    this.watchdog.watch(pid, born)
    this.#group = hasTerminal ? find(process.pid)?.group ?? 0 : pid
    this.#command = {
      pid,
      parent: process.pid,
      group: this.#group ?? 0,
      session: 0,
      start: born,
      name: command.program,
      hasInEnvironment: () => true
    }
    if (!launch.ignored.has("SIGTSTP")) process.on("SIGTSTP", this.#stop)
  }

  #conclude(end: End): void {
    this.#end ??= end
    this.#ended.openUnsafe()
  }

  /** The command's exit code, or 128 plus the number of the signal that ended it. Processes it started may still run. */
  readonly exitCode: Effect.Effect<number, Failure> = Effect.suspend(() =>
    Effect.flatMap(
      this.#ended.await,
      () => "code" in this.#end! ? Effect.succeed(this.#end.code) : Effect.fail(this.#end!.failure)
    )
  )

  /** Waits until no process of the tree is left, and says what it waits for. */
  readonly alone: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    for (let pause = 20, waited = 0;; waited += pause, pause = Math.min(1000, pause * 1.5)) {
      const left = this.#members()
      if (left.length === 0) return
      if (waited < 1000 && waited + pause >= 1000) {
        yield* say(`the command has ended, but processes that it left running keep the lock: ${named(left)}`)
      }
      yield* Effect.sleep(pause)
    }
  })

  /** Forwards a signal that we received. */
  forward(signal: NodeJS.Signals): void {
    if (this.#witness === undefined) this.#forward(signal, false)
    else this.#witness.ask(signal, (wasSentToAll) => this.#forward(signal, wasSentToAll))
  }

  /** To the group, unless it has got the signal, and to the command; after its end, to everything that is left of the tree. */
  #forward(signal: NodeJS.Signals, hasGroupGotIt: boolean): void {
    const refused = send(
      signal,
      this.#members().filter((member) =>
        this.#isInGroup(member) ? !hasGroupGotIt : this.#end !== undefined || member.pid === this.#command?.pid
      )
    )
    if (refused.length === 0) return
    Effect.runSync(say(`not permitted to send ${signal} to ${named(refused)}: waiting for it to end`))
  }

  /** The living processes of the tree, including the command even if the system does not show it to us. */
  #members(): ReadonlyArray<Process> {
    const found = this.#tree.members()
    const command = this.#command
    return this.#end !== undefined || command === undefined || found.some(({ pid }) => pid === command.pid)
      ? found
      : [command, ...found]
  }

  /** Whether it is in the group that gets signals typed at the terminal or, without a terminal, sent by others. */
  #isInGroup({ group }: Process): boolean {
    return group === this.#group
  }

  /** Stops the tree, then ourselves; when we are continued, lets the tree continue if it may. */
  readonly #stop = (): void => {
    const members = this.#members()
    send("SIGTSTP", hasTerminal ? members.filter((member) => this.#isInGroup(member)) : [])
    // In sessions without a terminal, SIGTSTP has no effect.
    send("SIGSTOP", hasTerminal ? members.filter((member) => !this.#isInGroup(member)) : members)
    process.off("SIGTSTP", this.#stop)
    process.kill(process.pid, "SIGTSTP")
    process.on("SIGTSTP", this.#stop)
    if (this.#mayGoOn()) send("SIGCONT", this.#members())
  }

  /**
   * Asks the tree to end, and kills it after the grace period. Done when no process of it is left that we may end. Without
   * grace, it is killed at once. If this takes longer than `spareMillis` more, the watchdog does it.
   */
  terminate(graceMillis: number, spareMillis: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      this.watchdog.lease(graceMillis + spareMillis, 0)
      if (graceMillis > 0) {
        const members = this.#members()
        send("SIGTERM", members)
        // A stopped process notices the signal only when it continues.
        send("SIGCONT", members)
        yield* this.#gone(0).pipe(Effect.timeoutOption(graceMillis))
      }
      yield* this.#gone("SIGKILL")
      if (this.#beyondReach.length > 0) {
        yield* say(`not permitted to terminate ${named(this.#beyondReach)}, which continues without the lock`)
      }
    })
  }

  /** Whether a process continues without the lock, since we may not end it. */
  get isBeyondReach(): boolean {
    return this.#beyondReach.length > 0
  }

  /** Repeats the signal until no process is left to receive it. */
  #gone(signal: NodeJS.Signals | 0): Effect.Effect<void> {
    return Effect.suspend(() => {
      const members = this.#members()
      this.#beyondReach = send(signal, members)
      return Effect.succeed(members.length === this.#beyondReach.length)
    }).pipe(
      Effect.repeat({ schedule: Schedule.spaced("30 millis"), until: (isGone) => isGone }),
      Effect.asVoid
    )
  }

  /** Lets go of the tree: processes that are left keep running. */
  close(): void {
    process.off("SIGTSTP", this.#stop)
    this.#witness?.done()
    this.watchdog.done()
  }
}

/** Sends a signal to each process, and returns those that we may not send it to. */
export const send = (signal: NodeJS.Signals | 0, to: ReadonlyArray<Process>): ReadonlyArray<Process> =>
  to.filter(({ pid }) => {
    try {
      process.kill(pid, signal)
      return false
    } catch (error) {
      return codeOf(error) === "EPERM"
    }
  })

const named = (processes: ReadonlyArray<Process>): string => {
  const names = processes.slice(0, 5).map(({ name, pid }) => `${untrusted(name, 30)} (${pid})`)
  return `${names.join(", ")}${processes.length > names.length ? ` and ${processes.length - names.length} more` : ""}`
}

/** Starts the command with what Node has taken away: ignored signals, the limit on open files, descriptors. */
const start = ({ args, env, program }: Command): ChildProcess | { readonly failure: Failure } => {
  const failure = hindrance(program, env["PATH"])
  if (failure !== undefined) return { failure }
  const restored = [
    ...launch.ignored.size > 0
      ? [`trap '' ${[...launch.ignored].map((signal) => constants.signals[signal]).join(" ")}`]
      : [],
    ...launch.openFiles === undefined ? [] : [`ulimit -S -n ${launch.openFiles}`],
    "exec \"$@\""
  ]
  const variables = launch.dropped.length > 0 ? ["env", ...launch.dropped] : []
  const isShellNeeded = restored.length > 1
  try {
    const options = { env, detached: !hasTerminal, stdio: descriptors() }
    return isShellNeeded
      ? spawn("/bin/sh", ["-c", restored.join("; "), "redsync", ...variables, program, ...args], options)
      : spawn(program, args, options)
  } catch (error) {
    return { failure: cannotRun(program, codeOf(error)) }
  }
}

/** All descriptors that we were given. */
const descriptors = () => {
  const given = new Set([0, 1, 2, ...launch.descriptors.filter(isOpen)])
  return Array.from(
    { length: Math.max(...given) + 1 },
    (_, descriptor) => given.has(descriptor) ? descriptor : "ignore"
  )
}

const isOpen = (descriptor: number): boolean => {
  try {
    fstatSync(descriptor)
    return true
  } catch {
    return false
  }
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error)
