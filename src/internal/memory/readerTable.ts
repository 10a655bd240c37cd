/**
 * The readers of locks, as a node in memory keeps them.
 */
import type { SharedState } from "../../LockNode.ts"
import { sharedMarker } from "../nodeContract.ts"

interface Entry {
  readonly value: string
  readonly expiresAt: number
}

export interface Keys {
  readonly get: (key: string, now: number) => Entry | undefined
  readonly set: (key: string, entry: Entry) => void
  readonly delete: (key: string) => void
}

/** The member that keeps a key for readers while there are none. */
const nobody = "*"

/** What is kept beside one key. */
class Table {
  /** When each reader expires. They count only while the key has the marker. */
  readonly readers = new Map<string, number>()
  writerWaitsUntil = 0
  readerWaitsUntil = 0
}

/** Every call is given the time in milliseconds, which never goes back. */
export class ReaderTables {
  readonly #keys: Keys
  readonly #tables = new Map<string, Table>()

  constructor(keys: Keys) {
    this.#keys = keys
  }

  get size(): number {
    return this.#tables.size
  }

  /** Forgets what has expired. */
  sweep(now: number): void {
    for (const [key, table] of this.#tables) {
      const waits = Math.max(table.writerWaitsUntil, table.readerWaitsUntil) > now
      if (!waits && this.#keys.get(key, now)?.value !== sharedMarker) this.#tables.delete(key)
    }
  }

  acquire(key: string, value: string, expiryMillis: number, waitMillis: number, now: number): boolean {
    const table = this.#table(key)
    const held = this.#keys.get(key, now)?.value
    const isYielding = held === sharedMarker && this.#isLive(table, nobody, now)
    if ((held !== undefined && held !== sharedMarker) || (table.writerWaitsUntil > now && !isYielding)) {
      if (waitMillis > 0) table.readerWaitsUntil = now + waitMillis
      return false
    }
    this.#join(key, value, expiryMillis, now)
    return true
  }

  extend(key: string, value: string, expiryMillis: number, ifPresent: boolean, now: number): boolean {
    const held = this.#keys.get(key, now)?.value
    const isExtended = this.isReader(key, value, now)
    if (isExtended || (!ifPresent && (held === undefined || held === sharedMarker))) {
      this.#join(key, value, expiryMillis, now)
    }
    return isExtended
  }

  release(key: string, value: string, now: number): boolean {
    if (this.#keys.get(key, now)?.value !== sharedMarker) return false
    const table = this.#table(key)
    const isReleased = this.#isLive(table, value, now)
    if (table.readers.delete(value)) this.#expire(key, table, now)
    return isReleased
  }

  downgrade(key: string, value: string, newValue: string, expiryMillis: number, now: number): boolean {
    const held = this.#keys.get(key, now)?.value
    const had = held === value
    if (had || held === undefined || held === sharedMarker) this.#join(key, newValue, expiryMillis, now)
    return had
  }

  yieldToReaders(key: string, value: string, graceMillis: number, now: number): boolean {
    if (this.#keys.get(key, now)?.value !== value) return false
    const table = this.#table(key)
    if (table.readerWaitsUntil <= now) this.#keys.delete(key)
    else {
      table.readerWaitsUntil = 0
      this.#join(key, nobody, graceMillis, now)
    }
    return true
  }

  announce(key: string, waitMillis: number, now: number): void {
    this.#table(key).writerWaitsUntil = now + waitMillis
  }

  isReader(key: string, value: string, now: number): boolean {
    return this.#keys.get(key, now)?.value === sharedMarker && this.#isLive(this.#table(key), value, now)
  }

  inspect(key: string, value: string, now: number): SharedState {
    const table = this.#table(key)
    const isShared = this.#keys.get(key, now)?.value === sharedMarker
    const live = [...isShared ? table.readers : []]
      .filter(([reader, expiresAt]) => reader !== nobody && expiresAt > now)
      .map(([value, expiresAt]) => ({ value, ttlMillis: Math.ceil(expiresAt - now) }))
      .sort((a, b) => a.ttlMillis - b.ttlMillis)
    return {
      readers: live.length,
      holders: value === "" ? live.slice(0, 100) : live.filter((reader) => reader.value === value),
      isWriterWaiting: table.writerWaitsUntil > now
    }
  }

  #table(key: string): Table {
    let table = this.#tables.get(key)
    if (table === undefined) this.#tables.set(key, table = new Table())
    return table
  }

  #isLive({ readers }: Table, value: string, now: number): boolean {
    return (readers.get(value) ?? 0) > now
  }

  #join(key: string, value: string, expiryMillis: number, now: number) {
    const table = this.#table(key)
    if (this.#keys.get(key, now)?.value !== sharedMarker) table.readers.clear()
    table.readers.set(value, now + expiryMillis)
    this.#expire(key, table, now)
  }

  /** The key lives as long as its last reader. */
  #expire(key: string, { readers }: Table, now: number) {
    let expiresAt = 0
    for (const [reader, expiry] of readers) {
      if (expiry <= now) readers.delete(reader)
      else expiresAt = Math.max(expiresAt, expiry)
    }
    if (expiresAt > now) this.#keys.set(key, { value: sharedMarker, expiresAt })
    else this.#keys.delete(key)
  }
}
