/**
 * A connection of Effect's Redis service that is reserved for one node, which waits on it
 * for replicas.
 *
 * `WAIT` reports how many replicas have everything that was written before on its own
 * connection, so writes need one that never reconnects; and it blocks everything behind
 * it, so the other users of the service must not be on it. All requests of the node are
 * sent on this one, because on two connections a release could overtake an extension.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redis from "effect/persistence/Redis"
import * as Scope from "effect/Scope"
import { isRefusal, tooFewReplicas, waitArguments } from "../redis/acknowledgements.ts"
import type { Replicas } from "../redis/client.ts"
import { Entrance } from "../redis/entrance.ts"
import type { Link, RedisService, ServiceLink } from "./link.ts"

type Send = RedisService["send"]

/** A reserved connection, and the service that it comes from. */
interface Reservation {
  readonly redis: RedisService
  readonly scope: Scope.Closeable
  readonly send: Send
}

export class ReservedLink implements Link {
  readonly #base: ServiceLink
  readonly #context: Context.Context<never>
  #reservation: Reservation | undefined
  /** While the connection is being reserved. */
  #entrance: Entrance | undefined
  #error: unknown
  /** Whether the waiting requests are being failed, for want of a connection. */
  #isFailing = false
  #isClosed = false

  constructor(base: ServiceLink, context: Context.Context<never>) {
    this.#base = base
    this.#context = context
  }

  /** The same link for writes that succeed only once the replicas have acknowledged them. */
  durable(replicas: Replicas): Link {
    return new DurableLink(this, replicas, this.#context)
  }

  get send(): Send | undefined {
    return this.#reservation?.send
  }

  get lastError(): unknown {
    return this.#base.redis === undefined ? this.#base.lastError : this.#error
  }

  entrance(): Entrance | undefined {
    const entrance = this.#base.entrance()
    if (entrance !== undefined) return entrance
    const { redis } = this.#base
    if (this.#reservation !== undefined && this.#reservation.redis !== redis) this.lost()
    if (this.#reservation !== undefined || this.#isFailing || this.#isClosed || redis === undefined) return undefined
    if (this.#entrance === undefined) this.#reserve(redis)
    return this.#entrance
  }

  /** Gives the connection up, since it never reconnects. */
  lost(): void {
    const reservation = this.#reservation
    this.#reservation = undefined
    if (reservation !== undefined) this.#run(Scope.close(reservation.scope, Exit.void))
  }

  close(): void {
    this.#isClosed = true
    this.#error = new Error("the node is closed")
    this.lost()
  }

  #reserve(redis: RedisService): void {
    const entrance = this.#entrance = new Entrance()
    const scope = Scope.makeUnsafe()
    this.#run(Scope.provide(redis.reserve, scope)).addObserver((exit) => {
      this.#entrance = undefined
      if (Exit.isSuccess(exit) && !this.#isClosed) {
        this.#reservation = { redis, scope, send: exit.value.send }
      } else {
        this.#run(Scope.close(scope, Exit.void))
        if (Exit.isFailure(exit)) this.#base.lost(this.#error = Cause.squash(exit.cause))
        this.#isFailing = true
      }
      entrance.open()
      this.#isFailing = false
    })
  }

  #run<A, E>(effect: Effect.Effect<A, E>) {
    return Effect.runForkWith(this.#context)(effect)
  }
}

class DurableLink implements Link {
  readonly #link: ReservedLink
  readonly #replicas: Replicas
  readonly #context: Context.Context<never>
  /** How the current connection sends, and how that becomes durable. */
  #plain: Send | undefined
  #durable: Send | undefined

  constructor(link: ReservedLink, replicas: Replicas, context: Context.Context<never>) {
    this.#link = link
    this.#replicas = replicas
    this.#context = context
  }

  get send(): Send | undefined {
    const { send } = this.#link
    if (send !== this.#plain) {
      this.#plain = send
      this.#durable = send && durably(send, this.#replicas, this.#context)
    }
    return this.#durable
  }

  get lastError(): unknown {
    return this.#link.lastError
  }

  entrance(): Entrance | undefined {
    return this.#link.entrance()
  }

  lost(): void {
    this.#link.lost()
  }
}

/**
 * One `WAIT` at a time, shared by all writes that were answered before it was sent. However
 * many locks are in flight, none of them waits for more than two.
 */
const durably = (send: Send, replicas: Replicas, context: Context.Context<never>): Send => {
  type Waiting = Deferred.Deferred<unknown, Redis.RedisError>
  const [count, millis] = waitArguments(replicas)
  let current: Effect.Effect<unknown> = Effect.void
  let next: Waiting | undefined

  const acknowledged = Effect.suspend(() => {
    if (next !== undefined) return Deferred.await(next)
    const waiting: Waiting = next = Deferred.makeUnsafe()
    const sent = Effect.suspend(() => {
      next = undefined
      return send("WAIT", String(count), String(millis))
    })
    Effect.runForkWith(context)(Deferred.into(Effect.andThen(current, sent), waiting))
    current = Effect.exit(Deferred.await(waiting))
    return Deferred.await(waiting)
  })

  return (command, ...args) =>
    Effect.flatMap(send(command, ...args), (reply) => {
      if (isRefusal(reply)) return Effect.succeed(reply as never)
      return Effect.flatMap(acknowledged, (acknowledgements) => {
        const error = tooFewReplicas(acknowledgements, replicas)
        return error === undefined
          ? Effect.succeed(reply as never)
          : Effect.fail(new Redis.RedisError({ cause: error }))
      })
    })
}
