/**
 * Spans of a lock: `Redsync.acquire`, `Redsync.hold`, `Redsync.release`.
 *
 * They stand side by side, so that a trace shows waiting apart from work, and the
 * later two link to the first. They are made only where a tracer records them.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { FencingToken } from "../../Fencing.ts"
import type { Vote } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { monotonicMillis } from "../base/clock.ts"

/** Follows the attempts of one acquisition. */
export class AcquireTrace {
  readonly span: Tracer.Span
  readonly #clock: Clock.Clock
  readonly #startedAt: number
  #attempts = 0

  constructor(span: Tracer.Span, clock: Clock.Clock) {
    this.span = span
    this.#clock = clock
    this.#startedAt = monotonicMillis(clock)
  }

  /** The nodes have voted. */
  recordAttempt(votes: ReadonlyArray<Vote>): void {
    const cast = votes.map((vote) => `${vote.node} ${vote._tag === "Failed" ? vote.error.reason : vote._tag}`)
    this.span.event("attempt", this.#clock.currentTimeNanosUnsafe(), { "redsync.votes": cast })
    this.span.attribute("redsync.attempts", ++this.#attempts)
    this.span.attribute("redsync.votes", cast)
    this.span.attribute("redsync.waited_seconds", (monotonicMillis(this.#clock) - this.#startedAt) / 1000)
  }
}

const isTraced = ({ cache }: Fiber.Fiber<unknown, unknown>) =>
  cache.tracerEnabled && cache.tracer !== undefined && cache.tracer !== Tracer.nativeTracer

/** What may be followed by a trace. */
export interface Traced {
  /** Who follows the attempts, if anybody does. */
  readonly trace?: AcquireTrace
}

/** What spans need of the service. */
interface TracingContext {
  readonly clock: Clock.Clock
  readonly quorum: { readonly nodes: ReadonlyArray<LockNode>; readonly size: number }
}

/** Acquires in a span of its own. */
export const inAcquireSpan = <S extends Traced, A, E, R>(
  { clock, quorum }: TracingContext,
  names: string | ReadonlyArray<string>,
  settings: S,
  acquire: (settings: S) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    if (!isTraced(fiber)) return acquire(settings)
    const attributes = {
      "redsync.name": names,
      "redsync.nodes": quorum.nodes.map(({ id }) => id),
      "redsync.quorum": quorum.size
    }
    return Effect.useSpan("Redsync.acquire", { attributes, kind: "client" }, (span) =>
      acquire({ ...settings, trace: new AcquireTrace(span, clock) }))
  })

/** What is held, under one name or several. */
interface TracedHold {
  readonly names: string | ReadonlyArray<string>
  readonly settings: Traced
  readonly token: FencingToken | undefined
}

/** Runs in a span of its own what is done while the locks are held, or releases them. */
export const inSpan = <A, E, R>(
  name: "Redsync.hold" | "Redsync.release",
  hold: TracedHold,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const options = spanOptions(hold)
  return options === undefined ? effect : Effect.withSpan(effect, name, options)
}

/** A span that lasts until the scope closes. */
export const holdSpan = (hold: TracedHold): Effect.Effect<unknown, never, Scope.Scope> => {
  const options = spanOptions(hold)
  return options === undefined ? Effect.void : Effect.makeSpanScoped("Redsync.hold", options)
}

const spanOptions = (hold: TracedHold): Tracer.SpanOptionsNoTrace | undefined => {
  const span = hold.settings.trace?.span
  if (span === undefined) return undefined
  const { names, token } = hold
  return {
    links: [{ span, attributes: {} }],
    attributes: { "redsync.name": names, ...(token !== undefined && { "redsync.token": token }) }
  }
}
