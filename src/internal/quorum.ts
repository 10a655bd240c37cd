/**
 * The one place that asks the nodes and counts their votes. Acquire, extend,
 * release, remove and inspect all go through `Quorum.ask`.
 *
 * A question goes to all nodes at once and is decided as soon as the votes
 * allow. Answers that come later are still awaited, in the background and no
 * longer than the node timeout, for the log of node states and so that closing
 * the service leaves nothing behind.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { constUndefined } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Record from "effect/Record"
import * as Result from "effect/Result"
import * as Scheduler from "effect/Scheduler"
import { NodeError, NodesUnavailable, type Vote } from "../LockError.ts"
import type { LockNode } from "../LockNode.ts"
import * as Direct from "./direct.ts"
import { monotonicMillis } from "./lease.ts"
import { Metrics } from "./metrics.ts"
import type { Question } from "./questions.ts"
import { untrusted } from "./text.ts"
import { type Timer, Timers } from "./timers.ts"

/** The answers so far: by node, in the order of the nodes, `undefined` where one is still to come. */
export class Answers<A> {
  readonly nodes: ReadonlyArray<LockNode>
  readonly quorum: number
  readonly byNode: Array<Result.Result<A, NodeError> | undefined>
  yes = 0
  no = 0
  failed = 0

  constructor(nodes: ReadonlyArray<LockNode>, quorum: number, byNode: Array<Result.Result<A, NodeError> | undefined>) {
    this.nodes = nodes
    this.quorum = quorum
    this.byNode = byNode
  }

  /** Those there are now. */
  copy(): Answers<A> {
    const copy = new Answers(this.nodes, this.quorum, this.byNode.slice())
    copy.yes = this.yes
    copy.no = this.no
    copy.failed = this.failed
    return copy
  }
}

/** A quorum said yes. */
export const granted = <A>(answers: Answers<A>): boolean => answers.yes >= answers.quorum

/** So many did what `count` counts that the others cannot make a quorum. */
const prevents = <A>(answers: Answers<A>, count: number) => count > answers.nodes.length - answers.quorum

/** So many said no that no quorum of yes is possible, whatever the others say. */
export const denied = <A>(answers: Answers<A>): boolean => prevents(answers, answers.no)

/** So many failed that no quorum is possible, whatever the others say. */
export const unavailable = <A>(answers: Answers<A>): boolean => prevents(answers, answers.failed)

/** The answers to a yes-or-no question as votes for an error. */
export const votes = (answers: Answers<boolean>): Array<Vote> =>
  answers.nodes.map(({ id: node }, index) => {
    const answer = answers.byNode[index]
    if (answer === undefined) return { _tag: "Pending", node }
    if (Result.isFailure(answer)) return { _tag: "Failed", node, error: answer.failure }
    return { _tag: answer.success ? "Granted" : "Refused", node }
  })

/** Those that did not answer the question. */
export const failedNodes = <A>(answers: Answers<A>): Array<LockNode> =>
  answers.nodes.filter((_, index) => {
    const answer = answers.byNode[index]
    return answer !== undefined && Result.isFailure(answer)
  })

export const nodesUnavailable = (name: string, answers: Answers<boolean>): NodesUnavailable =>
  new NodesUnavailable({ lock: name, quorum: answers.quorum, votes: votes(answers) })

/** What a node was like when it was last heard of. */
class NodeState {
  error: NodeError | undefined
  /** The number of the question. */
  question: number

  constructor(error: NodeError | undefined, question: number) {
    this.error = error
    this.question = question
  }
}

export class Quorum {
  readonly nodes: ReadonlyArray<LockNode>
  readonly size: number
  readonly clock: Clock.Clock
  readonly timers: Timers
  readonly metrics: Metrics
  readonly #context: Context.Context<never>
  readonly #dispatcher: Scheduler.SchedulerDispatcher
  readonly #states = new Map<LockNode, NodeState>()
  readonly #closing = Latch.makeUnsafe(false)
  readonly #idle = Latch.makeUnsafe(true)
  #underWay = 0
  #questions = 0

  constructor(nodes: ReadonlyArray<LockNode>, size: number, context: Context.Context<never>) {
    this.nodes = nodes
    this.size = size
    this.#context = context
    this.#dispatcher = Context.get(context, Scheduler.Scheduler).makeDispatcher()
    this.clock = Context.get(context, Clock.Clock)
    this.metrics = new Metrics(context)
    this.timers = new Timers(this.clock, (effect) => this.fork(effect))
  }

