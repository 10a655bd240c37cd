/**
 * Who holds what, and the promises about that: exclusion, and tokens that
 * increase.
 */
import type { FencedLock, Lock } from "../../../src/index.ts"
import type { HeldLock } from "../../../src/internal/hold/heldLock.ts"
import { validityMillis } from "../../../src/internal/lease/lease.ts"
import type { Assumptions } from "../plan/assumptions.ts"
import type { Plan } from "../plan/plan.ts"
import type { Process } from "../world/process.ts"
import type { World } from "../world/world.ts"
import type { Checker } from "./checker.ts"

/** Somebody who was handed a lock and has not given it back. */
export interface Holder {
  readonly process: Process
  readonly lock: Lock
  readonly expiry: number
  /** Whether the program is to be stopped when the lease ends. */
  readonly isGuarded: boolean
  /** Whether it has given the lock back itself. */
  hasReleased: boolean
  /** Whether its last step came after the end of the lease. */
  hasOutlived: boolean
  /** Somebody else has set out to release its value, or to extend it as he likes. */
  isForsaken: boolean
  /** Whether its lease was seen to have ended before it gave the lock back. */
  isLost: boolean
  /** True time at which its lease ends by its own clock, as last seen. */
  end: number
}

export class Leases {
  readonly #world: World
  readonly #plan: Plan
  readonly #checker: Checker
  readonly #assumptions: Assumptions
  readonly #byName = new Map<string, Set<Holder>>()
  readonly #byProcess = new Map<Process, Set<Holder>>()
  /** The last value handed out under each name. */
  readonly #values = new Map<string, string>()
  readonly #released = new Set<string>()
  /** What is known of each value that was held: since when, until when at least, and who has looked at it. */
  readonly #passings = new Map<
    string,
    { readonly process: Process; lock: Lock; readonly since: number; leftAt: number; readBy: Lock | undefined }
  >()
  /** When each server last said yes to each value. */
  readonly #votes = new Map<string, Map<string, number>>()
  /** Until which true time each server has each value at least, where it was handed over. */
  readonly #handedOver = new Map<string, Map<string, number>>()
  /** The largest token under each name. */
  readonly #tokens = new Map<string, number>()
  /** Pairs of holders that were found already. */
  readonly #pairs = new Set<string>()

  constructor(world: World, plan: Plan, checker: Checker, assumptions: Assumptions) {
    this.#world = world
    this.#plan = plan
    this.#checker = checker
    this.#assumptions = assumptions
  }

  lastValue(name: string): string | undefined {
    return this.#values.get(name)
  }

