/**
 * The observer of true time, who sees everything and judges it by what the
 * library promises.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Lock } from "../../src/index.ts"
import type { Plan } from "./plan.ts"
import type { Process } from "./process.ts"
import type { Server, ServerObserver } from "./server.ts"
import type { World } from "./world.ts"

/** Somebody who was handed a lock and has not given it back. */
export interface Holder {
  readonly process: Process
  readonly lock: Lock.Lock
  /** Whether the program is to be stopped when the lease ends. */
  readonly isGuarded: boolean
  /** Whether it has given the lock back itself. */
  hasReleased: boolean
  /** Whether its last step came after the end of the lease. */
  hasOutlived: boolean
}

export interface Violation {
  readonly promise: string
  readonly at: number
  readonly what: string
}

export class Checker implements ServerObserver {
  readonly violations: Array<Violation> = []
  readonly counts = new Map<string, number>()
  readonly #world: World
  readonly #plan: Plan
  readonly #holders = new Map<string, Set<Holder>>()
  /** The values handed out under a name, the last one at the end. */
  readonly #values = new Map<string, Array<string>>()
  /** Whose process each value is. */
  readonly #owners = new Map<string, Process>()
  readonly #votes = new Map<string, "yes" | "no" | "split">()
  readonly #raised = new Set<string>()
  readonly #labels = new Map<string, string>()
  /** Values that somebody has set out to release. */
  readonly #released = new Set<string>()
  /** Until when a server that has lost data, or whose clock was set, may let in a second holder. */
  readonly #unreliable = new Map<string, number>()
  readonly #lossy = new Set<string>()
  /** The largest token under each name. */
  readonly #tokens = new Map<string, number>()
  /** The same of names that were unlocked by force. */
  readonly #forced = new Map<string, number>()
  /** Pairs of holders that were found already. */
  readonly #pairs = new Set<string>()
  readonly #runsOff: ReadonlySet<string>
  readonly #longestLease: number

  constructor(world: World, plan: Plan) {
    this.#world = world
    this.#plan = plan
    this.#runsOff = new Set(runningOff(plan))
    const expiries = plan.processes.flatMap(({ workers }) => workers.flat().map(({ options }) => options.expiry))
    this.#longestLease = Math.max(0, ...expiries) * 1.7
  }

