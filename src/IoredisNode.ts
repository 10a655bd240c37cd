/**
 * A node over ioredis: a URL, ioredis options, or an existing client or cluster.
 *
 * `Redsync.layer` takes all of these directly; use this module to mix them with
 * nodes of your own, or to use a node outside a layer.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Cluster, Redis, RedisOptions } from "ioredis"
import { createHash } from "node:crypto"
import { dieWithIllegalArgument, invalidOption } from "./internal/base/arguments.ts"
import { CallbackEffect, type CallbackResult, type OnResult } from "./internal/base/callbackEffect.ts"
import { masked, quoted, untrusted } from "./internal/base/text.ts"
import { isReplyError, type Listener, type Send } from "./internal/ioredis/batching.ts"
import { CallersConnection, type Connection, OwnConnection } from "./internal/ioredis/connection.ts"
import { checkTarget } from "./internal/ioredis/nodeOptions.ts"
import { waitingList } from "./internal/ioredis/notifications.ts"
import { type Replicas, replicated } from "./internal/ioredis/replicas.ts"
import { addressOf, secretsOf, startupAddressOf } from "./internal/ioredis/url.ts"
import { counterMillis, unexpected } from "./internal/nodeContract.ts"
import { markUnsent } from "./internal/quorum/failures.ts"
import { keyBeside, sharesSlot } from "./internal/redis/keys.ts"
import {
  abstention,
  count,
  keyState,
  type Meaning,
  nodeError,
  okOrNull,
  oneOrZero,
  tokenOrZero
} from "./internal/redis/replies.ts"
import * as scripts from "./internal/redis/scripts.ts"
import type { NodeError } from "./LockError.ts"
import type { LockNode } from "./LockNode.ts"

/**
 * A node with a connection of its own, opened now and closed with the scope.
 *
 * **Details**
 *
 * `target` is a URL (`redis://user:password@host:6379/2`, `rediss://` for TLS,
 * `unix:/path/to.sock`, `redis+sentinel://host,host/name` for the primary that the
 * Sentinels monitor under that name) or ioredis options. The effect does not wait
 * for the connection, and an unreachable server is not a failure: the node keeps
 * trying to connect. Requests made before the first connection wait for it, until
 * the caller interrupts them. A connection that broke, or was given up because it did
 * not respond, is closed by the server before anything is sent on the next one, if
 * the user has permission for `CLIENT INFO` and `CLIENT KILL`. If a server answers
 * `READONLY`, the node reconnects to whichever server the address now leads to, at
 * most once a second. A URL that cannot be parsed is a defect; passwords in it are
 * masked.
 *
 * **Options of ioredis**
 *
 * Always set, overriding what is given, so that no command is executed after it has
 * timed out and nothing is left when the node is closed:
 *
 * - `enableOfflineQueue`, `autoResendUnfulfilledCommands` and `autoResubscribe` are `false`
 * - `maxRetriesPerRequest` and `disconnectTimeout` are `0`
 * - `lazyConnect` and `enableReadyCheck` are `true`
 *
 * Set unless given:
 *
 * - `connectTimeout`: 5000 ms to connect, and as long again for the server to respond; `0` for no limit
 * - `retryStrategy`: after 50 to 100 ms, and up to a second later on; if it gives up, so does the node, permanently
 * - `maxLoadingRetryTime`: 1000 ms
 * - `sentinelCommandTimeout`: 1000 ms for each Sentinel, before the next is asked
 * - `sentinelRetryStrategy`: like `retryStrategy`, once no Sentinel knew a server
 *
 * `reconnectOnError` is asked as well, but nothing is sent again for a `2`.
 * `commandTimeout` and `socketTimeout` do what they say; the node timeout of a
 * service is there without them. `keyPrefix`, `db`, `stringNumbers`, `replyMapping`
 * and all that is about connecting work as ever; channels have no prefix.
 * `enableAutoPipelining` and `readOnly` change nothing: commands of one tick go
 * together anyway, and all of them go to a primary. `monitor` makes a node useless.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (target: string | RedisOptions): Effect.Effect<LockNode, never, Scope.Scope> =>
  Effect.suspend(() => {
    const options = checkTarget(target)
    return Predicate.isString(options) ? dieWithIllegalArgument(options) : connect(options)
  })

/**
 * A node over an existing client or cluster of ioredis or iovalkey, which is never
 * closed or reconfigured.
 *
 * **Details**
 *
 * The first requests wait for its connection if the client does not queue
 * (`enableOfflineQueue: false`) or is a cluster; a client with `lazyConnect` is made
 * to connect. A cluster's `enableAutoPipelining` does not apply to
 * locks.
 *
 * **Gotchas**
 *
 * With ioredis' own defaults a client sends commands again after a broken
 * connection and queues them while there is none. Locks stay safe, but a node
 * that is down then costs the node timeout instead of failing at once, unless
 * the client has `enableOfflineQueue: false`. After a connection broke, the clean-up of
 * its pending requests is repeated until the keys must have expired, since a server
 * may execute the rest of the old connection after commands sent on the new one.
 *
 * If a server sends a reply that no command waits for, or a notification without a
 * channel, ioredis throws an exception that cannot be caught and ends the process.
 * Connections opened by the library are closed before that can happen; an existing
 * client is not protected.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromClient = (client: Redis | Cluster): LockNode => {
  if (!isClient(client)) {
    throw new Cause.IllegalArgumentError(invalidOption("client", client, "it must be an ioredis client or cluster"))
  }
  return operations(new CallersConnection(client), { resends: true })
}

/**
 * Whether a value is an ioredis client or cluster, of whichever copy of ioredis.
 *
 * @category guards
 * @since 0.1.0
 */
