/**
 * A server: keys that expire by its own clock, waiting lists, and what happens to
 * machines. It does what the commands and scripts of a real one do.
 */
import type { LockNode } from "../../src/index.ts"
import { counterMillis } from "../../src/internal/scripts.ts"
import type { World } from "./world.ts"

export interface ServerOptions {
  readonly name: string
  /** How many of its milliseconds go by in one of true time. */
  readonly rate: number
}

interface Entry {
  readonly value: string
  readonly expiresAt: number
  readonly setAt: number
}

/** A subscription of a process to the notices for its waiter. */
export interface Ear {
  readonly hear: (notice: LockNode.Notice) => void
}

/** What somebody who sees everything wants to hear of. */
export interface ServerObserver {
  readonly onGone: (server: Server, key: string, value: string, how: "released" | "removed" | "lost") => void
  readonly onVote: (server: Server, value: string, isYes: boolean) => void
  readonly onExtended: (server: Server, value: string) => void
  readonly onPlanted: () => void
  readonly onDataLost: (server: Server) => void
  readonly onClockSet: (server: Server) => void
}

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
  readonly #lists = new Map<string, Array<string>>()
  readonly #watchers = new Map<string, Set<string>>()
  readonly #counters = new Map<string, { readonly token: number; readonly expiresAt: number }>()
  #startedAt = Number.NEGATIVE_INFINITY
  #ahead = 0
  #pauses = 0
  #queue: Array<() => void> = []

  constructor(world: World, { name, rate }: ServerOptions, observer: ServerObserver) {
    this.world = world
    this.name = name
    this.rate = rate
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

  pause(millis: number): void {
    this.world.log(() => `${this.name} is stopped for ${millis.toFixed(1)} ms`)
    this.#pauses++
    this.world.after(millis, () => {
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
    this.epoch++
    this.ears.clear()
    this.#watchers.clear()
    this.#queue = []
    this.world.after(downMillis, () => {
      const since = this.clock() - downMillis * this.rate - 1000
      for (const [key, entry] of this.#keys) {
        if (loss === "nothing" || (loss === "the last second" && entry.setAt < since)) continue
        this.#keys.delete(key)
        this.#observer.onGone(this, key, entry.value, "lost")
      }
      if (loss !== "nothing") {
        this.#lists.clear()
        if (loss === "everything") this.#counters.clear()
        this.#observer.onDataLost(this)
      }
      this.isUp = true
      this.#startedAt = this.clock()
      this.world.log(() => `${this.name} is back`)
    })
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

  /** Whole seconds, from one second of the clock to another. */
  uptime(): number {
    return 1000 * (Math.floor(this.clock() / 1000) - Math.floor(this.#startedAt / 1000))
  }

  extend(key: string, value: string, expiryMillis: number, onlyIfThere: boolean): boolean {
    const entry = this.live(key)
    if (entry?.value === value) {
      this.#set(key, value, expiryMillis)
      this.#changed(key)
      this.#observer.onExtended(this, value)
      return true
    }
    if (entry === undefined && !onlyIfThere) {
      this.#set(key, value, expiryMillis)
      this.#changed(key)
      this.#observer.onPlanted()
    }
    return false
  }

  release(key: string, value: string): boolean {
    if (this.live(key)?.value !== value) return false
    this.#delete(key, "released")
    return true
  }

  inspect(key: string): LockNode.KeyState | undefined {
    const entry = this.live(key)
    return entry && { value: entry.value, ttlMillis: entry.expiresAt - Math.floor(this.clock()) }
  }

  remove(key: string): boolean {
    if (this.live(key) === undefined) return false
    this.#delete(key, "removed")
    return true
  }

  join(key: string, waiter: string, place: "front" | "back"): LockNode.Place {
    let list = this.#lists.get(key) ?? []
    if (place === "front") list = [waiter, ...list.filter((other) => other !== waiter)]
    else if (!list.includes(waiter)) list = [...list, waiter]
    this.#lists.set(key, list)
    const ahead = list.indexOf(waiter)
    if (ahead === 0) this.#watchers.set(key, (this.#watchers.get(key) ?? new Set()).add(waiter))
    return { ahead, ttlMillis: this.inspect(key)?.ttlMillis ?? 0 }
  }

  leave(key: string, waiter: string): void {
    this.#unlist(key, waiter)
    this.#wakeNext(key)
  }

  releaseAndWake(key: string, value: string, waiter: string, isListed: boolean) {
    const released = this.release(key, value)
    if (!released && this.live(key) !== undefined) return { released, woke: false }
    if (isListed) this.#unlist(key, waiter)
    return { released, woke: this.#wakeNext(key) }
  }

  // ---------------------------------------------------------------------------
  // inside
  // ---------------------------------------------------------------------------

  /** The keys that have not expired, and their values. */
  *entries(): Iterable<readonly [key: string, value: string]> {
    for (const key of this.#keys.keys()) {
      const entry = this.live(key)
      if (entry !== undefined) yield [key, entry.value]
    }
  }

  live(key: string): Entry | undefined {
    const entry = this.#keys.get(key)
    // Redis counts whole milliseconds from when it began to count: a key may die up to one too early.
    return entry !== undefined && this.clock() < entry.expiresAt ? entry : undefined
  }

  #set(key: string, value: string, expiryMillis: number) {
    this.#keys.set(key, { value, expiresAt: Math.floor(this.clock()) + expiryMillis, setAt: this.clock() })
  }

  #delete(key: string, how: "released" | "removed") {
    const { value } = this.#keys.get(key)!
    this.#keys.delete(key)
    this.#changed(key)
    this.#observer.onGone(this, key, value, how)
  }

  #counter(key: string): number {
    const counter = this.#counters.get(key)
    return counter !== undefined && this.clock() < counter.expiresAt ? counter.token : 0
  }

  #count(key: string, token: number): number {
    this.#counters.set(key, { token, expiresAt: this.clock() + counterMillis })
    return token
  }

  #unlist(key: string, waiter: string) {
    const left = (this.#lists.get(key) ?? []).filter((other) => other !== waiter)
    if (left.length === 0) this.#lists.delete(key)
    else this.#lists.set(key, left)
  }

  /** Each look buys one notice. */
  #changed(key: string) {
    const waiters = this.#watchers.get(key)
    if (waiters === undefined) return
    this.#watchers.delete(key)
    for (const waiter of waiters) this.ears.get(waiter)?.hear({ _tag: "Changed", key })
  }

  #wakeNext(key: string): boolean {
    if (this.live(key) !== undefined) return false
    while (true) {
      const waiter = this.#lists.get(key)?.[0]
      if (waiter === undefined) return false
      this.#unlist(key, waiter)
      const ear = this.ears.get(waiter)
      if (ear === undefined) continue
      ear.hear({ _tag: "Turn", key })
      return true
    }
  }
}
