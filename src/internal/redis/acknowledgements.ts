/**
 * What the replies to a write, and to the `WAIT` behind it, mean.
 */
import type { Replicas } from "./client.ts"
import { count } from "./replies.ts"

export const waitArguments = ({ count, withinMillis }: Replicas): [count: number, millis: number] => [
  count,
  Math.ceil(withinMillis)
]

/** The reply of a `SET NX` or a script that changed nothing. */
export const isRefusal = (reply: unknown): boolean => reply === null || count(reply) === 0

/** The error of a write that too few replicas have acknowledged, if so. */
export const tooFewReplicas = (reply: unknown, replicas: Replicas): Error | undefined => {
  const acknowledged = count(reply) ?? 0
  if (acknowledged >= replicas.count) return undefined
  const word = replicas.count === 1 ? "replica" : "replicas"
  return new Error(
    `NOREPLICAS ${acknowledged} of ${replicas.count} ${word} acknowledged within ${Math.ceil(replicas.withinMillis)} ms`
  )
}