  /**
   * Asks, and succeeds with the answers there are once the votes decide. An
   * interruption stops the waiting, not the question.
   */
  ask<A>(question: Question<A>): Effect.Effect<Answers<A>> {
    return Effect.callback((resume) => this.start(question, (answers) => resume(Effect.succeed(answers))))
  }

  /** Asks now, and calls `decide` with the answers there are once the votes decide. */
  start<A>(question: Question<A>, decide: (answers: Answers<A>) => void): void {
    new Round(this, question, decide).send()
  }

  /** Runs an effect as a fiber of its own, on the service's clock. */
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.#context)(effect)
  }

  /** Calls `run` when what is going on now is over. */
  later(run: () => void): void {
    this.#dispatcher.scheduleTask(run, 0)
  }

  /** Runs an effect in the background; `close` waits for it. */
  background(effect: Effect.Effect<unknown>): void {
    this.begin()
    this.fork(effect).addObserver(() => this.end())
  }

  /** A pause that ends early, with `false`, when the service closes. */
  pause(millis: number): Effect.Effect<boolean> {
    return Effect.raceFirst(
      Effect.as(Effect.sleep(Duration.millis(millis)), true),
      Effect.as(this.#closing.await, false)
    )
  }

  /** Ends all pauses and waits until no question is open and nothing runs in the background. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.#closing.openUnsafe()
    return Effect.ensuring(this.#idle.await, Effect.sync(() => this.timers.close()))
  })

  /** Counts a question or background task as under way, and numbers it. */
  begin(): number {
    if (this.#underWay++ === 0) this.#idle.closeUnsafe()
    return ++this.#questions
  }

  end(): void {
    if (--this.#underWay === 0) this.#idle.openUnsafe()
  }

  /** Whether the node failed when it was last asked. */
  isFailing(node: LockNode): boolean {
    return this.#states.get(node)?.error !== undefined
  }

  /** Whether so many nodes failed when they were last asked that no quorum is left. */
  get isCutOff(): boolean {
    return this.nodes.filter((node) => this.isFailing(node)).length > this.nodes.length - this.size
  }

  /** Keeps the state of each node, and says once when it changes. */
  report(
    node: LockNode,
    question: number,
    operation: NodeError["operation"],
    error: NodeError | undefined
  ): void {
    const last = this.#states.get(node)
    // A late answer to an old question tells nothing about a node that has answered a newer one.
    if (last !== undefined && last.question > question) return
    const was = last?.error
    // A look that is refused, for lack of a right perhaps, keeps no lock from working.
    if (error?.reason === "Rejected" && (operation === "inspect" || operation === "remove")) return
    // A server that refuses one operation may well allow another, and is no better for it.
    if (error === undefined && was !== undefined && severity(was) === 1 && was.operation !== operation) return
    if (last === undefined) this.#states.set(node, new NodeState(error, question))
    else {
      last.error = error
      last.question = question
    }
    if (last !== undefined && was === undefined && error === undefined) return
    if (last === undefined || (was === undefined) !== (error === undefined)) {
      this.metrics.isUp(node.id, error === undefined)
    }
    const isWorse = severity(error) > severity(was) || (error?.reason === "Abstained" && was?.reason !== "Abstained")
    const about = { "redsync.node": node.id }
    if (error !== undefined && isWorse) this.log("Warn", `Lock node ${node.id} ${error.summary}`, about)
    if (error === undefined && was !== undefined) this.log("Info", `Lock node ${node.id} answers again`, about)
  }

  log(level: "Warn" | "Info", message: string, about: Record<string, string>): void {
    const escaped = Record.map(about, (text) => untrusted(text))
    this.fork(Effect.annotateLogs(Effect.logWithLevel(level)(untrusted(message, longestMessage)), escaped))
  }
}

/** Ids of nodes and what they say may be long. */
const longestMessage = 2000

/** A node that answers with an error is better off than one that does not answer. */
const severity = (error: NodeError | undefined): number =>
  error === undefined ? 0 : error.reason === "Rejected" || error.reason === "Abstained" ? 1 : 2

/** A timer that fires so much too late tells that this process was blocked or suspended. */
const stoodStillMillis = 20

const attempt = <A>(question: Question<A>, node: LockNode): Effect.Effect<A, NodeError> => {
  try {
    return question.ask(node)
  } catch (error) {
    return Effect.die(error)
  }
}

/** One question on its way through the nodes. */
class Round<A> {
  readonly #service: Quorum
  readonly #question: Question<A>
  readonly #number: number
  readonly #nodes: ReadonlyArray<LockNode>
  readonly #answers: Answers<A>
  /** Of the nodes that need one to answer. */
  #fibers: Array<Fiber.Fiber<A, NodeError> | undefined> | undefined
  #isSending = false
  /** Answers that came while the question was still being sent. */
  #early: Array<[index: number, answer: Result.Result<A, NodeError>]> | undefined
  #sentAt = 0
  #timer: Timer | undefined
  #hasStoodStill = false
  #decide: ((answers: Answers<A>) => void) | undefined

  constructor(
    service: Quorum,
    question: Question<A>,
    decide: (answers: Answers<A>) => void
  ) {
    this.#service = service
    this.#question = question
    this.#number = service.begin()
    this.#nodes = question.nodes ?? service.nodes
    this.#answers = new Answers(this.#nodes, service.size, this.#nodes.map(constUndefined))
    this.#decide = decide
  }

  send(): void {
    const { timeoutMillis } = this.#question
    // Sent to all before the first answer is looked at, so that one that answers at once delays nobody.
    this.#isSending = true
    for (let index = 0; index < this.#nodes.length; index++) {
      const node = this.#nodes[index]!
      this.#ask(index, node, attempt(this.#question, node))
    }
    this.#timer = this.#service.timers.after(timeoutMillis, () => this.#timeOut())
    this.#sentAt = this.#timer.at - timeoutMillis
    this.#isSending = false
    for (const [index, answer] of this.#early ?? []) this.#settle(index, answer)
    this.#early = undefined
  }

  #ask(index: number, node: LockNode, effect: Effect.Effect<A, NodeError>): void {
    if (Direct.isDirect(effect)) return effect.start((answer) => this.#hear(index, node, answer))
    const fiber = this.#service.fork(effect)
    this.#fibers ??= []
    this.#fibers[index] = fiber
    fiber.addObserver((exit) =>
      this.#hear(
        index,
        node,
        Exit.isSuccess(exit) ? Result.succeed(exit.value) : Result.fail(this.#failure(node, exit.cause))
      )
    )
  }

  #hear(index: number, node: LockNode, answer: Direct.Answer<A>) {
    if (!Result.isResult(answer)) this.#ask(index, node, answer)
    else if (this.#isSending) (this.#early ??= []).push([index, answer])
    else this.#settle(index, answer)
  }

  #settle(index: number, answer: Result.Result<A, NodeError>) {
    const answers = this.#answers
    if (answers.byNode[index] !== undefined) return
    const node = this.#nodes[index]!
    answers.byNode[index] = answer
    const { metrics } = this.#service
    let error: NodeError | undefined
    if (Result.isFailure(answer)) {
      error = answer.failure
      answers.failed++
      metrics.failed(error)
    } else {
      const isYes = this.#question.isYes(answer.success)
      if (isYes) answers.yes++
      else answers.no++
      metrics.answered(node.id, this.#question.operation, isYes, monotonicMillis(this.#service.clock) - this.#sentAt)
    }
    this.#service.report(node, this.#number, this.#question.operation, error)
    const pending = this.#nodes.length - answers.yes - answers.no - answers.failed
    if (pending === 0 || (this.#question.all !== true && this.#isDecided(pending))) {
      const decide = this.#decide
      this.#decide = undefined
      // A copy, since later answers go on counting here.
      decide?.(answers.copy())
    }
    if (pending === 0) {
      this.#timer?.takeOut()
      this.#question.onSettled?.(answers)
      this.#service.end()
    }
  }

  #isDecided(pending: number): boolean {
    const answers = this.#answers
    if (granted(answers)) return true
    return this.#question.conclusive === true
      ? denied(answers) || unavailable(answers)
      : answers.yes + pending < answers.quorum
  }

  #failure(node: LockNode, cause: Cause.Cause<NodeError>): NodeError {
    const error = Cause.squash(cause)
    return error instanceof NodeError ? error : new NodeError({
      node: node.id,
      operation: this.#question.operation,
      reason: "Rejected",
      cause: error
    })
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
      this.#settle(index, Result.fail(new NodeError({ node, operation: this.#question.operation, reason: "Timeout" })))
      this.#fibers?.[index]?.interruptUnsafe()
    })
  }
}
