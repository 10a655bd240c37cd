/**
 * Opens the waiting lists of a node. Those of a custom node may return anything: an answer of the wrong form is a
 * failure of its request.
 */
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { NodeError } from "../../LockError.ts"
import type { HandOver, LockNode, Notice, PermitLine, WaitingList } from "../../LockNode.ts"
import { passes } from "../base/arguments.ts"
import { effectOf, isCallbackEffect } from "../base/callbackEffect.ts"
import { isToken, unexpected } from "../nodeContract.ts"

type Check = (answer: unknown) => boolean

type Request = readonly [operation: NodeError["operation"], isAnswer: Check]

const isTime: Check = (u) => Predicate.isObject(u) && Number.isFinite(u["millis"]) && Predicate.isString(u["clock"])

const isPosition: Check = (u) => {
  if (!Predicate.isObject(u)) return false
  const { ahead, isOurs = false, isShared = false, time, ttlMillis } = u
  return Number.isSafeInteger(ahead) && Predicate.isNumber(ttlMillis) && ttlMillis >= 0 &&
    [isOurs, isShared].every(Predicate.isBoolean) && (time === undefined || isTime(time))
}

const isReleased: Check = (u) =>
  Predicate.isObject(u) && Predicate.isBoolean(u["released"]) && Predicate.isBoolean(u["woke"])

const listRequests: { readonly [K in Exclude<keyof WaitingList, "handOver" | "permits">]-?: Request } = {
  join: ["inspect", isPosition],
  leave: ["release", Predicate.isBoolean],
  release: ["release", isReleased],
  watch: ["inspect", Predicate.isBoolean],
  yieldToReaders: ["release", isReleased],
  length: ["inspect", Predicate.isNumber],
  alert: ["inspect", constTrue]
}

const handOverRequests: { readonly [K in keyof HandOver]-?: Request } = {
  listen: ["inspect", isTime],
  stopListening: ["inspect", constTrue],
  transfer: ["release", isReleased]
}

const permitRequests: { readonly [K in keyof PermitLine]-?: Request } = {
  join: ["inspect", Predicate.isBoolean],
  leave: ["release", constTrue],
  release: ["release", Predicate.isBoolean]
}

type Operation = (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown, NodeError>

/** The same operations, with checked answers. Operations with callbacks are the library's own. */
const checked = <A extends object>(node: LockNode, given: A, requests: { readonly [name: string]: Request }): A => {
  const operations = given as Record<string, Operation>
  const all = Object.entries(requests).filter(([name]) => operations[name] !== undefined).map(
    ([name, [operation, isAnswer]]): [string, Operation] => [name, (...args) => {
      const effect = effectOf(operations[name]!(...args))
      return isCallbackEffect(effect) ?
        effect :
        Effect.flatMap(effect, (answer) =>
          passes(() => isAnswer(answer))
            ? Effect.succeed(answer)
            : Effect.fail(unexpected(node.id, operation, answer)))
    }]
  )
  return Object.fromEntries(all) as A
}

const hasAll = (u: unknown, requests: object, optional: ReadonlyArray<string> = []): boolean =>
  Predicate.isObject(u) &&
  Object.keys(requests).every((name) =>
    Predicate.isFunction(u[name]) || optional.includes(name) && u[name] === undefined
  )

const checkedList = (node: LockNode, list: WaitingList): WaitingList => {
  const isList = passes(() =>
    hasAll(list, listRequests, ["watch", "yieldToReaders", "length", "alert"]) &&
    (list.handOver === undefined || hasAll(list.handOver, handOverRequests)) &&
    (list.permits === undefined || hasAll(list.permits, permitRequests))
  )
  if (!isList) throw new Error("it did not open waiting lists")
  let given: HandOver | undefined
  let handOver: HandOver | undefined
  return {
    ...checked(node, list, listRequests),
    permits: list.permits && checked(node, list.permits, permitRequests),
    /** A node may be able to hand over at one time and not at another. */
    get handOver() {
      const now = list.handOver
      if (now !== given) handOver = now && checked(node, now, handOverRequests)
      given = now
      return handOver
    }
  }
}

/** What a notice is about: a key, and for most of them a value. */
const fields: { readonly [T in Notice["_tag"]]: ReadonlyArray<string> } = {
  WakeUp: ["key", "value"],
  Successor: ["key", "value"],
  First: ["key", "value"],
  HandedOver: ["key", "value"],
  ReadersWait: ["key", "value"],
  KeyChanged: ["key"],
  Lost: ["key"],
  PermitsFree: ["key", "value"],
  Resync: [],
  Unsupported: ["why"]
}

const isEntry: Check = (u) => u === undefined || Predicate.isObject(u) && Predicate.isString(u["value"])

const isNotice: Check = (u) => {
  if (!Predicate.isObject(u) || !Object.hasOwn(fields, u["_tag"] as string)) return false
  const { _tag, chain, next, successor, time, token, ttlMillis } = u
  return fields[_tag as Notice["_tag"]].every((name) => Predicate.isString(u[name])) && isEntry(next) &&
    isEntry(successor) && (_tag !== "First" && _tag !== "HandedOver" || Number.isFinite(ttlMillis)) &&
    (_tag !== "HandedOver" ||
      isTime(time) && Predicate.isObject(chain) && (token === undefined || isToken(token as number)) &&
        [chain["length"], chain["millis"]].every(Number.isFinite))
}

/** Opens the lists of a node for a waiter; dies if they are not waiting lists. Ignores what is not a notice. */
export const openList = (
  node: LockNode,
  waiterId: string,
  onNotice: (notice: Notice) => void
): Effect.Effect<WaitingList, never, Scope.Scope> =>
  Effect.map(
    Effect.suspend(() =>
      effectOf(node.waitingList!(waiterId, (notice) => {
        if (passes(() => isNotice(notice))) onNotice(notice)
      }))
    ),
    (list) => checkedList(node, list)
  )
