/** Waits for a lock in a process of its own. */
import { Effect } from "effect"
import { writeSync } from "node:fs"
import { Redsync, retryPolicy, withLock } from "../../../src/index.ts"

const { name, nodes }: { readonly name: string; readonly nodes: ReadonlyArray<string> } = JSON.parse(process.argv[2]!)

const retry = retryPolicy({ delay: "5 seconds", within: "30 seconds" })

await withLock(name, Effect.andThen(Effect.sync(() => writeSync(1, "held\n")), Effect.never), { retry }).pipe(
  Effect.provide(Redsync.layer({ nodes })),
  Effect.runPromise
)
