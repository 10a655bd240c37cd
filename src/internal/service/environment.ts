/**
 * The options of a service from configuration.
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { NodeInput, ServiceOptions } from "../../LockOptions.ts"
import { invalidOption } from "../base/arguments.ts"
import { durationOf, durationsAreLike } from "../base/durationText.ts"
import type { UrlNodes } from "./nodes.ts"

/** The given options, overridden by those of the environment. */
export const fromEnvironment = (
  options: Partial<ServiceOptions<NodeInput>>,
  urlNodes: UrlNodes
): Effect.Effect<ServiceOptions<NodeInput>, Config.ConfigError> =>
  Effect.gen(function*() {
    const nodes = Option.map(yield* Config.option(Config.String("REDSYNC_NODES")), urlNodes.split)
    if (Option.isNone(nodes) && options.nodes === undefined) {
      return yield* Effect.fail(configError(`effect-redsync: REDSYNC_NODES is not set; ${expected}`))
    }
    if (Option.isSome(nodes) && nodes.value.length === 0) {
      return yield* Effect.fail(configError(`effect-redsync: REDSYNC_NODES names no node; ${expected}`))
    }
    const problem = Option.getOrElse(nodes, () => [])
      .map((url, index) => urlNodes.node(url, `REDSYNC_NODES, entry ${index + 1},`))
      .find(Predicate.isString)
    if (problem !== undefined) return yield* Effect.fail(configError(problem))
    return {
      ...options,
      nodes: Option.getOrElse(nodes, () => options.nodes!),
      ...yield* variable("prefix", "REDSYNC_PREFIX", Option.some, "text"),
      ...yield* variable("quorum", "REDSYNC_QUORUM", wholeNumber, "a whole number"),
      ...yield* variable("expiry", "REDSYNC_EXPIRY", durationOf, durationsAreLike),
      ...yield* variable("driftFactor", "REDSYNC_DRIFT_FACTOR", number, "a number"),
      ...yield* variable("nodeTimeout", "REDSYNC_NODE_TIMEOUT", durationOf, durationsAreLike),
      ...yield* variable("delayedRestart", "REDSYNC_DELAYED_RESTART", durationOf, durationsAreLike),
      ...yield* variable("replicas", "REDSYNC_REPLICAS", wholeNumber, "a whole number")
    }
  })

const expected = "expected redis://a:6379,redis://b:6379,redis://c:6379."

/** The error of an invalid configuration. */
export const configError = (message: string): Config.ConfigError =>
  new Config.ConfigError(new ConfigProvider.SourceError({ message }))

const variable = <K extends string, A>(
  key: K,
  name: string,
  read: (text: string) => Option.Option<A>,
  allowed: string
): Effect.Effect<{ readonly [P in K]?: A }, Config.ConfigError> =>
  Effect.flatMap(Config.option(Config.String(name)), (text) => {
    if (Option.isNone(text)) return Effect.succeed({})
    const value = read(text.value)
    return Option.isSome(value)
      ? Effect.succeed({ [key]: value.value } as { readonly [P in K]: A })
      : Effect.fail(configError(invalidOption(name, text.value, `it must be ${allowed}`)))
  })

const number = (text: string): Option.Option<number> =>
  Option.liftPredicate(/^-?[\d.]+(e-?\d+)?$/i.test(text.trim()) ? Number(text) : Number.NaN, Number.isFinite)

const wholeNumber = (text: string): Option.Option<number> => Option.filter(number(text), Number.isInteger)
