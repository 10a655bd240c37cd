/**
 * Looking at locks and releasing them from elsewhere.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { LockLost, type NodesUnavailable } from "../LockError.ts"
import type { Inspection, NodeView } from "../Redsync.ts"
import type { Restore } from "./acquire.ts"
import { HeldLock } from "./held.ts"
import { now } from "./lease.ts"
import type { Settings } from "./options.ts"
import { adoptQuestion, type Claim, releaseQuestion } from "./questions.ts"
import { denied, failedNodes, granted, nodesUnavailable, unavailable, votes } from "./quorum.ts"
import { notALockReason } from "./reply.ts"
import type { Service } from "./service.ts"

/** Extends a lock taken elsewhere, and holds it from then on. */
export const adopt = (
  service: Service,
  claim: Claim,
  restore: Restore
): Effect.Effect<HeldLock, LockLost | NodesUnavailable> =>
  Effect.suspend(() => {
    const start = now(service.clock)
    const asked = restore(service.quorum.ask(adoptQuestion(claim)))
    return Effect.flatMap(asked, (answers): Effect.Effect<HeldLock, LockLost | NodesUnavailable> => {
      if (granted(answers)) {
        const lock = new HeldLock(service, claim, start)
        const lost = lock.check()
        return lost === undefined ? Effect.succeed(lock) : Effect.fail(lost)
      }
      if (!denied(answers)) return Effect.fail(nodesUnavailable(claim.name, answers))
      // Nobody holds it any more, and a node that still had the key has just let it live longer.
      service.cleanUp(claim, service.nodes)
      return Effect.fail(new LockLost({ lock: claim.name, reason: "Taken", votes: votes(answers) }))
    })
  })

export const unlock = (service: Service, claim: Claim): Effect.Effect<boolean, NodesUnavailable> =>
  Effect.flatMap(
    service.quorum.ask({
      ...releaseQuestion(claim),
      conclusive: true,
      onSettled: (answers) => service.cleanUpLater(claim, failedNodes(answers))
    }),
    (answers) =>
      granted(answers) || denied(answers)
        ? Effect.succeed(granted(answers))
        : Effect.fail(nodesUnavailable(claim.name, answers))
  )

export const forceUnlock = (
  service: Service,
  name: string,
  settings: Settings
): Effect.Effect<boolean, NodesUnavailable> =>
  Effect.flatMap(
    service.quorum.ask({
      operation: "remove",
      timeoutMillis: settings.nodeTimeoutMillis,
      ask: (node) => node.remove(name),
      isYes: (deleted) => deleted,
      all: true
    }),
    (answers) => unavailable(answers) ? Effect.fail(nodesUnavailable(name, answers)) : Effect.succeed(answers.yes > 0)
  )

export const inspect = (service: Service, name: string, settings: Settings): Effect.Effect<Inspection> =>
  Effect.map(
    service.quorum.ask({
      operation: "inspect",
      timeoutMillis: settings.nodeTimeoutMillis,
      ask: (node) =>
        Effect.all([node.inspect(name), node.abstention?.(name) ?? Effect.succeedNone], { concurrency: "unbounded" }),
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
