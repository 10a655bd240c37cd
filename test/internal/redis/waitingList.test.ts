/**
 * The waiting lists of a node over any client, as far as they ask no server.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { companionKeys } from "../../../src/internal/redis/keys.ts"
import { waitingList } from "../../../src/internal/redis/waitingList.ts"
import type { Notice } from "../../../src/LockNode.ts"
import { entryOf, waiterIdOf } from "../../support/line.ts"

describe("a name that cannot have a waiting list in a cluster", () => {
  it.effect("is told once for each service, and asks nothing of the server", () =>
    Effect.gen(function*() {
      const notices: Array<Notice> = []
      const nothing = () => assert.fail("the server is asked")
      const opened = waitingList(
        { id: "cluster", command: nothing, script: nothing } as never,
        () => Effect.succeed({ subscribe: nothing, watchKey: nothing }),
        companionKeys({ keyPrefix: "" }),
        { hasReplicas: false, minUptimeMillis: 0 }
      )(waiterIdOf("ours"), (notice) => notices.push(notice))
      const list = yield* opened
      for (const name of ["a}b", "a}b", "c}d"]) {
        assert.deepStrictEqual(yield* list.join(name, entryOf("ours"), "back"), { ahead: 0, ttlMillis: Infinity })
        assert.isFalse(yield* list.leave(name, entryOf("ours")))
        assert.strictEqual(yield* list.length!(name), 0)
        assert.isTrue(yield* list.watch!(name))
      }
      assert.deepStrictEqual(notices, [
        { _tag: "Unsupported", why: `in a cluster, the name "a}b" cannot have a waiting list` }
      ])
    }).pipe(Effect.scoped))
})
