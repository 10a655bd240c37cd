/**
 * A node in memory that behaves as a server process does: while it is stopped it
 * answers nothing, and when it goes on it executes all that it was sent, in order.
 * It answers in the very call and without a fiber, as nodes over ioredis do.
 */
import { Clock, type Context, Effect, type Option, Result } from "effect"
import { LockError, type LockNode, MemoryNode, type NodeError } from "../../src/index.ts"
import { CallbackEffect, type OnResult } from "../../src/internal/base/callbackEffect.ts"
import type { KeyState } from "../../src/LockNode.ts"

export interface Sent {
  readonly operation: NodeError["operation"] | "replace"
  readonly key: string
  readonly value: string
  /** On the test's clock. */
  readonly at: number
}

/**
 * - `running`: answers at once
 * - `stopped`: answers nothing, and executes what it is sent when it goes on
 * - `cut`: there is no connection, so nothing arrives
 * - `refusing`: answers with an error
 */
export type State = "running" | "stopped" | "cut" | "refusing"

export interface StoppableNode extends LockNode {
  /** Everything so far, in order, whether it arrived or not. */
  readonly sent: Array<Sent>
  /** How many requests have not been answered. */
  readonly inFlight: number
  /** The value under a key. */
  readonly valueOf: (key: string) => string | undefined
  state: State
  /** Executes what it was sent while it was stopped, and answers all of it. */
  readonly goOn: () => void
}

export type Abilities = Pick<LockNode, "reconnect" | "mayOvertake">

export const make = (id: string, abilities: Abilities = {}): Effect.Effect<StoppableNode> =>
  Effect.contextWith((context: Context.Context<never>) => Effect.succeed(makeWith(id, abilities, context)))

export const makeMany = (count: number): Effect.Effect<Array<StoppableNode>> =>
  Effect.forEach(Array.from({ length: count }), (_, index) => make(`node-${index + 1}`))

class Request<A> extends CallbackEffect<A> {
  readonly #send: (done: OnResult<A>) => void

  constructor(send: (done: OnResult<A>) => void) {
    super()
    this.#send = send
  }

  start(done: OnResult<A>): void {
    this.#send(done)
  }
}

const makeWith = (id: string, abilities: Abilities, context: Context.Context<never>): StoppableNode => {
  const memory = MemoryNode.make(id)
  const run = Effect.runSyncWith(context)
  const waiting: Array<() => void> = []

  const request = <A>(
    operation: Sent["operation"],
    key: string,
    value: string,
    effect: Effect.Effect<A, NodeError>
  ) =>
    new Request<A>((done) => {
      node.sent.push({ operation, key, value, at: run(Clock.currentTimeMillis) })
      const fail = (reason: "Disconnected" | "Rejected", cause: string) =>
        done(Result.fail(
          new LockError.NodeError({
            node: id,
            operation: operation === "replace" ? "acquire" : operation,
            reason,
            cause: new Error(cause)
          })
        ))
      // What is sent while it catches up comes after all that was there before.
      switch (waiting.length > 0 && node.state === "running" ? "stopped" : node.state) {
        case "running":
          return done(run(Effect.result(effect)))
        case "stopped":
          return void waiting.push(() => done(run(Effect.result(effect))))
        case "cut":
          return fail("Disconnected", "the network is down")
        case "refusing":
          return fail("Rejected", "OOM command not allowed")
      }
    })

  const node: StoppableNode = {
    ...abilities,
    id,
    sent: [],
    get inFlight() {
      return waiting.length
    },
    valueOf: (key) => {
      const state: Option.Option<KeyState> = run(Effect.orDie(memory.inspect(key)))
      return state._tag === "Some" ? state.value.value : undefined
    },
    state: "running",
    goOn: () => {
      node.state = "running"
      for (let execute = waiting[0]; execute !== undefined; execute = waiting[0]) {
        execute()
        waiting.shift()
      }
    },
    acquire: (key, value, millis) => request("acquire", key, value, memory.acquire(key, value, millis)),
    extend: (key, value, millis, ifPresent) =>
      request("extend", key, value, memory.extend(key, value, millis, ifPresent)),
    release: (key, value) => request("release", key, value, memory.release(key, value)),
    inspect: (key) => request("inspect", key, "", memory.inspect(key)),
    remove: (key) => request("remove", key, "", memory.remove(key)),
    replace: (key, value, newValue, millis) =>
      request("replace", key, newValue, memory.replace!(key, value, newValue, millis))
  }
  return node
}

/** What a node was sent of one operation. */
export const sentOf = (node: StoppableNode, operation: Sent["operation"]): Array<Sent> =>
  node.sent.filter((sent) => sent.operation === operation)
