/** The processes of a benchmark, as seen from the parent. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import type { Jobs } from "./serve.ts"

type Options<J extends Jobs, Job extends keyof J> = Parameters<J[Job]>
type Answer<J extends Jobs, Job extends keyof J> = Awaited<ReturnType<J[Job]>>

/** A process that does the jobs of one `serve`. */
export class Worker<J extends Jobs> {
  readonly #child: ChildProcess
  readonly #open = new Map<number, (reply: { readonly answer: unknown; readonly error?: string }) => void>()
  #asked = 0

  constructor(program: URL, execArgv: ReadonlyArray<string>) {
    this.#child = fork(program, {
      serialization: "advanced",
      execArgv: [...process.execArgv, ...execArgv]
    })
    this.#child.on("message", (reply: { readonly id: number; readonly answer: unknown; readonly error?: string }) => {
      this.#open.get(reply.id)?.(reply)
      this.#open.delete(reply.id)
    })
    this.#child.on("exit", (code, signal) => {
      for (const reply of this.#open.values()) {
        reply({ answer: undefined, error: `the process ended with ${signal ?? code}` })
      }
    })
  }

  ask<Job extends keyof J & string>(job: Job, ...options: Options<J, Job>): Effect.Effect<Answer<J, Job>> {
    return Effect.callback((resume) => {
      const id = this.#asked++
      this.#open.set(
        id,
        ({ answer, error }) =>
          resume(
            error === undefined ? Effect.succeed(answer as Answer<J, Job>) : Effect.die(new Error(`${job}: ${error}`))
          )
      )
      this.#child.send({ id, job, options: options[0] })
    })
  }

  /** Asks the process to exit, which lets it write a profile. */
  readonly close: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return resume(Effect.void)
    this.#child.once("exit", () => resume(Effect.void))
    this.#child.disconnect()
  })
}

/** Starts a process, which ends with the scope. */
export const start = <J extends Jobs>(
  program: URL,
  execArgv: ReadonlyArray<string> = []
): Effect.Effect<Worker<J>, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.sync(() => new Worker<J>(program, execArgv)), ({ close }) => close)
