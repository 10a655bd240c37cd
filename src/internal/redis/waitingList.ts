/**
 * The waiting lists of a node.
 *
 * A list is a key beside the lock's. Its entries are values of the services that wait, and each
 * service has a channel of its own for notifications. The first in line watches the lock's key as
 * well, unless its holder was notified, since holders that use other libraries know nothing of the
 * list.
 */
import * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { HandOver, LockNode, Notice, PermitEntry, PermitLine, WaitingList } from "../../LockNode.ts"
import { quoted } from "../base/text.ts"
import { entryText, fencingCounterTtlMillis } from "../nodeContract.ts"
import type { RedisClient } from "./client.ts"
import { toNodeError } from "./errors.ts"
import { type CompanionKeys, wakeUpChannel, wakeUpChannels, wakeUpPattern } from "./keys.ts"
import { decodeNotice } from "./notices.ts"
import { permitScripts } from "./permitScripts.ts"
import { count, joined, type Meaning, oneOrZero, serverTime, type WakeUp, wakeUp } from "./replies.ts"
import { scriptsByName as scripts } from "./scriptsByName.ts"
import { sharedScripts as shared } from "./sharedScripts.ts"

/**
 * With replicas a node hands no locks over: the successor would be notified before the replicas
 * have acknowledged the write.
 */
interface Demands {
  readonly minUptimeMillis: number
  readonly hasReplicas: boolean
}

