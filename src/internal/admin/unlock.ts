/**
 * Releases locks by value or by force.
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { LockLost, NodeError, NodesUnavailable, Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { releaseRequest } from "../claim/claim.ts"
import type { CleanUps } from "../claim/cleanUps.ts"
import type { LockSettings } from "../claim/settings.ts"
import { denied, granted, isTrue, type Named, nodesUnavailable, unavailable } from "../quorum/ballot.ts"
import type { Quorum } from "../quorum/quorum.ts"
import type { WaitQueues } from "../waiting/waitQueues.ts"

/** What these functions need from the service. */
export interface AdminContext {
  readonly nodes: ReadonlyArray<LockNode>
  readonly quorum: Quorum
  readonly cleanUps: CleanUps
  readonly waitQueues: Holders & Pick<WaitQueues<never, never>, "release" | "releaseOrder" | "lineLength">
  readonly readerQueues: Pick<Holders, "holders">
  key(name: string): string
}

interface Holder {
  readonly claim: { readonly value: string }
  reveal(): void
  markLost(reason: LockLost["reason"], votes: ReadonlyArray<Vote>): void
}

/** What is held in this service, and who waits for it in others. */
interface Holders {
  holders(key: string): ReadonlyArray<Holder>
  wakeFirst(key: string): void
}

/** The holds of this service with the given value. */
export const holdersOf = (service: AdminContext, key: string, value: string): ReadonlyArray<Holder> =>
  allHolders(service, key).filter((held) => held.claim.value === value)

const allHolders = ({ readerQueues, waitQueues }: AdminContext, key: string): ReadonlyArray<Holder> => [
  ...waitQueues.holders(key),
  ...readerQueues.holders(key)
]

/** Releases the lock with the given value, which may be a reader's, and ends the hold if it belongs to this service. */
export const unlock = (
  service: AdminContext,
  name: string,
  value: string,
  settings: LockSettings
): Effect.Effect<boolean, NodesUnavailable> =>
  Effect.flatMap(
    unlockOneKind(service, name, value, settings),
    (released) =>
      released || !service.nodes.every(({ shared }) => shared !== undefined)
        ? Effect.succeed(released)
        : unlockOneKind(service, name, value, { ...settings, isShared: true })
  )

const unlockOneKind = (
  service: AdminContext,
  name: string,
  value: string,
  settings: LockSettings
): Effect.Effect<boolean, NodesUnavailable> => {
  const claim = { name, key: service.key(name), value, settings, untouched: undefined, madeAt: -Infinity }
  const { waitQueues } = service
  return Effect.callback((resume) => {
    service.quorum.send({
      ...releaseRequest(claim),
      // The first in line waits for the holder, which does not know of this release, so it is woken here.
      ...!settings.isShared && {
        nodes: waitQueues.releaseOrder(claim.key),
        sendTo: (node) => waitQueues.release(node, claim, constVoid)
      },
      // Afterwards, nobody finds the value on any node.
      awaitAll: true,
      onAllAnswered: (tally) => service.cleanUps.released(claim, tally)
    }, (tally) =>
      resume(
        granted(tally) || denied(tally)
          ? Effect.succeed(granted(tally))
          : Effect.fail(nodesUnavailable(claim, tally))
      ))
    // In the same synchronous step, so that no renewal is sent after the release.
    for (const held of holdersOf(service, claim.key, value)) held.markLost("Released", [])
  })
}

/** Deletes the key whatever its value, and ends the holds of this service. */
export const forceUnlock = (
  service: AdminContext,
  name: string,
  settings: LockSettings
): Effect.Effect<boolean, NodesUnavailable> =>
  forceRemove(service, name, settings, (node, key) => node.remove(key), {
    holders: (key) => allHolders(service, key),
    wakeFirst: (key) => service.waitQueues.wakeFirst(key)
  })

/** Has the nodes delete what they store under the name, ends the holds of this service, and wakes the first in line. */
export const forceRemove = (
  service: Pick<AdminContext, "quorum" | "key">,
  name: string,
  settings: LockSettings,
  remove: (node: LockNode, key: string) => Effect.Effect<boolean, NodeError>,
  queues: Holders,
  permits?: Named["permits"]
): Effect.Effect<boolean, NodesUnavailable> => {
  const key = service.key(name)
  return Effect.callback((resume) => {
    service.quorum.send<boolean>({
      operation: "remove",
      key,
      timeoutMillis: settings.nodeTimeoutMillis,
      sendTo: (node) => remove(node, key),
      isGranted: isTrue,
      awaitAll: true,
      onAllAnswered: () => queues.wakeFirst(key)
    }, (tally) =>
      resume(
        unavailable(tally)
          ? Effect.fail(nodesUnavailable({ name, key, permits }, tally))
          : Effect.succeed(tally.grants > 0)
      ))
    for (const held of queues.holders(key)) held.markLost("Taken", [])
  })
}
