/**
 * A node over Effect's Redis service: its link as a `RedisClient`.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { LockNode } from "../../LockNode.ts"
import * as Node from "../redis/node.ts"
import { Overtaking } from "../redis/overtaking.ts"
import { NodeCalls, requestsOver } from "./calls.ts"
import type { ServiceLink } from "./link.ts"
import { notifications } from "./notifications.ts"
import { ReservedLink } from "./reservedLink.ts"

type NodeLink = ServiceLink & Pick<LockNode, "ready" | "reconnect">

/** A node that can wait for replicas, for as long as the scope is open. */
export const scopedNode = Effect.fnUntraced(function*(id: string, link: NodeLink) {
  const context = yield* Effect.context<never>()
  const reserved = yield* Effect.acquireRelease(
    Effect.sync(() => new ReservedLink(link, context)),
    (reserved) => Effect.sync(() => reserved.close())
  )
  return nodeOver(id, link, context, reserved)
})

/** `context` is what the commands run in. */
export const nodeOver = (
  id: string,
  link: NodeLink,
  context: Context.Context<never>,
  reserved?: ReservedLink
): LockNode => {
  const overtaking = new Overtaking()
  const calls = new NodeCalls(id, overtaking, context)
  const { ready, reconnect } = link
  return Node.make({
    id,
    traits: {
      resends: true,
      ...(ready !== undefined && { ready }),
      ...(reconnect !== undefined && { reconnect }),
      mayOvertake: (ageMillis = Infinity) => overtaking.isPossible(ageMillis)
    },
    connectionId: () => link.connectionId(),
    ...requestsOver(calls, link),
    replicated: reserved && ((replicas) => ({
      durable: requestsOver(calls, reserved.durable(replicas)),
      plain: requestsOver(calls, reserved)
    })),
    notifications: notifications(id, link, context)
  })
}
