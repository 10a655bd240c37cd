/**
 * How a lock comes by its fencing token.
 *
 * Every node counts beside the key, and all are given the same proposal, the
 * client's wall clock in microseconds: usually they all answer with that. The
 * token is the largest answer of the quorum. Once a quorum has counted that far,
 * every later quorum has a node among it that answers with more, whatever the
 * clients' clocks say. Where the answers differ, that takes a second round.
 */
import type { Clock } from "effect/Clock"
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { FencingToken } from "../Fencing.ts"
import type { NodeError } from "../LockError.ts"
import type { LockNode } from "../LockNode.ts"
import * as Direct from "./direct.ts"
import type { Answers } from "./quorum.ts"

/** The answers of the nodes to one attempt. */
export class Fence {
  /** The token, once the attempt is granted. */
  token: FencingToken | undefined
  readonly #proposal: number
  readonly #counted = new Map<LockNode, number>()

  constructor(clock: Clock) {
    this.#proposal = Number(clock.currentTimeNanosUnsafe() / 1000n)
  }

  acquire(node: LockNode, name: string, value: string, expiryMillis: number): Effect.Effect<boolean, NodeError> {
    return Direct.andThen(
      node.fencing!.acquire(name, value, expiryMillis, this.#proposal),
      Result.map((counted) => {
        if (Option.isSome(counted)) this.#counted.set(node, counted.value)
        return Option.isSome(counted)
      })
    )
  }

  /** Takes the token from the answers that granted the attempt; whether each of those nodes has counted that far. */
  settle({ byNode, nodes }: Answers<boolean>): boolean {
    let least = Number.POSITIVE_INFINITY
    let token = 0
    for (let index = 0; index < nodes.length; index++) {
      const answer = byNode[index]
      if (answer === undefined || Result.isFailure(answer) || !answer.success) continue
      const counted = this.#counted.get(nodes[index]!)!
      least = Math.min(least, counted)
      token = Math.max(token, counted)
    }
    if (!Number.isSafeInteger(token)) throw new RangeError(`A node has counted to ${token}, which is no fencing token`)
    this.token = token as FencingToken
    return least === token
  }
}
