/**
 * One request in progress: sends it to the nodes and counts their votes.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { constUndefined } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { passes } from "../base/arguments.ts"
import { type CallbackResult, effectOf, isCallbackEffect } from "../base/callbackEffect.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Timer, Timers } from "../base/timers.ts"
import { isUnsent, type NodeServer, partOf } from "../nodeContract.ts"
import type { Metrics } from "../telemetry/metrics.ts"
import { denied, granted, type NodeRequest, rulesOutQuorum, Tally, unavailable } from "./ballot.ts"
import { isServerError, markClientError } from "./failures.ts"
import type { NodeHealth } from "./nodeHealth.ts"

/** What a round needs from the quorum. */
export interface RoundContext {
  readonly nodes: ReadonlyArray<LockNode>
  readonly size: number
  readonly clock: Clock.Clock
  readonly timers: Timers
  readonly metrics: Metrics
  readonly health: NodeHealth
  /** The number of the last request that was started. */
  readonly lastRequest: number
  /** Registers a request, and returns its number. */
  taskStarted(): number
  taskEnded(): void
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E>
}

/** A timer this late means that the event loop was blocked or the process suspended. */
const stallThresholdMillis = 20

/** One request in progress, from sending it to the last reply or timeout. */
export class QuorumRound<A> {
  /** Updated with every reply. */
  readonly tally: Tally<A>
  readonly #context: RoundContext
  readonly #request: NodeRequest<A>
  readonly #number: number
  readonly #nodes: ReadonlyArray<LockNode>
  /** What answers for the key on each node. It may be another server of a cluster by the time of the reply. */
  readonly #parts: ReadonlyArray<LockNode | NodeServer>
  /** The fibers of the nodes whose operations need one. */
  #fibers: Array<Fiber.Fiber<A, NodeError> | undefined> | undefined
  #isSending = false
  /** Replies that arrived while the request was still being sent. */
  #earlyAnswers: Array<[index: number, answer: Result.Result<A, NodeError>]> | undefined
  /** The number of nodes that have not answered yet. */
  #pending: number
  #sentAt = 0
  #timer: Timer | undefined
  #hasStalled = false
  #isOver = false
  #onDecided: ((tally: Tally<A>) => void) | undefined