export const isClient = (u: unknown): u is Redis | Cluster =>
  Predicate.hasProperty(u, "sendCommand") && Predicate.isFunction(u.sendCommand) && Predicate.hasProperty(u, "status")

/** What the node of a client is called. */
const idOf = (client: Redis | Cluster): string => {
  if (!client.isCluster) return addressOf((client as Redis).options)
  // Known before the cluster is connected, unlike its nodes.
  const { startupNodes } = client as unknown as { readonly startupNodes: ReadonlyArray<unknown> }
  return `cluster ${startupNodes.map(startupAddressOf).join(",")}`
}

const connect = (options: RedisOptions) =>
  Effect.map(
    Effect.acquireRelease(
      open(options),
      (connection) => Effect.sync(() => connection.close())
    ),
    (connection) => operations(connection, {})
  )

/** ioredis takes some options apart when a client is made, and functions among them may throw. */
const open = (options: RedisOptions): Effect.Effect<OwnConnection> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(new OwnConnection(options, loadScripts))
    } catch (error) {
      const why = masked(error instanceof Error ? error.message : String(error), secretsOf({ options }))
      return dieWithIllegalArgument(
        `effect-redsync: ioredis cannot be used with the options of a node: ${untrusted(why)}`
      )
    }
  })

type Arguments = ReadonlyArray<string | number>

interface Script {
  readonly lua: string
  readonly sha: string
  /** The arguments for a server that did not have the script when it was called first. */
  readonly argsIfNew?: (args: Arguments) => Arguments
}

const script = (lua: string, argsIfNew?: Script["argsIfNew"]): Script => ({
  lua,
  sha: createHash("sha1").update(lua).digest("hex"),
  ...(argsIfNew !== undefined && { argsIfNew })
})

const ours = {
  acquire: script(scripts.acquire),
  acquireFenced: script(scripts.acquireFenced),
  // Sent twice, it may come after a release that was sent later, and must not set the key again then.
  extend: script(scripts.extend, (args) => [...args.slice(0, -1), 0]),
  inspect: script(scripts.inspect),
  join: script(scripts.join),
  leave: script(scripts.leave),
  raise: script(scripts.raise),
  replace: script(scripts.replace),
  replaceFenced: script(scripts.replaceFenced),
  release: script(scripts.release),
  releaseAndWake: script(scripts.releaseAndWake),
  uptime: script(scripts.uptime)
}

// A server that refuses the load, or lost its scripts since, gets the source with the first call instead.
const loadScripts = (send: Send) => {
  for (const { lua } of Object.values(ours)) send("script", ["LOAD", lua], { replied: constVoid, failed: constVoid })
}

interface Node {
  readonly id: string
  readonly connection: Connection
  /** The values of attempts whose script is on its way, and may have to be sent again. */
  readonly acquiring: Set<string>
  readonly unsent: Unsent
}

/** The failures of what cannot be sent: while a node is down they are all the same. */
class Unsent {
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
      failure = markUnsent(nodeError(this.#node, operation, cause, secretsOf(this.#client)))
      this.#byOperation.set(operation, failure)
    }
    return failure
  }
}

/** A command, or a script of ours. */
class Call<A extends {}> extends CallbackEffect<A> {
  readonly node: Node
  readonly operation: NodeError["operation"]
  readonly send: Send
  readonly name: string
  readonly args: Arguments
  readonly meaning: Meaning<A>
  readonly script: Script | undefined
  /** What a script that acquires sets the key to, or one that releases looks for. */
  readonly value: string | undefined

