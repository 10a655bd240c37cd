/**
 * One question on its way through the nodes.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { constUndefined } from "effect/Function"
import * as Result from "effect/Result"
import { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import * as Direct from "../base/callbackEffect.ts"
import { monotonicMillis } from "../base/clock.ts"
import type { Timer, Timers } from "../base/timers.ts"
import type { Metrics } from "../telemetry/metrics.ts"
import { Answers, denied, granted, prevents, type Question, unavailable } from "./ballot.ts"
import { isOfServer, isUnsent, markOfClient } from "./failures.ts"
import type { NodeHealth } from "./nodeHealth.ts"

/** What a round needs of the quorum. */
export interface RoundContext {
  readonly nodes: ReadonlyArray<LockNode>
  readonly size: number
  readonly clock: Clock.Clock
  readonly timers: Timers
  readonly metrics: Metrics
  readonly health: NodeHealth
  /** The number of the last question. */
  readonly asked: number
  /** Counts a question as under way, and numbers it. */
  begin(): number
  end(): void
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E>
}

/** A timer that fires so much too late tells that this process was blocked or suspended. */
const stoodStillMillis = 20

/** One question on its way through the nodes. */
export class Round<A> {
  /** As they come in. */
  readonly answers: Answers<A>
  readonly #service: RoundContext
  readonly #question: Question<A>
  readonly #number: number
  readonly #nodes: ReadonlyArray<LockNode>
  /** Of the nodes that need one to answer. */
  #fibers: Array<Fiber.Fiber<A, NodeError> | undefined> | undefined
  #isSending = false
  /** Answers that came while the question was still being sent. */
  #early: Array<[index: number, answer: Result.Result<A, NodeError>]> | undefined
  #sentAt = 0
  #timer: Timer | undefined
  #hasStoodStill = false
  #isOver = false
  #decide: ((answers: Answers<A>) => void) | undefined