  enter(holder: Holder): void {
    const { lock, process } = holder
    const value = valueOf(lock)
    add(this.#byName, lock.name, holder)
    add(this.#byProcess, process, holder)
    this.#passing(holder, value)
    this.#values.set(lock.name, value)
    this.#checker.claims.held(value)
    holder.isForsaken = this.#released.has(value)
    this.#checker.count("locks handed out")
    this.#world.log(() => `${process.name} holds ${lock.name} as ${this.#checker.short(value)}`)
    this.#token(holder)
    this.afterTurn(process)
  }

  /** The holder is about to give the lock back. */
  leave(holder: Holder): void {
    const { lock, process } = holder
    if (this.#byName.get(lock.name)?.delete(holder) !== true) return
    this.#byProcess.get(process)?.delete(holder)
    const value = valueOf(lock)
    this.#world.log(() => `${process.name} leaves ${lock.name} as ${this.#checker.short(value)}`)
    if (!holder.isLost) this.#checker.claims.ended(value)
    const passing = this.#passings.get(value)
    if (passing !== undefined) passing.leftAt = this.#world.now
  }

  /** A holder looks at the value of its lock: from here on it stands for nothing else. */
  read(lock: Lock): void {
    const passing = this.#passings.get(lock.value)
    if (passing !== undefined) passing.readBy = lock
  }

  /** A value that was held before has been passed on without a message. */
  #passing({ expiry, lock, process }: Holder, value: string): void {
    const { now } = this.#world
    const passing = this.#passings.get(value)
    if (passing === undefined) {
      this.#passings.set(value, { process, lock, since: now, leftAt: now, readBy: undefined })
      return
    }
    this.#checker.count("locks passed on without a message")
    const how = (what: string) => `${process.name} as ${this.#checker.short(value)}, ${what}`
    if (passing.process !== process) this.#checker.violated("10 a value is of one service", how("another's"))
    if (passing.readBy !== undefined) {
      this.#checker.violated("10 a value that was read is of one hold", how("read before"))
    }
    const isOver = process.observe(() => (passing.lock as HeldLock).remainingMillis()) === 0
    if (!isOver) this.#checker.violated("10 one hold after the other", how("the one before is not over"))
    passing.lock = lock
    if (process.stoodStillUntil >= passing.since || process.wallTouchedAt >= passing.since) return
    const heldMillis = (passing.leftAt - passing.since) * process.rate
    if (heldMillis > Math.min(1000, expiry / 8) + 1) {
      this.#checker.violated("9 others have their turn", how(`passed on after ${heldMillis.toFixed(1)} ms`))
    }
    const left = process.observe(() => (lock as HeldLock).remainingMillis())
    if (left > 0 && left < expiry / 2 - 5) {
      this.#checker.violated("4 a lock that is passed on is worth it", how(`with ${left.toFixed(1)} ms left`))
    }
  }

  /** Somebody sets out to release a value. */
  releasing(name: string, value: string): void {
    this.#released.add(value)
    for (const holder of this.#byName.get(name) ?? []) if (valueOf(holder.lock) === value) holder.isForsaken = true
  }

  /** Somebody adopts a lock. As long as its holder lives, each of the two may shorten the other's lease. */
  adopting(name: string, value: string): void {
    const isHeld = [...this.#byName.get(name) ?? []].some(({ lock, process }) =>
      valueOf(lock) === value && !process.dead
    )
    // It may be on its way to the next in the same service.
    if (isHeld || this.#passings.has(value)) this.releasing(name, value)
  }

  /** The holds of a process that a value or a name is about. */
  holdsOf(process: Process, about: string): ReadonlyArray<Holder> {
    return [...this.#byProcess.get(process) ?? []].filter(({ lock }) => valueOf(lock) === about || lock.name === about)
  }

  voted(server: string, value: string): void {
    const votes = this.#votes.get(value)
    if (votes === undefined) this.#votes.set(value, new Map([[server, this.#world.now]]))
    else votes.set(server, this.#world.now)
  }

  handedOver(server: string, value: string, until: number): void {
    const votes = this.#handedOver.get(value)
    // What a clock that runs off does to a lock is no fault of the lease.
    if (this.#assumptions.runsOff(server)) until = Number.POSITIVE_INFINITY
    if (votes === undefined) this.#handedOver.set(value, new Map([[server, until]]))
    else votes.set(server, until)
  }

  /** A process may have got a lease, or a longer one. */
  afterTurn(process: Process): void {
    for (const holder of this.#byProcess.get(process) ?? []) {
      const left = remaining(holder)
      const end = this.#world.now + left / process.rate
      if (left > 0 && end > holder.end + 0.01) {
        this.#quorumBehind(holder, end)
        this.#exclusion(holder)
      }
      holder.end = end
      if (left > 0 || holder.isLost) continue
      holder.isLost = true
      this.#checker.claims.ended(valueOf(holder.lock))
    }
  }

  /** Nobody else may have a lease. It is looked at whenever one begins or grows: by itself a lease only shrinks. */
  #exclusion(holder: Holder): void {
    const { name } = holder.lock
    const value = valueOf(holder.lock)
    for (const other of this.#byName.get(name) ?? []) {
      if (other === holder || !hasLease(other) || !hasLease(holder)) continue
      const pair = [value, valueOf(other.lock)].sort().join(" ")
      if (this.#pairs.has(pair)) continue
      this.#pairs.add(pair)
      if (this.#assumptions.isBeyond(name, [holder.process.name, other.process.name])) {
        this.#checker.count("second holders beyond the assumptions")
      } else {
        this.#checker.violated("1 exclusion", `${name} is held by ${this.#say(holder)} and by ${this.#say(other)}`)
      }
    }
  }

  /**
   * A lease lasts as long as the expiry less the drift from when the question was sent to which a quorum said yes, or
   * ends before the keys do that were handed over.
   */
  #quorumBehind(holder: Holder, end: number): void {
    const { expiry, isForsaken, lock, process } = holder
    if (isForsaken || process.dead || this.#assumptions.runsOff(process.name)) return
    const { driftFactor, quorum } = this.#plan
    const sentAt = end - validityMillis(expiry, driftFactor) / process.rate
    // Where the monotonic clock stood still the wall clock decides, which counts whole milliseconds.
    const precision = process.wallTouched > 0 ? 1.1 : 0.01
    const servers = new Set<string>()
    for (const [server, at] of this.#votes.get(valueOf(lock)) ?? []) if (at >= sentAt - precision) servers.add(server)
    for (const [server, until] of this.#handedOver.get(valueOf(lock)) ?? []) {
      if (until >= end - precision) servers.add(server)
    }
    const votes = servers.size
    if (votes >= quorum) return
    this.#checker.violated(
      "1 a quorum behind every lease",
      `${this.#say(holder)} has ${votes} votes for a lease from ${sentAt.toFixed(3)} on`
    )
  }

  /** Tokens increase in the order in which locks are handed out. */
  #token({ lock, process }: Holder): void {
    const { name, token } = lock as Lock & Partial<FencedLock>
    if (token === undefined) return
    const last = this.#tokens.get(name) ?? 0
    this.#tokens.set(name, Math.max(last, token))
    this.#checker.count("tokens handed out")
    if (token > last || this.#assumptions.isBeyond(name, [process.name])) return
    if (process.observe(() => (lock as HeldLock).remainingMillis()) === 0) return
    if (this.#assumptions.areCountersGone()) return this.#checker.count("tokens out of order beyond the assumptions")
    this.#checker.violated("7 tokens increase", `${process.name} has ${token} for ${name} after ${last}`)
  }

  #say(holder: Holder): string {
    const { lock, process } = holder
    return `${process.name} as ${this.#checker.short(valueOf(lock))} with ${remaining(holder).toFixed(1)} ms left`
  }
}

/** Milliseconds by the clocks of its process, or by clocks that are a little behind. */
export const remaining = ({ lock, process }: Holder, behindMillis = 0): number =>
  process.observe(() => (lock as HeldLock).remainingMillis(), behindMillis)

/** What the nodes store. To read `Lock.value` would change what is done with it. */
export const valueOf = (lock: Lock): string => (lock as HeldLock).claim.value

const hasLease = (holder: Holder): boolean => !holder.isForsaken && !holder.process.dead && remaining(holder) > 0

const add = <K, V>(map: Map<K, Set<V>>, key: K, value: V): void => {
  const values = map.get(key)
  if (values === undefined) map.set(key, new Set([value]))
  else values.add(value)
}
