/**
 * More names at once than a function can have arguments.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Redsync, withLocks } from "../../../src/index.ts"

it.live("130,000 names at once", () =>
  Effect.gen(function*() {
    const names = Array.from({ length: 130_000 }, (_, index) => `name ${index}`)
    const held = yield* withLocks(names, (locks) => Effect.succeed(locks.length), { expiry: "10 minutes" })
    assert.strictEqual(held, names.length)
  }).pipe(Effect.provide(Redsync.layerMemory())))
