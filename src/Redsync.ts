/**
 * Mutual exclusion across processes and machines, over N independent Redis
 * servers: the Redlock algorithm as a scoped resource.
 *
 * A lock is a key that a quorum of the nodes, more than half of them, stores with the same random
 * value and an expiry. Acquiring asks all nodes at once and retries on a `Schedule`; releasing
 * deletes the key if it still has that value; if the holder crashes, the key expires. A minority of
 * slow or unreachable nodes neither blocks nor delays a lock.
 *
 * **Example** (One charge at a time)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Redsync, withLock } from "effect-redsync"
 *
 * const chargeCustomer = Effect.log("charging")
 *
 * const program = withLock("invoices:42", chargeCustomer).pipe(
 *   Effect.provide(Redsync.layerMemory())
 * )
 * ```
 *
 * @see the algorithm: https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { dieWithIllegalArgument, given, invalidOption, isWhole, millis, passes } from "./internal/base/arguments.ts"
import { ignoresInput } from "./internal/base/schedules.ts"
import { lockOptions, serviceOptions } from "./internal/claim/settings.ts"
import { urlNodes } from "./internal/ioredis/nodes.ts"
import { configError, fromEnvironment } from "./internal/service/environment.ts"
import { makeRedsync } from "./internal/service/redsync.ts"
import { type CheckedOptions, checkOptions, makeService } from "./internal/service/serviceOptions.ts"
import type {
  ConfigOptions,
  LockOptions,
  MemoryOptions,
  NodeInput,
  NodeInputError,
  NodeInputServices,
  RetryPolicyOptions,
  ServiceOptions
} from "./LockOptions.ts"
import * as MemoryNode from "./MemoryNode.ts"
import * as RedisNode from "./RedisNode.ts"
import { Redsync } from "./RedsyncService.ts"

/** @since 0.1.0 */
export type { Health, Inspection, NodeHealth, NodeView } from "./Inspection.ts"
/** @since 0.1.0 */
export { isLockError } from "./LockError.ts"
/** @since 0.1.0 */
export type {
  ConfigOptions,
  LockOptions,
  MemoryOptions,
  NodeInput,
  NodeInputError,
  NodeInputServices,
  RetryPolicyOptions,
  ServiceOptions
} from "./LockOptions.ts"
/** @since 0.1.0 */
export * from "./RedsyncFunctions.ts"
/** @since 0.1.0 */
export * from "./RedsyncService.ts"

// -----------------------------------------------------------------------------
// retrying
// -----------------------------------------------------------------------------

/**
 * A schedule for acquiring: attempts at a given interval, up to a given number or for a given time.
 *
 * **Details**
 *
 * Invalid values throw an `IllegalArgumentError` that names the option.
 *
 * Any `Schedule` can be used instead: it is stepped with the error of each failed attempt, and the
 * wait ends when the schedule does.
 *
 * **Example** (Waiting half a minute)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Redsync, withLock } from "effect-redsync"
 *
 * const program = withLock("report", Effect.void, {
 *   retry: Redsync.retryPolicy({ delay: "100 millis", within: "30 seconds" })
 * })
 * ```
 *
 * **Example** (Giving up at once if too few nodes answer)
 *
 * ```ts
 * import { Effect, Schedule } from "effect"
 * import { type LockError, Redsync, withLock } from "effect-redsync"
 *
 * const retry = Redsync.retryPolicy({ within: "30 seconds" }).pipe(
 *   Schedule.setInputType<LockError>(),
 *   Schedule.while(({ input }) => input._tag === "ErrFailed")
 * )
 *
 * const program = withLock("report", Effect.void, { retry })
 * ```
 *
 * @category retrying
 * @since 0.1.0
 */
export const retryPolicy = (options: RetryPolicyOptions = {}): Schedule.Schedule<number> => {
  const read = given(options, ["tries", "delay", "within"])
  if (Predicate.isString(read)) throw new Cause.IllegalArgumentError(read)
  const { delay = 512, within = Duration.infinity } = read
  const { tries = read.within === undefined ? 16 : Number.POSITIVE_INFINITY } = read
  const isCount = tries === Number.POSITIVE_INFINITY || (isWhole(tries) && tries >= 1)
  checkPolicy("tries", tries, isCount, "it must be at least 1, and whole or Infinity")
  checkPolicy("delay", delay, millis(delay) >= 0, "it must be a duration of at least 0 ms")
  checkPolicy("within", within, millis(within) >= 0, "it must be a duration of at least 0 ms")
  return ignoresInput(policy(tries as number, millis(delay), millis(within)))
}

const policy = (tries: number, delay: number, limit: number): Schedule.Schedule<number> =>
  Schedule.spaced(delay).pipe(
    Schedule.jittered,
    Schedule.while(({ attempt, elapsed }) => attempt < tries && elapsed < limit),
    Schedule.modifyDelay(({ duration, elapsed }) =>
      Effect.succeed(Duration.min(duration, Duration.millis(limit - elapsed)))
    )
  )

