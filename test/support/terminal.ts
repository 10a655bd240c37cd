/**
 * A terminal with an interactive shell, to type into and to read from: a real
 * one, made by the `script` of util-linux.
 */
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { until } from "./faults.ts"

export interface Terminal {
  readonly type: (text: string) => Effect.Effect<void>
  /** Waits until so much has been shown, since the last time that somebody waited for something. */
  readonly shows: (text: string) => Effect.Effect<void>
}

/** Typed with the key Ctrl. */
export const ctrl = { c: "\x03", z: "\x1a", backslash: "\x1c" }

/** Hung up when the scope closes. */
export const openTerminal = (env: NodeJS.ProcessEnv) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn("script", ["-q", "-c", "sh -i", "/dev/null"], {
          env: { ...env, ENV: "" },
          stdio: ["pipe", "pipe", "inherit"]
        })
      ),
      (script) => Effect.sync(() => script.kill("SIGKILL"))
    ),
    (script): Terminal => {
      let shown = ""
      let seen = 0
      script.stdout.setEncoding("utf8").on("data", (text: string) => {
        shown += text
      })
      return {
        type: (text) => Effect.sync(() => script.stdin.write(text)),
        shows: (text) =>
          until(
            `the terminal shows ${text}`,
            Effect.sync(() => {
              const index = shown.indexOf(text, seen)
              if (index >= 0) seen = index + text.length
              return index >= 0
            })
          ).pipe(Effect.catchDefect((defect) => Effect.die(new Error(`${String(defect)}:\n${shown}`))))
      }
    }
  )
