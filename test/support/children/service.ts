/**
 * A service as people deploy it: it holds many locks in several ways under
 * `NodeRuntime.runMain`, and does nothing about signals itself.
 */
import * as NodeRuntime from "@effect/platform-node-shared/NodeRuntime"
import { Console, Effect } from "effect"
import { fencedLock, lock, Redsync, withLock, withLocks } from "../../../src/index.ts"

const nodes = process.argv.slice(2)

const program = Effect.gen(function*() {
  yield* Effect.forEach(Array.from({ length: 50 }), (_, index) => lock(`lock ${index}`), { concurrency: "unbounded" })
  yield* fencedLock("fenced")
  return yield* withLock("outer", withLocks(["one", "two"], Effect.andThen(Console.log("holding"), Effect.never)))
})

program.pipe(
  Effect.scoped,
  Effect.ensuring(Console.log("released")),
  Effect.provide(Redsync.layer({ nodes, expiry: "1 minute", nodeTimeout: "1 second" })),
  NodeRuntime.runMain
)