  constructor(
    service: RoundContext,
    question: Question<A>,
    decide: (answers: Answers<A>) => void
  ) {
    this.#service = service
    this.#question = question
    this.#number = service.begin()
    this.#nodes = question.nodes ?? service.nodes
    this.answers = new Answers(this.#nodes, service.size, this.#nodes.map(constUndefined))
    this.#decide = decide
  }

  send(): void {
    const { isForced, operation, timeoutMillis } = this.#question
    const { health, timers } = this.#service
    // Sent to all before the first answer is looked at, so that one that answers at once delays nobody.
    this.#isSending = true
    for (let index = 0; index < this.#nodes.length; index++) {
      const node = this.#nodes[index]!
      const refusal = isForced === true ? undefined : health.refusal(node, this.#number, operation)
      if (refusal === undefined) this.#ask(index, node)
      else this.#count(index, Result.fail(refusal))
    }
    this.#timer = timers.after(timeoutMillis, () => this.#timeOut())
    this.#sentAt = this.#timer.at - timeoutMillis
    this.#isSending = false
    for (const [index, answer] of this.#early ?? []) this.#settle(index, answer)
    this.#early = undefined
    this.#conclude()
  }

  #ask(index: number, node: LockNode) {
    try {
      this.#run(index, node, this.#question.ask(node))
    } catch (error) {
      this.#hear(index, node, Result.fail(this.#defect(node, error)))
    }
  }

  #run(index: number, node: LockNode, effect: Effect.Effect<A, NodeError>): void {
    if (Direct.isDirect(effect)) return effect.start((answer) => this.#hear(index, node, answer))
    const fiber = this.#service.fork(effect)
    this.#fibers ??= []
    this.#fibers[index] = fiber
    fiber.addObserver((exit) => {
      if (Exit.isSuccess(exit)) return this.#hear(index, node, Result.succeed(exit.value))
      // Once its time is over we interrupt it ourselves, which tells nothing of the node.
      if (this.answers.byNode[index] !== undefined && Cause.hasInterruptsOnly(exit.cause)) return
      this.#hear(index, node, Result.fail(this.#defect(node, Cause.squash(exit.cause))))
    })
  }

  #hear(index: number, node: LockNode, answer: Direct.Answer<A>) {
    if (!Result.isResult(answer)) this.#run(index, node, answer)
    else if (this.#isSending) (this.#early ??= []).push([index, answer])
    else this.#settle(index, answer)
  }

  #settle(index: number, answer: Result.Result<A, NodeError>) {
    const { asked, health } = this.#service
    const node = this.#nodes[index]!
    if (this.answers.byNode[index] !== undefined) {
      if (isReply(answer)) health.repliedLate(node, asked)
      return
    }
    const error = this.#count(index, this.#checked(node, answer))
    health.settled(node, this.#number, this.#question.operation, error, this.#sentAt, asked)
    this.#conclude()
  }

  /** Counts the answer of a node, and returns the failure if it is one. */
  #count(index: number, answer: Result.Result<A, NodeError>): NodeError | undefined {
    const { answers } = this
    const { metrics } = this.#service
    const node = this.#nodes[index]!
    answers.byNode[index] = answer
    if (Result.isFailure(answer)) {
      answers.failed++
      if (isUnsent(answer.failure)) this.#question.onUnsent?.(node)
      metrics.failed(answer.failure)
      return answer.failure
    }
    const isYes = this.#question.isYes(answer.success)
    if (isYes) answers.yes++
    else answers.no++
    metrics.answered(node.id, this.#question.operation, isYes, monotonicMillis(this.#service.clock) - this.#sentAt)
    return undefined
  }

  /** An answer that is none, from a node that somebody else has written, is a failure of the node. */
  #checked(node: LockNode, answer: Result.Result<A, NodeError>): Result.Result<A, NodeError> {
    try {
      if (Result.isSuccess(answer)) this.#question.isYes(answer.success)
      return answer
    } catch (error) {
      return Result.fail(this.#rejected(node, error))
    }
  }

  #conclude() {
    const { answers } = this
    const pending = this.#nodes.length - answers.yes - answers.no - answers.failed
    if (pending === 0 || (this.#question.all !== true && this.#isDecided(pending))) {
      const decide = this.#decide
      this.#decide = undefined
      // A copy, since later answers go on counting here.
      decide?.(answers.copy())
    }
    if (pending === 0 && !this.#isOver) {
      this.#isOver = true
      this.#timer?.takeOut()
      this.#question.onSettled?.(answers)
      this.#service.end()
    }
  }

  /**
   * A refusal does not wait for nodes that are known not to answer, unless so many are
   * that only their failing tells a refusal from too few nodes.
   */
  #isDecided(pending: number): boolean {
    const { answers } = this
    if (granted(answers)) return true
    const hopeless = this.#hopeless()
    return this.#question.conclusive === true || prevents(answers, answers.failed + hopeless)
      ? denied(answers) || unavailable(answers)
      : answers.yes + pending - hopeless < answers.quorum
  }

  /** How many of those that have not answered yet are known not to. */
  #hopeless(): number {
    const { health } = this.#service
    if (!health.hasUnreachable) return 0
    return this.#nodes.filter((node, index) => this.answers.byNode[index] === undefined && health.isUnreachable(node))
      .length
  }

  /** What the client failed with, unless it says that itself. */
  #defect(node: LockNode, error: unknown): NodeError {
    return error instanceof NodeError ? error : markOfClient(this.#rejected(node, error))
  }

  #rejected({ id: node }: LockNode, cause: unknown): NodeError {
    return new NodeError({ node, operation: this.#question.operation, reason: "Rejected", cause })
  }

  #timeOut() {
    const { clock, timers } = this.#service
    // This process stood still: the question may not even have been sent, and the nodes get their time once more.
    if (!this.#hasStoodStill && monotonicMillis(clock) - this.#timer!.at > stoodStillMillis) {
      this.#hasStoodStill = true
      this.#timer = timers.after(this.#question.timeoutMillis, () => this.#timeOut())
      return
    }
    this.#nodes.forEach(({ id: node }, index) => {
      if (this.answers.byNode[index] !== undefined) return
      this.#settle(index, Result.fail(new NodeError({ node, operation: this.#question.operation, reason: "Timeout" })))
      this.#fibers?.[index]?.interruptUnsafe()
    })
  }
}

/** Whether the server has answered, with an error perhaps. */
const isReply = (answer: Result.Result<unknown, NodeError>): boolean =>
  Result.isSuccess(answer) || isOfServer(answer.failure)
