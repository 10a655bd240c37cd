/**
 * Who owns each value that may be on a server, and the promise that nothing is
 * left there that nobody owns.
 *
 * A value is owned by the attempt that made it, then by the hold that came of it,
 * and from then on by a clean-up that is pending. A clean-up gets two node timeouts
 * and the longest pause between two tries, from when the owner gave the value up,
 * the server can be reached and the process does not stand still. What is there for
 * longer has been forgotten.
 */
import type { Assumptions } from "../plan/assumptions.ts"
import type { Link } from "../world/link.ts"
import type { Process } from "../world/process.ts"
import type { Server } from "../world/server.ts"
import type { World } from "../world/world.ts"
import type { Checker } from "./checker.ts"

interface Claim {
  readonly process: Process
  readonly name: string
  /** True time up to which it is owned; `Infinity` as long as it is held. */
  ownedUntil: number
  /** True time at which its owner left it to somebody else, or to its expiry. */
  givenUpAt: number | undefined
  /** Its owner has learnt that it was left, so that it is not deleted any more. */
  isLeft: boolean
  /** Owned by a request for several names as long as that runs. */
  together: { readonly isOpen: boolean } | undefined
}

/** The longest pause between two tries of a clean-up. */
const longestPause = 1000
/** Between two looks at all the servers, in true time. */
const lookEvery = 20

export class Claims {
  readonly #world: World
  readonly #checker: Checker
  readonly #assumptions: Assumptions
  readonly #claims = new Map<string, Claim>()
  /** Values of a server that came back there without anybody's doing, such as by a replica that had not seen it deleted. */
  readonly #excused = new Set<string>()
  /** Until when what was handed over may live, as long as its owner has not heard of it. */
  readonly #unheard = new Map<string, number>()
  #lookAt = 0

  constructor(world: World, checker: Checker, assumptions: Assumptions) {
    this.#world = world
    this.#checker = checker
    this.#assumptions = assumptions
  }

  ownerOf(value: string): Process | undefined {
    return this.#claims.get(value)?.process
  }

  /** A process asks for a name with a value for the first time. */
  asked(process: Process, name: string, value: string): boolean {
    if (this.#claims.has(value)) return false
    // Two rounds of votes at most, each of which takes twice the node timeout at most.
    const ownedUntil = this.#world.now + 4 * process.nodeTimeouts.longest
    const together = this.#checker.together(process, name)
    this.#claims.set(value, { process, name, ownedUntil, givenUpAt: undefined, isLeft: false, together })
    return true
  }

  held(value: string): void {
    this.#own(value, Number.POSITIVE_INFINITY)
  }

  /** The hold has ended, by its release or its loss. */
  ended(value: string): void {
    this.#own(value, this.#world.now)
    const claim = this.#claims.get(value)
    // Who it was passed on to may still wait for other names.
    if (claim !== undefined) claim.together = this.#checker.together(claim.process, claim.name)
  }

  /** It may live until it expires. `isCertain` unless its owner was interrupted, who may still hold or lose it. */
  givenUp(value: string, isCertain: boolean): void {
    const claim = this.#claims.get(value)
    if (claim === undefined) return
    claim.givenUpAt = this.#world.now
    claim.isLeft ||= isCertain
  }

  /** Whether a process has left a value to somebody else, or to its expiry. */
  hasLeft(process: Process, value: string): boolean {
    const claim = this.#claims.get(value)
    return claim?.process === process && claim.isLeft
  }

  handedOver(server: Server, value: string, until: number): void {
    this.#unheard.set(`${server.name} ${value}`, until)
  }

  told(server: Server, value: string): void {
    this.#unheard.delete(`${server.name} ${value}`)
  }

  cameBack(server: Server, value: string): void {
    this.#excused.add(`${server.name} ${value}`)
  }

  isExcused(server: Server, value: string): boolean {
    return this.#claims.get(value)?.givenUpAt !== undefined || this.#excused.has(`${server.name} ${value}`)
  }

  #own(value: string, until: number) {
    const claim = this.#claims.get(value)
    if (claim === undefined) return
    claim.ownedUntil = until
    claim.together = undefined
  }

  /** Looks at what is on the servers; called at every step of the history. */
  step(links: ReadonlyMap<Process, ReadonlyArray<Link>>): void {
    const { now } = this.#world
    if (now < this.#lookAt) return
    this.#lookAt = now + lookEvery
    for (const [process, own] of links) {
      if (!process.isRunning || this.#assumptions.runsOff(process.name)) continue
      for (const link of own) {
        // Where a round trip takes longer than a node timeout, the node is as good as silent.
        const isInTime = link.roundTripMillis < process.nodeTimeouts.shortest
        if (isInTime && link.isSteady && !this.#assumptions.runsOff(link.server.name)) this.#look(process, link)
      }
    }
  }

  #look(process: Process, link: Link) {
    for (const [key, value, setAt] of link.server.entries()) {
      const claim = this.#claims.get(value)
      if (claim?.process !== process) continue
      if (claim.together?.isOpen === true) {
        claim.ownedUntil = this.#world.now
        continue
      }
      const { closing, wallTouchedAt } = process
      const { givenUpAt } = claim
      const { longest } = process.nodeTimeouts
      const grace = longestPause / process.rate + 2 * longest + 50
      const unheardUntil = this.#unheard.get(`${link.server.name} ${value}`) ?? 0
      const since = Math.max(
        claim.ownedUntil,
        unheardUntil,
        setAt,
        link.steadySince,
        process.stoodStillUntil,
        wallTouchedAt
      )
      if (givenUpAt !== undefined) {
        // What was sent before may be executed late.
        if (setAt > Math.max(givenUpAt, link.steadySince + link.options.late.millis) + longest) {
          this.#found(link, "2 what is given up expires", key, value, "has extended though it was given up")
        }
        continue
      }
      const isForgotten = this.#world.now > since + grace
      // What is pending when a service closes is done before it has closed, where it can be.
      const isLeft = unheardUntil < this.#world.now && closing.endedAt + 50 < this.#world.now &&
        claim.ownedUntil < closing.endedAt &&
        setAt < closing.beganAt && link.steadySince + longest < closing.beganAt &&
        process.stoodStillUntil < closing.beganAt
      // One that has closed can do no more.
      const isClosed = closing.endedAt < since + grace
      if (!isLeft && (isClosed || !isForgotten)) continue
      this.#found(link, isLeft ? "2 nothing left by closing" : "2 no ghosts", key, value, "does not own")
    }
  }

  #found({ process, server }: Link, promise: string, key: string, value: string, what: string) {
    const id = `${server.name} ${value}`
    if (this.#excused.has(id)) return
    this.#excused.add(id)
    this.#checker.violated(
      promise,
      `${server.name} has ${key} as ${this.#checker.short(value)}, which ${process.name} ${what}`
    )
  }
}
