/**
 * What all trials of the doctor have in common.
 */
import * as Effect from "effect/Effect"
import { serviceIdLength } from "../../internal/nodeContract.ts"
import { NodeError } from "../../LockError.ts"
import type { LineEntry, LockNode } from "../../LockNode.ts"

export const isItRedis = "Is it a Redis or Valkey server, with nothing in front of it that answers in its place?"

/** The value of another holder. */
export const other = "somebody else"

export const not = <E>(effect: Effect.Effect<boolean, E>) => Effect.map(effect, (value) => !value)

export const withPatience = <A>(node: LockNode, step: Effect.Effect<A, NodeError>) =>
  Effect.timeoutOrElse(step, {
    duration: "5 seconds",
    orElse: () => Effect.fail(new NodeError({ node: node.id, operation: "inspect", reason: "Timeout" }))
  })

/** The entry that stands in line. */
export const entry: LineEntry = { value: "doctor".padEnd(28, "0"), mode: "exclusive", weight: 1, fenced: false }

export const waiterId = entry.value.slice(0, serviceIdLength)
