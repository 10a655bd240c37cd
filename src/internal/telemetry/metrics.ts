/**
 * Updates the metrics of one service. Each series is created once and kept, since looking
 * it up by its attributes would cost more than counting.
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { LockLost, NodeError } from "../../LockError.ts"
import { type Definition, definitions, type LockMode } from "../../LockMetrics.ts"

export type AcquireOutcome = "granted" | "held_by_another" | "nodes_unavailable" | "interrupted"

type Attributes = { readonly [name: string]: string }

const options = ({ description, unit }: Definition, attributes: Attributes) => ({
  description,
  attributes: unit === undefined ? attributes : { ...attributes, unit }
})

const counter = (definition: Definition, attributes: Attributes) =>
  Metric.counter(definition.name, { ...options(definition, attributes), incremental: true })

const gauge = (definition: Definition, attributes: Attributes) =>
  Metric.gauge(definition.name, options(definition, attributes))

const histogram = (definition: Definition, attributes: Attributes) =>
  Metric.histogram(definition.name, { ...options(definition, attributes), boundaries: definition.buckets ?? [] })

/** Creates a series when it is first needed, and keeps it. */
const memoizeByAttribute = <A>(make: (value: string) => A) => {
  const made = new Map<string, A>()
  return (value: string): A => {
    let one = made.get(value)
    if (one === undefined) made.set(value, one = make(value))
    return one
  }
}

/** The metrics of one kind of lock. */
export class LockMetrics {
  readonly #context: Context.Context<never>
  readonly #acquisitions: (outcome: string) => Metric.Counter<number>
  readonly #wait: (outcome: string) => Metric.Histogram<number>
  readonly #hold: Metric.Histogram<number>
  readonly #held: Metric.Gauge<number>
  readonly #waiters: Metric.Gauge<number>
  readonly #extensions: (outcome: string) => Metric.Counter<number>
  readonly #losses: (reason: string) => Metric.Counter<number>
  readonly #handOvers: (outcome: string) => Metric.Counter<number>
  readonly #wakeUps: (outcome: string) => Metric.Counter<number>

  constructor(context: Context.Context<never>, mode: LockMode) {
    this.#context = context
    this.#acquisitions = memoizeByAttribute((outcome) => counter(definitions.acquisitions, { mode, outcome }))
    this.#wait = memoizeByAttribute((outcome) => histogram(definitions.wait, { mode, outcome }))
    this.#hold = histogram(definitions.hold, { mode })
    this.#held = gauge(definitions.held, { mode })
    this.#waiters = gauge(definitions.waiters, { mode })
    this.#extensions = memoizeByAttribute((outcome) => counter(definitions.extensions, { mode, outcome }))
    this.#losses = memoizeByAttribute((reason) => counter(definitions.losses, { mode, reason }))
    this.#handOvers = memoizeByAttribute((outcome) => counter(definitions.handOvers, { mode, outcome }))
    this.#wakeUps = memoizeByAttribute((outcome) => counter(definitions.wakeUps, { mode, outcome }))
  }

  waitersChanged(change: 1 | -1): void {
    this.#waiters.modifyUnsafe(change, this.#context)
  }

  acquisitionEnded(outcome: AcquireOutcome, millis: number): void {
    this.#acquisitions(outcome).updateUnsafe(1, this.#context)
    this.#wait(outcome).updateUnsafe(millis / 1000, this.#context)
  }

  /** Called when a lock, or the given number of permits, was granted. */
  holdStarted(_permits: number): void {
    this.#held.modifyUnsafe(1, this.#context)
  }

  holdEnded(millis: number, _permits: number): void {
    this.#held.modifyUnsafe(-1, this.#context)
    this.#hold.updateUnsafe(millis / 1000, this.#context)
  }

  renewalEnded(outcome: "extended" | "missed" | "taken"): void {
    this.#extensions(outcome).updateUnsafe(1, this.#context)
  }

  lockLost(reason: LockLost["reason"]): void {
    this.#losses(reason).updateUnsafe(1, this.#context)
  }

  handOverEnded(outcome: "taken" | "wasted"): void {
    this.#handOvers(outcome).updateUnsafe(1, this.#context)
  }

  wakeUpEnded(outcome: "used" | "wasted"): void {
    this.#wakeUps(outcome).updateUnsafe(1, this.#context)
  }
}

export class PermitMetrics extends LockMetrics {
  readonly #context: Context.Context<never>
  readonly #permitsHeld = gauge(definitions.permitsHeld, {})
  readonly #rounds = memoizeByAttribute((round) => counter(definitions.permitRounds, { round }))
  readonly #mismatches = counter(definitions.limitMismatches, {})

  constructor(context: Context.Context<never>) {
    super(context, "permits")
    this.#context = context
  }

  override holdStarted(permits: number): void {
    super.holdStarted(permits)
    this.#permitsHeld.modifyUnsafe(permits, this.#context)
  }

  override holdEnded(millis: number, permits: number): void {
    super.holdEnded(millis, permits)
    this.#permitsHeld.modifyUnsafe(-permits, this.#context)
  }

  /** Records that permits were granted in this round, or that the votes were still split in the last round. */
  roundsEnded(round: number | "split"): void {
    this.#rounds(String(round)).updateUnsafe(1, this.#context)
  }

  limitDiffered(): void {
    this.#mismatches.updateUnsafe(1, this.#context)
  }
}

/** The metrics of one service: those of its nodes, and of exclusive locks. */
export class Metrics extends LockMetrics {
  readonly permits: PermitMetrics
  readonly shared: LockMetrics
  readonly #context: Context.Context<never>
  readonly #up = memoizeByAttribute((node) => gauge(definitions.up, { node }))
  readonly #quorumMargin = gauge(definitions.quorumMargin, {})
  readonly #nodes = memoizeByAttribute((node) => ({
    latency: histogram(definitions.latency, { node }),
    votes: memoizeByAttribute((operation) =>
      memoizeByAttribute((vote) => counter(definitions.votes, { node, operation, vote }))
    )
  }))

  constructor(context: Context.Context<never>) {
    super(context, "exclusive")
    this.#context = context
    this.permits = new PermitMetrics(context)
    this.shared = new LockMetrics(context, "shared")
  }

  nodeAnswered(node: string, operation: NodeError["operation"], isGranted: boolean, millis: number): void {
    const { latency, votes } = this.#nodes(node)
    votes(operation)(isGranted ? "Granted" : "Refused").updateUnsafe(1, this.#context)
    latency.updateUnsafe(millis / 1000, this.#context)
  }

  nodeFailed({ node, operation, reason }: NodeError): void {
    this.#nodes(node).votes(operation)(reason).updateUnsafe(1, this.#context)
  }

  nodeUp(node: string, nodeUp: boolean): void {
    this.#up(node).updateUnsafe(nodeUp ? 1 : 0, this.#context)
  }

  quorumMarginChanged(change: number): void {
    this.#quorumMargin.modifyUnsafe(change, this.#context)
  }
}
