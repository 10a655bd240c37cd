/**
 * A node inside this process.
 *
 * It keeps its keys in memory and takes the time from Effect's `Clock`, so that tests of code that
 * uses locks run on `TestClock`, without a server and without waiting, and a program can be tried
 * before there is a Redis server. It provides mutual exclusion within one process only.
 *
 * It has every optional ability of a node but `replicas`.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { monotonicMillis } from "./internal/base/clock.ts"
import { type CountTokens, PermitTable } from "./internal/memory/permitTable.ts"
import { ReaderTables } from "./internal/memory/readerTable.ts"
import {
  fencingCounterTtlMillis,
  isToken,
  mostSlots,
  serviceIdLength,
  sharedMarker,
  waiterOf
} from "./internal/nodeContract.ts"
import { NodeError } from "./LockError.ts"
import type { KeyState, LineEntry, LockNode, Notice, PermitEntry, PermitLine, WaitingList } from "./LockNode.ts"

interface Entry {
  readonly value: string
  readonly expiresAt: number
}

/** Notifies a waiter, and returns whether it can be notified. */
type Tell = (waiterId: string, notice: Notice) => boolean

/**
 * Creates an empty node inside this process.
 *
 * **Details**
 *
 * Keys expire by the monotonic time of the caller's `Clock`, exact to the millisecond: a key set
 * for 100 ms exists at 99 ms and is gone at 100. Two services over the same node contend with each
 * other.
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

  // Keys that are never read again would stay forever.
  const sweep = (now: number) => {
    if (entries.size + counters.size + semaphores.size + readers.size < sweepAt) return
    for (const key of entries.keys()) live(key, now)
    for (const [key, { expiresAt }] of counters) if (expiresAt <= now) counters.delete(key)
    for (const [key, table] of semaphores) if (table.isEmpty(now)) semaphores.delete(key)
    readers.sweep(now)
    sweepAt = Math.max(1024, (entries.size + counters.size + semaphores.size + readers.size) * 2)
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

  /** Nothing is done if the proposal, or what would result from it, cannot be a token. */
  const counting = <A>(proposal: number, f: (now: number) => A | undefined): Effect.Effect<A, NodeError> =>
    Effect.flatMap(at((now) => proposal === 0 || isToken(proposal) ? f(now) : undefined), (answer) => {
      if (answer !== undefined) return Effect.succeed(answer)
      const cause = new Error(`the proposal ${proposal}, or the count that follows, cannot be a fencing token`)
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

  const readers = new ReaderTables({
    get: live,
    set: (key, entry) => void entries.set(key, entry),
    delete: (key) => void entries.delete(key)
  })

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

  const lists = new Map<string, Array<LineEntry>>()
  const listeners = new Map<string, (notice: Notice) => void>()
  const delivering = new Map<string, Set<Fiber.Fiber<void>>>()
  const watchers = new Map<string, Set<string>>()

  /** Runs an atomic step, and then delivers its notifications. */
  const step = <A>(f: (now: number, tell: Tell) => A): Effect.Effect<A> =>
    Effect.flatMap(
      at((now) => {
        const told: Array<readonly [waiterId: string, notice: Notice]> = []
        return [
          f(now, (waiterId, notice) => listeners.has(waiterId) && told.push([waiterId, notice]) > 0),
          told
        ] as const
      }),
      ([answer, told]) =>
        Effect.as(Effect.forEach(told, ([waiterId, notice]) => deliver(waiterId, notice), { discard: true }), answer)
    )

  // Later, as over a network: a receiver may act at once, but only after this step is complete.
  const deliver = (waiterId: string, notice: Notice) =>
    Effect.suspend(() => {
      const listener = listeners.get(waiterId)
      const delivered = Effect.andThen(Effect.yieldNow, Effect.sync(() => listener?.(notice)))
      return Effect.map(Effect.forkDetach(delivered), (fiber) => {
        const pending = delivering.get(waiterId) ?? new Set()
        delivering.set(waiterId, pending.add(fiber))
        fiber.addObserver(() => {
          pending.delete(fiber)
          if (pending.size === 0 && delivering.get(waiterId) === pending) delivering.delete(waiterId)
        })
      })
    })

  /** Notifies the waiters that watch the key that it has changed. A watch ends with its notification. */
  const changed = (key: string, tell: Tell) => {
    const waiters = watchers.get(key)
    watchers.delete(key)
    for (const waiterId of waiters ?? []) tell(waiterId, { _tag: "KeyChanged", key })
  }

  const change = (key: string, f: (now: number) => boolean): Effect.Effect<boolean> =>
    step((now, tell) => {
      const done = f(now)
      if (done) changed(key, tell)
      return done
    })

  const release = (key: string, value: string, now: number): boolean =>
    live(key, now)?.value === value && entries.delete(key)

  const first = (key: string): LineEntry | undefined => lists.get(key)?.[0]

  const isInLine = (key: string, { value }: LineEntry) =>
    lists.get(key)?.some((other) => other.value === value) === true

  const takeOut = (key: string, { value }: LineEntry) => {
    const left = (lists.get(key) ?? []).filter((other) => other.value !== value)
    if (left.length > 0) lists.set(key, left)
    else lists.delete(key)
  }

  const permitLines = new Map<string, Array<PermitEntry>>()

  const takeOutOfPermitLine = (key: string, { value }: Pick<PermitEntry, "value">) => {
    const left = (permitLines.get(key) ?? []).filter((other) => other.value !== value)
    if (left.length > 0) permitLines.set(key, left)
    else permitLines.delete(key)
  }

  /** What one service sees of the lines of semaphores. */
  const permitLine = (waiterId: string): PermitLine => {
    /**
     * Wakes the first in line, for as long as their permits are free, each with a different slot if
     * slots were freed. If the limit is unknown, since all slots were taken back by extensions, only as many as were
     * freed, or one.
     */
    const wakeNext = (key: string, table: PermitTable, limit: number, freed: ReadonlyArray<number>, tell: Tell) => {
      let vacant = limit > 0 ? limit - table.taken : table.taken > 0 ? Math.max(1, freed.length) : mostSlots
      let used = 0
      for (
        let entry = permitLines.get(key)?.[0];
        entry !== undefined && entry.permits <= vacant;
        entry = permitLines.get(key)?.[0]
      ) {
        takeOutOfPermitLine(key, entry)
        const { permits, value } = entry
        if (!tell(waiterOf(value, waiterId), { _tag: "PermitsFree", key, value, slot: freed[used] })) continue
        vacant -= permits
        used += permits
      }
    }

    return {
      join: (key, entry, limit, place) =>
        at(withPermits(key, (table, now) => {
          // Nobody would remove it from the line again.
          if (!listeners.has(waiterId)) return false
          const line = permitLines.get(key) ?? []
          const others = line.filter(({ value }) => value !== entry.value)
          if (place === "front") permitLines.set(key, [entry, ...others])
          else if (others.length === line.length) permitLines.set(key, [...line, entry])
          const [first] = permitLines.get(key)!
          return first!.value === entry.value && limit - table.takenAt(now) >= entry.permits
        })),
      leave: (key, entry) =>
        step((now, tell) =>
          withPermits(key, (table, now) => {
            takeOutOfPermitLine(key, entry)
            wakeNext(key, table, table.limitAt(now), [], tell)
          })(now)
        ),
      release: (key, value) =>
        step((now, tell) =>
          withPermits(key, (table, now) => {
            const limit = table.limitAt(now)
            const freed = table.slotsOf(value, now)
            const released = table.release(value, now)
            wakeNext(key, table, limit, freed, tell)
            return released
          })(now)
        )
    }
  }

  /** What one service sees of the waiting lists. */
  const waitingList = (waiterId: string): WaitingList => {
    const owner = (value: string) => waiterOf(value, waiterId)
    const serviceId = waiterId.slice(-serviceIdLength)

    /** Wakes the first waiter for a free key that can be notified. Waiters whose service is gone are skipped. */
    const wakeNext = (key: string, now: number, tell: Tell): boolean => {
      if (live(key, now) !== undefined) return false
      for (let next = first(key); next !== undefined; next = first(key)) {
        takeOut(key, next)
        const { value } = next
        if (tell(owner(value), { _tag: "WakeUp", key, value, next: first(key) })) return true
      }
      return false
    }

    return {
      permits: permitLine(waiterId),
      join: (key, entry, place, remove) =>
        step((now, tell) => {
          if (remove !== undefined) takeOut(key, remove)
          const held = live(key, now)
          const ttlMillis = held === undefined ? 0 : Math.ceil(held.expiresAt - now)
          const time = { millis: now, clock: id }
          // Nobody would remove it from the list again.
          if (!listeners.has(waiterId)) return { ahead: 0, ttlMillis, time }
          if (held?.value === entry.value) return { ahead: 0, ttlMillis, time, isOurs: true }
          const list = lists.get(key) ?? []
          const others = list.filter(({ value }) => value !== entry.value)
          if (place === "front") lists.set(key, [entry, ...others])
          else if (others.length === list.length) lists.set(key, [...list, entry])
          const ahead = lists.get(key)!.findIndex(({ value }) => value === entry.value)
          const isShared = held?.value === sharedMarker
          if (ahead > 0) return { ahead, ttlMillis, time, isShared }
          const isTold = held !== undefined &&
            tell(owner(held.value), { _tag: "Successor", key, value: held.value, successor: entry })
          if (!isTold) watchers.set(key, (watchers.get(key) ?? new Set()).add(waiterId))
          return { ahead, ttlMillis, time, isShared }
        }),
      length: (key) => at(() => lists.get(key)?.length ?? 0),
      watch: (key) =>
        step((now, tell) => {
          const held = live(key, now)
          if (held === undefined) return false
          tell(owner(held.value), { _tag: "ReadersWait", key, value: held.value })
          watchers.set(key, (watchers.get(key) ?? new Set()).add(waiterId))
          return true
        }),
      yieldToReaders: (key, value, graceMillis) =>
        step((now, tell) => {
          const released = readers.yieldToReaders(key, value, graceMillis, now)
          if (released) changed(key, tell)
          const next = live(key, now)?.value === sharedMarker ? first(key) : undefined
          if (next !== undefined) tell(owner(next.value), { _tag: "First", key, value: next.value, ttlMillis: 0 })
          return { released, woke: wakeNext(key, now, tell) }
        }),
      leave: (key, entry) =>
        step((now, tell) => {
          // An entry that is not in the list was woken as the first.
          const wasFirst = first(key)?.value === entry.value || !isInLine(key, entry)
          takeOut(key, entry)
          const released = release(key, entry.value, now)
          if (released) changed(key, tell)
          const held = live(key, now)
          if (held === undefined) {
            wakeNext(key, now, tell)
          } else if (wasFirst) {
            const successor = first(key)
            tell(owner(held.value), { _tag: "Successor", key, value: held.value, successor })
            if (successor !== undefined) {
              const { value } = successor
              tell(owner(value), { _tag: "First", key, value, ttlMillis: 0 })
            }
          }
          return released
        }),
      release: (key, value, entry) =>
        step((now, tell) => {
          const isFree = live(key, now) === undefined
          const released = release(key, value, now)
          if (released) changed(key, tell)
          if (entry !== undefined) takeOut(key, entry)
          const woke = wakeNext(key, now, tell)
          return { released, woke, isVacant: isFree && !woke }
        }),
      alert: (key) =>
        step((_now, tell) => {
          for (const listener of listeners.keys()) {
            if (waiterOf(serviceId, listener) === waiterId) tell(listener, { _tag: "Lost", key })
          }
        }),
      handOver: {
        listen: () => at((now) => ({ millis: now, clock: id })),
        stopListening: () =>
          Effect.suspend(() => {
            listeners.delete(waiterId)
            return Effect.forEach(delivering.get(waiterId) ?? [], Fiber.await, { discard: true })
          }),
        transfer: (key, value, successor, { chain, expiryMillis, proposal }) =>
          step((now, tell) => {
            const held = live(key, now)
            if (held?.value !== value) {
              const woke = wakeNext(key, now, tell)
              return { released: false, woke, handedOver: false, isVacant: held === undefined && !woke }
            }
            const token = successor.fenced ? Math.max(counter(key, now) + 1, proposal) : undefined
            if (token !== undefined && !isToken(token)) {
              entries.delete(key)
              changed(key, tell)
              return { released: true, woke: wakeNext(key, now, tell), handedOver: false }
            }
            takeOut(key, successor)
            const next = first(key)
            const handedOver = tell(owner(successor.value), {
              _tag: "HandedOver",
              key,
              value: successor.value,
              ttlMillis: expiryMillis,
              time: { millis: now, clock: id },
              chain,
              next,
              token
            })
            changed(key, tell)
            if (!handedOver) {
              entries.delete(key)
              return { released: true, woke: wakeNext(key, now, tell), handedOver }
            }
            entries.set(key, { value: successor.value, expiresAt: now + expiryMillis })
            if (token !== undefined) count(key, token, now)
            if (next !== undefined) {
              tell(owner(next.value), { _tag: "First", key, value: next.value, ttlMillis: expiryMillis })
            }
            return { released: true, woke: true, handedOver }
          })
      }
    }
  }

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
    release: (key, value) => change(key, (now) => release(key, value, now)),
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
          (token) => Option.isSome(token) ? step((_now, tell) => changed(key, tell)) : Effect.void
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
    shared: {
      acquire: (key, value, expiryMillis, waitMillis = 0) =>
        at((now) => {
          sweep(now)
          return readers.acquire(key, value, expiryMillis, waitMillis, now)
        }),
      extend: (key, value, expiryMillis, ifPresent = false) =>
        change(key, (now) => readers.extend(key, value, expiryMillis, ifPresent, now)),
      release: (key, value) => change(key, (now) => readers.release(key, value, now)),
      downgrade: (key, value, newValue, expiryMillis) =>
        change(key, (now) => readers.downgrade(key, value, newValue, expiryMillis, now)),
      inspect: (key, value = "") => at((now) => readers.inspect(key, value, now)),
      yieldToReaders: (key, value, graceMillis) =>
        change(key, (now) => readers.yieldToReaders(key, value, graceMillis, now)),
      announce: (key, waitMillis) =>
        at((now) => {
          readers.announce(key, waitMillis, now)
          return true
        }),
      fencing: {
        acquire: (key, value, expiryMillis, proposal, waitMillis = 0) =>
          counting(proposal, (now) => {
            const token = counter(key, now) || Math.max(1, proposal)
            if (!isToken(token)) return undefined
            if (!readers.acquire(key, value, expiryMillis, waitMillis, now)) return Option.none()
            return Option.some(counter(key, now) || count(key, token, now))
          }),
        raise: (key, value, token) =>
          counting(token, (now) => {
            if (!readers.isReader(key, value, now)) return false
            count(key, Math.max(counter(key, now), token), now)
            return true
          })
      }
    },
    // The node ends with this process, and so do all its locks.
    delayedRestart: () => node,
    waitingList: (waiterId, onNotice) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          listeners.set(waiterId, onNotice)
          return waitingList(waiterId)
        }),
        () =>
          Effect.sync(() => {
            listeners.delete(waiterId)
            for (const [key, list] of lists) {
              for (const entry of list) if (waiterOf(entry.value, waiterId) === waiterId) takeOut(key, entry)
            }
            for (const [key, line] of permitLines) {
              for (const entry of line) {
                if (waiterOf(entry.value, waiterId) === waiterId) takeOutOfPermitLine(key, entry)
              }
            }
            for (const [key, waiters] of watchers) {
              if (waiters.delete(waiterId) && waiters.size === 0) watchers.delete(key)
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
