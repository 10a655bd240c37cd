/**
 * Requests over Effect's Redis service.
 *
 * Each request runs in a fiber of its own, which continues when nobody waits for the reply any
 * more, because only its outcome shows whether the command was lost together with its connection.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Redis from "effect/persistence/Redis"
import * as Result from "effect/Result"
import * as Scheduler from "effect/Scheduler"
import type { NodeError } from "../../LockError.ts"
import { CallbackEffect, type CallbackResult, type OnResult } from "../base/callbackEffect.ts"
import { markUnsent, unexpected } from "../nodeContract.ts"
import type { Requests } from "../redis/client.ts"
import { messageOf, scriptError, toNodeError } from "../redis/errors.ts"
import type { Overtaking } from "../redis/overtaking.ts"
import type { Meaning } from "../redis/replies.ts"
import type { Link } from "./link.ts"

/** What the requests of a node share. */
export class NodeCalls {
  readonly id: string
  readonly overtaking: Overtaking
  /** The context that the commands run in; nothing yields before they are sent. */
  readonly context: Context.Context<never>

  constructor(id: string, overtaking: Overtaking, context: Context.Context<never>) {
    this.id = id
    this.overtaking = overtaking
    this.context = Context.add(context, Scheduler.PreventSchedulerYield, true)
  }
}

/** The requests of a node, sent on the given link. */
export const requestsOver = (node: NodeCalls, link: Link): Requests => ({
  command: (operation, meaning, name, args) => new RedisCall(node, link, operation, meaning, [name, ...args]),
  // Not `redis.eval`: it may load a script first, and then a release could overtake an extension.
  script: (operation, meaning, { lua }, keys, args) =>
    new RedisCall(node, link, operation, meaning, ["EVAL", lua, keys.length, ...keys, ...args], lua)
})

class RedisCall<A extends {}> extends CallbackEffect<A> {
  readonly node: NodeCalls
  readonly link: Link
  readonly operation: NodeError["operation"]
  readonly meaning: Meaning<A>
  readonly words: ReadonlyArray<string | number>
  readonly lua: string | undefined

  constructor(
    node: NodeCalls,
    link: Link,
    operation: NodeError["operation"],
    meaning: Meaning<A>,
    words: ReadonlyArray<string | number>,
    lua?: string
  ) {
    super()
    this.node = node
    this.link = link
    this.operation = operation
    this.meaning = meaning
    this.words = words
    this.lua = lua
  }

  start(done: OnResult<A>): void {
    const { link, node, operation, words } = this
    const entrance = link.entrance()
    if (entrance !== undefined) return entrance.start(this, done)
    const { send } = link
    if (send === undefined) return done(Result.fail(markUnsent(toNodeError(node.id, operation, link.lastError))))
    const [name = "", ...args] = words.map(String)
    Effect.runForkWith(node.context)(send(name, ...args))
      .addObserver((exit) => done(Exit.isSuccess(exit) ? this.#replied(exit.value) : this.#failed(exit.cause)))
  }

  #replied(reply: unknown): CallbackResult<A> {
    const { meaning, node, operation } = this
    node.overtaking.replied()
    const answer = meaning(reply)
    return answer === undefined ? Result.fail(unexpected(node.id, operation, reply)) : Result.succeed(answer)
  }

  #failed(cause: Cause.Cause<Redis.RedisError>): CallbackResult<A> {
    const found = Cause.findError(cause)
    if (Result.isFailure(found)) return Effect.failCause(found.failure)
    const { link, lua, node, operation } = this
    const [, , count, ...rest] = this.words
    const error = lua === undefined ? found.success : scriptError(lua, rest.slice(0, Number(count)), found.success)
    const wasSent = !isUnsent(error)
    const failure = toNodeError(node.id, operation, wasSent ? error : link.lastError ?? error)
    if (failure.reason === "Rejected" || failure.reason === "Abstained") node.overtaking.replied()
    else link.lost(error)
    if (failure.reason === "Disconnected" && wasSent) node.overtaking.begin()
    return Result.fail(wasSent ? failure : markUnsent(failure))
  }
}

/** Whether node-redis has refused to send a command for want of a connection. */
const isUnsent = (error: unknown): boolean => /^The client is (closed|offline)$/.test(messageOf(error))
