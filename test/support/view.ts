/**
 * A node in memory as one service sees it: at a distance, with or without
 * notices, counting what it is asked. Several views of one node contend.
 */
import { type Clock, Effect } from "effect"
import type { LockNode } from "../../src/index.ts"

/**
 * What becomes of the waiting list's notices:
 *
 * - `heard`: they arrive
 * - `dropped`: none ever does
 * - `absent`: the node has no waiting lists
 */
export type Hints = "heard" | "dropped" | "absent"

export interface View extends LockNode {
  /** Every operation so far with the instant at which it was sent. */
  readonly asked: Array<{ readonly operation: string; readonly at: number }>
}

export interface Options {
  readonly hints?: Hints
  /** Whether the node hands locks over; it does by default. */
  readonly handsOver?: boolean
  /** The time a message takes to the node, and as much back. */
  readonly oneWayMillis?: number
  /** The time a notice takes; as much as other messages by default. */
  readonly noticeMillis?: number
}

export const make = (
  node: LockNode,
  { handsOver = true, hints = "heard", oneWayMillis = 0, noticeMillis = oneWayMillis }: Options = {}
): View => {
  const asked: View["asked"] = []
  const ask = <A, E>(operation: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.clockWith((clock: Clock.Clock) => {
      asked.push({ operation, at: clock.currentTimeMillisUnsafe() })
      if (oneWayMillis === 0) return effect
      return Effect.sleep(oneWayMillis).pipe(Effect.andThen(effect), Effect.tap(Effect.sleep(oneWayMillis)))
    })
  const lists: LockNode["waitingList"] = (waiter, onNotice) =>
    Effect.gen(function*() {
      const fork = Effect.runForkWith(yield* Effect.context())
      const list = yield* node.waitingList!(waiter, (notice) => {
        if (hints === "heard") fork(Effect.andThen(Effect.sleep(noticeMillis), Effect.sync(() => onNotice(notice))))
      })
      return {
        join: (...args) => ask("join", list.join(...args)),
        leave: (...args) => ask("leave", list.leave(...args)),
        release: (...args) => ask("release", list.release(...args)),
        ...handsOver && {
          handOver: {
            listen: (key) => ask("listen", list.handOver!.listen(key)),
            stopListening: () => ask("stopListening", list.handOver!.stopListening()),
            transfer: (...args) => ask("transfer", list.handOver!.transfer(...args))
          }
        }
      }
    })
  return {
    id: node.id,
    asked,
    acquire: (...args) => ask("acquire", node.acquire(...args)),
    extend: (...args) => ask("extend", node.extend(...args)),
    release: (...args) => ask("release", node.release(...args)),
    inspect: (key) => ask("inspect", node.inspect(key)),
    remove: (key) => ask("remove", node.remove(key)),
    ...node.replace !== undefined && { replace: (...args) => ask("replace", node.replace!(...args)) },
    ...hints === "absent" ? {} : { waitingList: lists }
  }
}

/** Views of several nodes, each at its own distance where a list is given. */
export const makeMany = (
  nodes: ReadonlyArray<LockNode>,
  options: Options & { readonly distances?: ReadonlyArray<number> } = {}
): Array<View> =>
  nodes.map((node, index) => {
    const oneWayMillis = options.distances?.[index] ?? options.oneWayMillis ?? 0
    return make(node, { ...options, oneWayMillis })
  })
