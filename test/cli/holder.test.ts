/**
 * What `status` and `unlock` see, on nodes in memory.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { describe as inWords, look } from "../../src/cli/holder.ts"
import { OpenNodes } from "../../src/cli/nodes.ts"
import { plainly } from "../../src/cli/output.ts"
import { Redsync } from "../../src/index.ts"
import * as TestNodes from "../support/testNodes.ts"

/** A look at three nodes, of which each has so many readers, or is down. */
const shared = (readers: ReadonlyArray<number | "down">) =>
  Effect.gen(function*() {
    const nodes = yield* TestNodes.makeMany(readers.length)
    for (const [index, node] of nodes.entries()) {
      const count = readers[index]!
      if (count === "down") node.state = "down"
      else {
        for (let reader = 1; reader <= count; reader++) {
          yield* node.shared!.acquire("a", `reader ${reader}`, 1000 * (reader + index))
        }
      }
    }
    const view = yield* Effect.provide(
      look("a"),
      Layer.merge(Redsync.layer({ nodes }), Layer.succeed(OpenNodes, nodes))
    )
    return { state: view.state, summary: inWords(view, plainly)[0]! }
  })

describe("readers of a lock", () => {
  it.effect("are as many as a quorum confirms, for as long as it does", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* shared([3, 2, 0]), {
        state: "shared",
        summary: "a  shared by 2 readers for 3.0 s more, on 2 of 3 nodes, quorum 2"
      })
      assert.deepStrictEqual(yield* shared([1, 2, 1]), {
        state: "shared",
        summary: "a  shared by 1 reader for 3.0 s more, on 3 of 3 nodes, quorum 2"
      })
    }))

  it.effect("on too few nodes leave unknown what the nodes that fail could add, and do not hold it otherwise", () =>
    Effect.gen(function*() {
      const states = yield* Effect.forEach(
        [[1, 0, "down"], [0, "down", 0], [1, 0, 0], [0, "down", "down"]] as const,
        (readers) => Effect.map(shared(readers), ({ state }) => state)
      )
      assert.deepStrictEqual(states, ["unknown", "free", "contested", "unknown"])
    }))
})
