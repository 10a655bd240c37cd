/**
 * The observer of true time, who sees everything and judges it by what the
 * library promises.
 */
import { Assumptions } from "../plan/assumptions.ts"
import type { Plan } from "../plan/plan.ts"
import type { Link } from "../world/link.ts"
import type { Touch } from "../world/node.ts"
import type { Process } from "../world/process.ts"
import type { Gone, Loss, Server, ServerObserver } from "../world/server.ts"
import type { World } from "../world/world.ts"
import { Bounds, type Work } from "./bounds.ts"
import { Claims } from "./claims.ts"
import { type Holder, Leases, remaining } from "./leases.ts"

export interface Violation {
  readonly promise: string
  readonly at: number
  readonly what: string
}

export interface Together {
  readonly names: ReadonlyArray<string>
  isOpen: boolean
}

export class Checker implements ServerObserver {
  readonly violations: Array<Violation> = []
  readonly counts = new Map<string, number>()
  readonly leases: Leases
  readonly #world: World
  readonly #assumptions: Assumptions
  readonly claims: Claims
  readonly #bounds: Bounds
  readonly #work = new Map<Process, Work>()
  /** Verbs for several names that have not got them all yet. */
  readonly #together = new Map<Process, Set<Together>>()
  /** What each process was given by hand to extend or release, and the names it may remove. */
  /** When the latest comer started to whom a lock was granted, by process and name. */
  readonly #latestGranted = new Map<string, number>()
  readonly #foreign = new Set<string>()
  readonly #given = new Map<Process, Set<string>>()
  readonly #labels = new Map<string, string>()
  readonly #votes = new Map<string, "yes" | "no" | "split">()
  readonly #raised = new Set<string>()

  constructor(world: World, plan: Plan) {
    this.#world = world
    this.#assumptions = new Assumptions(world, plan)
    this.claims = new Claims(world, this, this.#assumptions)
    this.leases = new Leases(world, plan, this, this.#assumptions)
    this.#bounds = new Bounds(world, this)
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

  asked(process: Process, name: string, value: string): void {
    if (this.claims.asked(process, name, value)) this.count("attempts")
  }

  /** A process stands in line with a value, which others may set. */
  standsInLine(process: Process, name: string, value: string): void {
    if (this.claims.asked(process, name, value)) this.count("places in line")
  }

  /** A process sends what changes the key of a value, or of a name whoever has it. */
  touching(process: Process, operation: Touch, about: string): void {
    if (this.#given.get(process)?.has(about) === true) return
    if (operation === "replace") this.count("values replaced to pass a lock on")
    if (operation === "release" && this.claims.hasLeft(process, about)) {
      this.violated("3 what is given up is left alone", `${process.name} releases ${this.short(about)}`)
    }
    // A value that nobody has ever sent to a server does no harm.
    const owner = this.claims.ownerOf(about)
    if (operation !== "remove" && (owner === process || (owner === undefined && !this.#foreign.has(about)))) return
    this.violated(
      "3 only its owner",
      `${process.name} ${operation}s ${operation === "remove" ? about : this.short(about)}`
    )
  }

  /** Somebody tells a process by hand to extend or release a value, or to remove a name. */
  give(process: Process, about: string): void {
    this.#given.set(process, (this.#given.get(process) ?? new Set()).add(about))
  }

  /** A value that somebody else has put under the name of a lock. */
  foreign(value: string): void {
    this.#foreign.add(value)
    this.count("foreign keys")
  }

  work(process: Process): Work {
    const work = this.#work.get(process)
    if (work !== undefined) return work
    const none: Work = { verbs: 0, ended: [] }
    this.#work.set(process, none)
    return none
  }

  /** A waiter is granted a lock: whether one of its process was before that has come later. */
  granted(process: Process, name: string, startedAt: number): boolean {
    const id = `${process.name} ${name}`
    const latest = this.#latestGranted.get(id) ?? Number.NEGATIVE_INFINITY
    this.#latestGranted.set(id, Math.max(latest, startedAt))
    return latest > startedAt
  }

  startTogether(process: Process, names: ReadonlyArray<string>): Together {
    const together = { names, isOpen: true }
    this.#together.set(process, (this.#together.get(process) ?? new Set()).add(together))
    return together
  }

  /** The verb for several names that is under way in a process with this name among them. */
  together(process: Process, name: string): Together | undefined {
    return [...this.#together.get(process) ?? []].find(({ isOpen, names }) => isOpen && names.includes(name))
  }

  /** Something has happened: what holds at every instant is looked at. */
  happened(links: ReadonlyMap<Process, ReadonlyArray<Link>>): void {
    this.claims.step(links)
    this.#bounds.step(links, (process) => this.work(process))
  }

  raising(value: string): void {
    if (this.#raised.has(value)) return
    this.#raised.add(value)
    this.count("second rounds for a token")
  }

  logged(line: string): void {
    this.count(line.startsWith("Warn") ? "warnings logged" : "recoveries logged")
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

  /** A process that wants nothing any more, with a network that has long healed, has no keys left. */
  idle(process: Process, servers: ReadonlyArray<Server>): void {
    for (const server of servers) {
      // By a clock that runs off its keys may live on after they count as expired.
      if ([server, process].some(({ name }) => this.#assumptions.runsOff(name))) continue
      for (const [key, value] of server.entries()) {
        if (this.claims.ownerOf(value) !== process || this.claims.isExcused(server, value)) continue
        this.violated("2 no ghosts", `${server.name} still has ${key} as ${this.short(value)} of ${process.name}`)
      }
    }
  }

  // ---------------------------------------------------------------------------
  // what servers do
  // ---------------------------------------------------------------------------

  onVote(server: Server, value: string, isYes: boolean): void {
    if (isYes) this.leases.voted(server.name, value)
    const before = this.#votes.get(value)
    if (before === undefined) this.#votes.set(value, isYes ? "yes" : "no")
    else if (before !== "split" && before !== (isYes ? "yes" : "no")) {
      this.#votes.set(value, "split")
      this.count("attempts with split votes")
    }
  }

  /** A process hears of what was handed over to it. */
  told(server: Server, value: string): void {
    this.claims.told(server, value)
    this.count("notices of hand-overs")
  }

  onHandedOver(server: Server, value: string, until: number): void {
    this.claims.handedOver(server, value, until)
    this.leases.handedOver(server.name, value, until)
    this.count("keys handed over")
  }

  onExtended(server: Server, value: string): void {
    this.leases.voted(server.name, value)
  }

  onPlanted(): void {
    this.count("keys planted again")
  }

  onBackAgain(server: Server, value: string): void {
    this.claims.cameBack(server, value)
    this.count("keys back by a failover")
  }

  onGone(server: Server, key: string, value: string, how: Gone): void {
    if (how === "removed" || how === "overwritten") {
      this.#assumptions.unlockedByForce(key)
      this.count(how === "removed" ? "keys removed by force" : "keys overwritten or deleted by others")
    }
    if (how === "lost") this.count("keys lost")
    this.#world.log(() => `   ${server.name} ${how} ${key} of ${this.short(value)}`)
  }

  onDataLost(server: Server, how: Loss | "failover"): void {
    this.#assumptions.lostData(server.name, how)
    this.count("servers that lost data")
  }

  onClockSet(server: Server): void {
    this.#assumptions.clockWasSet(server.name)
  }
}