  constructor(
    context: RoundContext,
    request: NodeRequest<A>,
    onDecided: (tally: Tally<A>) => void
  ) {
    this.#context = context
    this.#request = request
    this.#number = context.taskStarted()
    this.#nodes = request.nodes ?? context.nodes
    this.#parts = this.#nodes.some(({ serverOf }) => serverOf !== undefined)
      ? this.#nodes.map((node) => partOf(node, request.key))
      : this.#nodes
    this.tally = new Tally(this.#nodes, context.size, this.#nodes.map(constUndefined))
    this.#pending = this.#nodes.length
    this.#onDecided = onDecided
  }

  send(): void {
    const { isForced, operation, timeoutMillis } = this.#request
    const { health, timers } = this.#context
    // Send to all nodes before processing any reply, so that a synchronous reply does not delay the other nodes.
    this.#isSending = true
    for (let index = 0; index < this.#nodes.length; index++) {
      const node = this.#nodes[index]!
      const refusal = isForced === true ? undefined : health.unsentError(this.#parts[index]!, this.#number, operation)
      if (refusal === undefined) this.#sendTo(index, node)
      else this.#count(index, Result.fail(refusal))
    }
    this.#timer = timers.schedule(timeoutMillis, () => this.#timeOut())
    this.#sentAt = this.#timer.dueAt - timeoutMillis
    this.#isSending = false
    for (const [index, answer] of this.#earlyAnswers ?? []) this.#record(index, answer)
    this.#earlyAnswers = undefined
    this.#conclude()
  }

  #sendTo(index: number, node: LockNode) {
    try {
      this.#run(index, node, this.#request.sendTo(node))
    } catch (error) {
      this.#onAnswer(index, node, Result.fail(this.#defect(node, error)))
    }
  }

  #run(index: number, node: LockNode, returned: Effect.Effect<A, NodeError>): void {
    const effect = effectOf(returned)
    if (isCallbackEffect(effect)) return effect.start((answer) => this.#onAnswer(index, node, answer))
    const fiber = this.#context.fork(effect)
    this.#fibers ??= []
    this.#fibers[index] = fiber
    fiber.addObserver((exit) => {
      if (Exit.isSuccess(exit)) return this.#onAnswer(index, node, Result.succeed(exit.value))
      // After the timeout we interrupt the fiber ourselves, which says nothing about the node.
      if (this.tally.byNode[index] !== undefined && Cause.hasInterruptsOnly(exit.cause)) return
      this.#onAnswer(index, node, Result.fail(this.#defect(node, Cause.squash(exit.cause))))
    })
  }

  #onAnswer(index: number, node: LockNode, answer: CallbackResult<A>) {
    if (!Result.isResult(answer)) this.#run(index, node, answer)
    else if (this.#isSending) (this.#earlyAnswers ??= []).push([index, answer])
    else this.#record(index, answer)
  }

  #record(index: number, answer: Result.Result<A, NodeError>) {
    const { lastRequest, health } = this.#context
    const part = this.#parts[index]!
    if (this.tally.byNode[index] !== undefined) {
      if (isReply(answer)) health.recordLateReply(part, lastRequest)
      return
    }
    const error = this.#count(index, this.#checked(this.#nodes[index]!, answer))
    health.recordAnswer(part, this.#number, this.#request, error, this.#sentAt, lastRequest)
    this.#conclude()
  }

  /** Adds a node's reply to the tally, and returns the error if it is a failure. */
  #count(index: number, answer: Result.Result<A, NodeError>): NodeError | undefined {
    const { tally } = this
    const { metrics } = this.#context
    const node = this.#nodes[index]!
    tally.byNode[index] = answer
    this.#pending--
    if (Result.isFailure(answer)) {
      tally.failures++
      if (isUnsent(answer.failure)) this.#request.onUnsent?.(node)
      metrics.nodeFailed(answer.failure)
      return answer.failure
    }
    const isGranted = this.#request.isGranted(answer.success)
    if (this.#request.count !== undefined) Object.assign(tally, this.#request.count(tally))
    else if (isGranted) tally.grants++
    else tally.refusals++
    metrics.nodeAnswered(
      node.id,
      this.#request.operation,
      isGranted,
      monotonicMillis(this.#context.clock) - this.#sentAt
    )
    return undefined
  }

  /** Turns an invalid reply, as a custom node may give, into a failure of that node. */
  #checked(node: LockNode, answer: Result.Result<A, NodeError>): Result.Result<A, NodeError> {
    try {
      if (Result.isSuccess(answer)) this.#request.isGranted(answer.success)
      return answer
    } catch (error) {
      return Result.fail(this.#rejected(node, error))
    }
  }

  #conclude() {
    const { tally } = this
    const pending = this.#pending
    if (pending === 0 || (this.#request.awaitAll !== true && this.#isDecided())) {
      const onDecided = this.#onDecided
      this.#onDecided = undefined
      // A snapshot, because later replies are still added to this tally.
      onDecided?.(tally.snapshot())
    }
    if (pending === 0 && !this.#isOver) {
      this.#isOver = true
      this.#timer?.cancel()
      this.#request.onAllAnswered?.(tally)
      this.#context.taskEnded()
    }
  }

  /**
   * Whether the votes decide the request. A negative decision does not wait for
   * unreachable nodes, unless there are so many of them that only their failures
   * distinguish a refusal from too few replies.
   */
  #isDecided(): boolean {
    const { tally } = this
    if (granted(tally)) return true
    const hopeless = this.#countUnreachable()
    return this.#request.conclusive === true || rulesOutQuorum(tally, tally.failures + hopeless)
      ? denied(tally) || unavailable(tally)
      : tally.grants + this.#pending - hopeless < tally.quorum
  }

  /** How many of the nodes that have not replied are known to be unreachable. */
  #countUnreachable(): number {
    const { health } = this.#context
    if (!health.hasUnreachable) return 0
    return this.#parts.filter((part, index) => this.tally.byNode[index] === undefined && health.isUnreachable(part))
      .length
  }

  /** The error of a client that threw or failed with anything but a `NodeError`. */
  #defect(node: LockNode, error: unknown): NodeError {
    return passes(() => isNodeError(error)) ? error as NodeError : markClientError(this.#rejected(node, error))
  }

  #rejected({ id: node }: LockNode, error: unknown): NodeError {
    const isReadable = passes(() => !(error instanceof Error) || Predicate.isString(error.message))
    const cause = isReadable ? error : new Error("an error that cannot be read")
    return new NodeError({ node, operation: this.#request.operation, reason: "Rejected", cause })
  }

  #timeOut() {
    const { clock, timers } = this.#context
    // This process stalled, and the request may not even have left it: give the nodes the full timeout once more.
    if (!this.#hasStalled && monotonicMillis(clock) - this.#timer!.dueAt > stallThresholdMillis) {
      this.#hasStalled = true
      this.#timer = timers.schedule(this.#request.timeoutMillis, () => this.#timeOut())
      return
    }
    this.#nodes.forEach(({ id: node }, index) => {
      if (this.tally.byNode[index] !== undefined) return
      this.#record(index, Result.fail(new NodeError({ node, operation: this.#request.operation, reason: "Timeout" })))
      this.#fibers?.[index]?.interruptUnsafe()
    })
  }
}

/** Also accepts errors of another copy of this package, which are not instances of our class. */
const isNodeError = Schema.is(NodeError)

/** Whether the server replied, even with an error. */
const isReply = (answer: Result.Result<unknown, NodeError>): boolean =>
  Result.isSuccess(answer) || isServerError(answer.failure)
