/**
 * One history of a shared lock in the simulated world: services that read and write under it,
 * over a network and servers that fail, and whether all promises are kept.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Lock, withFencedLock, withFencedSharedLock, withLock, withSharedLock } from "../../../src/index.ts"
import type { HeldLock } from "../../../src/internal/hold/heldLock.ts"
import { ReaderTables } from "../../../src/internal/memory/readerTable.ts"
import { sharedMarker } from "../../../src/internal/nodeContract.ts"
import { Checker, type Contest, type History, simulate } from "../contention.ts"
import type { Process } from "../world/process.ts"

const name = "s"

/** What a server keeps: the key of the lock, its readers and its counter. */
class Store {
  readonly #entries = new Map<string, { readonly value: string; readonly expiresAt: number }>()
  readers = this.#tables()
  counter = 0

  held(now: number): string | undefined {
    const entry = this.#entries.get(name)
    return entry === undefined || entry.expiresAt <= now ? undefined : entry.value
  }

  set(value: string, expiryMillis: number, now: number) {
    this.#entries.set(name, { value, expiresAt: now + expiryMillis })
  }

  acquire(value: string, expiryMillis: number, now: number): boolean {
    if (this.held(now) !== undefined) return false
    this.set(value, expiryMillis, now)
    return true
  }

  extend(value: string, expiryMillis: number, ifPresent: boolean, now: number): boolean {
    const held = this.held(now)
    if (held === value || (held === undefined && !ifPresent)) this.set(value, expiryMillis, now)
    return held === value
  }

  release(value: string, now: number): boolean {
    return this.held(now) === value && this.#entries.delete(name)
  }

  /** Counts up, or answers what it has. */
  count(isGranted: boolean, token: number): Option.Option<number> {
    return isGranted ? Option.some(this.counter = token) : Option.none()
  }

  raise(isHeld: boolean, token: number): boolean {
    if (isHeld) this.counter = Math.max(this.counter, token)
    return isHeld
  }

  /** The readers are kept beside it. */
  remove() {
    this.#entries.clear()
  }

  wipe() {
    this.remove()
    this.readers = this.#tables()
    this.counter = 0
  }

  #tables() {
    return new ReaderTables({
      get: (key, now) => {
        const entry = this.#entries.get(key)
        return entry === undefined || entry.expiresAt <= now ? undefined : entry
      },
      set: (key, entry) => void this.#entries.set(key, entry),
      delete: (key) => void this.#entries.delete(key)
    })
  }
}

class SharedChecker extends Checker {
  #lastWrite = 0
  #lastRead = 0

