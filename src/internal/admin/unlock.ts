/**
 * Inspects locks, and releases them by value or by force.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Inspection, NodeView } from "../../Inspection.ts"
import type { LockLost, NodesUnavailable, Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { askAbstention, inspectKey, releaseRequest } from "../claim/claim.ts"
import type { CleanUps } from "../claim/cleanUps.ts"
import type { LockSettings } from "../claim/settings.ts"
import { notALockReason } from "../nodeContract.ts"
import { denied, granted, isTrue, nodesUnavailable, unavailable } from "../quorum/ballot.ts"
import type { Quorum } from "../quorum/quorum.ts"

/** What these functions need from the service. */
export interface AdminContext {
  readonly nodes: ReadonlyArray<LockNode>
  readonly quorum: Quorum
  readonly cleanUps: CleanUps
  readonly rooms: { holders(key: string): ReadonlyArray<Holder> }
  key(name: string): string
}

interface Holder {
  readonly value: string
  markLost(reason: LockLost["reason"], votes: ReadonlyArray<Vote>): void
}

/** The holds of this service with the given value. */
export const holdersOf = (service: AdminContext, key: string, value: string): ReadonlyArray<Holder> =>
  service.rooms.holders(key).filter((held) => held.value === value)

/** Releases the lock with the given value, and ends the hold if it belongs to this service. */
export const unlock = (
  service: AdminContext,
  name: string,
  value: string,
  settings: LockSettings
): Effect.Effect<boolean, NodesUnavailable> => {
  const claim = { name, key: service.key(name), value, settings, untouched: undefined, madeAt: -Infinity }
  return Effect.callback((resume) => {
    service.quorum.send({
      ...releaseRequest(claim),
      conclusive: true,
      onAllAnswered: (tally) => service.cleanUps.released(claim, tally)
    }, (tally) =>
      resume(
        granted(tally) || denied(tally)
          ? Effect.succeed(granted(tally))
          : Effect.fail(nodesUnavailable(claim, tally))
      ))
    // After the release was sent, which removes what earlier renewals restore; ending the hold prevents later ones.
    for (const held of holdersOf(service, claim.key, value)) held.markLost("Released", [])
  })
}

/** Deletes the key whatever its value, and ends the holds of this service. */
export const forceUnlock = (
  service: AdminContext,
  name: string,
  settings: LockSettings
): Effect.Effect<boolean, NodesUnavailable> => {
  const key = service.key(name)
  return Effect.callback((resume) => {
    service.quorum.send<boolean>({
      operation: "remove",
      timeoutMillis: settings.nodeTimeoutMillis,
      sendTo: (node) => node.remove(key),
      isGranted: isTrue,
      awaitAll: true
    }, (tally) =>
      resume(
        unavailable(tally) ? Effect.fail(nodesUnavailable({ name, key }, tally)) : Effect.succeed(tally.grants > 0)
      ))
    for (const held of service.rooms.holders(key)) held.markLost("Taken", [])
  })
}

export const inspect = (service: AdminContext, name: string, settings: LockSettings): Effect.Effect<Inspection> => {
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