  constructor(
    node: Node,
    operation: NodeError["operation"],
    send: Send,
    name: string,
    args: Arguments,
    meaning: Meaning<A>,
    script?: Script,
    value?: string
  ) {
    super()
    this.node = node
    this.operation = operation
    this.send = send
    this.name = name
    // A copy, which dies young. Literals that are kept until there is a reply V8 takes for long-lived in the end, and
    // puts them, and with them all that they refer to, where only a full collection gets rid of them.
    this.args = args.slice()
    this.meaning = meaning
    this.script = script
    this.value = value
  }

  /** The value that is being acquired by a script. */
  get acquired(): string | undefined {
    return this.operation === "acquire" ? this.value : undefined
  }

  start(done: OnResult<A>): void {
    const { acquiring, connection } = this.node
    const entrance = connection.entrance()
    if (entrance !== undefined) return entrance.start(this, done)
    const { lastError, refused } = connection
    if (refused !== undefined) return done(Result.fail(this.node.unsent.failure(this.operation, refused)))
    // ioredis would refuse it too, at a multiple of the cost.
    if (connection.isDown()) return done(Result.fail(this.node.unsent.failure(this.operation, lastError ?? broken)))
    if (this.value !== undefined) {
      if (this.operation === "acquire") acquiring.add(this.value)
      else acquiring.delete(this.value)
    }
    this.send(this.name, this.args, new Answer(this, done))
  }
}

/** Waits for the reply to a call, and sends the script itself if the server does not have it. */
class Answer<A extends {}> implements Listener {
  readonly #call: Call<A>
  #done: OnResult<A> | undefined
  #isNew = false

  constructor(call: Call<A>, done: OnResult<A>) {
    this.#call = call
    this.#done = done
  }

  /** Once, whatever is thrown on the way. */
  #settle(answer: CallbackResult<A>): void {
    const done = this.#done
    this.#done = undefined
    done?.(answer)
  }

  replied(reply: unknown): void {
    const { acquired, meaning, node, operation } = this.#call
    if (acquired !== undefined) node.acquiring.delete(acquired)
    const answer = meaning(reply)
    this.#settle(
      answer === undefined
        ? Result.fail(unexpected(node.id, operation, reply, secretsOf(node.connection.client)))
        : Result.succeed(answer)
    )
  }

  failed(error: unknown): void {
    const { acquired, args, node, operation, script, send } = this.#call
    if (script !== undefined && isMissingScript(error) && !this.#isNew) {
      this.#isNew = true
      // It may come after a release that was sent meanwhile, and must not acquire then.
      if (acquired !== undefined && !node.acquiring.has(acquired)) return this.replied(0)
      const rest = args.slice(1)
      return send("eval", [script.lua, ...script.argsIfNew?.(rest) ?? rest], this)
    }
    if (acquired !== undefined) node.acquiring.delete(acquired)
    if (!isReplyError(error) && !wasNotSent(error)) node.connection.lost(error)
    const { lastError } = node.connection
    const cause = isMissingConnection(error)
      ? lastError ?? broken
      : script === undefined
      ? error
      : named(script.lua, error)
    const failure = nodeError(node.id, operation, cause, secretsOf(node.connection.client))
    this.#settle(Result.fail(wasNotSent(error) ? markUnsent(failure) : failure))
  }
}

/** What a node wants to be sure of before it says yes. */
interface Demands {
  readonly minUptimeMillis?: number
  readonly replicas?: Replicas
}

