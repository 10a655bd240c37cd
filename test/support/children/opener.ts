/**
 * Opens nodes, asks each for a lock, and closes them at the end of its input. Then
 * there is nothing that keeps the process alive.
 */
import { Effect } from "effect"
import { once } from "node:events"
import * as IoredisNode from "../../../src/IoredisNode.ts"

const nodes: ReadonlyArray<string | Parameters<typeof IoredisNode.make>[0]> = JSON.parse(process.argv[2]!)

const ended = Effect.promise(() => once(process.stdin.resume(), "end"))

await Effect.forEach(
  nodes,
  (node) => Effect.flatMap(IoredisNode.make(node), ({ acquire }) => Effect.forkScoped(acquire("name", "value", 1000)))
).pipe(
  Effect.andThen(ended),
  Effect.scoped,
  Effect.runPromise
)
