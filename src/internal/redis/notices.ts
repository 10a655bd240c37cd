/**
 * The messages that scripts send to waiters. Fixed fields come first; the name of the
 * lock, which may contain anything, comes last.
 */
import * as Predicate from "effect/Predicate"
import type { Notice } from "../../LockNode.ts"
import { entryOf, isToken } from "../nodeContract.ts"
import { count } from "./replies.ts"

/** The notice that the message stands for, if any. `clock` names the clock of the server that sent it. */
export const decodeNotice = (message: string, clock: string): Extract<Notice, { readonly key: string }> | undefined => {
  switch (message.slice(0, 2)) {
    case "W ": {
      const [value, next, key] = fields(message, 2)
      return key === undefined ? undefined : { _tag: "WakeUp", key, value: value!, next: entryOf(next!) }
    }
    case "J ": {
      const [value, successor, key] = fields(message, 2)
      return key === undefined ? undefined : { _tag: "Successor", key, value: value!, successor: entryOf(successor!) }
    }
    case "L ":
      return { _tag: "Lost", key: message.slice(2) }
    case "R ": {
      const [value, key] = fields(message, 1)
      return key === undefined ? undefined : { _tag: "ReadersWait", key, value: value! }
    }
    case "F ": {
      const [ttl, value, key] = fields(message, 2)
      const [ttlMillis] = wholeNumbers(ttl)
      return key === undefined || ttlMillis === undefined ? undefined : { _tag: "First", key, value: value!, ttlMillis }
    }
    case "P ": {
      const [slot, value, key] = fields(message, 2)
      const [free] = wholeNumbers(slot)
      return key === undefined ? undefined : { _tag: "PermitsFree", key, value: value!, slot: free }
    }
    case "T ": {
      const [value, time, ttl, length, age, token, next, key] = fields(message, 7)
      const [serverMillis, ttlMillis, chainLength, millis] = wholeNumbers(time, ttl, length, age)
      if (key === undefined || millis === undefined) return undefined
      const [counted = 0] = wholeNumbers(token)
      return {
        _tag: "HandedOver",
        key,
        value: value!,
        ttlMillis: ttlMillis!,
        time: { millis: serverMillis!, clock },
        chain: { length: chainLength!, millis },
        next: entryOf(next!),
        token: isToken(counted) ? counted : undefined
      }
    }
  }
  return undefined
}

/** The given number of fields behind the kind of the message, and the name. */
const fields = (message: string, length: number): ReadonlyArray<string> => {
  const found: Array<string> = []
  let from = 2
  for (let index = 0; index < length; index++) {
    const to = message.indexOf(" ", from)
    if (to === -1) return []
    found.push(message.slice(from, to))
    from = to + 1
  }
  found.push(message.slice(from))
  return found
}

/** The numbers; an empty array if one of them is not an exact whole number. */
const wholeNumbers = (...texts: ReadonlyArray<string | undefined>): ReadonlyArray<number> => {
  const numbers = texts.map(count)
  return numbers.every(Predicate.isNotUndefined) ? numbers : []
}