export const waitingList = (
  client: RedisClient,
  open: NonNullable<RedisClient["notifications"]>,
  companions: CompanionKeys,
  { hasReplicas, minUptimeMillis }: Demands
): NonNullable<LockNode["waitingList"]> =>
(waiterId, onNotice) => {
  const { connectionId } = client
  const notifications = open(wakeUpChannel(waiterId), (notification) => {
    if (notification._tag !== "Message") return onNotice(notification)
    const notice = decodeNotice(notification.message, connectionId?.() ?? "")
    if (notice !== undefined && notification.isCopy?.(notice.key) !== true) onNotice(notice)
  })
  return Effect.map(notifications, ({ hears, subscribe, unsubscribe, watchKey }): WaitingList => {
    let hasWarned = false
    const channels = wakeUpChannels(waiterId)
    const pattern = wakeUpPattern(waiterId)
    const keysOf = (key: string) => [key, companions.of("line", key)]
    const released = releasedBy(onNotice)
    /** Joins where messages are delivered. */
    const listening = Effect.fnUntraced(function*<A>(key: string, join: Effect.Effect<A, NodeError>) {
      yield* subscribe(key)
      const answer = yield* join
      if (hears?.(key) !== false) return answer
      yield* subscribe(key)
      return yield* join
    })
    const handOver: HandOver = {
      listen: Effect.fnUntraced(function*(key) {
        yield* subscribe(key)
        const clock = connectionId?.()
        if (clock === undefined) return yield* toNodeError(client.id, "inspect", new Error("the connection was lost"))
        const micros = yield* client.script("inspect", serverTime, scripts.time, [key], [])
        return { millis: micros / 1000, clock }
      }),
      stopListening: () => unsubscribe ?? Effect.void,
      transfer: (key, value, successor, { chain, expiryMillis, proposal }) => {
        const args = [value, entryText(successor), expiryMillis, key, channels, chain.length, chain.millis]
        return successor.fenced
          ? client.script(
            "release",
            released,
            scripts.transferFenced,
            [...keysOf(key), companions.of("fencing", key)],
            [...args, proposal, fencingCounterTtlMillis, minUptimeMillis]
          )
          : client.script("release", released, scripts.transfer, keysOf(key), [...args, minUptimeMillis])
      }
    }
    const permitKeysOf = (key: string) => [companions.of("permits", key), companions.of("permit-line", key)]
    const permits: PermitLine = {
      join: (key, entry, limit, place) => {
        if (!companions.canExist(key)) return Effect.succeed(false)
        const args = [entry.value, permitEntryText(entry), limit, entry.permits, place]
        return listening(key, client.script("inspect", oneOrZero, permitScripts.joinLine, permitKeysOf(key), args))
      },
      leave: (key, entry) => {
        if (!companions.canExist(key)) return Effect.void
        const args = [entry.value, key, channels, permitEntryText(entry)]
        return Effect.asVoid(client.script("release", oneOrZero, permitScripts.leaveLine, permitKeysOf(key), args))
      },
      release: (key, value) =>
        companions.canExist(key)
          ? client.script("release", oneOrZero, permitScripts.releaseAndWake, permitKeysOf(key), [value, key, channels])
          : client.script("release", oneOrZero, permitScripts.release, permitKeysOf(key).slice(0, 1), [value])
    }
    return {
      permits,
      join: Effect.fnUntraced(function*(key, entry, place, remove) {
        if (!companions.canExist(key)) {
          if (!hasWarned) {
            onNotice({ _tag: "Unsupported", why: `in a cluster, the name ${quoted(key)} cannot have a waiting list` })
          }
          hasWarned = true
          return { ahead: 0, ttlMillis: Infinity }
        }
        let clock: string | undefined
        // Join, then read, then sleep; otherwise a release in between is missed.
        const { ahead, isOurs, isShared, serverMicros, told, ttlMillis } = yield* listening(
          key,
          Effect.suspend(() => {
            clock = connectionId?.()
            const args = [entryText(entry), place, key, channels, remove === undefined ? "" : entryText(remove)]
            return client.script("inspect", joined, scripts.join, keysOf(key), args)
          })
        )
        const isHeld = ahead > 0 || told || isOurs || (yield* watchKey(key))
        const time = serverMicros === undefined || clock === undefined
          ? undefined
          : { millis: serverMicros / 1000, clock }
        return { ahead, ttlMillis: isHeld ? ttlMillis : 0, time, isOurs, isShared }
      }),
      leave: (key, entry) =>
        companions.canExist(key)
          ? Effect.map(
            client.script("release", released, scripts.leave, keysOf(key), [key, channels, entryText(entry)]),
            ({ released }) => released
          )
          : Effect.succeed(false),
      release: (key, value, entry) =>
        companions.canExist(key)
          ? client.script("release", released, scripts.releaseAndWake, keysOf(key), [
            value,
            key,
            channels,
            entry === undefined ? "" : entryText(entry)
          ])
          : Effect.map(
            client.script("release", oneOrZero, scripts.release, [key], [value]),
            (released) => ({ released, woke: false })
          ),
      alert: (key) =>
        client.script("inspect", oneOrZero, scripts.alert, [key], [key, pattern]).pipe(
          Effect.tapError(({ reason, summary }) =>
            Effect.sync(() => reason === "Rejected" && onNotice({ _tag: "Unsupported", why: `it ${summary}` }))
          ),
          Effect.asVoid
        ),
      length: (key) =>
        companions.canExist(key)
          ? client.command("inspect", count, "llen", [companions.of("line", key)])
          : Effect.succeed(0),
      watch: Effect.fnUntraced(function*(key) {
        if (!companions.canExist(key)) return true
        const isHeld = yield* listening(
          key,
          client.script("inspect", oneOrZero, shared.watch, [key], [key, channels])
        )
        return isHeld && (yield* watchKey(key))
      }),
      yieldToReaders: (key, value, graceMillis) => {
        const keys = [...keysOf(key), companions.of("readers", key), companions.of("turns", key)]
        return companions.canExist(key)
          ? client.script("release", released, shared.yieldInLine, keys, [value, graceMillis, key, channels])
          : Effect.map(
            client.script("release", oneOrZero, scripts.release, [key], [value]),
            (released) => ({ released, woke: false })
          )
      },
      get handOver() {
        return hasReplicas || connectionId?.() === undefined ? undefined : handOver
      }
    }
  })
}

const permitEntryText = ({ permits, value }: PermitEntry): string => `${permits}:${value}`

/** Reads the reply of a script that wakes the next in line, and reports what the user lacks permission for. */
const releasedBy = (
  onNotice: (notice: Notice) => void
): Meaning<WakeUp> =>
(reply) => {
  const answer = wakeUp(reply)
  if (answer?.mayTell === false) onNotice({ _tag: "Unsupported", why: "this user may not PUBLISH wake-ups" })
  if (answer?.mayPop === false) onNotice({ _tag: "Unsupported", why: "this user may not LPOP waiters" })
  return answer
}
