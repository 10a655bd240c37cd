/**
 * How fencing tokens are allocated.
 *
 * Each node keeps a counter next to the key and receives the same proposed value, the client's
 * wall-clock time in microseconds, which is usually also its reply. The token is the largest reply
 * of the quorum. Once the counters of a quorum have reached it, every later quorum includes a node
 * that replies with a larger number, whatever the clients' clocks say. If the replies differ, a
 * second round of requests raises the counters to it.
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

/** The largest proposal, which leaves the counters room for later tokens. */
const latest = 9_000_000_000_000_000

/** The client's wall clock in microseconds; a time before 1970 counts as 0, which is merely far behind. */
export const microseconds = (clock: Clock): number => Math.max(0, Number(clock.currentTimeNanosUnsafe() / 1000n))

/**
 * The minimum token of a lock that is handed over. If the clock is too far ahead it is 0, which
 * leaves the token to the counters.
 */
export const proposalOf = (clock: Clock): number => {
  const time = microseconds(clock)
  return time <= latest ? time : 0
}

/**
 * The error if the client's clock is too far ahead to propose a token. Nothing is
 * sent then: a counter raised to that time would block the name for everyone.
 */
export const clockError = (
  { clock, nodes, size: quorum }: Quorum,
  claim: Named
): NodesUnavailable | undefined => {
  const time = microseconds(clock)
  if (time <= latest) return undefined
  const cause =
    `the clock of this client stands at ${dateOf(time)}, and fencing tokens are derived from times before ` +
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

/** The fencing token of one claim, and the counters from which it is chosen. */
export class TokenAllocation {
  /** The token, once the claim has been granted. */
  token: FencingToken | undefined
  readonly #proposal: number
  readonly #counterByNode = new Map<LockNode, number>()

  constructor(clock: Clock) {
    this.#proposal = microseconds(clock)
  }

  acquire(node: LockNode, key: string, value: string, expiryMillis: number): Effect.Effect<boolean, NodeError> {
    return this.#counting(node, node.fencing!.acquire(key, value, expiryMillis, this.#proposal))
  }

  /** Replaces the value with the new one, and counts as `acquire` does. */
  replace(
    node: LockNode,
    key: string,
    value: string,
    newValue: string,
    expiryMillis: number
  ): Effect.Effect<boolean, NodeError> {
    return this.#counting(node, node.fencing!.replace!(key, value, newValue, expiryMillis, this.#proposal))
  }

  /** Makes the value a reader, whose token is that of the writers before it: nothing is counted. */
  join(
    node: LockNode,
    key: string,
    value: string,
    expiryMillis: number,
    waitMillis: number
  ): Effect.Effect<boolean, NodeError> {
    const { fencing } = node.shared!
    return this.#counting(node, fencing!.acquire(key, value, expiryMillis, this.#proposal, waitMillis))
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

  /** Records that the node has handed the lock over, and has counted up to this token. */
  counted(node: LockNode, token: number): void {
    this.#counterByNode.set(node, token)
  }

  /**
   * Chooses the largest token of the nodes that have handed the lock over; `true` if the counters
   * of all of them have reached it.
   */
  chooseAmong(nodes: ReadonlyArray<LockNode>): boolean {
    return this.#choose(nodes.flatMap((node) => this.#counterByNode.get(node) ?? []))
  }

  /** Chooses the token from the replies of the granting nodes; true if the counters of all of them have reached it. */
  chooseToken({ byNode, nodes }: Tally<boolean>): boolean {
    const counted = nodes.flatMap((node, index) => {
      const answer = byNode[index]
      return answer !== undefined && Result.isSuccess(answer) && answer.success
        ? [this.#counterByNode.get(node) ?? 0]
        : []
    })
    return this.#choose(counted)
  }

  #choose(counted: ReadonlyArray<number>): boolean {
    const token = Math.max(...counted)
    this.token = token as FencingToken
    return counted.every((count) => count === token)
  }
}
