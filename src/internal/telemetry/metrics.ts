/**
 * Updates the metrics of one service. Each series is made once, since looking it
 * up by its attributes would cost more than counting.
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { LockLost, NodeError } from "../../LockError.ts"
import { type Definition, definitions } from "../../LockMetrics.ts"

export type AcquireOutcome = "granted" | "held_by_another" | "nodes_unavailable" | "interrupted"

type Attributes = { readonly [name: string]: string }

const mode = "exclusive"

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

/** Makes what is asked for the first time, and remembers it. */
const memoizeByAttribute = <A>(make: (value: string) => A) => {
  const made = new Map<string, A>()
  return (value: string): A => {
    let one = made.get(value)
    if (one === undefined) made.set(value, one = make(value))
    return one
  }
}

export class Metrics {
  readonly #context: Context.Context<never>
  readonly #acquisitions = memoizeByAttribute((outcome) => counter(definitions.acquisitions, { mode, outcome }))
  readonly #wait = memoizeByAttribute((outcome) => histogram(definitions.wait, { mode, outcome }))
  readonly #hold = histogram(definitions.hold, { mode })
  readonly #held = gauge(definitions.held, { mode })
  readonly #waiters = gauge(definitions.waiters, { mode })
  readonly #extensions = memoizeByAttribute((outcome) => counter(definitions.extensions, { mode, outcome }))
  readonly #losses = memoizeByAttribute((reason) => counter(definitions.losses, { mode, reason }))
  readonly #handOvers = memoizeByAttribute((outcome) => counter(definitions.handOvers, { mode, outcome }))
  readonly #wakeUps = memoizeByAttribute((outcome) => counter(definitions.wakeUps, { mode, outcome }))
  readonly #up = memoizeByAttribute((node) => gauge(definitions.up, { node }))
  readonly #quorumMargin = gauge(definitions.quorumMargin, {})
  readonly #nodes = memoizeByAttribute((node) => ({
    latency: histogram(definitions.latency, { node }),
    votes: memoizeByAttribute((operation) =>
      memoizeByAttribute((vote) => counter(definitions.votes, { node, operation, vote }))
    )
  }))

  constructor(context: Context.Context<never>) {
    this.#context = context
  }

  waitersChanged(change: 1 | -1): void {
    this.#waiters.modifyUnsafe(change, this.#context)
  }

  acquisitionEnded(outcome: AcquireOutcome, millis: number): void {
    this.#acquisitions(outcome).updateUnsafe(1, this.#context)
    this.#wait(outcome).updateUnsafe(millis / 1000, this.#context)
  }

  holdStarted(): void {
    this.#held.modifyUnsafe(1, this.#context)
  }

  holdEnded(millis: number): void {
    this.#held.modifyUnsafe(-1, this.#context)
    this.#hold.updateUnsafe(millis / 1000, this.#context)
  }

  renewalEnded(outcome: "extended" | "missed" | "taken"): void {
    this.#extensions(outcome).updateUnsafe(1, this.#context)
  }

  lockLost(reason: LockLost["reason"]): void {
    this.#losses(reason).updateUnsafe(1, this.#context)
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

  handOverEnded(outcome: "taken" | "wasted"): void {
    this.#handOvers(outcome).updateUnsafe(1, this.#context)
  }

  wakeUpEnded(outcome: "used" | "wasted"): void {
    this.#wakeUps(outcome).updateUnsafe(1, this.#context)
  }
}
