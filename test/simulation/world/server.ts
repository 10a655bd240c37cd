/**
 * A server: keys that expire by its own clock, waiting lists, and what happens to
 * machines. It does what the commands and scripts of a real one do.
 */
import { fencingCounterTtlMillis, waiterOf } from "../../../src/internal/nodeContract.ts"
import type { HandOverTerms, KeyState, LineEntry, Notice } from "../../../src/LockNode.ts"
import type { World } from "./world.ts"

export interface ServerOptions {
  readonly name: string
  /** How many of its milliseconds go by in one of true time. */
  readonly rate: number
  /** By how many milliseconds its replica is behind. */
  readonly replicaLag: number
}

interface Entry {
  readonly value: string
  readonly expiresAt: number
  readonly setAt: number
  /** Redis' name for what it is. */
  readonly type: string
}

/** What somebody else keeps under the name of a lock. */
export interface Foreign {
  readonly value: string
  readonly type: "string" | "list" | "hash"
  /** Never, where there is none. */
  readonly expiryMillis: number | undefined
}

/** A subscription of a process to the notices for its waiter. */
export interface Ear {
  readonly hear: (notice: Notice) => void
}

/** What somebody who sees everything wants to hear of. */
export interface ServerObserver {
  readonly onGone: (server: Server, key: string, value: string, how: Gone) => void
  readonly onVote: (server: Server, value: string, isYes: boolean) => void
  /** A value was set in the place of its holder's, to live until this true time. */
  readonly onHandedOver: (server: Server, value: string, until: number) => void
  readonly onExtended: (server: Server, value: string) => void
  readonly onPlanted: () => void
  /** A key that was deleted is there again. */
  readonly onBackAgain: (server: Server, value: string) => void
  readonly onDataLost: (server: Server, how: Loss | "failover") => void
  readonly onClockSet: (server: Server) => void
}

export type Gone = "released" | "removed" | "lost" | "overwritten"

export type Loss = "nothing" | "everything" | "the last second"

export class Server {
  readonly name: string
  readonly world: World
  readonly rate: number
  isUp = true
  /** Connections to it break with every restart. */
  epoch = 0
  readonly ears = new Map<string, Ear>()
  readonly #observer: ServerObserver
  readonly #keys = new Map<string, Entry>()
  readonly #lists = new Map<string, Array<LineEntry>>()
  readonly #watchers = new Map<string, Set<string>>()
  readonly #counters = new Map<string, { readonly token: number; readonly expiresAt: number }>()
  /** How to take back what was done last, for a replica that has not seen it. */
  readonly #undo: Array<{ readonly at: number; readonly undo: () => void }> = []
  readonly replicaLag: number
  /** True time at which it last stood still, was down or came back. */
  disturbedAt = Number.NEGATIVE_INFINITY
  #startedAt = Number.NEGATIVE_INFINITY
  #ahead = 0
  #pauses = 0
  #queue: Array<() => void> = []

  constructor(world: World, { name, rate, replicaLag }: ServerOptions, observer: ServerObserver) {
    this.world = world
    this.name = name
    this.rate = rate
    this.replicaLag = replicaLag
    this.#observer = observer
  }

  /** Its wall clock, by which keys expire. */
  clock(): number {
    return this.world.now * this.rate + this.#ahead
  }

  setClock(byMillis: number): void {
    this.world.log(() => `${this.name} has its clock set by ${byMillis.toFixed(1)} ms`)
    this.#ahead += byMillis
    this.#observer.onClockSet(this)
  }

