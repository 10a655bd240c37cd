/**
 * Spans of a lock: `Redsync.acquire`, `Redsync.hold`, `Redsync.release`.
 *
 * They are siblings, so that a trace shows waiting apart from work, and the other two link to
 * `Redsync.acquire`. They are created only if a tracer records them.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { FencingToken } from "../../Fencing.ts"
import { LockLost, type Vote } from "../../LockError.ts"
import { passes } from "../base/arguments.ts"
import { attributes } from "./attributes.ts"

/** Follows the attempts of one acquisition. */
export class AcquireTrace {
  readonly span: Tracer.Span
  readonly #clock: Clock.Clock
  #attempts = 0

  constructor(span: Tracer.Span, clock: Clock.Clock) {
    this.span = span
    this.#clock = clock
  }

  /** Records an attempt on which the nodes have voted. */
  recordAttempt(votes: ReadonlyArray<Vote>): void {
    const cast = votes.map((vote) => `${vote.node} ${vote._tag === "Failed" ? vote.error.reason : vote._tag}`)
    this.span.event("attempt", this.#clock.currentTimeNanosUnsafe(), { [attributes.votes]: cast })
    this.span.attribute(attributes.attempts, ++this.#attempts)
    this.span.attribute(attributes.votes, cast)
  }

  /** Records that the previous holder has handed the lock over, on these nodes at least. */
  recordHandOver(nodes: ReadonlyArray<{ readonly id: string }>): void {
    const cast = nodes.map(({ id }) => `${id} Granted`)
    this.span.event("hand-over", this.#clock.currentTimeNanosUnsafe(), { [attributes.votes]: cast })
  }
}

const isTraced = ({ cache }: Fiber.Fiber<unknown, unknown>) =>
  cache.tracerEnabled && cache.tracer !== undefined && cache.tracer !== Tracer.nativeTracer

/** What may be followed by a trace. */
export interface Traced {
  /** The trace that follows the attempts, if there is one. */
  readonly trace?: AcquireTrace
}

/** What spans need of the service. */
interface TracingContext {
  readonly clock: Clock.Clock
  readonly quorum: { readonly size: number }
}

export const inAcquireSpan = <S extends Traced, A, E, R>(
  { clock, quorum }: TracingContext,
  names: string | ReadonlyArray<string>,
  settings: S,
  acquire: (settings: S) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    if (!isTraced(fiber)) return acquire(settings)
    const options = { attributes: { [attributes.lock]: names, [attributes.quorum]: quorum.size } }
    return Effect.useSpan("Redsync.acquire", options, (span) =>
      withErrorType(span, acquire({ ...settings, trace: new AcquireTrace(span, clock) })))
  })

/** What is held, under one name or several. */
interface TracedHold {
  readonly names: string | ReadonlyArray<string>
  readonly settings: Traced
  readonly token: FencingToken | undefined
  readonly permits?: { readonly slots: ReadonlyArray<number> } | undefined
}

/** Runs an effect in a span of its own: the program that holds the locks, or their release. */
export const inSpan = <A, E, R>(
  name: "Redsync.hold" | "Redsync.release",
  hold: TracedHold,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const options = spanOptions(hold)
  return options === undefined
    ? effect
    : Effect.useSpan(name, options, (span) => Effect.withParentSpan(withErrorType(span, effect), span))
}

/** A span that lasts until the scope closes. */
export const holdSpan = (hold: TracedHold): Effect.Effect<unknown, never, Scope.Scope> => {
  const options = spanOptions(hold)
  return options === undefined ? Effect.void : Effect.flatMap(
    Effect.makeSpanScoped("Redsync.hold", options),
    (span) => Effect.addFinalizer((exit) => Effect.sync(() => setErrorType(span, exit)))
  )
}

const spanOptions = (hold: TracedHold): Tracer.SpanOptionsNoTrace | undefined => {
  const span = hold.settings.trace?.span
  if (span === undefined) return undefined
  const { names, permits, token } = hold
  return {
    links: [{ span, attributes: {} }],
    attributes: {
      [attributes.lock]: names,
      ...(token !== undefined && { [attributes.token]: token }),
      ...(permits !== undefined && { [attributes.slots]: permits.slots })
    }
  }
}

const withErrorType = <A, E, R>(span: Tracer.Span, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.onExitPrimitive(effect, (exit) => {
    setErrorType(span, exit)
    return undefined
  })

/** Records what kind of error the span failed with. An interruption is not an error. */
const setErrorType = (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>): void => {
  if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return
  const error = Cause.squash(exit.cause)
  span.attribute(attributes.errorType, errorType(error))
  if (passes(() => error instanceof LockLost)) span.attribute(attributes.reason, (error as LockLost).reason)
}

/** `_OTHER` is what OpenTelemetry uses for an error of unknown type. */
const errorType = (error: unknown): string => {
  try {
    if (Predicate.hasProperty(error, "_tag") && Predicate.isString(error._tag)) return error._tag
    return error instanceof Error ? error.name : "_OTHER"
  } catch {
    // The program failed with something whose getters or traps throw.
    return "_OTHER"
  }
}
