/**
 * Shows what the nodes store under the name of a lock.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Inspection, NodeView } from "../../Inspection.ts"
import { askAbstention, inspectKey } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import { notALockReason } from "../nodeContract.ts"
import type { AdminContext } from "./unlock.ts"

export const inspect = (
  service: Pick<AdminContext, "nodes" | "quorum" | "key">,
  name: string,
  settings: LockSettings
): Effect.Effect<Inspection> => {
  const key = service.key(name)
  return Effect.map(
    service.quorum.request({
      operation: "inspect",
      timeoutMillis: settings.nodeTimeoutMillis,
      sendTo: (node) => Effect.all([inspectKey(node, key), askAbstention(node, key)], { concurrency: "unbounded" }),
      isGranted: ([state]) => Option.isSome(state),
      awaitAll: true
    }),
    ({ byNode, quorum }) => {
      const nodes = service.nodes.flatMap(({ id: node }, index): Array<NodeView> => {
        const answer = byNode[index]
        if (answer === undefined) return []
        if (Result.isFailure(answer)) return [{ _tag: "Failed", node, error: answer.failure }]
        const [state, abstention] = answer.success
        const rest = { node, ...(Option.isSome(abstention) && { abstains: abstention.value }) }
        if (Option.isNone(state)) return [{ _tag: "Free", ...rest }]
        const { ttlMillis, value } = state.value
        const found = notALockReason(state.value)
        return [
          found === undefined ? { _tag: "Held", value, ttlMillis, ...rest } : { _tag: "NotALock", found, ...rest }
        ]
      })
      return { name, quorum, nodes, holder: quorumHolder(nodes, quorum) }
    }
  )
}

/** The value stored by a quorum of nodes, and how long a quorum will keep it. */
const quorumHolder = (nodes: ReadonlyArray<NodeView>, quorum: number): Inspection["holder"] => {
  const ttls = new Map<string, Array<number>>()
  for (const node of nodes) {
    if (node._tag === "Held") ttls.set(node.value, [...ttls.get(node.value) ?? [], node.ttlMillis])
  }
  for (const [value, millis] of ttls) {
    const ttlMillis = millis.sort((a, b) => b - a)[quorum - 1]
    if (ttlMillis !== undefined) return Option.some({ value, ttlMillis })
  }
  return Option.none()
}
