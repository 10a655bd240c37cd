/**
 * One history of services that contend for one name in the simulated world, over a network and
 * servers that fail: what the simulators of semaphores and of shared locks have in common.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import {
  LockError,
  type LockLost,
  type LockNode,
  type LockOptions,
  type NodeError,
  Redsync,
  retryPolicy
} from "../../src/index.ts"
import type { HeldLock } from "../../src/internal/hold/heldLock.ts"
import { abstentionReason } from "../../src/internal/nodeContract.ts"
import { Chance } from "./world/chance.ts"
import { Link, type LinkOptions } from "./world/link.ts"
import { Process } from "./world/process.ts"
import { Server } from "./world/server.ts"
import { World } from "./world/world.ts"

export interface History {
  /** The promise that was broken first, and how. */
  readonly violation: { readonly promise: string; readonly how: string } | undefined
  readonly counts: ReadonlyMap<string, number>
  readonly timeline: ReadonlyArray<string>
  readonly events: number
  /** How much time went by. */
  readonly millis: number
}

/** What a server keeps of the name. */
export interface Store {
  readonly wipe: () => void
  /** Somebody deletes the key by hand. */
  readonly remove: () => void
}

export interface Hold<Held extends HeldLock = HeldLock> {
  readonly process: Process
  readonly held: Held
}

/** Verifies the promises of one kind of lock. */
export abstract class Checker<Held extends HeldLock = HeldLock> {
  violation: History["violation"]
  readonly counts = new Map<string, number>()
  readonly world: World
  readonly #holds = new Set<Hold<Held>>()
  /** What was removed by hand, with the monotonic time of the latest end that its lease may have. */
  readonly #removed = new Map<Hold<Held>, number>()
  /** How many extensions were not answered. */
  readonly #unanswered = new Map<Process, number>()
  /** When something was last removed by hand, on the monotonic clock of each process: claims made before may have been granted before. */
  readonly #removedAt = new Map<Process, number>()

