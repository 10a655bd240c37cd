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
import type { FencingToken } from "../../Fencing.ts"
import { NodeError, NodesUnavailable, type Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { mapResult } from "../base/callbackEffect.ts"
import { isToken, unexpected } from "../nodeContract.ts"
import { lockOf, type Named, type Tally } from "../quorum/ballot.ts"
import type { Quorum } from "../quorum/quorum.ts"

/** Proposals end here, so that counters always have room for the tokens that are counted from them. */
const latest = 9_000_000_000_000_000

/** The client's wall clock in microseconds. One before 1970 is as good as one that is far behind. */
const microseconds = (clock: Clock): number => Math.max(0, Number(clock.currentTimeNanosUnsafe() / 1000n))

/**
 * Why no token can be had, if the client's clock stands where none can be made of it.
 * Nothing is sent then: a counter that took that time would block the name for others.
 */
export const clockError = (
  { clock, nodes, size: quorum }: Quorum,
  claim: Named
): NodesUnavailable | undefined => {
  const time = microseconds(clock)
  if (time <= latest) return undefined
  const cause = `the clock of this client stands at ${dateOf(time)}, and fencing tokens are made of times before ` +
    dateOf(latest)
  const votes = nodes.map(({ id: node }): Vote => {
    return { _tag: "Failed", node, error: new NodeError({ node, operation: "acquire", reason: "NotAsked", cause }) }
  })
  return new NodesUnavailable({ ...lockOf(claim), quorum, votes })
}

const dateOf = (micros: number): string => {
  const date = new Date(micros / 1000)
  return Number.isNaN(date.getTime()) ? `${micros / 1000} ms after 1970` : date.toISOString()
}

/** The answers of the nodes to one attempt. */
export class TokenAllocation {
  /** The token, once the attempt is granted. */
  token: FencingToken | undefined
  readonly #proposal: number
  readonly #counterByNode = new Map<LockNode, number>()

  constructor(clock: Clock) {
    this.#proposal = microseconds(clock)
  }

  acquire(node: LockNode, key: string, value: string, expiryMillis: number): Effect.Effect<boolean, NodeError> {
    return this.#counting(node, node.fencing!.acquire(key, value, expiryMillis, this.#proposal))
  }

  /** Puts the new value in the place of the other, and counts as `acquire` does. */
  replace(
    node: LockNode,
    key: string,
    value: string,
    newValue: string,
    expiryMillis: number
  ): Effect.Effect<boolean, NodeError> {
    return this.#counting(node, node.fencing!.replace!(key, value, newValue, expiryMillis, this.#proposal))
  }

  #counting(
    node: LockNode,
    answer: Effect.Effect<Option.Option<number>, NodeError>
  ): Effect.Effect<boolean, NodeError> {
    return mapResult(
      answer,
      Result.flatMap((counted): Result.Result<boolean, NodeError> => {
        if (!Option.isOption(counted)) return Result.fail(unexpected(node.id, "acquire", counted))
        if (Option.isNone(counted)) return Result.succeed(false)
        if (!isToken(counted.value)) return Result.fail(unexpected(node.id, "acquire", counted.value))
        this.#counterByNode.set(node, counted.value)
        return Result.succeed(true)
      })
    )
  }

  /** Takes the token from the answers that granted the attempt; whether each of those nodes has counted that far. */
  chooseToken({ byNode, nodes }: Tally<boolean>): boolean {
    const counted = nodes.flatMap((node, index) => {
      const answer = byNode[index]
      return answer !== undefined && Result.isSuccess(answer) && answer.success
        ? [this.#counterByNode.get(node) ?? 0]
        : []
    })
    const token = Math.max(...counted)
    this.token = token as FencingToken
    return counted.every((count) => count === token)
  }
}
