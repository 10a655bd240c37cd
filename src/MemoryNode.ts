/**
 * A node inside this process.
 *
 * It keeps its keys in memory and tells time by Effect's `Clock`, so tests of
 * code that locks run on `TestClock` without a server and without waiting, and
 * a program can be tried before there is a Redis. It excludes within one
 * process only.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { monotonicMillis } from "./internal/base/clock.ts"
import { type CountTokens, PermitTable } from "./internal/memory/permitTable.ts"
import { fencingCounterTtlMillis, isToken } from "./internal/nodeContract.ts"
import { NodeError } from "./LockError.ts"
import type { KeyState, LockNode, Notice, WaitingList } from "./LockNode.ts"

interface Entry {
  readonly value: string
  readonly expiresAt: number
}

/**
 * Creates an empty node inside this process.
 *
 * **Details**
 *
 * Keys expire on the monotonic time of the `Clock` of whoever asks, exact to
 * the millisecond: a key set for 100 ms is there at 99 ms and gone at 100. Two
 * services that are given the same node contend with each other.
 *
 * **Example** (A node for a test)
 *
 * ```ts
 * import { MemoryNode, Redsync } from "effect-redsync"
 *
 * const layer = Redsync.layer({ nodes: [MemoryNode.make()] })
 * ```
 *
 * @param id the name shown in errors
 * @category constructors
 * @since 0.1.0
 */
