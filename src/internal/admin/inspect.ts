/**
 * Shows what the nodes store under the name of a lock.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Inspection, NodeView } from "../../Inspection.ts"
import type { NodeError } from "../../LockError.ts"
import type { KeyState, LockNode, SharedState } from "../../LockNode.ts"
import { askAbstention, inspectKey, inspectReaders } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import { notALockReason, sharedMarker } from "../nodeContract.ts"
import type { AdminContext } from "./unlock.ts"

/** Like `inspect`, for callers outside the library, who see the value of the holder. */
export const inspectAndReveal = (
  service: AdminContext,
  name: string,
  settings: LockSettings
): Effect.Effect<Inspection> =>
  Effect.map(inspect(service, name, settings), (inspection) => {
    for (const holder of service.waitQueues.holders(service.key(name))) holder.reveal()
    return inspection
  })

export const inspect = (
  service: Pick<AdminContext, "nodes" | "quorum" | "key" | "waitQueues">,
  name: string,
  settings: LockSettings
): Effect.Effect<Inspection> => {
  const key = service.key(name)
  return Effect.map(
    service.quorum.request({
      operation: "inspect",
      key,
      timeoutMillis: settings.nodeTimeoutMillis,
      sendTo: (node) =>
        Effect.all([inspectLock(node, key), askAbstention(node, key), service.waitQueues.lineLength(node, key)], {
          concurrency: "unbounded"
        }),
      isGranted: ([[state]]) => Option.isSome(state),
      awaitAll: true
    }),
    ({ byNode, quorum }) => {
      const lengths = byNode.flatMap((answer) =>
        answer !== undefined && Result.isSuccess(answer) ? answer.success[2] ?? [] : []
      )
      const waiting = lengths.length === 0 ? Option.none() : Option.some(Math.max(...lengths))
      const nodes = service.nodes.flatMap(({ id: node }, index): Array<NodeView> => {
        const answer = byNode[index]
        if (answer === undefined) return []
        if (Result.isFailure(answer)) return [{ _tag: "Failed", node, error: answer.failure }]
        const [[state, shared], abstention] = answer.success
        const rest = { node, ...(Option.isSome(abstention) && { abstains: abstention.value }) }
        if (Option.isNone(state)) return [{ _tag: "Free", ...rest }]
        const { ttlMillis, value } = state.value
        if (shared !== undefined) return [{ _tag: "Shared", ttlMillis, ...shared, ...rest }]
        const found = notALockReason(state.value)
        return [
          found === undefined ? { _tag: "Held", value, ttlMillis, ...rest } : { _tag: "NotALock", found, ...rest }
        ]
      })
      const [holder] = onQuorum(nodes.map((node) => node._tag === "Held" ? [node] : []), quorum)
      const readers = onQuorum(nodes.map((node) => node._tag === "Shared" ? node.holders : []), quorum)
      return { name, quorum, nodes, holder: Option.fromUndefinedOr(holder), readers, waiting }
    }
  )
}

/** Reads the key, and the readers if it is shared. */
const inspectLock = (
  node: LockNode,
  key: string
): Effect.Effect<readonly [Option.Option<KeyState>, SharedState | undefined], NodeError> =>
  Effect.flatMap(inspectKey(node, key), (state) => {
    const isShared = node.shared !== undefined && Option.exists(state, ({ value }) => value === sharedMarker)
    const readers: Effect.Effect<SharedState | undefined, NodeError> = isShared
      ? inspectReaders(node, key)
      : Effect.succeed(undefined)
    return Effect.map(readers, (readers) => [state, readers] as const)
  })

type Stored = Inspection["readers"][number]

/** The values stored by a quorum of nodes, and how long a quorum will keep each. */
const onQuorum = (nodes: ReadonlyArray<ReadonlyArray<Stored>>, quorum: number): ReadonlyArray<Stored> => {
  const ttls = new Map<string, Array<number>>()
  for (const { ttlMillis, value } of nodes.flat()) ttls.set(value, [...ttls.get(value) ?? [], ttlMillis])
  return [...ttls].flatMap(([value, millis]) => {
    const ttlMillis = millis.sort((a, b) => b - a)[quorum - 1]
    return ttlMillis === undefined ? [] : [{ value, ttlMillis }]
  })
}
