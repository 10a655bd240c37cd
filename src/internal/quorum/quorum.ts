/**
 * The one place that asks the nodes and counts their votes. Acquire, extend,
 * release, remove and inspect all go through `Quorum.ask`.
 *
 * A question goes to all nodes at once and is decided as soon as the votes
 * allow. Answers that come later are still awaited, in the background and no
 * longer than the node timeout, for the log of node states and so that closing
 * the service leaves nothing behind.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Record from "effect/Record"
import * as Scheduler from "effect/Scheduler"
import type { LockNode } from "../../LockNode.ts"
import { untrusted } from "../base/text.ts"
import { Timers } from "../base/timers.ts"
import { Metrics } from "../telemetry/metrics.ts"
import type { NodeRequest, Tally } from "./ballot.ts"
import { NodeHealth } from "./nodeHealth.ts"
import { QuorumRound } from "./round.ts"

export class Quorum {
  readonly nodes: ReadonlyArray<LockNode>
  readonly size: number
  readonly clock: Clock.Clock
  readonly timers: Timers
  readonly metrics: Metrics
  /** In it a fiber gets as far as its first asynchronous step in the very call that starts it. */
  readonly #context: Context.Context<never>
  readonly #dispatcher: Scheduler.SchedulerDispatcher
  readonly health: NodeHealth
  readonly #idle = Latch.makeUnsafe(true)
  #openTasks = 0
  #lastRequest = 0

  constructor(nodes: ReadonlyArray<LockNode>, size: number, context: Context.Context<never>) {
    this.nodes = nodes
    this.size = size
    this.#context = Context.add(context, Scheduler.PreventSchedulerYield, true)
    this.#dispatcher = Context.get(context, Scheduler.Scheduler).makeDispatcher()
    this.clock = Context.get(context, Clock.Clock)
    this.metrics = new Metrics(context)
    this.timers = new Timers(this.clock, (effect) => this.fork(effect))
    this.health = new NodeHealth(nodes, nodes.length - size, this)
  }

  /**
   * Asks, and succeeds with the answers there are once the votes decide. An
   * interruption stops the waiting, not the question.
   */
  request<A>(request: NodeRequest<A>): Effect.Effect<Tally<A>> {
    return Effect.callback((resume) => {
      this.send(request, (tally) => resume(Effect.succeed(tally)))
    })
  }

  /**
   * Asks now, and calls `decide` with the answers there are once the votes decide.
   * Returns the answers as they come in.
   */
  send<A>(request: NodeRequest<A>, onDecided: (tally: Tally<A>) => void): Tally<A> {
    const round = new QuorumRound(this, request, onDecided)
    round.send()
    return round.tally
  }

  /**
   * Runs an effect as a fiber of its own, on the service's clock. What nodes are
   * asked takes effect in the order in which it is started, so nothing may yield
   * before it has been sent.
   */
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.#context)(effect)
  }

  /** Calls `run` when what is going on now is over. */
  defer(run: () => void): void {
    this.#dispatcher.scheduleTask(run, 0)
  }

  /** Runs an effect in the background; `close` waits for it. */
  background(effect: Effect.Effect<unknown>): void {
    this.taskStarted()
    this.fork(effect).addObserver(() => this.taskEnded())
  }

  /** Waits until no question is open and nothing runs in the background, and forgets all timers. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.health.close()
    return Effect.ensuring(this.#idle.await, Effect.sync(() => this.timers.close()))
  })

  /** The number of the last question. */
  get lastRequest(): number {
    return this.#lastRequest
  }

  isFailing(node: LockNode): boolean {
    return this.health.isFailing(node)
  }

  /** Counts a question or background task as under way, and numbers it. */
  taskStarted(): number {
    if (this.#openTasks++ === 0) this.#idle.closeUnsafe()
    return ++this.#lastRequest
  }

  taskEnded(): void {
    if (--this.#openTasks === 0) this.#idle.openUnsafe()
  }

  log(level: "Warn" | "Info", message: string, about: Record<string, string>): void {
    const escaped = Record.map(about, (text) => untrusted(text))
    this.fork(Effect.annotateLogs(Effect.logWithLevel(level)(untrusted(message, longestMessage)), escaped))
  }
}

/** Ids of nodes and what they say may be long. */
const longestMessage = 2000