const checkPolicy = (option: string, value: unknown, isAllowed: boolean, allowed: string): void => {
  if (!isAllowed) throw new Cause.IllegalArgumentError(invalidOption(option, value, allowed))
}

/**
 * The default retry schedule: 16 attempts, 512 ms apart,
 * varied by up to a fifth either way; about 7.7 seconds in all.
 *
 * **Gotchas**
 *
 * It ends just before the lease of a crashed holder, which is 8 seconds by default. To outlast that
 * lease, use `retryPolicy({ within: "10 seconds" })`, or longer if the expiry is longer.
 *
 * @category retrying
 * @since 0.1.0
 */
export const defaultRetry: Schedule.Schedule<number> = retryPolicy()

// -----------------------------------------------------------------------------
// making a service
// -----------------------------------------------------------------------------

/** The dynamic import keeps ioredis out of programs without URLs. */
const ioredisNode = Effect.promise(() =>
  import("./IoredisNode.ts").catch((error: NodeJS.ErrnoException) => {
    if (error.code?.endsWith("MODULE_NOT_FOUND") !== true) throw error
    throw new Error(
      "effect-redsync: nodes given as URLs need ioredis; run `npm install ioredis`, or use nodes of RedisNode.",
      { cause: error }
    )
  })
)

const urls = urlNodes((options) => Effect.flatMap(ioredisNode, ({ make }) => make(options)))

const check = (options: unknown): CheckedOptions | string => checkOptions(options, defaultRetry, urls)

const open = (checked: CheckedOptions) => Effect.map(makeService(checked), makeRedsync)

/**
 * A service over the given nodes, for as long as the scope is open.
 *
 * **Details**
 *
 * Succeeds once a quorum of the nodes is ready, each has been tried once, or two seconds have
 * passed; unreachable servers never make it fail. Effects among the nodes are waited for without a
 * limit. When its scope closes, the locks still held are released, pending clean-up
 * finishes or times out after one node timeout, and the connections are closed.
 *
 * An invalid option is a defect, an `IllegalArgumentError` that names the option, its value and
 * what is allowed; passwords in URLs are masked. Giving a node as a URL is also a defect if ioredis
 * is not installed.
 *
 * Use {@link layer} if a program has a single service, and `make` to give a service a tag of its
 * own, for instance if a program has several quorums.
 *
 * **Example** (A quorum for orders)
 *
 * ```ts
 * import { Context, Layer } from "effect"
 * import { Redsync } from "effect-redsync"
 *
 * class Orders extends Context.Service<Orders, Redsync>()("app/Orders") {
 *   static readonly layer = Layer.effect(this, Redsync.make({ nodes: ["redis://orders:6379"] }))
 * }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Node extends NodeInput>(
  options: ServiceOptions<Node>
): Effect.Effect<Redsync, NodeInputError<Node>, NodeInputServices<Node> | Scope.Scope> => {
  const checked = check(options)
  return Predicate.isString(checked)
    ? dieWithIllegalArgument(checked)
    : open(checked) as Effect.Effect<Redsync, NodeInputError<Node>, NodeInputServices<Node> | Scope.Scope>
}

/**
 * Provides the service over the given nodes.
 *
 * **Details**
 *
 * Unreachable servers never make the layer fail, and delay it for at most two seconds. Closing it
 * releases the locks still held. See {@link make} for the details, and for what is a defect.
 *
 * **Example** (Three servers)
 *
 * ```ts
 * import { Redsync } from "effect-redsync"
 *
 * const layer = Redsync.layer({
 *   nodes: ["redis://a:6379", "redis://b:6379", "redis://c:6379"],
 *   expiry: "10 seconds"
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Node extends NodeInput>(
  options: ServiceOptions<Node>
): Layer.Layer<Redsync, NodeInputError<Node>, Exclude<NodeInputServices<Node>, Scope.Scope>> =>
  Layer.effect(Redsync, make(options))

/**
 * Provides the service, with each option read from a `Config` of your own.
 *
 * **Details**
 *
 * `defaults` are for options that are not read from configuration, such as `retry`. Fails with a
 * `ConfigError` if a value is missing or not allowed; passwords in URLs are masked. For predefined
 * variable names, see {@link layerEnv}.
 *
 * **Example** (Secret URLs)
 *
 * ```ts
 * import { Config } from "effect"
 * import { Redsync } from "effect-redsync"
 *
 * const layer = Redsync.layerConfig({
 *   nodes: Config.all([Config.Redacted("REDIS_A"), Config.Redacted("REDIS_B"), Config.Redacted("REDIS_C")]),
 *   expiry: Config.Duration("LOCK_EXPIRY").pipe(Config.withDefault("10 seconds"))
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<ConfigOptions>,
  defaults: LockOptions = {}
): Layer.Layer<Redsync, Config.ConfigError> =>
  fromConfig(
    Effect.suspend(() => {
      const configs = passes(() => Config.isConfig(options)) ? options : checkConfigs(options)
      const read = given(defaults, lockOptions)
      if (Predicate.isString(configs)) return Effect.fail(configError(configs))
      if (Predicate.isString(read)) return Effect.fail(configError(read))
      return Effect.flatMap(Config.unwrap(configs), (values) => {
        const configured = given(values, configOptions)
        return Predicate.isString(configured)
          ? Effect.fail(configError(configured))
          : Effect.succeed({ ...read, ...configured })
      })
    })
  )

/** A schedule cannot come from configuration. */
const configOptions = serviceOptions.filter((option) => option !== "retry")

