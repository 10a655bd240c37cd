/**
 * A node in memory whose answers a test can delay, lose or replace, and that
 * counts what it is asked.
 */
import * as Effect from "effect/Effect"
import { LockError, type LockNode, MemoryNode, type NodeError } from "../../src/index.ts"

export interface FaultyNode extends LockNode {
  /** Every operation so far, in order. */
  readonly asked: Array<NodeError["operation"] | "raise" | "replace">
  /** It comes back without its keys and counters. */
  readonly restart: () => void
  /** How it behaves from now on. */
  behave: Behaviour
}

/**
 * - `healthy`: answers at once
 * - `failing`: refuses with an error, nothing is stored
 * - `silent`: never answers, nothing is stored
 * - `lateReply`: does it, but the answer never comes
 * - a number: does it, and answers so many milliseconds later
 */
export type Behaviour = "healthy" | "failing" | "silent" | "lateReply" | number

export const make = (id: string): FaultyNode => {
  let memory = MemoryNode.make(id)
  const ask = <A>(
    asked: FaultyNode["asked"][number],
    effect: Effect.Effect<A, NodeError>
  ): Effect.Effect<A, NodeError> =>
    Effect.suspend(() => {
      const operation = asked === "raise" || asked === "replace" ? "acquire" : asked
      node.asked.push(asked)
      switch (node.behave) {
        case "healthy":
          return effect
        case "failing":
          return Effect.fail(
            new LockError.NodeError({ node: id, operation, reason: "Rejected", cause: new Error("OOM is near") })
          )
        case "silent":
          return Effect.never
        case "lateReply":
          return Effect.andThen(effect, Effect.never)
        default:
          return Effect.flatMap(effect, (answer) => Effect.as(Effect.sleep(node.behave as number), answer))
      }
    })
  const node: FaultyNode = {
    id,
    asked: [],
    behave: "healthy",
    acquire: (...args) => ask("acquire", memory.acquire(...args)),
    extend: (...args) => ask("extend", memory.extend(...args)),
    release: (...args) => ask("release", memory.release(...args)),
    inspect: (key) => ask("inspect", memory.inspect(key)),
    remove: (key) => ask("remove", memory.remove(key)),
    replace: (...args) => ask("replace", memory.replace!(...args)),
    fencing: {
      acquire: (...args) => ask("acquire", memory.fencing!.acquire(...args)),
      raise: (...args) => ask("raise", memory.fencing!.raise(...args)),
      replace: (...args) => ask("replace", memory.fencing!.replace!(...args))
    },
    restart: () => {
      memory = MemoryNode.make(id)
    }
  }
  return node
}

export const makeMany = (count: number): Array<FaultyNode> =>
  Array.from({ length: count }, (_, index) => make(`node-${index + 1}`))
