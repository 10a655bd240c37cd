/**
 * Nodes that are clusters, of which one server is in trouble.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { type LockNode, withLockIfAvailable } from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { until } from "../../support/faults.ts"
import { clusterClient, namesOn, threeMasters } from "../../support/servers/cluster.ts"
import { service } from "../../support/trouble.ts"

describe("a cluster of which one master is stopped", () => {
  it.live("grants the locks that are on the others", () =>
    Effect.gen(function*() {
      const masters = yield* threeMasters
      const [stopped, ...others] = masters
      const node = IoredisNode.fromClient(yield* clusterClient(masters))
      let asked = 0
      const acquire: LockNode["acquire"] = (key, ...args) => {
        if (key === name) asked++
        return node.acquire(key, ...args)
      }
      const { logs, run } = yield* service([{ ...node, acquire }])
      const [name] = yield* namesOn(stopped, 1)
      const names = yield* Effect.map(Effect.forEach(others, (other) => namesOn(other, 10)), (all) => all.flat())
      yield* stopped.stop
      yield* Effect.ignore(run(withLockIfAvailable(name!, Effect.void))).pipe(
        Effect.andThen(Effect.sleep("10 millis")),
        Effect.forever,
        Effect.forkScoped
      )
      // It did not answer the first time, and is asked one thing at a time from now on.
      yield* until("it is asked again", Effect.sync(() => asked === 2))
      for (const name of names) {
        assert.isTrue(Option.isSome(yield* run(withLockIfAvailable(name, Effect.void))), name)
      }
      const warnings = logs.down()
      assert.strictEqual(warnings.length, 1)
      assert.include(warnings[0], `(${stopped.host}:${stopped.port}) did not answer in time`)
      yield* stopped.resume
    }).pipe(Effect.scoped))
})
