/**
 * The observer of true time, who sees everything and judges it by what the
 * library promises.
 */
import { Assumptions } from "./assumptions.ts"
import { type Holder, Leases, remaining } from "./leases.ts"
import type { Plan } from "./plan.ts"
import type { Process } from "./process.ts"
import type { Server, ServerObserver } from "./server.ts"
import type { World } from "./world.ts"

export interface Violation {
  readonly promise: string
  readonly at: number
  readonly what: string
}

export class Checker implements ServerObserver {
  readonly violations: Array<Violation> = []
  readonly counts = new Map<string, number>()
  readonly leases: Leases
  readonly #world: World
  readonly #plan: Plan
  readonly #assumptions: Assumptions
  /** Values whose keys somebody else has let live longer. */
  readonly prolonged = new Set<string>()
  /** Whose process each value is. */
  readonly #owners = new Map<string, Process>()
  readonly #labels = new Map<string, string>()
  readonly #votes = new Map<string, "yes" | "no" | "split">()
  readonly #raised = new Set<string>()

  constructor(world: World, plan: Plan) {
    this.#world = world
    this.#plan = plan
    this.#assumptions = new Assumptions(world, plan)
    this.leases = new Leases(world, plan, this, this.#assumptions)
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
    if (this.#plan.link.crosses) return
    for (const server of servers) {
      // By a clock that runs off its keys may live on after they count as expired.
      if ([server, process].some(({ name }) => this.#assumptions.runsOff(name))) continue
      for (const [key, value] of server.entries()) {
        if (this.#owners.get(value) !== process || this.prolonged.has(value)) continue
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

  onExtended(server: Server, value: string): void {
    this.leases.voted(server.name, value)
  }

  onPlanted(): void {
    this.count("keys planted again")
  }

  onGone(server: Server, key: string, value: string, how: "released" | "removed" | "lost"): void {
    if (how === "removed") {
      this.#assumptions.unlockedByForce(key)
      this.count("keys removed by force")
    }
    if (how === "lost") this.count("keys lost")
    this.#world.log(() => `   ${server.name} ${how} ${key} of ${this.short(value)}`)
  }

  onDataLost(server: Server): void {
    this.#assumptions.lostData(server.name)
    this.count("servers that lost data")
  }

  onClockSet(server: Server): void {
    this.#assumptions.clockWasSet(server.name)
  }
}
