/**
 * Runs seeds, one after the other, as it is told by its parent. What nobody
 * catches ends it, and the parent starts another.
 */
import type { Upstream } from "./hostile.ts"
import { type Outcome, run } from "./run.ts"

export type Order = { readonly seed: number; readonly servers: ReadonlyArray<Upstream> }

export type Report =
  | { readonly _tag: "Done"; readonly outcome: Outcome; readonly heap: number }
  | { readonly _tag: "Uncaught"; readonly what: string }

// Enough to see where it began.
Error.stackTraceLimit = 30

const told = (report: Report) => process.send?.(report)

const die = (kind: string) => (error: unknown) => {
  const what = error instanceof Error ? error.stack ?? error.message : String(error)
  process.send?.({ _tag: "Uncaught", what: `${kind}: ${what}` } satisfies Report, () => process.exit(1))
}

process.on("uncaughtException", die("uncaught exception"))
process.on("unhandledRejection", die("unhandled rejection"))
// A terminal tells the whole group; the parent decides what comes of it.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {})
process.on("disconnect", () => process.exit())

process.on("message", ({ seed, servers }: Order) => {
  void (async () => {
    const outcome = await run(seed, servers)
    globalThis.gc?.()
    told({ _tag: "Done", outcome, heap: process.memoryUsage().heapUsed })
  })()
})
