/**
 * Requests over ioredis, answered by a callback and without a fiber, since a lock takes two
 * requests to each node.
 */
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import type { Cluster, Redis } from "ioredis"
import type { NodeError } from "../../LockError.ts"
import { CallbackEffect, type CallbackResult, type OnResult } from "../base/callbackEffect.ts"
import { markUnsent, unexpected } from "../nodeContract.ts"
import type { Arguments, Requests, Script } from "../redis/client.ts"
import { scriptError, toNodeError } from "../redis/errors.ts"
import type { Meaning } from "../redis/replies.ts"
import { scriptsByName } from "../redis/scriptsByName.ts"
import { isReplyError, type ReplyListener, type SendCommand } from "./batching.ts"
import type { Connection } from "./connection.ts"
import { secretsOf } from "./url.ts"

/**
 * Loads the scripts on a new connection. A server that refuses this, or loses them later, gets the
 * source when it is needed.
 */
export const loadScripts = (send: SendCommand): void => {
  for (const { lua } of Object.values(scriptsByName)) {
    send("script", ["LOAD", lua], { onReply: constVoid, onError: constVoid })
  }
}

/** What the requests of a node share. */
export interface NodeCalls {
  readonly id: string
  readonly connection: Connection
  /** The values of scripts in flight that set a key, and may have to be sent again. */
  readonly pendingAcquires: Set<string | number>
  readonly unsent: UnsentFailures
}

export const makeCalls = (id: string, connection: Connection): NodeCalls => ({
  id,
  connection,
  pendingAcquires: new Set(),
  unsent: new UnsentFailures(id, connection.client)
})

/** The requests of a node, sent in the given way. */
export const requestsOver = (node: NodeCalls, send: SendCommand): Requests => ({
  command: (operation, meaning, name, args) => new RedisCall(node, operation, send, name, args, meaning),
  script: (operation, meaning, script, keys, args) => {
    const value = args[script.sets ?? script.deletes ?? -1]
    const all = [script.sha, keys.length, ...keys, ...args]
    return new RedisCall(node, operation, send, "evalsha", all, meaning, script, value)
  }
})

/** The failures of requests that cannot be sent, which are the same while a node is down. */
class UnsentFailures {
  readonly #node: string
  readonly #client: Redis | Cluster
  readonly #byOperation = new Map<NodeError["operation"], NodeError>()
  #cause: unknown

  constructor(node: string, client: Redis | Cluster) {
    this.#node = node
    this.#client = client
  }

  failure(operation: NodeError["operation"], cause: unknown): NodeError {
    if (cause !== this.#cause) {
      this.#cause = cause
      this.#byOperation.clear()
    }
    let failure = this.#byOperation.get(operation)
    if (failure === undefined) {
      failure = markUnsent(toNodeError(this.#node, operation, cause, secretsOf(this.#client)))
      this.#byOperation.set(operation, failure)
    }
    return failure
  }
}

class RedisCall<A extends {}> extends CallbackEffect<A> {
  readonly node: NodeCalls
  readonly operation: NodeError["operation"]
  readonly send: SendCommand
  readonly name: string
  readonly args: Arguments
  readonly meaning: Meaning<A>
  readonly script: Script | undefined
  /** The value that the script sets the key to, or that the key must have for the script to delete it. */
  readonly value: string | number | undefined

  constructor(
    node: NodeCalls,
    operation: NodeError["operation"],
    send: SendCommand,
    name: string,
    args: Arguments,
    meaning: Meaning<A>,
    script?: Script,
    value?: string | number
  ) {
    super()
    this.node = node
    this.operation = operation
    this.send = send
    this.name = name
    // A short-lived copy. V8 eventually allocates literals that are kept until the reply in the old generation, where
    // they, and all they refer to, stay until a full collection.
    this.args = args.slice()
    this.meaning = meaning
    this.script = script
    this.value = value
  }

  /** The value that the script sets the key to. */
  get acquired(): string | number | undefined {
    return this.script?.sets === undefined ? undefined : this.value
  }

  start(done: OnResult<A>): void {
    const { connection, pendingAcquires, unsent } = this.node
    const entrance = connection.entrance()
    if (entrance !== undefined) return entrance.start(this, done)
    const { lastError, selectError } = connection
    if (selectError !== undefined) return done(Result.fail(unsent.failure(this.operation, selectError)))
    // ioredis would refuse it too, at a multiple of the cost.
    if (connection.isDown()) return done(Result.fail(unsent.failure(this.operation, lastError ?? connectionClosed)))
    if (this.value !== undefined) {
      if (this.acquired !== undefined) pendingAcquires.add(this.value)
      else pendingAcquires.delete(this.value)
    }
    this.send(this.name, this.args, new CallListener(this, done))
  }
}

/** Waits for the reply to a call, and sends the source of a script that the server does not have. */
class CallListener<A extends {}> implements ReplyListener {
  readonly #call: RedisCall<A>
  #done: OnResult<A> | undefined
  #hasSentSource = false

  constructor(call: RedisCall<A>, done: OnResult<A>) {
    this.#call = call
    this.#done = done
  }

  /** Settles the call once, whatever is thrown on the way. */
  #settle(answer: CallbackResult<A>): void {
    const done = this.#done
    this.#done = undefined
    done?.(answer)
  }

  onReply(reply: unknown): void {
    const { acquired, meaning, node, operation } = this.#call
    if (acquired !== undefined) node.pendingAcquires.delete(acquired)
    const answer = meaning(reply)
    this.#settle(
      answer === undefined
        ? Result.fail(unexpected(node.id, operation, reply, secretsOf(node.connection.client)))
        : Result.succeed(answer)
    )
  }

  onError(error: unknown): void {
    const { acquired, args, node, operation, script, send } = this.#call
    if (script !== undefined && isMissingScript(error) && !this.#hasSentSource) {
      this.#hasSentSource = true
      // A release has been sent since: see `Script`.
      if (acquired !== undefined && !node.pendingAcquires.has(acquired)) return this.onReply(0)
      return send("eval", [script.lua, ...argsOfSource(script, args)], this)
    }
    if (acquired !== undefined) node.pendingAcquires.delete(acquired)
    if (!isReplyError(error) && !wasNotSent(error)) node.connection.lost(error)
    const cause = isMissingConnection(error)
      ? node.connection.lastError ?? connectionClosed
      : script === undefined
      ? error
      : scriptError(script.lua, keysOf(args), error)
    const failure = toNodeError(node.id, operation, cause, secretsOf(node.connection.client))
    this.#settle(Result.fail(wasNotSent(error) ? markUnsent(failure) : failure))
  }
}

/** The keys of a call: its arguments are a script, the number of keys, and the keys. */
const keysOf = ([, count, ...rest]: Arguments): Arguments => rest.slice(0, Number(count))

/** The number of keys, the keys and the arguments. */
const argsOfSource = ({ argsIfResent }: Script, given: Arguments): Arguments => {
  const [, count, ...rest] = given
  const keys = keysOf(given)
  const args = rest.slice(Number(count))
  return [count!, ...keys, ...argsIfResent?.(args) ?? args]
}

// The messages of ioredis when there is no connection or it was lost; the reason is the connection's last error.
const isMissingConnection = (error: unknown) =>
  wasNotSent(error) || error instanceof Error &&
    (error.name === "MaxRetriesPerRequestError" || error.message.startsWith("Connection is closed"))

const wasNotSent = (error: unknown) => error instanceof Error && error.message.startsWith("Stream isn't writeable")

const isMissingScript = (error: unknown) => error instanceof Error && error.message.startsWith("NOSCRIPT")

const connectionClosed = new Error("the connection was closed")
