/**
 * Notifications over Effect's Redis service.
 *
 * A subscription is a connection of its own, so a service has only one per node, whatever it waits
 * for. Keys are watched by node-redis' `emitInvalidate`: the server remembers what was read on the
 * client's connection, and notifies it of the next change. Without it waiters find out on their
 * schedule that another library has released a lock.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { NodeError } from "../../LockError.ts"
import type { Notification, RedisClient } from "../redis/client.ts"
import { toNodeError } from "../redis/errors.ts"
import { schedule } from "../redis/realTime.ts"
import { wholeNumber } from "../redis/replies.ts"
import type { ServiceLink } from "./link.ts"

/** The notifications of a node; `context` is what the subscriptions run in. */
export const notifications = (
  id: string,
  link: ServiceLink,
  context: Context.Context<never>
): NonNullable<RedisClient["notifications"]> =>
(channel, onNotification) =>
  Effect.gen(function*() {
    const subscription = new Subscription(id, link, context, channel, onNotification)
    yield* whileOpen(() => subscription.close())
    yield* whileOpen(link.listen("ready", () => subscription.renew()))
    yield* whileOpen(link.listen("invalidate", (key) =>
      onNotification(
        key === null
          ? { _tag: "Resync" }
          : { _tag: "KeyChanged", key: Predicate.isString(key) ? key : (key as Buffer).toString() }
      )))
    return {
      subscribe: () => subscription.heard,
      watchKey: (key) =>
        Effect.suspend(() => {
          const { client, send } = link
          if (send === undefined || client?.options?.emitInvalidate !== true) return Effect.succeed(true)
          // Any command that reads the key is tracked; `PTTL` does not fetch the value. If it fails, the key
          // may exist.
          return Effect.match(send("PTTL", key), {
            onFailure: (error) => {
              link.lost(error)
              return true
            },
            onSuccess: (millis) => wholeNumber(millis) !== -2
          })
        })
    }
  })

const whileOpen = (close: () => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.addFinalizer(() => Effect.sync(close))

/** How long a subscription that was replaced has to settle before it is closed. */
const settlingMillis = 1000

const interrupt = (fibers: Iterable<Fiber.Fiber<unknown, unknown>>): void => {
  for (const fiber of fibers) fiber.interruptUnsafe()
}

/** A subscription that is opened when it is first needed, and lasts until it breaks. */
class Subscription {
  /** Succeeds once messages are delivered. */
  readonly heard: Effect.Effect<void, NodeError> = Effect.suspend(() => Deferred.await(this.#hearing ?? this.#open()))
  readonly #id: string
  readonly #link: ServiceLink
  readonly #context: Context.Context<never>
  readonly #channel: string
  readonly #onNotification: (notification: Notification) => void
  #hearing: Deferred.Deferred<void, NodeError> | undefined
  /** Nobody waits for their interruption: a subscription that is being made cannot be interrupted. */
  readonly #fibers = new Set<Fiber.Fiber<unknown, unknown>>()

  constructor(
    id: string,
    link: ServiceLink,
    context: Context.Context<never>,
    channel: string,
    onNotification: (notification: Notification) => void
  ) {
    this.#id = id
    this.#link = link
    this.#context = context
    this.#channel = channel
    this.#onNotification = onNotification
  }

  /** Subscribes again: the client has another connection now, perhaps to another server. */
  renew(): void {
    const replaced = [...this.#fibers]
    // The old subscription is probably connecting as well, and a connection that is closed while it connects
    // is left open by node-redis.
    schedule(settlingMillis, () => interrupt(replaced))
    this.#end(new Error("the connection was replaced"))
  }

  close(): void {
    interrupt(this.#fibers)
    this.#end(new Error("the node is closed"))
  }

  #open(): Deferred.Deferred<void, NodeError> {
    const hearing = this.#hearing = Deferred.makeUnsafe<void, NodeError>()
    const fiber = Effect.runForkWith(this.#context)(this.#listen(hearing))
    this.#fibers.add(fiber)
    fiber.addObserver((exit) => {
      this.#fibers.delete(fiber)
      if (this.#hearing === hearing) this.#end(Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined)
    })
    return hearing
  }

  /** Fails if it cannot subscribe, or when the subscription ends. */
  #listen(hearing: Deferred.Deferred<void, NodeError>): Effect.Effect<never, unknown> {
    const link = this.#link
    return Effect.scoped(Effect.gen({ self: this }, function*() {
      yield* entered(link)
      if (link.redis === undefined) return yield* Effect.fail(link.lastError)
      const connection = link.connectionId()
      const queue = yield* link.redis.subscribe(this.#channel)
      // A subscription that was refused is a queue that has failed.
      if (queue.state._tag === "Open") yield* Deferred.succeed(hearing, undefined)
      while (true) {
        const { message } = yield* Queue.take(queue)
        if (link.connectionId() === connection) this.#onNotification({ _tag: "Message", message })
      }
    }))
  }

  /** Ends the subscription. Waiters then join again, which subscribes again. */
  #end(error: unknown): void {
    const hearing = this.#hearing
    if (hearing === undefined) return
    this.#hearing = undefined
    const wasHeard = !Deferred.doneUnsafe(hearing, Effect.fail(toNodeError(this.#id, "inspect", error)))
    if (wasHeard) this.#onNotification({ _tag: "Resync" })
  }
}

/** Waits until commands can be sent, or there is no connection. */
const entered = (link: ServiceLink): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const entrance = link.entrance()
    if (entrance === undefined) return resume(Effect.void)
    return Effect.sync(entrance.wait(() => resume(Effect.void)))
  })
