/**
 * A node over Redis, whichever client carries the requests.
 */
import * as Effect from "effect/Effect"
import type { NodeError } from "../../LockError.ts"
import type { LockNode, PermitStore } from "../../LockNode.ts"
import { quoted } from "../base/text.ts"
import { abstentionReason, fencingCounterTtlMillis, runIds } from "../nodeContract.ts"
import type { Arguments, RedisClient, Replicas, Requests } from "./client.ts"
import { toNodeError } from "./errors.ts"
import { type CompanionKeys, companionKeys, type Kind } from "./keys.ts"
import { permitScripts } from "./permitScripts.ts"
import { count, decodeKeyState, decodeToken, okOrNull, oneOrZero, permitGrant, permitState, slots } from "./replies.ts"
import { scriptsByName as scripts } from "./scriptsByName.ts"
import { sharedHolds, withReaders } from "./sharedHolds.ts"
import { waitingList } from "./waitingList.ts"

/** What must be certain before the node grants anything. */
interface Demands {
  readonly minUptimeMillis?: number
  readonly replicas?: Replicas
}

export const make = (given: RedisClient, demands: Demands = {}): LockNode => {
  const { cluster, id, replicated, traits } = given
  const { minUptimeMillis = 0, replicas } = demands
  const companions = companionKeys(cluster)

  /** `durable` is for all that a lock must not lose: its key, its expiry, its token. */
  const { durable, plain } = replicas === undefined || replicated === undefined
    ? { durable: given, plain: given }
    : replicated(replicas)
  const client: RedisClient = { ...given, ...plain }

  const withCounter = <A>(
    key: string,
    run: (keys: Arguments) => Effect.Effect<A, NodeError>
  ): Effect.Effect<A, NodeError> => withCompanion(id, companions, "fencing", key, (counter) => run([key, counter]))

  const node: LockNode = {
    ...traits,
    id,
    acquire: (key, value, expiryMillis) =>
      minUptimeMillis > 0
        ? durable.script("acquire", oneOrZero, scripts.acquire, [key], [value, expiryMillis, minUptimeMillis])
        : durable.command("acquire", okOrNull, "set", [key, value, "PX", expiryMillis, "NX"]),
    extend: (key, value, expiryMillis, ifPresent = false) =>
      durable.script("extend", oneOrZero, scripts.extend, [key], [value, expiryMillis, ifPresent ? 0 : 1]),
    release: (key, value) => client.script("release", oneOrZero, scripts.release, [key], [value]),
    inspect: (key) => client.script("inspect", decodeKeyState, scripts.inspect, [key], []),
    remove: (key) => client.command("remove", oneOrZero, "del", [key]),
    replace: (key, value, newValue, expiryMillis) =>
      durable.script("acquire", oneOrZero, scripts.replace, [key], [value, newValue, expiryMillis]),
    fencing: {
      acquire: (key, value, expiryMillis, proposal) =>
        withCounter(key, (keys) => {
          const args = [value, expiryMillis, proposal, fencingCounterTtlMillis, minUptimeMillis]
          return durable.script("acquire", decodeToken, scripts.acquireFenced, keys, args)
        }),
      raise: (key, value, token) =>
        withCounter(
          key,
          (keys) => durable.script("acquire", oneOrZero, scripts.raise, keys, [value, token, fencingCounterTtlMillis])
        ),
      replace: (key, value, newValue, expiryMillis, proposal) =>
        withCounter(key, (keys) => {
          const args = [value, newValue, expiryMillis, proposal, fencingCounterTtlMillis]
          return durable.script("acquire", decodeToken, scripts.replaceFenced, keys, args)
        })
    },
    permits: permitStore(client, durable, companions, minUptimeMillis),
    shared: sharedHolds(
      client,
      durable,
      withReaders(companions, (key) => impossible(id, "readers", key)),
      minUptimeMillis
    ),
    delayedRestart: (millis) => make(given, { ...demands, minUptimeMillis: millis }),
    ...(minUptimeMillis > 0 && {
      abstention: (key) =>
        Effect.map(
          client.script("inspect", count, scripts.uptime, [key], []),
          (upMillis) => abstentionReason(upMillis, minUptimeMillis)
        )
    }),
    ...(replicated !== undefined && {
      replicas: (count, withinMillis) => make(given, { ...demands, replicas: { count, withinMillis } })
    }),
    ...(client.notifications !== undefined && {
      waitingList: waitingList(client, client.notifications, companions, {
        hasReplicas: replicas !== undefined,
        minUptimeMillis
      })
    })
  }
  if (given.runId !== undefined) runIds.set(node, given.runId)
  return node
}

/** Runs with the companion key of a name, if the server can keep one. */
const withCompanion = <A>(
  id: string,
  companions: CompanionKeys,
  kind: Kind,
  name: string,
  run: (key: string) => Effect.Effect<A, NodeError>
): Effect.Effect<A, NodeError> => {
  return companions.canExist(name) ? run(companions.of(kind, name)) : impossible(id, "a fencing counter", name)
}

/** The failure if a cluster cannot keep a companion key for the name. */
const impossible = (id: string, what: string, name: string): Effect.Effect<never, NodeError> => {
  const error = new Error(
    `ERR a cluster cannot keep ${what} for the name ${quoted(name)}, which has a "}" but no hash tag`
  )
  return Effect.fail(toNodeError(id, "acquire", error))
}

const permitStore = (
  client: RedisClient,
  durable: Requests,
  companions: CompanionKeys,
  minUptimeMillis: number
): PermitStore => {
  const keyOf = (name: string) => companions.of("permits", name)

  const withCounters = <A>(name: string, run: (keys: Arguments) => Effect.Effect<A, NodeError>) =>
    withCompanion(client.id, companions, "permit-fencing", name, (counters) => run([keyOf(name), counters]))

  /** With the counters of the slots, if tokens are needed. */
  const take = (
    name: string,
    script: typeof permitScripts.acquire,
    args: Arguments,
    proposal: number | undefined
  ) =>
    proposal === undefined
      ? durable.script("acquire", permitGrant, script, [keyOf(name)], [...args, 0, 0, minUptimeMillis])
      : withCounters(name, (keys) =>
        durable.script("acquire", permitGrant, script, keys, [
          ...args,
          proposal,
          fencingCounterTtlMillis,
          minUptimeMillis
        ]))

  return {
    acquire: (name, value, { expiryMillis, limit, permits, proposal, start, step }) =>
      take(name, permitScripts.acquire, [value, expiryMillis, limit, permits, start, step], proposal),
    settle: (name, value, { expiryMillis, limit, proposal, round, slots }) =>
      take(name, permitScripts.settle, [value, expiryMillis, limit, slots.join(","), round], proposal),
    extend: (name, value, expiryMillis, all, ifPresent = false) =>
      durable.script("extend", slots, permitScripts.extend, [keyOf(name)], [
        value,
        expiryMillis,
        all.join(","),
        ifPresent ? 0 : 1
      ]),
    release: (name, value) => client.script("release", oneOrZero, permitScripts.release, [keyOf(name)], [value]),
    raise: (name, value, all, tokens) =>
      withCounters(name, (keys) =>
        durable.script("acquire", slots, permitScripts.raise, keys, [
          value,
          all.join(","),
          tokens.join(","),
          fencingCounterTtlMillis
        ])),
    inspect: (name, value = "") => client.script("inspect", permitState, permitScripts.inspect, [keyOf(name)], [value]),
    remove: (name) => client.command("remove", oneOrZero, "del", [keyOf(name)])
  }
}
