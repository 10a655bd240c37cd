/**
 * What a node can do beyond exclusive locks: fencing tokens, shared locks, permits.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { companionKey } from "../../internal/redis/keys.ts"
import { NodeError } from "../../LockError.ts"
import type { LockNode, Notice } from "../../LockNode.ts"
import { type Finding, note } from "./finding.ts"
import { entry, isItRedis, not, other, waiterId, withPatience } from "./steps.ts"

/** An attempt at something that not every program needs: if a node cannot do it, that is not a fault. */
const optional = (
  node: LockNode,
  check: string,
  without: string,
  attempt: Effect.Effect<unknown, NodeError>
): Effect.Effect<ReadonlyArray<Finding>> =>
  withPatience(node, attempt).pipe(
    Effect.as([]),
    Effect.catch(({ summary }) => {
      const rule = summary.includes("NOPERM") ? "; src/guide in the package has the exact rule" : ""
      return Effect.succeed([note(check, `${without}: ${summary}${rule}`)])
    })
  )

export const fencing = (node: LockNode, name: string, value: string): Effect.Effect<ReadonlyArray<Finding>> =>
  node.fencing === undefined ? Effect.succeed([]) : optional(
    node,
    "fencing",
    "issues no fencing tokens (run --fenced, withFencedLock)",
    Effect.andThen(node.fencing.acquire(name, value, 5000, 1), node.release(name, value)).pipe(
      Effect.andThen(node.remove(companionKey("fencing", name)))
    )
  )

/** The answer, or a failure if the node should have given another answer. */
const expected = <A>(
  node: LockNode,
  answer: Effect.Effect<A, NodeError>,
  isRight: (answer: A) => boolean
): Effect.Effect<A, NodeError> =>
  Effect.filterOrElse(answer, isRight, () => refused(node, `it did not do what it should. ${isItRedis}`))

const refused = (node: LockNode, cause: string) =>
  Effect.fail(new NodeError({ node: node.id, operation: "acquire", reason: "Rejected", cause }))

const isTrue = (answer: boolean) => answer

/** The life of a shared lock: readers, a writer that leaves it to them, and a writer that becomes a reader. */
export const sharing = (node: LockNode, name: string, value: string): Effect.Effect<ReadonlyArray<Finding>> => {
  const { shared } = node
  if (shared === undefined) return Effect.succeed([])
  const readers = Effect.gen(function*() {
    yield* expected(node, shared.acquire(name, value, 5000), isTrue)
    yield* expected(node, shared.extend(name, value, 5000), isTrue)
    yield* expected(node, shared.inspect(name), ({ readers }) => readers === 1)
    yield* expected(node, not(node.acquire(name, other, 5000)), isTrue)
    yield* shared.announce(name, 1000)
    yield* shared.announce(name, 0)
    yield* expected(node, shared.release(name, value), isTrue)
    yield* node.acquire(name, value, 5000)
    yield* shared.yieldToReaders(name, value, 1)
    yield* node.remove(name)
    yield* node.acquire(name, value, 5000)
    yield* expected(node, shared.downgrade(name, value, other, 5000), isTrue)
    yield* expected(node, shared.release(name, other), isTrue)
  })
  const tokens = Effect.gen(function*() {
    yield* shared.fencing?.acquire(name, value, 5000, 1) ?? Effect.void
    yield* shared.fencing?.raise(name, value, 1) ?? Effect.void
    yield* shared.release(name, value)
    yield* node.remove(companionKey("fencing", name))
  })
  return Effect.gen(function*() {
    const without = "cannot share locks among readers (run --shared, withSharedLock)"
    const findings = yield* optional(node, "shared locks", without, readers)
    if (findings.length > 0) return findings
    return yield* optional(
      node,
      "shared locks",
      "issues no fencing tokens to readers (run --shared --fenced, withFencedSharedLock)",
      tokens
    )
  })
}

/** The life of a permit, beside another client that does not get one. */
export const limiting = (node: LockNode, name: string, value: string): Effect.Effect<ReadonlyArray<Finding>> => {
  const { permits } = node
  if (permits === undefined) return Effect.succeed([])
  const request = { expiryMillis: 5000, limit: 2, permits: 2, start: 0, step: 1 }
  const has = (count: number) => ({ slots }: { readonly slots: ReadonlyArray<number> }) => slots.length === count
  const holding = Effect.gen(function*() {
    yield* expected(node, permits.acquire(name, value, request), has(2))
    yield* expected(node, permits.acquire(name, other, { ...request, permits: 1 }), has(0))
    yield* expected(
      node,
      permits.settle(name, value, { expiryMillis: 5000, limit: 2, slots: [1], round: 2 }),
      has(1)
    )
    yield* expected(node, permits.extend(name, value, 5000, [1]), (slots) => slots[0] === 1)
    yield* expected(node, permits.inspect(name), ({ holders }) => holders[0]?.value === value)
    yield* expected(node, permits.release(name, value), isTrue)
    yield* permits.remove(name)
  })
  const tokens = Effect.gen(function*() {
    yield* permits.acquire(name, value, { ...request, permits: 1, proposal: 1 })
    yield* permits.raise(name, value, [0], [1])
    yield* permits.release(name, value)
    yield* node.remove(companionKey("permit-fencing", name))
  })
  const waiting = Effect.gen(function*() {
    const turn = yield* Deferred.make<void>()
    const onNotice = ({ _tag }: Notice) => {
      if (_tag === "PermitsFree") Deferred.doneUnsafe(turn, Effect.void)
    }
    const line = (yield* node.waitingList?.(name + waiterId, onNotice) ?? Effect.undefined)?.permits
    if (line === undefined) return
    const waiter = { value: entry.value, permits: 1 }
    yield* permits.acquire(name, value, request)
    yield* line.join(name, waiter, 2, "back")
    yield* line.release(name, value)
    const isTold = Option.isSome(yield* Effect.timeoutOption(Deferred.await(turn), "1 second"))
    yield* line.leave(name, waiter)
    if (!isTold) return yield* refused(node, "it sent no notification of a release")
  }).pipe(Effect.scoped, Effect.ensuring(Effect.ignore(permits.release(name, value))))
  return Effect.gen(function*() {
    const without = "grants no permits of semaphores (run --permits, withPermits)"
    const findings = yield* optional(node, "permits", without, holding)
    if (findings.length > 0) return findings
    return [
      ...yield* optional(
        node,
        "permits",
        "issues no fencing tokens with permits (run --permits --fenced, withFencedPermits)",
        tokens
      ),
      ...yield* optional(node, "permits", "does not wake waiters for permits, which then poll", waiting)
    ]
  })
}
