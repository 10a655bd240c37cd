/**
 * The only place that asks the nodes for votes: acquire, extend, release, remove and
 * inspect all go through `Quorum.send`. Requests about waiting lists, which are no votes,
 * are sent by `waiting/nodeWaitingLists.ts`.
 *
 * A request goes to all nodes at once and is decided as soon as the votes allow.
 * Later replies are still awaited in the background, for at most the node timeout,
 * so that the state of each node is known and closing the service leaves nothing
 * behind.
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
import type { NodeServer } from "../nodeContract.ts"
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
  /** Fibers forked with it run synchronously up to their first asynchronous step. */
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
   * Sends the request, and succeeds with the tally once the votes decide it.
   * Interruption stops waiting but does not cancel the request.
   */
  request<A>(request: NodeRequest<A>): Effect.Effect<Tally<A>> {
    return Effect.callback((resume) => {
      this.send(request, (tally) => resume(Effect.succeed(tally)))
    })
  }

  /**
   * Sends the request now, and calls `onDecided` with a snapshot of the tally once
   * the votes decide it. Returns the live tally, to which later replies are added.
   */
  send<A>(request: NodeRequest<A>, onDecided: (tally: Tally<A>) => void): Tally<A> {
    const round = new QuorumRound(this, request, onDecided)
    round.send()
    return round.tally
  }

  /**
   * Runs an effect in its own fiber, in the context of the service. Requests take
   * effect in the order they are started, so nothing may yield before a
   * request has been sent.
   */
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.#context)(effect)
  }

  /** Calls `run` once the current synchronous work is done. */
  defer(run: () => void): void {
    this.#dispatcher.scheduleTask(run, 0)
  }

  /** Runs an effect in the background; `close` waits for it. */
  background(effect: Effect.Effect<unknown>): void {
    this.taskStarted()
    this.fork(effect).addObserver(() => this.taskEnded())
  }

  /** Waits for open requests and background tasks to finish, then drops all timers. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.health.close()
    return Effect.ensuring(this.#idle.await, Effect.sync(() => this.timers.close()))
  })

  /** The number of the last request or background task that was started. */
  get lastRequest(): number {
    return this.#lastRequest
  }

  isFailing(part: LockNode | NodeServer): boolean {
    return this.health.isFailing(part)
  }

  /** Registers a request or background task, and returns its number. */
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

/** Node ids and server messages may be long. */
const longestMessage = 2000