  /** A command has come in. One that stands still executes it later, in the order of arrival. */
  receive(command: () => void): void {
    if (!this.isUp) return
    if (this.#pauses > 0) this.#queue.push(command)
    else command()
  }

  get isPaused(): boolean {
    return this.#pauses > 0
  }

  pause(millis: number): void {
    this.world.log(() => `${this.name} is stopped for ${millis.toFixed(1)} ms`)
    this.#pauses++
    this.world.after(millis, () => {
      this.disturbedAt = this.world.now
      if (--this.#pauses > 0) return
      this.world.log(() => `${this.name} is continued`)
      const queue = this.#queue
      this.#queue = []
      for (const command of queue) this.receive(command)
    })
  }

  crash(downMillis: number, loss: Loss): void {
    if (!this.isUp) return
    this.world.log(() => `${this.name} crashes for ${downMillis.toFixed(1)} ms and loses ${loss}`)
    this.isUp = false
    this.#disconnect()
    this.#undo.length = 0
    this.world.after(downMillis, () => {
      const since = this.world.now - downMillis - 1000
      for (const [key, entry] of this.#keys) {
        if (loss === "nothing" || (loss === "the last second" && entry.setAt < since)) continue
        this.#keys.delete(key)
        this.#observer.onGone(this, key, entry.value, "lost")
      }
      if (loss !== "nothing") {
        this.#lists.clear()
        if (loss === "everything") this.#counters.clear()
        this.#observer.onDataLost(this, loss)
      }
      this.isUp = true
      this.disturbedAt = this.world.now
      this.#startedAt = this.clock()
      this.world.log(() => `${this.name} is back`)
    })
  }

  /** Its replica takes over, which has not seen what was done last: neither keys that were set nor that were deleted. */
  failOver(): void {
    if (!this.isUp) return
    this.world.log(() => `the replica of ${this.name} takes over, ${this.replicaLag.toFixed(1)} ms behind`)
    this.#disconnect()
    this.disturbedAt = this.world.now
    const before = new Map(this.#keys)
    const done = this.#undo.splice(0)
    for (let last = done.pop(); last !== undefined; last = done.pop()) {
      if (last.at > this.world.now - this.replicaLag) last.undo()
    }
    for (const [key, { value }] of before) {
      if (this.#keys.get(key)?.value !== value) this.#observer.onGone(this, key, value, "lost")
    }
    for (const [key, { value }] of this.#keys) {
      if (before.get(key)?.value !== value) this.#observer.onBackAgain(this, value)
    }
    this.#observer.onDataLost(this, "failover")
  }

  /** Whoever is not one of ours sets a key, whatever is there; or deletes it. */
  meddle(key: string, foreign: Foreign | undefined): void {
    if (!this.isUp) return
    const { value } = this.#keys.get(key) ?? {}
    if (foreign === undefined) this.#put(this.#keys, key, undefined)
    else {
      const expiresAt = Math.floor(this.clock()) + (foreign.expiryMillis ?? Number.POSITIVE_INFINITY)
      this.#put(this.#keys, key, { value: foreign.value, expiresAt, setAt: this.world.now, type: foreign.type })
    }
    this.#changed(key)
    if (value !== undefined) this.#observer.onGone(this, key, value, "overwritten")
  }

  #disconnect(): void {
    this.epoch++
    this.ears.clear()
    this.#watchers.clear()
    this.#queue = []
  }

  // ---------------------------------------------------------------------------
  // commands
  // ---------------------------------------------------------------------------

  acquire(key: string, value: string, expiryMillis: number): boolean {
    const isFree = this.live(key) === undefined
    this.#observer.onVote(this, value, isFree)
    if (isFree) this.#set(key, value, expiryMillis)
    return isFree
  }

  /** `acquire` with a fencing counter: none where the key is there. */
  acquireFenced(key: string, value: string, expiryMillis: number, proposal: number): number | undefined {
    if (!this.acquire(key, value, expiryMillis)) return undefined
    return this.#count(key, Math.max(this.#counter(key) + 1, proposal))
  }

  raise(key: string, value: string, token: number): boolean {
    if (this.live(key)?.value !== value) return false
    this.#count(key, Math.max(this.#counter(key), token))
    return true
  }

  /** At least, as the script has it: what the server tells is whole seconds, from one second of its clock to another. */
  uptime(): number {
    return 1000 * Math.max(0, Math.floor(this.clock() / 1000) - Math.floor(this.#startedAt / 1000) - 1)
  }

  extend(key: string, value: string, expiryMillis: number, ifPresent: boolean): boolean {
    const entry = this.live(key)
    if (entry?.value === value && entry.type === "string") {
      this.#set(key, value, expiryMillis)
      this.#changed(key)
      this.#observer.onExtended(this, value)
      return true
    }
    if (entry === undefined && !ifPresent) {
      this.#set(key, value, expiryMillis)
      this.#changed(key)
      this.#observer.onPlanted()
    }
    return false
  }

  /** Compare and set. */
  replace(key: string, value: string, newValue: string, expiryMillis: number): boolean {
    const entry = this.live(key)
    const isYes = entry?.value === value && entry.type === "string"
    this.#observer.onVote(this, newValue, isYes)
    if (!isYes) return false
    this.#set(key, newValue, expiryMillis)
    this.#changed(key)
    return true
  }

  /** `replace` with a fencing counter. */
  replaceFenced(
    key: string,
    value: string,
    newValue: string,
    expiryMillis: number,
    proposal: number
  ): number | undefined {
    if (!this.replace(key, value, newValue, expiryMillis)) return undefined
    return this.#count(key, Math.max(this.#counter(key) + 1, proposal))
  }

  release(key: string, value: string): boolean {
    if (this.live(key)?.value !== value) return false
    this.#delete(key, "released")
    return true
  }

  inspect(key: string): KeyState | undefined {
    const entry = this.live(key)
    if (entry === undefined) return undefined
    const { expiresAt, type } = entry
    const value = type === "string" ? entry.value : ""
    return { value, type, ttlMillis: expiresAt - Math.floor(this.clock()) }
  }

  remove(key: string): boolean {
    if (this.live(key) === undefined) return false
    this.#delete(key, "removed")
    return true
  }

  join(
    key: string,
    waiterId: string,
    entry: LineEntry,
    place: "front" | "back",
    remove: LineEntry | undefined
  ) {
    if (remove !== undefined) this.#unlist(key, remove)
    const held = this.live(key)
    const ttlMillis = this.inspect(key)?.ttlMillis ?? 0
    if (held?.value === entry.value) return { ahead: 0, ttlMillis, isOurs: true }
    let list = this.#lists.get(key) ?? []
    const others = list.filter(({ value }) => value !== entry.value)
    if (place === "front") list = [entry, ...others]
    else if (others.length === list.length) list = [...list, entry]
    this.#put(this.#lists, key, list)
    const ahead = list.findIndex(({ value }) => value === entry.value)
    const isTold = ahead === 0 && held !== undefined &&
      this.#tell(waiterId, held.value, { _tag: "Successor", key, value: held.value, successor: entry })
    if (ahead === 0 && !isTold) this.#watchers.set(key, (this.#watchers.get(key) ?? new Set()).add(waiterId))
    return { ahead, ttlMillis, isOurs: false }
  }

  leave(key: string, waiterId: string, entry: LineEntry): boolean {
    const isInLine = this.#lists.get(key)?.some(({ value }) => value === entry.value) === true
    const wasFirst = this.#first(key)?.value === entry.value || !isInLine
    this.#unlist(key, entry)
    const released = this.release(key, entry.value)
    const held = this.live(key)
    if (held === undefined) {
      this.#wakeNext(key, waiterId)
      return released
    }
    if (!wasFirst) return released
    const successor = this.#first(key)
    this.#tell(waiterId, held.value, { _tag: "Successor", key, value: held.value, successor })
    if (successor === undefined) return released
    this.#tell(waiterId, successor.value, { _tag: "First", key, value: successor.value, ttlMillis: 0 })
    return released
  }

  releaseAndWake(key: string, value: string, waiterId: string, entry: LineEntry | undefined) {
    const released = this.release(key, value)
    if (!released && this.live(key) !== undefined) return { released, woke: false }
    if (entry !== undefined) this.#unlist(key, entry)
    const woke = this.#wakeNext(key, waiterId)
    return { released, woke, isVacant: !released && !woke }
  }

  /** Tells all processes that listen that what is stored under the key may be lost. */
  alert(key: string): void {
    for (const ear of this.ears.values()) ear.hear({ _tag: "Lost", key })
  }

  /** Hands a lock over. `clock` is what the successor knows this server's clock by, once it is told. */
  transfer(
    key: string,
    value: string,
    waiterId: string,
    successor: LineEntry,
    { chain, expiryMillis, proposal }: HandOverTerms,
    isYoung: boolean
  ) {
    const held = this.live(key)
    if (held?.value !== value || isYoung) {
      return { ...this.releaseAndWake(key, value, waiterId, undefined), handedOver: false }
    }
    this.#unlist(key, successor)
    const next = this.#first(key)
    const millis = Math.floor(this.clock())
    const token = successor.fenced ? Math.max(this.#counter(key) + 1, proposal) : undefined
    const isTold = this.#tell(waiterId, successor.value, {
      _tag: "HandedOver",
      key,
      value: successor.value,
      ttlMillis: expiryMillis,
      time: { millis, clock: "" },
      chain,
      next,
      token
    })
    if (!isTold) return { ...this.releaseAndWake(key, value, waiterId, undefined), handedOver: false }
    this.#observer.onGone(this, key, value, "released")
    this.#set(key, successor.value, expiryMillis)
    this.#changed(key)
    if (token !== undefined) this.#count(key, token)
    this.#observer.onHandedOver(
      this,
      successor.value,
      this.world.now + (millis + expiryMillis - this.clock()) / this.rate
    )
    if (next !== undefined) {
      this.#tell(waiterId, next.value, { _tag: "First", key, value: next.value, ttlMillis: expiryMillis })
    }
    return { released: true, woke: true, handedOver: true }
  }

  // ---------------------------------------------------------------------------
  // inside
  // ---------------------------------------------------------------------------

  /** The keys that have not expired, their values, and the true time at which they were last set. */
  *entries(): Iterable<readonly [key: string, value: string, setAt: number]> {
    for (const key of this.#keys.keys()) {
      const entry = this.live(key)
      if (entry !== undefined) yield [key, entry.value, entry.setAt]
    }
  }

  live(key: string): Entry | undefined {
    const entry = this.#keys.get(key)
    // Redis counts whole milliseconds from when it began to count: a key may die up to one too early.
    return entry !== undefined && this.clock() < entry.expiresAt ? entry : undefined
  }

  #set(key: string, value: string, expiryMillis: number) {
    const expiresAt = Math.floor(this.clock()) + expiryMillis
    this.#put(this.#keys, key, { value, expiresAt, setAt: this.world.now, type: "string" })
  }

  /** Changes a map so that it can be taken back. */
  #put<A>(map: Map<string, A>, key: string, value: A | undefined) {
    const before = map.get(key)
    const put = (value: A | undefined) => value === undefined ? map.delete(key) : map.set(key, value)
    put(value)
    if (this.replicaLag > 0) this.#undo.push({ at: this.world.now, undo: () => put(before) })
  }

  #delete(key: string, how: "released" | "removed") {
    const { value } = this.#keys.get(key)!
    this.#put(this.#keys, key, undefined)
    this.#changed(key)
    this.#observer.onGone(this, key, value, how)
  }

