/**
 * Fencing tokens: the resource's side of a lock.
 *
 * No lock can stop a process that was frozen while it held the lock: when the process resumes,
 * requests already in flight still arrive, although the lease has ended and another process holds
 * the lock. The resource can: `Redsync.withFencedLock` gives each holder a token larger than all
 * earlier ones, the holder sends it along, and the resource rejects any request whose token is
 * smaller than the largest seen. The guide on fencing has recipes for PostgreSQL and Redis.
 *
 * @see Martin Kleppmann on why: https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Order_ from "effect/Order"
import * as Schema from "effect/Schema"
import { dieWithIllegalArgument, invalidOption } from "./internal/base/arguments.ts"

/**
 * A fencing token: a positive safe integer. Of two holders of one name the later
 * one has the larger token.
 *
 * **Details**
 *
 * Tokens of one name increase strictly, in the order of the grants, but not by one:
 * usually a token is the time of the grant in microseconds since 1970. Tokens of different names
 * cannot be compared. A client whose clock is past 14 March 2255 gets no token, and its acquisition
 * fails with `NodesUnavailable`; that leaves room for the tokens of others.
 *
 * It is also a schema that decodes tokens from elsewhere.
 *
 * **Example** (A token from the environment)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Fencing } from "effect-redsync"
 *
 * const token = Schema.decodeSync(Fencing.FencingToken)(1795545273765361)
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export const FencingToken = Schema.Int.check(Schema.isGreaterThan(0)).pipe(
  Schema.brand("effect-redsync/FencingToken")
)

/**
 * A fencing token: a positive safe integer. Of two holders of one name the later
 * one has the larger token.
 *
 * @category models
 * @since 0.1.0
 */
export type FencingToken = typeof FencingToken.Type

/**
 * Orders tokens of one name from the earliest holder's to the latest's.
 *
 * @category ordering
 * @since 0.1.0
 */
export const Order: Order_.Order<FencingToken> = Order_.Number

/**
 * A token was rejected: the resource has seen the larger token `newest`, so another
 * client has acquired the lock since.
 *
 * @category errors
 * @since 0.1.0
 */
export class StaleToken extends Schema.TaggedError<StaleToken>("effect-redsync/StaleToken")("StaleToken", {
  token: FencingToken,
  newest: FencingToken
}) {
  override get message(): string {
    return `The fencing token ${this.token} is stale: the resource has seen ${this.newest}`
  }
}

/**
 * Makes a guard that accepts a token if it is at least as large as the largest token seen so far,
 * and otherwise fails with `StaleToken`. Anything that is not a token is a defect.
 *
 * **Details**
 *
 * This is what a resource that is written under a fenced lock has to do, here in
 * memory: for resources inside one process, for tests, and as a reference. Comparing and
 * remembering are one atomic step. An equal token is accepted: a holder may write any number of
 * times.
 *
 * **Gotchas**
 *
 * The write has to happen in the same atomic step as the check: if it takes time, a later holder
 * may write in between. So check where the write takes effect: in the `UPDATE`, or in the script.
 *
 * **Example** (A late write is rejected)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Fencing, Redsync, withFencedLock } from "effect-redsync"
 *
 * const program = Effect.gen(function*() {
 *   const accept = yield* Fencing.guard
 *   const early = yield* withFencedLock("invoices", Effect.succeed)
 *   const late = yield* withFencedLock("invoices", Effect.succeed)
 *   yield* accept(late)
 *   const error = yield* Effect.flip(accept(early))
 *   yield* Console.log(error._tag)
 *   // => StaleToken
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Redsync.layerMemory({ count: 3 }))))
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const guard: Effect.Effect<(token: FencingToken) => Effect.Effect<void, StaleToken>> = Effect.sync(() => {
  let newest: FencingToken | undefined
  return (token) =>
    Effect.suspend(() => {
      // Nothing compares as smaller than NaN, so it would accept every token that follows.
      if (!isToken(token)) {
        return dieWithIllegalArgument(
          invalidOption("token", token, "it must be a fencing token, a whole number of at least 1")
        )
      }
      if (newest !== undefined && token < newest) return Effect.fail(new StaleToken({ token, newest }))
      newest = token
      return Effect.void
    })
})

const isToken = Schema.is(FencingToken)
