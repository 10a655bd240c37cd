/**
 * The command that `run` runs, as a process that gets our signals and does not
 * outlive the lock.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import { type ChildProcess, spawn } from "node:child_process"
import { isatty } from "node:tty"
import { cannotExecute, Failure, notFound } from "./failure.ts"
import { exitCodeOf } from "./signals.ts"

export interface Command {
  readonly program: string
  readonly args: ReadonlyArray<string>
  readonly env: NodeJS.ProcessEnv
}

/**
 * At a terminal the command stays in our process group, as job control wants
 * it: what is typed there, Ctrl-C and Ctrl-Z among it, reaches both of us.
 * Elsewhere it gets a group of its own, so that a signal reaches the processes it
 * started too.
 */
const atTerminal = [0, 1, 2].some((fd) => isatty(fd))

/** What a terminal sends to all processes in front of it. */
const typed: ReadonlyArray<NodeJS.Signals> = ["SIGINT", "SIGQUIT"]

export class Child {
  readonly #process: ChildProcess
  readonly #ended = Latch.makeUnsafe(false)
  #end: { readonly code: number } | { readonly failure: Failure } | undefined

  constructor({ args, env, program }: Command) {
    this.#process = spawn(program, args, { env, stdio: "inherit", detached: !atTerminal })
    this.#process.once("exit", (code, signal) => this.#conclude({ code: signal === null ? code! : exitCodeOf(signal) }))
    this.#process.once("error", (error) => this.#conclude({ failure: cannotStart(program, error) }))
  }

  #conclude(end: { readonly code: number } | { readonly failure: Failure }): void {
    this.#end ??= end
    this.#ended.openUnsafe()
  }

  /** Its exit code, 128 and the number where a signal ended it. */
  readonly exitCode: Effect.Effect<number, Failure> = Effect.suspend(() =>
    Effect.flatMap(
      this.#ended.await,
      () => "code" in this.#end! ? Effect.succeed(this.#end.code) : Effect.fail(this.#end!.failure)
    )
  )

  /** Passes on a signal that we got. */
  forward(signal: NodeJS.Signals): void {
    if (!(atTerminal && typed.includes(signal))) this.#signal(signal)
  }

  /**
   * Asks it to end, and after the grace ends it. Done when nothing of it is left. What it left behind when it ended by
   * itself stays.
   */
  terminate(grace: number): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      if (this.#end !== undefined) return
      this.#signal("SIGTERM")
      // A process that stands still takes notice only when it goes on.
      this.#signal("SIGCONT")
      const isGone = yield* this.#gone.pipe(Effect.timeoutOption(grace))
      if (isGone._tag === "None") this.#signal("SIGKILL")
      yield* this.#ended.await
    })
  }

  /** Those it started may outlive it in its group. */
  readonly #gone: Effect.Effect<void> = Effect.suspend(() =>
    Effect.andThen(
      this.#ended.await,
      atTerminal ? Effect.void : Effect.sync(() => this.#signal(0)).pipe(
        Effect.repeat({ schedule: Schedule.spaced("50 millis"), while: (isThere) => isThere }),
        Effect.asVoid
      )
    )
  )

  /** Whether there was somebody to get it. */
  #signal(signal: NodeJS.Signals | 0): boolean {
    const { pid } = this.#process
    if (pid === undefined) return false
    if (atTerminal) return this.#process.kill(signal)
    try {
      return process.kill(-pid, signal)
    } catch {
      return false
    }
  }
}

const cannotStart = (program: string, error: NodeJS.ErrnoException): Failure =>
  error.code === "ENOENT"
    ? new Failure({ code: notFound, message: `${program}: command not found` })
    : new Failure({ code: cannotExecute, message: `cannot run ${program}: ${error.code ?? error.message}` })
