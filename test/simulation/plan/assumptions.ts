/**
 * What the promises assume of machines and of users, and where a history goes
 * beyond: there a second holder is nobody's fault but the history's.
 */
import type { Loss } from "../world/server.ts"
import type { World } from "../world/world.ts"
import type { Plan } from "./plan.ts"

export class Assumptions {
  readonly #world: World
  readonly #plan: Plan
  /** Machines whose clocks run off by more than the drift factor. */
  readonly #runsOff: ReadonlySet<string>
  /** Longer than any lease lasts, in true time. */
  readonly #longestLease: number
  /** Until when a server that has lost data may let in a second holder. */
  readonly #unreliable = new Map<string, number>()
  /** Until when the same may happen to a name that was unlocked by force. */
  readonly #forced = new Map<string, number>()
  readonly #lossy = new Set<string>()

  constructor(world: World, plan: Plan) {
    this.#world = world
    this.#plan = plan
    this.#runsOff = runningOff(plan)
    const expiries = plan.processes.flatMap(({ workers }) => workers.flat().map(({ options }) => options.expiry))
    this.#longestLease = Math.max(0, ...expiries) * 1.7
  }

  /** A server has lost keys before their time. */
  lostData(server: string, how: Loss | "failover"): void {
    // A replica that takes over has all that it acknowledged.
    if (how === "failover" && this.#plan.replicas) return
    this.#lossy.add(server)
    // One that grants nothing until all leases from before are over lets nobody in; a replica has been up for long.
    if (this.#plan.delayedRestart > 0 && how !== "failover") return
    this.#unreliable.set(server, this.#world.now + this.#longestLease)
  }

  /** The clock of a server was set. */
  clockWasSet(server: string): void {
    this.#lossy.add(server)
    this.#unreliable.set(server, this.#world.now + this.#longestLease)
  }

  unlockedByForce(name: string): void {
    this.#forced.set(name, this.#world.now + this.#longestLease)
  }

  /** Whether the clock of a machine is not to be relied on. */
  runsOff(machine: string): boolean {
    return this.#runsOff.has(machine)
  }

  /** Whether nothing is promised about a name and these processes now. */
  isBeyond(name: string, processes: ReadonlyArray<string>): boolean {
    if (processes.some((process) => this.#runsOff.has(process))) return true
    if ((this.#forced.get(name) ?? 0) > this.#world.now) return true
    return this.#isTooMany(({ name }) => this.#runsOff.has(name) || (this.#unreliable.get(name) ?? 0) > this.#world.now)
  }

  /** Whether counters are gone on so many servers that it is up to the clocks of the clients, set here as one likes. */
  areCountersGone(): boolean {
    return this.#isTooMany(({ name }) => this.#lossy.has(name))
  }

  /** Any two quorums share at least so many servers, and one of those has to be reliable. */
  #isTooMany(isUnreliable: (server: { readonly name: string }) => boolean): boolean {
    const { quorum, servers } = this.#plan
    return servers.filter(isUnreliable).length >= 2 * quorum - servers.length
  }
}

/** Rates beyond the drift, and a monotonic clock that stood still on a machine whose wall clock was set. */
const runningOff = ({ driftFactor, faults, processes, servers }: Plan): Set<string> => {
  const isOff = ({ rate }: { readonly rate: number }) => Math.abs(rate - 1) > driftFactor / 2 + 1e-9
  const happens = (tag: "Suspend" | "SetWall", process: number) =>
    faults.some((fault) => fault._tag === tag && fault.process === process)
  return new Set([
    ...servers.filter(isOff),
    ...processes.filter((process, index) => isOff(process) || (happens("Suspend", index) && happens("SetWall", index)))
  ].map(({ name }) => name))
}
