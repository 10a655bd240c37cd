// Uses the installed package where ioredis is not installed. Compiled strictly, then run.
import { Cause, Effect, Exit } from "effect"
import { Redsync, withLock } from "effect-redsync"
import assert from "node:assert/strict"

const program = withLock("smoke", Effect.succeed(1))
const result: number = await Effect.runPromise(Effect.provide(program, Redsync.layerMemory()))
assert.equal(result, 1)

const exit = await Effect.runPromiseExit(
  Effect.provide(program, Redsync.layer({ nodes: ["redis://127.0.0.1:6379"] }))
)
assert.ok(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
// The whole message is tested in test/optionalIoredis.test.ts.
assert.match(String(Cause.squash(exit.cause)), /npm install ioredis/)
// Its types need those of ioredis.
const needsIoredis: string = "effect-redsync/IoredisNode"
await assert.rejects(import(needsIoredis), { code: "ERR_MODULE_NOT_FOUND" })