  constructor(world: World) {
    this.world = world
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  countMost(what: string, count: number): void {
    this.counts.set(what, Math.max(this.counts.get(what) ?? 0, count))
  }

  violated(promise: string, how: string): void {
    this.world.log(() => `VIOLATION of ${promise}: ${how}`)
    this.violation ??= { promise, how }
  }

  /** Is called at every step of the history. */
  abstract look(): void

  /**
   * Whether it is still held: where the process stood still since the grant, the lease may
   * have ended, and others have had it since.
   */
  protected add(process: Process, held: Held): boolean {
    // Some nodes may have granted it before, and others after.
    if (held.claim.madeAt <= (this.#removedAt.get(process) ?? Number.NEGATIVE_INFINITY)) return false
    this.#holds.add({ process, held })
    return process.observe(() => held.remainingMillis()) > 0
  }

  /** What is held has been removed by hand on all servers: others may have it, and nobody may extend it. */
  removed(processes: ReadonlyArray<Process>): void {
    this.count("removed by hand")
    for (const process of processes) this.#removedAt.set(process, process.monotonic())
    for (const hold of this.held()) {
      this.#holds.delete(hold)
      this.#removed.set(hold, hold.process.monotonic() + hold.held.settings.validityMillis)
    }
  }

  /** An extension is sent to a server, or its answer has arrived. */
  extensions(process: Process, change: 1 | -1): void {
    this.#unanswered.set(process, (this.#unanswered.get(process) ?? 0) + change)
  }

  lookAtRemoved(): void {
    for (const [hold, latestEnd] of this.#removed) {
      const { held, process } = hold
      const remaining = process.observe(() => held.remainingMillis())
      const isExtended = remaining > 0 && process.monotonic() + remaining > latestEnd + 0.001
      // What an extension plants that too few have answered, the next one finds.
      const isUnsure = (this.#unanswered.get(process) ?? 0) > 0
      if (isExtended && !isUnsure) {
        this.violated("what was removed is not extended", `${process.name} has ${remaining.toFixed(3)} ms left`)
      }
      if (remaining === 0 || (isExtended && !isUnsure)) this.#removed.delete(hold)
    }
  }

  /** All that is held by its own lease. */
  protected held(): Array<Hold<Held>> {
    const held: Array<Hold<Held>> = []
    for (const hold of this.#holds) {
      if (hold.process.observe(() => hold.held.remainingMillis()) > 0) held.push(hold)
      else this.#holds.delete(hold)
    }
    return held
  }
}

/** Sends an operation of a node over its link. */
export type Ask<S extends Store> = <A>(
  operation: NodeError["operation"],
  what: () => string,
  execute: (store: S, now: number) => A,
  /** Whether it plants a key that was not there, which a server that is too young refuses. */
  isNew?: boolean
) => Effect.Effect<A, NodeError>

const asking = <S extends Store>({ checker, link, minUptimeMillis, store }: {
  readonly checker: Checker
  readonly link: Link
  readonly store: S
  readonly minUptimeMillis: number
}): Ask<S> =>
(operation, what, execute, isNew = false) => {
  const { server } = link
  const fail = (reason: NodeError["reason"], cause: string) =>
    Effect.fail(new LockError.NodeError({ node: server.name, operation, reason, cause }))
  type Reply = { readonly answer: ReturnType<typeof execute> } | { readonly abstains: string }
  return Effect.callback((resume) => {
    if (operation === "extend") checker.extensions(link.process, 1)
    const forget = link.request(
      what,
      (): Reply => {
        const abstains = isNew ? abstentionReason(server.uptime(), minUptimeMillis) : Option.none()
        if (Option.isSome(abstains)) return { abstains: abstains.value }
        return { answer: execute(store, server.clock()) }
      },
      (reply) => {
        if ("disconnected" in reply) return resume(fail("Disconnected", reply.disconnected))
        const { answer } = reply
        if (operation === "extend") checker.extensions(link.process, -1)
        resume("abstains" in answer ? fail("Abstained", answer.abstains) : Effect.succeed(answer.answer))
      }
    )
    return Effect.sync(forget)
  })
}

/** What is done with what is held, from the grant on. */
type During = (held: Pick<HeldLock, "extend" | "abandon">, granted: () => void) => Effect.Effect<void>

/** What one turn of a worker does once it has thought. */
export type Use<C> = (context: {
  readonly checker: C
  readonly process: Process
  readonly isFenced: boolean
  readonly options: LockOptions
  readonly during: During
}) => Effect.Effect<unknown, LockError | LockLost, Redsync>

/** What one simulator has for itself. */
export interface Contest<S extends Store, C extends Checker> {
  readonly checker: (world: World) => C
  readonly store: () => S
  /** The operations of a node, beside those that all have. */
  readonly operations: (ask: Ask<S>) => Omit<LockNode, "id">
  /** Draws what it needs for the history, then for each worker, then for each turn of it. */
  readonly draw: (chance: Chance) => () => () => Use<C>
  /** What is left at the end although nothing was lost. */
  readonly left: (store: S, now: number) => string | undefined
}

export const simulate = <S extends Store, C extends Checker>(
  contest: Contest<S, C>,
  seed: number,
  record: boolean
): History => {
  const chance = new Chance(seed)
  const world = new World(new Chance(seed, 1), record)
  const checker = contest.checker(world)
  const isCalm = chance.in(0.25)
  const driftFactor = chance.pick([0.01, 0.05])
  const rate = () => 1 + chance.pick([-driftFactor / 2, driftFactor / 2, chance.between(-driftFactor, driftFactor) / 2])
  const expiry = chance.pick([150, 300, 800])
  const drawWorker = contest.draw(chance)
  const isFenced = chance.in(0.4)
  const healedAt = chance.between(300, 2500)
  const losesData = !isCalm && chance.in(0.5)

  const stores = new Map<Server, S>()
  const servers = Array.from({ length: chance.pick([3, 3, 5]) }, (_, index) => {
    const server: Server = new Server(world, { name: `n${index + 1}`, rate: rate(), replicaLag: 0 }, {
      onGone: () => {},
      onVote: () => {},
      onHandedOver: () => {},
      onExtended: () => {},
      onPlanted: () => {},
      onBackAgain: () => {},
      onClockSet: () => {},
      onDataLost: (lost) => {
        checker.count("servers that lost data")
        stores.get(lost)!.wipe()
      }
    })
    stores.set(server, contest.store())
    return server
  })

  const share = () => isCalm || chance.in(0.5) ? 0 : chance.skewed(0, 0.2)
  const maxDelay = chance.pick([0.5, 3, 12])
  const options: LinkOptions = {
    delay: [0.1, maxDelay],
    slow: { share: share(), millis: chance.between(maxDelay, 200) },
    loss: { request: share(), reply: share(), notice: 0 },
    resends: chance.in(0.25),
    late: { share: isCalm ? 0 : chance.pick([0, 0.5, 1]), millis: chance.pick([20, expiry * 0.9]) },
    kills: chance.in(0.3),
    fails: false,
    reconnects: chance.in(0.7)
  }

  const nodeOver = (link: Link, minUptimeMillis = 0): LockNode => ({
    id: link.server.name,
    resends: link.options.resends,
    mayOvertake: () => link.mayOvertake,
    ...link.options.reconnects && { reconnect: Effect.sync(() => link.break()) },
    delayedRestart: (millis) => nodeOver(link, millis),
    ...contest.operations(asking({ checker, link, store: stores.get(link.server)!, minUptimeMillis }))
  })

  const links: Array<Array<Link>> = []
  const processes = Array.from({ length: chance.int(2, 5) }, (_, index) => {
    const process = new Process(world, {
      name: `p${index + 1}`,
      rate: rate(),
      wallAhead: chance.between(-100, 100),
      yields: chance.in(0.15) ? 0.1 : 0
    })
    process.onUncaught = (error) => checker.violated("nothing is thrown", `${process.name}: ${String(error)}`)
    const own = servers.map((server) => new Link(process, server, options))
    links.push(own)
    const workers = Array.from({ length: chance.int(1, 4) }, () => {
      const drawTurn = drawWorker()
      return Array.from({ length: chance.int(1, 4) }, () => ({
        thinkMillis: chance.skewed(0, isCalm ? 20 : healedAt / 3),
        holdMillis: chance.in(0.1) ? expiry * chance.between(1, 3) : chance.skewed(0, 60),
        use: drawTurn(),
        isKilled: !isCalm && chance.in(0.05),
        isExtended: chance.in(0.2),
        interruptAfter: chance.in(0.1) ? chance.skewed(0, 60) : undefined
      }))
    })

    const live = Effect.gen(function*() {
      const scope = yield* Scope.make()
      const layer = Redsync.layer({
        nodes: own.map((link) => nodeOver(link)),
        driftFactor,
        expiry,
        nodeTimeout: Math.max(30, expiry / 6),
        ...losesData && { delayedRestart: Math.ceil(expiry * 1.25) + 50 }
      })
      const context = yield* Layer.buildWithScope(layer, scope)
      const fibers = yield* Effect.forEach(workers, (turns) =>
        Effect.forkChild(Effect.gen(function*() {
          for (const turn of turns) {
            yield* process.nap(turn.thinkMillis)
            const during: During = (held, granted) =>
              Effect.gen(function*() {
                granted()
                yield* process.nap(turn.holdMillis / 2)
                if (turn.isExtended) yield* Effect.exit(held.extend)
                if (turn.isKilled) return yield* held.abandon
                yield* process.nap(turn.holdMillis / 2)
              })
            const options = { retry: retryPolicy({ tries: 60, delay: 20 }) }
            const held = Effect.provideContext(turn.use({ checker, process, isFenced, options, during }), context)
            const exit = yield* Effect.exit(
              turn.interruptAfter === undefined
                ? held
                : Effect.raceFirst(held, process.nap(turn.interruptAfter))
            )
            const failure = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : Option.none()
            checker.count(`outcome: ${Option.isSome(failure) ? failure.value._tag : exit._tag}`)
          }
        })))
      yield* Fiber.awaitAll(fibers)
      yield* Scope.close(scope, Exit.void)
    })
    return { process, live, isDone: false }
  })

  world.onEvent = () => {
    checker.look()
    checker.lookAtRemoved()
  }
  for (const client of processes) {
    world.at(chance.skewed(0, isCalm ? 5 : healedAt), () =>
      client.process.deliver(() => {
        client.process.fork(client.live).addObserver((exit) => {
          if (Exit.isFailure(exit) && !client.process.dead) checker.violated("no defects", String(exit.cause))
          client.isDone = true
          if (processes.every(({ isDone, process }) => isDone || process.dead)) end()
        })
      }))
  }

  /** Where nothing was lost, everything has been given up once all are done. */
  const end = () =>
    world.after(2 * maxDelay + 2, () => {
      if (!isCalm) return
      for (const [server, store] of stores) {
        const left = contest.left(store, server.clock())
        if (left !== undefined) checker.violated("nothing is left", `${left} on ${server.name}`)
      }
    })

  for (let fault = isCalm ? 0 : chance.int(0, 6); fault > 0; fault--) {
    const at = chance.between(0, healedAt)
    const millis = chance.skewed(1, expiry * 1.5)
    const own = chance.pick(links)
    const link = chance.pick(own)
    const process = chance.pick(processes).process
    const kind = chance.int(0, 8)
    world.at(at, () => {
      checker.count("faults")
      if (kind === 0) return link.holdUp(millis)
      if (kind === 1) return link.break()
      if (kind === 2) return link.server.pause(millis)
      if (kind === 3) return link.server.crash(millis, losesData ? "everything" : "nothing")
      if (kind === 4) return process.stop(millis)
      if (kind === 5) return process.blockAtRead(50, millis)
      if (kind === 6) return process.suspend(millis)
      if (kind === 7) {
        process.crash()
        return links[processes.findIndex((client) => client.process === process)]!.forEach((link) => link.abandon())
      }
      link.cut.requests++
      world.after(millis, () => link.cut.requests--)
    })
  }
  // Drawn from a source of its own, so that it leaves all other histories as they are.
  const byHand = new Chance(seed, 3)
  if (!isCalm && byHand.in(0.1)) {
    world.at(byHand.between(0, healedAt), () => {
      world.log(() => "somebody removes the key by hand")
      for (const store of stores.values()) store.remove()
      checker.removed(processes.map(({ process }) => process))
    })
  }
  world.at(healedAt, () => {
    for (const link of links.flat()) link.isFaulty = false
  })
  world.runOut(10_000_000)
  if (world.stopped) checker.violated("no spinning", `there is no end after ${world.events} events`)
  for (const { isDone, process } of processes) {
    if (!isDone && !process.dead) checker.violated("liveness", `${process.name} has not come to its end`)
  }
  const { counts, violation } = checker
  return { violation, counts, timeline: world.timeline ?? [], events: world.events, millis: world.now }
}
