/**
 * How often a service asks the nodes while nothing wakes it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Layer, Random, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { lock, type LockOptions, MemoryNode, permits, retryPolicy, withLock, withPermits } from "../../../src/index.ts"
import * as Opened from "../../support/opened.ts"
import { scoped } from "../../support/scoped.ts"
import * as TestNodes from "../../support/testNodes.ts"

const kinds = [
  {
    what: "a lock",
    hold: lock("a"),
    wait: <A>(then: Effect.Effect<A>, options: LockOptions) => withLock("a", then, options)
  },
  {
    what: "permits",
    hold: permits("a", { limit: 1 }),
    wait: <A>(then: Effect.Effect<A>, options: LockOptions) => withPermits("a", then, { limit: 1, ...options })
  }
]

describe.each(kinds)("$what, held by another service", ({ hold, wait }) => {
  describe.each(["delivered", "lost", "absent"] as const)("notices %s", (notices) => {
    const setUp = Effect.gen(function*() {
      const nodes = MemoryNode.makeMany(3)
      const holder = yield* Effect.provide(hold, yield* Layer.build(Opened.layer({ nodes })))
      const views = yield* TestNodes.views(nodes, { notices, distanceMillis: 1 })
      const service = yield* Layer.build(Opened.layer({ nodes: views }))
      const waiter = (options: LockOptions) =>
        Effect.forkScoped(Effect.provide(wait(Clock.currentTimeMillis, options), service))
      return { attempts: () => TestNodes.callsOf(views[0]!, "acquire").map(({ at }) => at), holder, nodes, waiter }
    })

    it.effect("many waiters ask as often as one", () =>
      Effect.gen(function*() {
        const asked = yield* Effect.forEach([1, 100], (waiters) =>
          Effect.gen(function*() {
            const { attempts, waiter } = yield* setUp
            const retry = retryPolicy({ within: "1 minute" })
            for (let count = 0; count < waiters; count++) {
              yield* waiter({ retry })
              yield* TestClock.adjust(7)
            }
            yield* TestClock.adjust("20 seconds")
            return attempts().length
          }).pipe(scoped, Random.withSeed("many")))
        assert.closeTo(asked[1]!, asked[0]!, 3)
      }))

    it.effect("one that would ask more often does not wait for the schedule of the first", () =>
      Effect.gen(function*() {
        const { holder, nodes, waiter } = yield* setUp
        const first = yield* waiter({ retry: Schedule.spaced("1 hour") })
        yield* TestClock.adjust(100)
        yield* waiter({ retry: Schedule.spaced("1 second") })
        yield* TestClock.adjust("5 seconds")
        // Behind everybody's back: nobody is notified.
        yield* Effect.forEach(nodes, (node) =>
          Effect.andThen(
            node.release("a", holder.value),
            node.permits!.release("a", holder.value)
          ))
        yield* TestClock.adjust("1 second")
        const served = first.pollUnsafe()
        assert(served !== undefined && Exit.isSuccess(served))
        assert.isAtMost(served.value, 6200)
      }).pipe(scoped))
  })
})
