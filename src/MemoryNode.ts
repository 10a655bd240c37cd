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
import { monotonicMillis } from "./internal/lease.ts"
import type { KeyState, LockNode } from "./LockNode.ts"

interface Entry {
  readonly value: string
  readonly expiresAt: number
}

let created = 0

/**
 * Creates an empty node inside this process.
 *
 * **Details**
 *
 * Keys expire on the monotonic time of the `Clock` of whoever asks, exact to
 * the millisecond: a key set for 100 ms is there at 99 ms and gone at 100. Two
 * services that are given the same node contend with each other.
 *
 * **Example** (Two nodes for a test)
 *
 * ```ts
 * import { MemoryNode, Redsync } from "effect-redsync"
 *
 * const nodes = [MemoryNode.make(), MemoryNode.make(), MemoryNode.make()]
 * const layer = Redsync.layer({ nodes })
 * ```
 *
 * @param id the name shown in errors; `memory-1`, `memory-2` … by default
 * @category constructors
 * @since 0.1.0
 */
export const make = (id: string = `memory-${++created}`): LockNode => {
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
    if (entries.size < sweepAt) return
    for (const key of entries.keys()) live(key, now)
    sweepAt = Math.max(1024, entries.size * 2)
  }

  const at = <A>(f: (now: number) => A): Effect.Effect<A> =>
    Effect.clockWith((clock: Clock.Clock) => Effect.succeed(f(monotonicMillis(clock))))

  return {
    id,
    acquire: (key, value, expiryMillis) =>
      at((now) => {
        if (live(key, now) !== undefined) return false
        sweep(now)
        entries.set(key, { value, expiresAt: now + expiryMillis })
        return true
      }),
    extend: (key, value, expiryMillis) =>
      at((now) => {
        const entry = live(key, now)
        const ours = entry?.value === value
        if (ours || entry === undefined) entries.set(key, { value, expiresAt: now + expiryMillis })
        return ours
      }),
    release: (key, value) => at((now) => live(key, now)?.value === value && entries.delete(key)),
    inspect: (key) =>
      at((now) =>
        Option.fromUndefinedOr(live(key, now)).pipe(
          Option.map((entry): KeyState => ({ value: entry.value, ttlMillis: Math.ceil(entry.expiresAt - now) }))
        )
      ),
    remove: (key) => at((now) => live(key, now) !== undefined && entries.delete(key))
  }
}
