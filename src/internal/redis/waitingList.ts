/**
 * The waiting lists of a node.
 *
 * A list is a key beside the lock's. A waiterId is woken by a message on a channel of
 * its own. The head of the queue watches the lock's key as well, since holders that use
 * other libraries know nothing of the list.
 */
import * as Effect from "effect/Effect"
import type { LockNode, Notice } from "../../LockNode.ts"
import { quoted } from "../base/text.ts"
import type { RedisClient } from "./client.ts"
import { type CompanionKeys, wakeUpChannel } from "./keys.ts"
import { type Meaning, oneOrZero, place, wakeUp } from "./replies.ts"
import { scriptsByName as scripts } from "./scriptsByName.ts"

export const waitingList = (
  client: RedisClient,
  open: NonNullable<RedisClient["notifications"]>,
  companions: CompanionKeys
): NonNullable<LockNode["waitingList"]> =>
(waiterId, onNotice) => {
  const notifications = open(
    wakeUpChannel(waiterId),
    (notification) =>
      onNotice(notification._tag === "Message" ? { _tag: "WakeUp", key: notification.message } : notification)
  )
  return Effect.map(notifications, ({ subscribe, watchKey }) => {
    let hasJoined = false
    let hasWarned = false
    const keysOf = (key: string) => [key, companions.of("waiting", key)]
    const released = releasedBy(onNotice)
    return {
      join: Effect.fnUntraced(function*(key, end) {
        if (!companions.canExist(key)) {
          if (!hasWarned) {
            onNotice({ _tag: "Unsupported", why: `in a cluster no list can stand beside the name ${quoted(key)}` })
          }
          hasWarned = true
          return { ahead: 0, ttlMillis: Infinity }
        }
        yield* subscribe(key)
        hasJoined = true
        // Join, then read, then sleep; otherwise a release in between is missed.
        const { ahead, ttlMillis } = yield* client.script("inspect", place, scripts.join, keysOf(key), [waiterId, end])
        const isHeld = ahead > 0 || (yield* watchKey(key))
        return { ahead, ttlMillis: isHeld ? ttlMillis : 0 }
      }),
      leave: (key) =>
        companions.canExist(key)
          ? Effect.asVoid(client.script("release", released, scripts.leave, keysOf(key), [key, waiterId]))
          : Effect.void,
      release: (key, value, inLine) =>
        companions.canExist(key)
          ? client.script("release", released, scripts.releaseAndWake, keysOf(key), [
            value,
            key,
            inLine && hasJoined ? waiterId : ""
          ])
          : Effect.map(
            client.script("release", oneOrZero, scripts.release, [key], [value]),
            (released) => ({ released, woke: false })
          )
    }
  })
}

/** Reads the reply of a script that wakes the next waiter, and reports what the user lacks permission for. */
const releasedBy = (
  onNotice: (notice: Notice) => void
): Meaning<{ readonly released: boolean; readonly woke: boolean }> =>
(reply) => {
  const answer = wakeUp(reply)
  if (answer?.mayTell === false) onNotice({ _tag: "Unsupported", why: "this user may not PUBLISH turns" })
  if (answer?.mayPop === false) onNotice({ _tag: "Unsupported", why: "this user may not LPOP those that wait" })
  return answer && { released: answer.released, woke: answer.woke }
}