  granted(process: Process, held: HeldLock): void {
    const { mode, token = 0 } = held
    this.count(mode)
    this.world.log(() => `${process.name} holds ${held.claim.value.slice(-4)}, ${mode}, with ${token}`)
    if (!this.add(process, held) || token === 0) return
    if (mode === "shared" && token < this.#lastWrite) this.violated("readers know the last writer", String(token))
    if (mode === "exclusive" && token <= Math.max(this.#lastWrite, this.#lastRead)) {
      this.violated("tokens grow", String(token))
    }
    if (mode === "exclusive") this.#lastWrite = token
    else this.#lastRead = Math.max(this.#lastRead, token)
  }

  /** A writer is believed to be alone, by its own lease and those of all others, at every moment. */
  look(): void {
    const inside = this.held()
    const writer = inside.find(({ held }) => held.mode === "exclusive")
    const other = inside.find((hold) => hold !== writer)
    if (writer !== undefined && other !== undefined) {
      const promise = other.held.mode === "shared" ? "no reader beside a writer" : "no two writers"
      this.violated(promise, `${other.process.name} beside ${writer.process.name}`)
    }
    this.countMost("most readers", inside.length)
  }
}

const short = (value: string) => value.slice(-4)

const contest: Contest<Store, SharedChecker> = {
  checker: (world) => new SharedChecker(world),
  store: () => new Store(),
  operations: (ask) => ({
    acquire: (_, value, expiry) =>
      ask("acquire", () => `acquire ${short(value)}`, (store, now) => store.acquire(value, expiry, now), true),
    extend: (_, value, expiry, ifPresent = false) =>
      ask("extend", () => `extend ${short(value)}`, (store, now) => store.extend(value, expiry, ifPresent, now)),
    release: (_, value) => ask("release", () => `release ${short(value)}`, (store, now) => store.release(value, now)),
    inspect: () =>
      ask("inspect", () => "inspect", (store, now) => {
        const value = store.held(now)
        return value === undefined ? Option.none() : Option.some({ value, ttlMillis: 1 })
      }),
    remove: () => Effect.die(new Error("nobody removes")),
    fencing: {
      acquire: (_, value, expiry, proposal) =>
        ask(
          "acquire",
          () => `acquire ${short(value)} with a token`,
          (store, now) => store.count(store.acquire(value, expiry, now), Math.max(store.counter + 1, proposal)),
          true
        ),
      raise: (_, value, token) =>
        ask("acquire", () => `raise ${short(value)}`, (store, now) => store.raise(store.held(now) === value, token))
    },
    shared: {
      acquire: (_, value, expiry, wait = 0) =>
        ask(
          "acquire",
          () => `share ${short(value)}`,
          ({ readers }, now) => readers.acquire(name, value, expiry, wait, now),
          true
        ),
      extend: (_, value, expiry, ifPresent = false) =>
        ask(
          "extend",
          () => `extend reader ${short(value)}`,
          ({ readers }, now) => readers.extend(name, value, expiry, ifPresent, now)
        ),
      release: (_, value) =>
        ask("release", () => `release reader ${short(value)}`, ({ readers }, now) => readers.release(name, value, now)),
      downgrade: (_, value, newValue, expiry) =>
        ask(
          "acquire",
          () => `downgrade ${short(value)} to ${short(newValue)}`,
          ({ readers }, now) => readers.downgrade(name, value, newValue, expiry, now)
        ),
      inspect: (_, value = "") =>
        ask("inspect", () => "inspect readers", ({ readers }, now) => readers.inspect(name, value, now)),
      yieldToReaders: (_, value, grace) =>
        ask(
          "release",
          () => `yield ${short(value)}`,
          ({ readers }, now) => readers.yieldToReaders(name, value, grace, now)
        ),
      announce: (_, wait) =>
        ask("inspect", () => `announce for ${wait}`, ({ readers }, now) => {
          readers.announce(name, wait, now)
          return true
        }),
      fencing: {
        acquire: (_, value, expiry, proposal, wait = 0) =>
          ask("acquire", () => `share ${short(value)} with a token`, (store, now) =>
            store.count(
              store.readers.acquire(name, value, expiry, wait, now),
              store.counter === 0 ? Math.max(1, proposal) : store.counter
            ), true),
        raise: (_, value, token) =>
          ask(
            "acquire",
            () => `raise reader ${short(value)}`,
            (store, now) => store.raise(store.readers.isReader(name, value, now), token)
          )
      }
    }
  }),
  draw: (chance) => () => () => {
    const kind = chance.pick(["read", "read", "read", "write", "write", "downgrade"])
    return ({ checker, during, isFenced, options, process }) => {
      const use = (held: Lock) => during(held, () => checker.granted(process, held as HeldLock))
      const both = (writer: Lock) =>
        Effect.scoped(Effect.andThen(use(writer), Effect.flatMap(Lock.downgrade(writer), use)))
      const write = kind === "downgrade" ? both : use
      if (kind === "read") {
        return isFenced
          ? withFencedSharedLock(name, (_, held) => use(held), options)
          : withSharedLock(name, use, options)
      }
      return isFenced ? withFencedLock(name, (_, held) => write(held), options) : withLock(name, write, options)
    }
  },
  left: (store, now) => {
    const left = store.held(now)
    // A key may be kept for readers for a moment.
    return left === sharedMarker && store.readers.inspect(name, "", now).readers === 0 ? undefined : left
  }
}

export const run = (seed: number, record = false): History => simulate(contest, seed, record)
