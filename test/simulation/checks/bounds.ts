/**
 * The promise that work and memory are bounded: what a process has in flight,
 * and how many timers it has, is at most a function of the locks that it holds
 * or waits for, however long a server is silent.
 */
import type { Link } from "../world/link.ts"
import type { NodeTimeouts, Process } from "../world/process.ts"
import type { World } from "../world/world.ts"
import type { Checker } from "./checker.ts"

/** What each process is about at present. */
export interface Work {
  /** Verbs under way: locks that are held or waited for, and looks at them. */
  verbs: number
  /** True times at which verbs have ended. */
  readonly ended: Array<number>
}

/** That of verbs that have no options, in milliseconds. */
const defaultNodeTimeout = 400

/** A connection is given up after a second of silence and three probes, where it can be. */
const mostBeforeReconnect = 3
/**
 * Requests that are sent to a server though it has been silent for a node timeout: one at a time, though
 * it stays in flight when its node timeout is over.
 */
const mostWhileSilent = (silentMillis: number, { shortest }: NodeTimeouts) => 4 + silentMillis / shortest
/** Sleeps of the library: one for all of its timers, and those of verbs, which may take their names off a list for a second. */
const mostSleeping = (verbs: number, justEnded: number) => 4 + 3 * verbs + justEnded
/** Between two looks, in true time. */
const lookEvery = 20

export class Bounds {
  readonly #world: World
  readonly #checker: Checker
  readonly #reported = new Set<string>()
  #lookAt = 0

  constructor(world: World, checker: Checker) {
    this.#world = world
    this.#checker = checker
  }

  /** Looks at what each process keeps; called at every step of the history. */
  step(links: ReadonlyMap<Process, ReadonlyArray<Link>>, workOf: (process: Process) => Work): void {
    const { now } = this.#world
    if (now < this.#lookAt) return
    this.#lookAt = now + lookEvery
    for (const [process, own] of links) {
      // Who closes asks for all that is pending at once.
      if (!process.isRunning || process.closing.beganAt <= now) continue
      const { ended, verbs } = workOf(process)
      const { nodeTimeouts, stoodStillUntil } = process
      const longest = Math.max(defaultNodeTimeout, nodeTimeouts.longest)
      for (const link of own) {
        const since = link.silentSince
        // A client that fails by itself counts as an answer.
        if (since === undefined || stoodStillUntil > since || link.options.fails) continue
        // What it did not answer first may have been a join, which says nothing about the node to those who vote.
        const sent = link.inFlightFrom(since + 2 * longest)
        if (sent > mostWhileSilent(now - since, nodeTimeouts)) {
          this.#exceeded(process, `has sent ${sent} requests to ${link.server.name}, which is silent`, verbs)
        }
        const late = link.inFlightFrom(since + 1000 + 4 * longest)
        if (link.options.reconnects && late > mostBeforeReconnect) {
          this.#exceeded(process, `keeps a connection to ${link.server.name} that is dead`, verbs)
        }
      }
      const sleeping = process.sleeping - process.naps
      const justEnded = ended.filter((at) => now - at < 1100 / process.rate).length
      if (sleeping > mostSleeping(verbs, justEnded)) this.#exceeded(process, `has ${sleeping} timers`, verbs)
    }
  }

  #exceeded(process: Process, what: string, verbs: number) {
    if (this.#reported.has(process.name)) return
    this.#reported.add(process.name)
    this.#checker.violated("5 bounded", `${process.name} ${what}, with ${verbs} verbs under way`)
  }
}
