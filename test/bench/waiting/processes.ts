/** The processes of a benchmark, as seen from the parent. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import type { Jobs } from "./worker.ts"

type Options<Job extends keyof Jobs> = Parameters<Jobs[Job]>
type Answer<Job extends keyof Jobs> = Effect.Success<ReturnType<Jobs[Job]>>

export class Worker {
  readonly #child: ChildProcess
  readonly #open = new Map<number, (reply: { readonly answer: unknown; readonly error?: string }) => void>()
  #asked = 0

  constructor(execArgv: ReadonlyArray<string>) {
    this.#child = fork(new URL("./worker.ts", import.meta.url), {
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

  ask<Job extends keyof Jobs>(job: Job, ...options: Options<Job>): Effect.Effect<Answer<Job>> {
    return Effect.callback((resume) => {
      const id = this.#asked++
      this.#open.set(
        id,
        ({ answer, error }) =>
          resume(
            error === undefined ? Effect.succeed(answer as Answer<Job>) : Effect.die(new Error(`${job}: ${error}`))
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

/** Starts so many processes, which end with the scope. */
export const start = (
  count: number,
  execArgv: ReadonlyArray<string> = []
): Effect.Effect<Array<Worker>, never, Scope.Scope> =>
  Effect.forEach(
    Array.from({ length: count }),
    () => Effect.acquireRelease(Effect.sync(() => new Worker(execArgv)), ({ close }) => close)
  )
