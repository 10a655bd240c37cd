/**
 * A node over Effect's Redis service: its link as a `RedisClient`.
 */
import type * as Context from "effect/Context"
import type { LockNode } from "../../LockNode.ts"
import * as Node from "../redis/node.ts"
import { Overtaking } from "../redis/overtaking.ts"
import { NodeCalls, requestsOver } from "./calls.ts"
import type { ServiceLink } from "./link.ts"
import { notifications } from "./notifications.ts"

/** `context` is what the commands run in. */
export const nodeOver = (
  id: string,
  link: ServiceLink & Pick<LockNode, "ready" | "reconnect">,
  context: Context.Context<never>
): LockNode => {
  const overtaking = new Overtaking()
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
    ...requestsOver(new NodeCalls(id, overtaking, context), link),
    notifications: notifications(id, link, context)
  })
}
