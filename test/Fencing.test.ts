/**
 * Fencing tokens as values, and the guard of a resource.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Fencing } from "../src/index.ts"

describe("Fencing", () => {
  it.effect("the guard turns away what is smaller than the largest it has seen", () =>
    Effect.gen(function*() {
      const accept = yield* Fencing.guard
      const token = (n: number) => Schema.decodeUnknownSync(Fencing.FencingToken)(n)
      yield* accept(token(5))
      yield* accept(token(5))
      yield* accept(token(7))
      const error = yield* Effect.flip(accept(token(6)))
      assert.instanceOf(error, Fencing.StaleToken)
      assert.deepStrictEqual([error.token, error.newest], [token(6), token(7)])
      assert.strictEqual(error.message, "The fencing token 6 is stale: the resource has seen 7")
      yield* accept(token(7))
      // Another guard has seen nothing.
      yield* (yield* Fencing.guard)(token(1))
    }))

  it("a token is a positive safe integer, and has an order", () => {
    const is = Schema.is(Fencing.FencingToken)
    assert.isTrue(is(1) && is(Number.MAX_SAFE_INTEGER))
    for (const wrong of [0, -1, 1.5, Number.NaN, 2 ** 53, "1"]) assert.isFalse(is(wrong))
    const [one, two] = [1, 2].map((n) => Schema.decodeSync(Fencing.FencingToken)(n))
    assert.deepStrictEqual([Fencing.Order(one!, two!), Fencing.Order(two!, one!), Fencing.Order(one!, one!)], [
      -1,
      1,
      0
    ])
  })
})
