// Uses the installed package as its users do: the root and every subpath. Compiled strictly, then run.
import { Effect } from "effect"
import * as root from "effect-redsync"
import { Redsync, retryPolicy, withLock } from "effect-redsync"
import * as Fencing from "effect-redsync/Fencing"
import * as IoredisNode from "effect-redsync/IoredisNode"
import { Keyed } from "effect-redsync/Keyed"
import * as Leader from "effect-redsync/Leader"
import * as Lock from "effect-redsync/Lock"
import * as LockError from "effect-redsync/LockError"
import * as LockMetrics from "effect-redsync/LockMetrics"
import * as LockNode from "effect-redsync/LockNode"
import * as MemoryNode from "effect-redsync/MemoryNode"
import * as RedisNode from "effect-redsync/RedisNode"
import * as RedsyncModule from "effect-redsync/Redsync"
import * as Semaphore from "effect-redsync/Semaphore"
import { layerTest, TestNodes } from "effect-redsync/testing"
import assert from "node:assert/strict"

const modules = {
  Fencing,
  Leader,
  Lock,
  LockError,
  LockMetrics,
  MemoryNode,
  RedisNode,
  Redsync: RedsyncModule,
  Semaphore
}
for (const [name, module] of Object.entries(modules)) {
  assert.equal(module, root[name as keyof typeof modules], `effect-redsync/${name} is the namespace ${name}`)
}
assert.equal(Keyed, root.Keyed)
assert.equal(typeof IoredisNode.make, "function")
assert.deepEqual(Object.keys(LockNode), [])
const hidden: string = "effect-redsync/internal/quorum"
await assert.rejects(import(hidden), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" })

const program = Effect.scoped(withLock("smoke", Effect.succeed(1))).pipe(Effect.provide(Redsync.layerMemory()))
const result: number = await Effect.runPromise(program)
assert.equal(result, 1)

const tested = Effect.andThen(
  TestNodes,
  ({ all }) => Effect.andThen(all("down"), Effect.flip(withLock("smoke", Effect.void)))
)
const error = await Effect.runPromise(tested.pipe(Effect.provide(layerTest({ retry: retryPolicy({ tries: 1 }) }))))
assert.equal(error._tag, "NodesUnavailable")