  #counter(key: string): number {
    const counter = this.#counters.get(key)
    return counter !== undefined && this.clock() < counter.expiresAt ? counter.token : 0
  }

  #count(key: string, token: number): number {
    this.#put(this.#counters, key, { token, expiresAt: this.clock() + fencingCounterTtlMillis })
    return token
  }

  #first(key: string): LineEntry | undefined {
    return this.#lists.get(key)?.[0]
  }

  /** Tells the process that a value belongs to, if it listens. */
  #tell(waiterId: string, value: string, notice: Notice): boolean {
    const ear = this.ears.get(waiterOf(value, waiterId))
    ear?.hear(notice)
    return ear !== undefined
  }

  #unlist(key: string, { value }: LineEntry) {
    const left = (this.#lists.get(key) ?? []).filter((other) => other.value !== value)
    this.#put(this.#lists, key, left.length === 0 ? undefined : left)
  }

  /** Each look buys one notice. */
  #changed(key: string) {
    const waiters = this.#watchers.get(key)
    if (waiters === undefined) return
    this.#watchers.delete(key)
    for (const waiter of waiters) this.ears.get(waiter)?.hear({ _tag: "KeyChanged", key })
  }

  #wakeNext(key: string, waiterId: string): boolean {
    if (this.live(key) !== undefined) return false
    for (let next = this.#first(key); next !== undefined; next = this.#first(key)) {
      this.#unlist(key, next)
      const { value } = next
      if (this.#tell(waiterId, value, { _tag: "WakeUp", key, value, next: this.#first(key) })) return true
    }
    return false
  }
}