/** The options, each read from its `Config`, or why they are invalid. */
const checkConfigs = (options: unknown): Config.Wrap<ConfigOptions> | string => {
  const read = given(options, configOptions)
  if (Predicate.isString(read)) return read
  const plain = Object.entries(read).find(([, value]) => !passes(() => Config.isConfig(value)))
  return plain === undefined
    ? read as Config.Wrap<ConfigOptions>
    : invalidOption(...plain, "it must be a Config; use Config.succeed for a fixed value")
}

/**
 * Provides the service, with its options read from environment variables, which take precedence
 * over `options`.
 *
 * **Details**
 *
 * | variable | option | example |
 * | --- | --- | --- |
 * | `REDSYNC_NODES` | `nodes`, URLs separated by commas | `redis://a:6379,redis://b:6379,redis://c:6379` |
 * | `REDSYNC_PREFIX` | `prefix` | `billing:` |
 * | `REDSYNC_QUORUM` | `quorum` | `2` |
 * | `REDSYNC_EXPIRY` | `expiry` | `10 seconds` |
 * | `REDSYNC_DRIFT_FACTOR` | `driftFactor` | `0.02` |
 * | `REDSYNC_NODE_TIMEOUT` | `nodeTimeout` | `200 millis` |
 * | `REDSYNC_DELAYED_RESTART` | `delayedRestart` | `30 seconds` |
 * | `REDSYNC_REPLICAS` | `replicas` | `1` |
 *
 * Durations have a unit: `10s` or `10 seconds`, `500ms`, `5m`, `2h`.
 *
 * The variables are read from the `ConfigProvider` of the context, by default the environment.
 * Fails with a `ConfigError` if the value of a variable is not allowed, or if neither
 * `REDSYNC_NODES` nor `options` gives the nodes; passwords in URLs are masked.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEnv = (
  options: Partial<ServiceOptions> = {}
): Layer.Layer<Redsync, Config.ConfigError> =>
  fromConfig(
    Effect.suspend(() => {
      const read = given(options, serviceOptions)
      return Predicate.isString(read)
        ? Effect.fail(configError(read))
        : fromEnvironment(read as Partial<ServiceOptions<NodeInput>>, urls)
    })
  )

/** Nodes from configuration neither fail nor require anything. */
const fromConfig = (
  options: Effect.Effect<object, Config.ConfigError>
): Layer.Layer<Redsync, Config.ConfigError> =>
  Layer.effect(
    Redsync,
    Effect.flatMap(options, (options) => {
      const checked = check(options)
      return Predicate.isString(checked) ? Effect.fail(configError(checked)) : open(checked)
    }) as Effect.Effect<Redsync, Config.ConfigError, Scope.Scope>
  )

const optionsWithoutNodes = serviceOptions.filter((option) => option !== "nodes")

/**
 * Provides the service over nodes inside this process, one by default: for experiments, and for
 * tests, including those with `TestClock`. Mutual exclusion holds within this process only. An
 * invalid option is a defect, an `IllegalArgumentError` that names the option.
 *
 * **Example** (Three nodes)
 *
 * ```ts
 * import { Redsync } from "effect-redsync"
 *
 * const layer = Redsync.layerMemory({ count: 3, expiry: "1 second" })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (options: MemoryOptions = {}): Layer.Layer<Redsync> =>
  Layer.unwrap(Effect.suspend(() => {
    const read = given(options, [...optionsWithoutNodes, "count"])
    if (Predicate.isString(read)) return dieWithIllegalArgument(read)
    const { count = 1, ...rest } = read
    return isWhole(count) && count >= 1 && count <= 100
      ? Effect.succeed(
        layer({ ...rest as LockOptions, nodes: MemoryNode.makeMany(count) })
      )
      : dieWithIllegalArgument(invalidOption("count", count, "it must be a whole number from 1 to 100"))
  }))

/**
 * Provides the service over a single node: Effect's Redis service in the context.
 *
 * **Details**
 *
 * `id` is the name of the node in errors, `"redis"` by default, and `client` the client behind the
 * Redis service; see `RedisNode.Options`. An invalid option is a defect, an `IllegalArgumentError`
 * that names the option. To use several Redis services as nodes, use {@link layer} with nodes of
 * `RedisNode`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerRedis = (
  options: Omit<ServiceOptions, "nodes"> & RedisNode.Options = {}
): Layer.Layer<Redsync, never, Redis.Redis> => {
  const read = given(options, [...optionsWithoutNodes, "client", "id"])
  if (Predicate.isString(read)) return Layer.effect(Redsync, dieWithIllegalArgument(read))
  const { client, id, ...rest } = read as RedisNode.Options & LockOptions
  return layer({ ...rest, nodes: [RedisNode.node({ client, id })] })
}
