/**
 * Examines one server from the outside: whether it can be reached, what it says about
 * itself, and whether it does what locks need.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type { RedisOptions } from "ioredis"
import { untrusted } from "../../internal/base/text.ts"
import * as Probe from "../../internal/ioredis/probe.ts"
import * as IoredisNode from "../../IoredisNode.ts"
import type { NodeError } from "../../LockError.ts"
import { error, type Finding, note, type Patient } from "./finding.ts"
import {
  examineClock,
  examineFailover,
  examineFailure,
  examineFsync,
  examineInfo,
  type Info,
  parseInfo,
  persistenceOf,
  roleOf,
  uptimeOf,
  versionOf
} from "./server.ts"
import { isItRedis } from "./steps.ts"
import { rights, trial } from "./trial.ts"

export interface Options {
  /** A name that the user may lock; the probe key's own name is appended to it. */
  readonly name: string
  readonly delayedRestartMillis: number
  /** How many replicas must acknowledge a lock. */
  readonly replicas: number
}

export const examine = (target: RedisOptions, options: Options): Effect.Effect<Patient> =>
  Effect.flatMap(
    Probe.make(target),
    (probe) =>
      Effect.catchDefect(examineProbe(target, probe, options), (defect) =>
        Effect.succeed({
          node: probe.id,
          findings: [nonsense(defect instanceof Error ? defect.message : String(defect))]
        }))
  ).pipe(Effect.scoped)

const nonsense = (what: string): Finding =>
  error("answers", `does not answer like a Redis server: ${untrusted(what)}`, isItRedis)

const examineProbe = (
  target: RedisOptions,
  probe: Probe.Probe,
  options: Options
): Effect.Effect<Patient, never, Scope.Scope> =>
  Effect.gen(function*() {
    const node = probe.id
    const first = yield* Effect.result(ping(probe))
    if (first._tag === "Failure") return { node, findings: [examineFailure(first.failure.summary)] }
    if (first.success !== "PONG") return { node, findings: [nonsense(`PING with ${shown(first.success)}`)] }
    const roundTripMillis = yield* roundTrip(probe)
    const { findings, info } = yield* selfDescription(probe, options)
    const clock = yield* clockOffset(probe)
    const random = (yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)
    // A server that cannot be a node would only fail.
    const isNode = findings.every(({ check }) => check !== "role")
    const scriptless = isNode ? yield* examineScripts(probe) : []
    const trials = !isNode || scriptless.length > 0 ?
      scriptless :
      yield* Effect.flatMap(IoredisNode.make(target), (node) => trial(node, `${options.name}:${random}`, random))
    return {
      node,
      ...defined("version", versionOf(info)),
      ...defined("role", roleOf(info)),
      ...defined("runId", info.get("run_id")),
      ...defined("uptimeSeconds", uptimeOf(info)),
      roundTripMillis,
      ...defined("clockOffsetMillis", clock?.offsetMillis),
      ...defined("persistence", persistenceOf(info)),
      ...defined("evictionPolicy", info.get("maxmemory_policy")),
      findings: [
        ...findings,
        ...target.sentinels === undefined ? [] : examineFailover(options.replicas),
        ...clock === undefined ? [] : examineClock(clock.offsetMillis, clock.roundTripMillis),
        ...trials
      ]
    }
  })

const defined = <K extends string, A>(key: K, value: A | undefined) =>
  (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: A }

const monotonic = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const timed = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const start = yield* monotonic
    const value = yield* effect
    return { value, millis: (yield* monotonic) - start }
  })

/** A refusal counts too: the user may lack the permission for PING, or it was renamed. */
const ping = ({ call }: Probe.Probe) => Effect.catchIf(call("PING"), isForbidden, () => Effect.succeed("PONG"))

/** A server may have the scripts from others, but loses them when it restarts. */
const examineScripts = Effect.fnUntraced(function*({ call }: Probe.Probe) {
  const [sent, loaded] = yield* Effect.all([call("EVAL", "return 1", "0"), call("SCRIPT", "LOAD", "return 1")], {
    mode: "result"
  })
  if (sent._tag === "Success" || loaded._tag === "Success" || !isForbidden(sent.failure)) return []
  return [
    error("rights", `does not accept scripts, and loses those it has in a restart: ${sent.failure.summary}`, rights)
  ]
})

const shown = (reply: unknown) => Array.isArray(reply) ? "an array" : String(reply)

const isForbidden = ({ summary }: NodeError) => /NOPERM|unknown command/i.test(summary)

/** The median of a few, in milliseconds. */
const roundTrip = (probe: Probe.Probe) =>
  Effect.forEach([1, 2, 3, 4, 5], () => Effect.map(timed(Effect.ignore(ping(probe))), ({ millis }) => millis)).pipe(
    Effect.map((millis) => Math.round(millis.sort((a, b) => a - b)[2]! * 100) / 100)
  )

const selfDescription = Effect.fnUntraced(function*({ call }: Probe.Probe, options: Options) {
  const info = yield* Effect.result(call("INFO"))
  if (info._tag === "Failure") {
    const message = `does not permit reading its settings: ${info.failure.summary}`
    const findings = [
      options.delayedRestartMillis === 0
        ? note("info", message)
        : error("info", `${message}. delayedRestart needs this`, rights)
    ]
    return { info: new Map() as Info, findings }
  }
  const fields = parseInfo(String(info.success))
  const findings: Array<Finding> = [...examineInfo(fields, options)]
  if (fields.get("aof_enabled") === "1") {
    const fsync = yield* Effect.result(call("CONFIG", "GET", "appendfsync"))
    if (fsync._tag === "Success" && Array.isArray(fsync.success) && fsync.success.length > 1) {
      findings.push(...examineFsync(untrusted(String(fsync.success[1])), options.delayedRestartMillis))
    }
  }
  return { info: fields, findings }
})

/** How far the server's clock is ahead, to within half a round trip; `undefined` if we may not ask. */
const clockOffset = ({ call }: Probe.Probe) =>
  Effect.gen(function*() {
    const before = yield* Clock.currentTimeMillis
    const { millis, value } = yield* timed(call("TIME"))
    if (!Array.isArray(value) || value.length !== 2 || !value.every((part) => /^\d{1,12}$/.test(String(part)))) {
      return undefined
    }
    const theirs = Number(value[0]) * 1000 + Number(value[1]) / 1000
    return { offsetMillis: Math.round(theirs - (before + millis / 2)), roundTripMillis: millis }
  }).pipe(Effect.orElseSucceed(() => undefined))
