/**
 * Shows who holds permits of a semaphore, and releases them all.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { NodesUnavailable } from "../../LockError.ts"
import type { PermitHolder, PermitInspection, PermitNodeView } from "../../Permits.ts"
import { inspectPermits as inspectOn } from "../claim/permitAllocation.ts"
import type { LockSettings } from "../claim/settings.ts"
import { type AdminContext, forceRemove } from "./unlock.ts"

type Context = Pick<AdminContext, "nodes" | "quorum" | "key">

export const inspectPermits = (
  service: Context,
  name: string,
  settings: LockSettings
): Effect.Effect<PermitInspection> => {
  const key = service.key(name)
  return Effect.map(
    service.quorum.request({
      operation: "inspect",
      key,
      timeoutMillis: settings.nodeTimeoutMillis,
      sendTo: (node) => inspectOn(node, key),
      isGranted: ({ holders }) => holders.length > 0,
      awaitAll: true
    }),
    ({ byNode, quorum }) => {
      const nodes = service.nodes.map(({ id: node }, index): PermitNodeView =>
        Result.match(byNode[index]!, {
          onFailure: (error) => ({ _tag: "Failed", node, error }),
          onSuccess: ({ holders, limit }) => ({ _tag: "Permits", node, limit, holders })
        })
      )
      const limit = Math.max(0, ...nodes.map((view) => view._tag === "Permits" ? view.limit : 0))
      const holders = quorumHolders(nodes, quorum)
      const taken = holders.reduce((sum, { slots }) => sum + slots.length, 0)
      return { name, quorum, limit: limit === 0 ? Option.none() : Option.some(limit), taken, holders, nodes }
    }
  )
}

/** The values that have slots on a quorum of nodes, and for how long a quorum keeps them. */
const quorumHolders = (nodes: ReadonlyArray<PermitNodeView>, quorum: number): ReadonlyArray<PermitHolder> => {
  const found = new Map<string, Map<number, Array<number>>>()
  for (const view of nodes) {
    for (const { slots, ttlMillis, value } of view._tag === "Permits" ? view.holders : []) {
      const ttls = found.get(value) ?? new Map<number, Array<number>>()
      found.set(value, ttls)
      for (const slot of slots) ttls.set(slot, [...ttls.get(slot) ?? [], ttlMillis])
    }
  }
  return [...found].flatMap(([value, ttls]) => {
    const held = [...ttls].flatMap(([slot, millis]) => {
      const ttlMillis = millis.sort((a, b) => b - a)[quorum - 1]
      return ttlMillis === undefined ? [] : [{ slot, ttlMillis }]
    })
    return held.length === 0 ? [] : [{
      value,
      slots: held.map(({ slot }) => slot).sort((a, b) => a - b),
      ttlMillis: Math.min(...held.map(({ ttlMillis }) => ttlMillis))
    }]
  })
}

/** Takes the permits from all holders, ends the holds of this service, and wakes the waiters of all services. */
export const forceReleasePermits = (
  service: Context & { readonly permitQueues: Pick<AdminContext["waitQueues"], "holders" | "wakeFirst"> },
  name: string,
  settings: LockSettings
): Effect.Effect<boolean, NodesUnavailable> =>
  forceRemove(
    service,
    name,
    settings,
    (node, key) => node.permits!.remove(key),
    service.permitQueues,
    { permits: 0 }
  )
