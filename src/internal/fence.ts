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
import { FencingToken } from "../Fencing.ts"
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
    const counted = nodes.flatMap((node, index) => {
      const answer = byNode[index]
      return answer !== undefined && Result.isSuccess(answer) && answer.success ? [this.#counted.get(node)!] : []
    })
    const token = this.token = FencingToken.make(Math.max(...counted))
    return counted.every((other) => other === token)
  }
}
