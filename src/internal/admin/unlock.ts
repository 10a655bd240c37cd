/**
 * Looking at locks and releasing them from elsewhere.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { NodesUnavailable } from "../../LockError.ts"
import type { Inspection, NodeView } from "../../Redsync.ts"
import { abstentionOf, isTrue, look, releaseQuestion } from "../claim/claim.ts"
import type { Settings } from "../claim/settings.ts"
import type { HeldLock } from "../hold/heldLock.ts"
import { denied, granted, nodesUnavailable, unavailable } from "../quorum/quorum.ts"
import { notALockReason } from "../redis/replies.ts"
import type { Service } from "../service/service.ts"

/** The holds of this service that have this value. */
export const holdersOf = (service: Service, key: string, value: string): ReadonlyArray<HeldLock> =>
  service.rooms.holders(key).filter((held) => held.value === value)

/** Deletes a value, and ends the hold that has it if it is one of this service. */
export const unlock = (
  service: Service,
  name: string,
  value: string,
  settings: Settings
): Effect.Effect<boolean, NodesUnavailable> => {
  const claim = { name, key: service.key(name), value, settings, untouched: undefined, madeAt: -Infinity }
  return Effect.callback((resume) => {
    service.quorum.start({
      ...releaseQuestion(claim),
      conclusive: true,
      onSettled: (answers) => service.cleanUps.released(claim, answers)
    }, (answers) =>
      resume(
        granted(answers) || denied(answers)
          ? Effect.succeed(granted(answers))
          : Effect.fail(nodesUnavailable(claim, answers))
      ))
    // Behind the release, so that no renewal comes after it.
    for (const held of holdersOf(service, claim.key, value)) held.lose("Released", [])
  })
}

/** Deletes whatever is there, and ends the holds of this service that had it. */
export const forceUnlock = (
  service: Service,
  name: string,
  settings: Settings
): Effect.Effect<boolean, NodesUnavailable> => {
  const key = service.key(name)
  return Effect.callback((resume) => {
    service.quorum.start<boolean>({
      operation: "remove",
      timeoutMillis: settings.nodeTimeoutMillis,
      ask: (node) => node.remove(key),
      isYes: isTrue,
      all: true
    }, (answers) =>
      resume(
        unavailable(answers) ? Effect.fail(nodesUnavailable({ name, key }, answers)) : Effect.succeed(answers.yes > 0)
      ))
    for (const held of service.rooms.holders(key)) held.lose("Taken", [])
  })
}

export const inspect = (service: Service, name: string, settings: Settings): Effect.Effect<Inspection> => {
  const key = service.key(name)
  return Effect.map(
    service.quorum.ask({
      operation: "inspect",
      timeoutMillis: settings.nodeTimeoutMillis,
      ask: (node) => Effect.all([look(node, key), abstentionOf(node, key)], { concurrency: "unbounded" }),
      isYes: ([state]) => Option.isSome(state),
      all: true
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
      return { name, quorum, nodes, holder: holder(nodes, quorum) }
    }
  )
}

/** The value that a quorum of nodes has, and how long a quorum keeps it. */
const holder = (nodes: ReadonlyArray<NodeView>, quorum: number): Inspection["holder"] => {
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
