/**
 * What waiting needs from its service.
 */
import type { Clock } from "effect/Clock"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { LockNode } from "../../LockNode.ts"
import type { Timers } from "../base/timers.ts"
import type { NodeServer } from "../nodeContract.ts"
import type { Metrics } from "../telemetry/metrics.ts"

export interface WaitingContext {
  readonly nodes: ReadonlyArray<LockNode>
  /** The number of nodes that make a quorum. */
  readonly size: number
  readonly clock: Clock
  readonly timers: Timers
  readonly metrics: Metrics
  /** Whether the last request to the node, or to one of its servers, failed. */
  isFailing(part: LockNode | NodeServer): boolean
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E>
  background(effect: Effect.Effect<unknown>): void
  defer(run: () => void): void
  log(level: "Warn" | "Info", message: string, about: Record<string, string>): void
}