const operations = (
  connection: Connection,
  traits: Pick<LockNode, "resends">,
  demands: Demands = {}
): LockNode => {
  const { client, ready, reconnect, send } = connection
  const { minUptimeMillis = 0, replicas } = demands
  const id = idOf(client)
  const node: Node = { id, connection, acquiring: new Set(), unsent: new Unsent(id, client) }

  const keyPrefix = client.options.keyPrefix ?? ""
  const prefix = client.isCluster ? keyPrefix : ""
  const hasKeyBeside = (key: string) => !client.isCluster || sharesSlot(key, prefix)

  /** For what a lock must not lose: its key, its expiry, its token. */
  const write = replicas === undefined ? send : replicated(connection, replicas)

  const run = <A extends {}>(
    operation: NodeError["operation"],
    meaning: Meaning<A>,
    script: Script,
    keys: Arguments,
    args: Arguments,
    { value, via = send }: { readonly value?: string | undefined; readonly via?: Send } = {}
  ): Effect.Effect<A, NodeError> =>
    new Call(node, operation, via, "evalsha", [script.sha, keys.length, ...keys, ...args], meaning, script, value)

  const beside = <A>(
    key: string,
    run: (keys: Arguments) => Effect.Effect<A, NodeError>
  ): Effect.Effect<A, NodeError> => {
    if (hasKeyBeside(key)) return run([key, keyBeside("fencing", key, prefix)])
    const error = new Error(
      `ERR a cluster cannot keep a fencing counter for the name ${quoted(key)}, which has a "}" but no hash tag`
    )
    return Effect.fail(nodeError(id, "acquire", error))
  }

  return {
    ...traits,
    id,
    ready,
    ...(reconnect !== undefined && { reconnect }),
    mayOvertake: (ageMillis = Infinity) => connection.mayOvertake(ageMillis),
    acquire: (key, value, expiryMillis) =>
      minUptimeMillis > 0
        ? run("acquire", oneOrZero, ours.acquire, [key], [value, expiryMillis, minUptimeMillis], {
          value,
          via: write
        })
        : new Call(node, "acquire", write, "set", [key, value, "PX", expiryMillis, "NX"], okOrNull),
    extend: (key, value, expiryMillis, ifPresent = false) =>
      run("extend", oneOrZero, ours.extend, [key], [value, expiryMillis, ifPresent ? 0 : 1], { via: write }),
    release: (key, value) => run("release", oneOrZero, ours.release, [key], [value], { value }),
    inspect: (key) => run("inspect", keyState, ours.inspect, [key], []),
    remove: (key) => new Call(node, "remove", send, "del", [key], oneOrZero),
    replace: (key, value, newValue, expiryMillis) =>
      run("acquire", oneOrZero, ours.replace, [key], [value, newValue, expiryMillis], { value: newValue, via: write }),
    fencing: {
      acquire: (key, value, expiryMillis, proposal) =>
        beside(key, (keys) => {
          const args = [value, expiryMillis, proposal, counterMillis, minUptimeMillis]
          return run("acquire", tokenOrZero, ours.acquireFenced, keys, args, { value, via: write })
        }),
      raise: (key, value, token) =>
        beside(
          key,
          (keys) => run("acquire", oneOrZero, ours.raise, keys, [value, token, counterMillis], { via: write })
        ),
      replace: (key, value, newValue, expiryMillis, proposal) =>
        beside(key, (keys) => {
          const args = [value, newValue, expiryMillis, proposal, counterMillis]
          return run("acquire", tokenOrZero, ours.replaceFenced, keys, args, { value: newValue, via: write })
        })
    },
    delayedRestart: (millis) => operations(connection, traits, { ...demands, minUptimeMillis: millis }),
    replicas: (count, withinMillis) =>
      operations(connection, traits, { ...demands, replicas: { count, withinMillis } }),
    ...(minUptimeMillis > 0 && {
      abstention: (key) =>
        Effect.map(run("inspect", count, ours.uptime, [key], []), (up) => abstention(up, minUptimeMillis))
    }),
    waitingList: waitingList(
      id,
      (operation, script, key, meaning, ...args) =>
        run(
          operation,
          meaning,
          ours[script],
          hasKeyBeside(key) ? [key, keyBeside("waiting", key, prefix)] : [key],
          args,
          {
            value: script === "release" || script === "releaseAndWake" ? args[0] : undefined
          }
        ),
      (key) => serverOf(client, keyPrefix + key),
      keyPrefix,
      hasKeyBeside,
      () => secretsOf(client)
    )
  }
}

/** The client of the very server that has the key. */
const serverOf = async (client: Redis | Cluster, key: string): Promise<Redis | undefined> => {
  if (!client.isCluster) return client as Redis
  const cluster = client as Cluster
  const owner = cluster.slots[await cluster.cluster("KEYSLOT", key)]?.[0]
  return cluster.nodes("master").find(({ options }) => `${options.host}:${options.port}` === owner)
}

// What ioredis says when there is no connection or it broke; why is told by the connection's last error.
const isMissingConnection = (error: unknown) =>
  wasNotSent(error) || error instanceof Error &&
    (error.name === "MaxRetriesPerRequestError" || error.message.startsWith("Connection is closed"))

const wasNotSent = (error: unknown) => error instanceof Error && error.message.startsWith("Stream isn't writeable")

const isMissingScript = (error: unknown) => error instanceof Error && error.message.startsWith("NOSCRIPT")

/** What a script failed with, naming the command where the server does not. */
const named = (lua: string, error: unknown): unknown => {
  const command = error instanceof Error ? scripts.forbiddenCommand(lua, error.message) : undefined
  return command === undefined
    ? error
    : new Error(`NOPERM this user has no permissions to run the '${command}' command in a script`, { cause: error })
}

const broken = new Error("the connection was closed")
