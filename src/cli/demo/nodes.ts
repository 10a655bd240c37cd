/**
 * The nodes of the demo: five in this process, or the user's servers, each in a wrapper
 * that records its votes and can cut it off from the workers.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { RedisOptions } from "ioredis"
import { companionKey } from "../../internal/redis/keys.ts"
import * as IoredisNode from "../../IoredisNode.ts"
import { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import * as MemoryNode from "../../MemoryNode.ts"
import { fail, nodesUnavailable } from "../failure.ts"
import type { Board } from "./board.ts"

/** The user's servers if there are any, otherwise five nodes in this process. */
export const make = Effect.fnUntraced(function*(targets: ReadonlyArray<RedisOptions>) {
  if (targets.length === 0) return { embedded: true, nodes: Array.from({ length: 5 }, (_, index) => distant(index)) }
  const nodes = yield* Effect.forEach(targets, IoredisNode.make)
  const answers = yield* Effect.forEach(nodes, (node) => Effect.result(reach(node)), { concurrency: "unbounded" })
  const failures = answers.flatMap((answer) => answer._tag === "Failure" ? [answer.failure] : [])
  if (failures.length > 0) {
    const why = failures.map(({ node, summary }) => `${node} ${summary}`).join("; ")
    return yield* fail(nodesUnavailable, `the demo needs all nodes: ${why}`)
  }
  return { embedded: false, nodes }
})

const reach = (node: LockNode) =>
  Effect.andThen(node.ready ?? Effect.void, node.inspect("effect-redsync-demo")).pipe(
    Effect.timeoutOrElse({
      duration: "3 seconds",
      orElse: () => Effect.fail(new NodeError({ node: node.id, operation: "inspect", reason: "Timeout" }))
    })
  )

/**
 * A node in memory, 1 to 4 ms away. The delay is the same for all commands of one
 * attempt, so that they arrive in order, and differs between attempts, so that two
 * workers that ask at once can split the votes.
 */
const distant = (index: number): LockNode => {
  const node = MemoryNode.make(`node-${index + 1}`)
  const travel = <A, E>(value: string, ask: Effect.Effect<A, E>) => {
    const millis = 1 + value.charCodeAt(index) % 4
    return Effect.sleep(millis).pipe(Effect.andThen(ask), Effect.tap(Effect.sleep(millis)))
  }
  return {
    ...node,
    acquire: (key, value, expiryMillis) => travel(value, node.acquire(key, value, expiryMillis)),
    extend: (key, value, expiryMillis) => travel(value, node.extend(key, value, expiryMillis)),
    release: (key, value) => travel(value, node.release(key, value)),
    waitingList: (waiter, onNotice) =>
      Effect.map(node.waitingList!(waiter, onNotice), (list) => ({
        ...list,
        release: (key, value, listed) => travel(value, list.release(key, value, listed))
      }))
  }
}

/** The node as the workers see it: its votes go on the board, and nothing reaches it while it is cut off. */
export const observed = (board: Board) => (node: LockNode, index: number): LockNode => {
  const reaching = <A>(operation: NodeError["operation"], ask: Effect.Effect<A, NodeError>) =>
    Effect.suspend(() =>
      board.nodes[index]!.cutOff
        ? Effect.fail(new NodeError({ node: node.id, operation, reason: "Disconnected" }))
        : ask
    )
  return {
    ...node,
    acquire: (key, value, expiryMillis) =>
      Effect.suspend(() => {
        const answered = board.asked(value, index)
        return Effect.onExit(
          reaching("acquire", node.acquire(key, value, expiryMillis)),
          (exit) => Effect.sync(() => answered(Exit.isFailure(exit) ? "·" : exit.value ? "✓" : "✗"))
        )
      }),
    extend: (key, value, expiryMillis) => reaching("extend", node.extend(key, value, expiryMillis)),
    release: (key, value) => reaching("release", node.release(key, value)),
    inspect: (key) => reaching("inspect", node.inspect(key)),
    remove: (key) => reaching("remove", node.remove(key)),
    waitingList: (waiter, hear) =>
      Effect.map(node.waitingList!(waiter, hear), (list) => ({
        join: (...args) => reaching("inspect", list.join(...args)),
        leave: (...args) => reaching("release", list.leave(...args)),
        release: (...args) => reaching("release", list.release(...args)),
        ...list.handOver !== undefined && {
          handOver: {
            listen: (key) => reaching("inspect", list.handOver!.listen(key)),
            stopListening: () => reaching("inspect", list.handOver!.stopListening()),
            transfer: (...args) => reaching("release", list.handOver!.transfer(...args))
          }
        }
      }))
  }
}

/**
 * Deletes what is left of the name, bypassing the wrappers: workers that end while a node is cut off cannot leave the
 * waiting list there. Returns on how many nodes the lock itself was left.
 */
export const clear = (nodes: ReadonlyArray<LockNode>, name: string): Effect.Effect<number> =>
  Effect.forEach(
    nodes,
    (node) =>
      Effect.andThen(node.remove(companionKey("line", name)), node.remove(name)).pipe(
        Effect.timeout("1 second"),
        Effect.orElseSucceed(() => false)
      ),
    { concurrency: "unbounded" }
  ).pipe(Effect.map((removed) => removed.filter(Boolean).length))