  count(what: string, by = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + by)
  }

  violated(promise: string, what: string): void {
    this.#world.log(() => `!!! ${promise}: ${what}`)
    this.violations.push({ promise, at: this.#world.now, what })
  }

  /** A short name for a value. */
  short(value: string): string {
    let label = this.#labels.get(value)
    if (label === undefined) this.#labels.set(value, label = `v${this.#labels.size + 1}`)
    return label
  }

  // ---------------------------------------------------------------------------
  // what processes do
  // ---------------------------------------------------------------------------

  asked(process: Process, value: string): void {
    if (this.#owners.has(value)) return
    this.#owners.set(value, process)
    this.count("attempts")
  }

  raising(value: string): void {
    if (this.#raised.has(value)) return
    this.#raised.add(value)
    this.count("second rounds for a token")
  }

  lastValue(name: string): string | undefined {
    return this.#values.get(name)?.at(-1)
  }

  enter(holder: Holder): void {
    const { name, value } = holder.lock
    const holders = this.#holders.get(name)
    if (holders === undefined) this.#holders.set(name, new Set([holder]))
    else holders.add(holder)
    const values = this.#values.get(name)
    if (values === undefined) this.#values.set(name, [value])
    else values.push(value)
    this.count("locks handed out")
    this.#world.log(() => `${holder.process.name} holds ${name} as ${this.short(value)}`)
    this.exclusion(name)
    this.#token(holder)
  }

  /** The holder is about to give the lock back. */
  leave(holder: Holder): void {
    const { name, value } = holder.lock
    if (!this.#holders.get(name)?.delete(holder)) return
    this.releasing(value)
    this.#world.log(() => `${holder.process.name} leaves ${name} as ${this.short(value)}`)
  }

  releasing(value: string): void {
    this.#released.add(value)
  }

  /** Somebody adopts a lock. As long as its holder lives, each of the two may shorten the other's lease. */
  adopting(name: string, value: string): void {
    for (const { lock, process } of this.#holders.get(name) ?? []) {
      if (lock.value === value && !process.dead) this.releasing(value)
    }
  }

  /** A guarded program goes on: its lease must not be over. */
  step(holder: Holder): void {
    const { process } = holder
    // The wall clock counts whole milliseconds, so by it the lease may be over a little sooner; what sets the two clocks
    // apart by less than 100 ms is not acted upon.
    const isOver = !holder.hasReleased && remaining(holder, 1 + 105 * process.wallTouched) === 0
    holder.hasOutlived = isOver
    if (!isOver || !holder.isGuarded || process.dead) return
    // It stood still since the library looked, or the clock was set since: that is looked at once a second.
    if (process.blockedUntil === this.#world.now) return
    if (this.#world.now - process.wallTouchedAt < 1100 / process.rate) return
    this.violated("4 stopped in time", `${process.name} goes on as ${this.short(holder.lock.value)} without a lease`)
  }

  /** After every turn of a process that may have changed a lease. */
  exclusion(name: string): void {
    const holders = this.#holders.get(name)
    if (holders === undefined || holders.size < 2) return
    const held = [...holders].filter((holder) => !holder.process.dead && !this.#released.has(holder.lock.value))
    if (held.length < 2) return
    const values = new Map<string, Holder>()
    for (const holder of held) if (remaining(holder) > 0) values.set(holder.lock.value, holder)
    if (values.size < 2) return
    const [a, b] = [...values.values()] as [Holder, Holder]
    const pair = `${a.lock.value} ${b.lock.value}`
    if (this.#pairs.has(pair)) return
    this.#pairs.add(pair)
    if (this.#isExcused(name, [a, b])) return this.count("second holders beyond the assumptions")
    const say = (holder: Holder) =>
      `${holder.process.name} as ${this.short(holder.lock.value)} with ${remaining(holder).toFixed(1)} ms left`
    this.violated("1 exclusion", `${name} is held by ${say(a)} and by ${say(b)}`)
  }

  logged(_process: Process, line: string): void {
    this.count(line.startsWith("Warn") ? "warnings logged" : "recoveries logged")
  }

  afterTurn(): void {
    for (const name of this.#holders.keys()) this.exclusion(name)
  }

  /** A process that wants nothing any more, with a network that has long healed, has no keys left. */
  idle(process: Process, servers: ReadonlyArray<Server>): void {
    if (this.#plan.link.crosses) return
    for (const server of servers) {
      for (const [key, value] of server.entries()) {
        if (this.#owners.get(value) !== process) continue
        this.violated("2 no ghosts", `${server.name} still has ${key} as ${this.short(value)} of ${process.name}`)
      }
    }
  }

  // ---------------------------------------------------------------------------
  // what servers do
  // ---------------------------------------------------------------------------

  onGone(server: Server, key: string, value: string, how: "released" | "removed" | "lost"): void {
    if (how === "removed") {
      this.#forced.set(key, this.#world.now + this.#longestLease)
      this.count("keys removed by force")
    }
    if (how === "lost") this.count("keys lost")
    this.#world.log(() => `   ${server.name} ${how} ${key} of ${this.short(value)}`)
  }

  onVote(value: string, isYes: boolean): void {
    const before = this.#votes.get(value)
    if (before === undefined) this.#votes.set(value, isYes ? "yes" : "no")
    else if (before !== "split" && before !== (isYes ? "yes" : "no")) {
      this.#votes.set(value, "split")
      this.count("attempts with split votes")
    }
  }

  onPlanted(): void {
    this.count("keys planted again")
  }

  onDataLost(server: Server): void {
    this.#lossy.add(server.name)
    // A server that grants nothing until all leases from before are over lets nobody in.
    if (this.#plan.delayedRestart === 0) this.#unreliable.set(server.name, this.#world.now + this.#longestLease)
    this.count("servers that lost data")
  }

  /** Tokens increase in the order in which locks are handed out. */
  #token(holder: Holder): void {
    const { name, token } = holder.lock as Partial<Lock.FencedLock> & Lock.Lock
    if (token === undefined) return
    const last = this.#tokens.get(name) ?? 0
    this.#tokens.set(name, Math.max(last, token))
    this.count("tokens handed out")
    if (token > last || remaining(holder) === 0 || this.#isExcused(name, [holder])) return
    // Counters are gone: then it is up to the clocks of the clients, which here are set as one likes.
    if (this.#lossy.size >= 2 * this.#plan.quorum - this.#plan.servers.length) {
      return this.count("tokens out of order beyond the assumptions")
    }
    this.violated("7 tokens increase", `${holder.process.name} has ${token} for ${name} after ${last}`)
  }

  #isExcused(name: string, holders: ReadonlyArray<Holder>): boolean {
    const { quorum, servers } = this.#plan
    if (holders.some(({ process }) => this.#runsOff.has(process.name))) return true
    if ((this.#forced.get(name) ?? 0) > this.#world.now) return true
    const unreliable = servers.filter(({ name }) =>
      this.#runsOff.has(name) || (this.#unreliable.get(name) ?? 0) > this.#world.now
    )
    // Any two quorums share at least so many servers: one of them has to be reliable.
    return unreliable.length >= 2 * quorum - servers.length
  }
}

const remaining = ({ lock, process }: Holder, behindMillis = 0): number =>
  process.observe(() => Duration.toMillis(Effect.runSync(lock.remaining)), behindMillis)

/** The machines whose clocks run off by more than the drift factor, or that were set back while nothing else could tell. */
const runningOff = ({ driftFactor, faults, processes, servers }: Plan): Array<string> => {
  const isOff = ({ rate }: { readonly rate: number }) => Math.abs(rate - 1) > driftFactor / 2 + 1e-9
  const touched = (tag: "Suspend" | "SetWall", index: number) =>
    faults.some((fault) => fault._tag === tag && fault.process === index)
  return [
    ...servers,
    ...processes.filter((process, index) => isOff(process) || (touched("Suspend", index) && touched("SetWall", index)))
  ].flatMap((machine, index) => index >= servers.length || isOff(machine) ? [machine.name] : [])
}