export const make = (id: string = "memory"): LockNode => {
  const entries = new Map<string, Entry>()
  let sweepAt = 1024

  const live = (key: string, now: number): Entry | undefined => {
    const entry = entries.get(key)
    if (entry === undefined || entry.expiresAt > now) return entry
    entries.delete(key)
    return undefined
  }

  // Keys that nobody asks for again would stay for ever.
  const sweep = (now: number) => {
    if (entries.size + counters.size + semaphores.size < sweepAt) return
    for (const key of entries.keys()) live(key, now)
    for (const [key, { expiresAt }] of counters) if (expiresAt <= now) counters.delete(key)
    for (const [key, table] of semaphores) if (table.isEmpty(now)) semaphores.delete(key)
    sweepAt = Math.max(1024, (entries.size + counters.size + semaphores.size) * 2)
  }

  const set = (key: string, value: string, expiryMillis: number, now: number): boolean => {
    if (live(key, now) !== undefined) return false
    sweep(now)
    entries.set(key, { value, expiresAt: now + expiryMillis })
    return true
  }

  const replace = (key: string, value: string, newValue: string, expiryMillis: number, now: number): boolean => {
    if (live(key, now)?.value !== value) return false
    entries.set(key, { value: newValue, expiresAt: now + expiryMillis })
    return true
  }

  const at = <A>(f: (now: number) => A): Effect.Effect<A> =>
    Effect.clockWith((clock: Clock.Clock) => Effect.succeed(f(monotonicMillis(clock))))

  const counters = new Map<string, { readonly token: number; readonly expiresAt: number }>()

  const counter = (key: string, now: number): number => {
    const counter = counters.get(key)
    return counter === undefined || counter.expiresAt <= now ? 0 : counter.token
  }

  const count = (key: string, token: number, now: number) => {
    counters.set(key, { token, expiresAt: now + fencingCounterTtlMillis })
    return token
  }

  /** Nothing is done where the proposal, or what comes of it, could not be a token. */
  const counting = <A>(proposal: number, f: (now: number) => A | undefined): Effect.Effect<A, NodeError> =>
    Effect.flatMap(at((now) => proposal === 0 || isToken(proposal) ? f(now) : undefined), (answer) => {
      if (answer !== undefined) return Effect.succeed(answer)
      const cause = new Error(`the counter cannot go on from ${proposal}`)
      return Effect.fail(new NodeError({ node: id, operation: "acquire", reason: "Rejected", cause }))
    })

  const semaphores = new Map<string, PermitTable>()

  /** Does something with the holders of a semaphore, and forgets it if none is left. */
  const withPermits = <A>(key: string, f: (table: PermitTable, now: number) => A) => (now: number): A => {
    sweep(now)
    const table = semaphores.get(key) ?? new PermitTable()
    const answer = f(table, now)
    if (table.isEmpty(now)) semaphores.delete(key)
    else semaphores.set(key, table)
    return answer
  }

  const slotCounter = (key: string, slot: number) => `redsync:1:permit-fencing:${slot}:${key}`

  const countSlots = (key: string, proposal: number | undefined, now: number): CountTokens => (slots, isNew) => {
    if (proposal === undefined) return []
    const tokens = slots.map((slot) => {
      const before = counter(slotCounter(key, slot), now)
      return isNew(slot) || before === 0 ? Math.max(before + 1, proposal) : before
    })
    if (!tokens.every(isToken)) return undefined
    slots.forEach((slot, index) => count(slotCounter(key, slot), tokens[index]!, now))
    return tokens
  }

  const lists = new Map<string, Array<string>>()
  const listeners = new Map<string, (notice: Notice) => void>()
  const watchers = new Map<string, Set<string>>()

  // Later, as over a network: whoever hears may act at once, and what happens now is to be over first.
  const notify = (waiter: string, notice: Notice) =>
    Effect.forkDetach(Effect.andThen(Effect.yieldNow, Effect.sync(() => listeners.get(waiter)?.(notice))))

  /** Tells those that watch the key that it has changed; each look buys one notice. */
  const changed = (key: string) => {
    const waiters = watchers.get(key)
    if (waiters === undefined) return Effect.void
    watchers.delete(key)
    return Effect.forEach(waiters, (waiter) => notify(waiter, { _tag: "KeyChanged", key }), { discard: true })
  }

  const change = (key: string, f: (now: number) => boolean): Effect.Effect<boolean> =>
    Effect.tap(at(f), (done) => done ? changed(key) : Effect.void)

  const removeFromList = (key: string, waiter: string) => {
    const left = (lists.get(key) ?? []).filter((other) => other !== waiter)
    if (left.length === 0) lists.delete(key)
    else lists.set(key, left)
  }

  /** Tells the first in line that can hear, if the key is free. */
  const wakeNext = (key: string): Effect.Effect<boolean> =>
    Effect.flatMap(at((now) => live(key, now)), (entry) => {
      const waiter = entry === undefined ? lists.get(key)?.find((waiter) => listeners.has(waiter)) : undefined
      if (waiter === undefined) return Effect.succeed(false)
      removeFromList(key, waiter)
      return Effect.as(notify(waiter, { _tag: "WakeUp", key }), true)
    })

  const node: LockNode = {
    id,
    acquire: (key, value, expiryMillis) => at((now) => set(key, value, expiryMillis, now)),
    extend: (key, value, expiryMillis, ifPresent = false) =>
      change(key, (now) => {
        const entry = live(key, now)
        const ours = entry?.value === value
        if (ours || (entry === undefined && !ifPresent)) entries.set(key, { value, expiresAt: now + expiryMillis })
        return ours
      }),
    release: (key, value) => change(key, (now) => live(key, now)?.value === value && entries.delete(key)),
    inspect: (key) =>
      at((now) =>
        Option.fromUndefinedOr(live(key, now)).pipe(
          Option.map((entry): KeyState => ({ value: entry.value, ttlMillis: Math.ceil(entry.expiresAt - now) }))
        )
      ),
    replace: (key, value, newValue, expiryMillis) =>
      change(key, (now) => replace(key, value, newValue, expiryMillis, now)),
    remove: (key) => change(key, (now) => live(key, now) !== undefined && entries.delete(key)),
    fencing: {
      acquire: (key, value, expiryMillis, proposal) =>
        counting(proposal, (now) => {
          const token = Math.max(counter(key, now) + 1, proposal)
          if (!isToken(token)) return undefined
          return set(key, value, expiryMillis, now) ? Option.some(count(key, token, now)) : Option.none()
        }),
      raise: (key, value, token) =>
        counting(token, (now) => {
          if (live(key, now)?.value !== value) return false
          count(key, Math.max(counter(key, now), token), now)
          return true
        }),
      replace: (key, value, newValue, expiryMillis, proposal) =>
        Effect.tap(
          counting(proposal, (now) => {
            const token = Math.max(counter(key, now) + 1, proposal)
            if (!isToken(token)) return undefined
            return replace(key, value, newValue, expiryMillis, now)
              ? Option.some(count(key, token, now))
              : Option.none()
          }),
          (token) => Option.isSome(token) ? changed(key) : Effect.void
        )
    },
    permits: {
      acquire: (key, value, request) =>
        counting(
          request.proposal ?? 0,
          withPermits(key, (table, now) => table.acquire(value, request, countSlots(key, request.proposal, now), now))
        ),
      settle: (key, value, settlement) =>
        counting(
          settlement.proposal ?? 0,
          withPermits(
            key,
            (table, now) => table.settle(value, settlement, countSlots(key, settlement.proposal, now), now)
          )
        ),
      extend: (key, value, expiryMillis, slots, ifPresent = false) =>
        at(withPermits(key, (table, now) => table.extend(value, expiryMillis, slots, ifPresent, now))),
      release: (key, value) => at(withPermits(key, (table, now) => table.release(value, now))),
      raise: (key, value, slots, tokens) =>
        counting(
          tokens.find((token) => !isToken(token)) ?? 0,
          withPermits(key, (table, now) => {
            const held = table.slotsOf(value, now)
            return slots.filter((slot, index) => {
              if (!held.includes(slot)) return false
              const counted = slotCounter(key, slot)
              count(counted, Math.max(counter(counted, now), tokens[index]!), now)
              return true
            })
          })
        ),
      inspect: (key, value) => at(withPermits(key, (table, now) => table.inspect(value, now))),
      remove: (key) => at((now) => semaphores.get(key)?.isEmpty(now) === false && semaphores.delete(key))
    },
    // It lives and dies with this process, and so does all that it excludes.
    delayedRestart: () => node,
    waitingList: (waiter, onNotice) =>
      Effect.acquireRelease(
        Effect.sync((): WaitingList => {
          listeners.set(waiter, onNotice)
          return {
            join: (key, place) =>
              at((now) => {
                const entry = live(key, now)
                const ttlMillis = entry === undefined ? 0 : Math.ceil(entry.expiresAt - now)
                // Nobody would take it out of the list again.
                if (!listeners.has(waiter)) return { ahead: 0, ttlMillis }
                let list = lists.get(key) ?? []
                if (place === "front") list = [waiter, ...list.filter((other) => other !== waiter)]
                else if (!list.includes(waiter)) list = [...list, waiter]
                lists.set(key, list)
                const ahead = list.indexOf(waiter)
                if (ahead === 0) watchers.set(key, (watchers.get(key) ?? new Set()).add(waiter))
                return { ahead, ttlMillis }
              }),
            leave: (key) =>
              Effect.suspend(() => {
                removeFromList(key, waiter)
                return Effect.asVoid(wakeNext(key))
              }),
            release: (key, value, inLine) =>
              Effect.flatMap(node.release(key, value), (released) => {
                if (inLine) removeFromList(key, waiter)
                return Effect.map(wakeNext(key), (woke) => ({ released, woke }))
              })
          }
        }),
        () =>
          Effect.sync(() => {
            listeners.delete(waiter)
            for (const key of lists.keys()) removeFromList(key, waiter)
            for (const [key, waiters] of watchers) {
              if (waiters.delete(waiter) && waiters.size === 0) watchers.delete(key)
            }
          })
      )
  }
  return node
}

/**
 * Creates several empty nodes, with the ids `memory-1`, `memory-2` and so on.
 *
 * **Example** (Three nodes for a test)
 *
 * ```ts
 * import { MemoryNode, Redsync } from "effect-redsync"
 *
 * const layer = Redsync.layer({ nodes: MemoryNode.makeMany(3) })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeMany = (count: number): Array<LockNode> =>
  Array.from({ length: count }, (_, index) => make(`memory-${index + 1}`))
