/**
 * What the services do, and what must not happen: two holders at once, a service
 * that waits for ever, something left that nobody owns.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { type Lock, LockError, Redsync } from "../../../src/index.ts"
import type { HeldLock } from "../../../src/internal/hold/heldLock.ts"
import { Link, Server } from "./node.ts"
import { Process } from "./process.ts"
import { type Choice, World } from "./world.ts"

export interface Scenario {
  readonly services: number
  /** How often each takes the lock. */
  readonly turns: number
  /** How many fibers of the first service do: one by default. */
  readonly fibers?: number
  /** How long it holds it: 10 ms by default. */
  readonly holdMillis?: number
  /** The services, by number, for which the nodes hand no locks over, as for those with an older client. */
  readonly unable?: ReadonlyArray<number>
  /** Whether each is given a fencing token. */
  readonly isFenced?: boolean
}

/** Three nodes each. */
export const scenarios = {
  "one turn each": { services: 2, turns: 1 },
  "two turns each": { services: 2, turns: 2 },
  "two fenced turns each": { services: 2, turns: 2, isFenced: true },
  "two turns each, one of them woken": { services: 2, turns: 2, unable: [1] },
  "three services, one turn each": { services: 3, turns: 1 },
  "one turn each, with extensions": { services: 2, turns: 1, holdMillis: 2000 },
  "two fibers of one service, and another service": { services: 2, turns: 1, fibers: 2 },
  "three fenced fibers of one service": { services: 1, turns: 1, fibers: 3, isFenced: true }
} as const satisfies Record<string, Scenario>

export const nodeTimeoutMillis = 60
export const expiryMillis = 4000

const servers = 3
/** By then everything is over, whatever was lost. */
const horizonMillis = 60_000
/** More steps than this in one history are taken for services that keep each other busy for ever. */
const mostSteps = 5000
/** So long after its last turn, and after the last fault, a service has cleaned up: sooner than keys expire. */
const graceMillis = 500

/** How much time may go by beside that for which the lock is held: less than the schedule's pauses. */
const promptMillis = 200

const name = "name"

const options = {
  expiry: expiryMillis,
  nodeTimeout: nodeTimeoutMillis,
  retry: Redsync.retryPolicy({ tries: 40, delay: 1000 })
}

interface Client {
  readonly process: Process
  readonly links: ReadonlyArray<Link>
  isDone: boolean
}

/** What is noted of one turn. */
interface Turn {
  wasInterrupted: boolean
  /** Its program has gone on for longer than its lease. */
  hasOutlived: boolean
}

/** One history. */
export class History {
  readonly world: World
  readonly violations: Array<string> = []
  readonly #servers: ReadonlyArray<Server>
  readonly #clients: ReadonlyArray<Client>
  readonly #holders = new Map<Lock, Process>()
  readonly #scenario: Scenario
  #latestToken = 0
  #steps = 0

  constructor(scenario: Scenario, isRecorded = false) {
    const { services, unable = [] } = this.#scenario = scenario
    const world = this.world = new World(isRecorded)
    this.#servers = Array.from({ length: servers }, (_, index) => {
      const server = new Server(world, `n${index + 1}`, services + index)
      world.servers.push(server.process)
      return server
    })
    this.#clients = Array.from({ length: services }, (_, index) => {
      const process = new Process(world, `p${index + 1}`, index)
      world.processes.push(process)
      const links = this.#servers.map((server) => new Link(world, process, server, !unable.includes(index)))
      process.onCrash = () => links.forEach((link) => link.abandon())
      return { process, links, isDone: false }
    })
    for (const client of this.#clients) client.process.turn(() => this.#start(client))
  }

  get #holdMillis(): number {
    return this.#scenario.holdMillis ?? 10
  }

  /** One step; whether there is another. */
  step(choice?: Choice): boolean {
    const goesOn = this.world.step(choice) && this.world.now <= horizonMillis
    if (this.#holding > 1) this.#violated("two hold the lock")
    if (!goesOn) this.#checkEnd()
    else if (++this.#steps > mostSteps) this.#violated("there is no end")
    return goesOn && this.violations.length === 0
  }

  /** How many believe that they hold the lock. */
  get #holding(): number {
    let holding = 0
    for (const [lock, process] of this.#holders) {
      if (!process.isDead && (lock as HeldLock).remainingMillis() > 0) holding++
    }
    return holding
  }

  #checkEnd(): void {
    for (const { isDone, process } of this.#clients) {
      if (!isDone && !process.isDead) this.#violated(`${process.name} has not come to its end`)
    }
  }

  #violated(what: string): void {
    this.world.log(`!!! ${what}`)
    this.violations.push(what)
  }

  #start(client: Client): void {
    const { process } = client
    process.fork(this.#live(client)).addObserver((exit) => {
      if (Exit.isFailure(exit)) this.#violated(`${process.name} fails: ${String(Cause.squash(exit.cause))}`)
      else client.isDone = true
      if (this.world.hasTimers(process)) this.#violated(`${process.name} has closed its service, and left a timer`)
    })
  }

  #live(client: Client): Effect.Effect<void> {
    const { links, process } = client
    const { fibers = 1, isFenced = false, turns } = this.#scenario
    const turn = Effect.suspend(() => {
      const state: Turn = { wasInterrupted: false, hasOutlived: false }
      const withLock = isFenced
        ? Redsync.withFencedLock(name, (token, lock) => this.#hold(process, state, lock, token))
        : Redsync.withLock(name, (lock) => this.#hold(process, state, lock))
      return Effect.flatMap(Effect.forkChild(withLock), (fiber) => {
        const interrupt = process.interrupt = () => {
          process.interrupt = undefined
          state.wasInterrupted = true
          fiber.interruptUnsafe()
        }
        return Effect.map(Fiber.await(fiber), (exit) => {
          if (process.interrupt === interrupt) process.interrupt = undefined
          if (Exit.isSuccess(exit)) {
            if (state.hasOutlived) this.#violated(`${process.name} has outlived its lock, and is told of no loss`)
            return
          }
          if (state.wasInterrupted && Cause.hasInterruptsOnly(exit.cause)) return
          const error: unknown = Cause.squash(exit.cause)
          // A lease may end while the process stands still, or while too few nodes answer.
          if (!(error instanceof LockError.LockLost)) this.#violated(`${process.name} fails: ${String(error)}`)
        })
      })
    })
    const nodes = links.map(({ node }) => node)
    const quiet = Effect.repeat(Effect.sleep(graceMillis), {
      while: () => this.world.now < this.world.quietFrom + graceMillis
    })
    const left = Effect.sync(() => this.#checkLeft(client))
    const done = Effect.sync(() => {
      this.world.log(`${process.name} is done`)
      this.#checkPrompt(process)
    })
    return Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Redsync.layer({ nodes, ...options }), scope)
      const all = Effect.repeat(Effect.provide(turn, context), { times: turns - 1 })
      const many = Array.from({ length: process.index === 0 ? fibers : 1 }, () => all)
      yield* Effect.all(many, { concurrency: "unbounded", discard: true })
      yield* done
      yield* quiet
      yield* left
      yield* Scope.close(scope, Exit.void)
    })
  }

  #hold(process: Process, turn: Turn, lock: Lock, token?: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (token !== undefined) {
        if (token <= this.#latestToken) this.#violated(`${process.name} has token ${token} after ${this.#latestToken}`)
        this.#latestToken = Math.max(this.#latestToken, token)
      }
      this.#holders.set(lock, process)
      this.world.log(`${process.name} holds`)
      return Effect.ensuring(
        Effect.sleep(this.#holdMillis),
        Effect.sync(() => {
          this.world.log(`${process.name} leaves`)
          if ((lock as HeldLock).remainingMillis() === 0) turn.hasOutlived = true
          this.#holders.delete(lock)
        })
      )
    })
  }

  /** Where messages only arrive in another order, nobody has to wait for the retry schedule. */
  #checkPrompt(process: Process): void {
    const { now, faults } = this.world
    const { fibers = 1, services, turns } = this.#scenario
    if (faults === 0 && now > (services - 1 + fibers) * turns * this.#holdMillis + promptMillis) {
      this.#violated(`${process.name} is done after ${now} ms only`)
    }
  }

  /** A service that has nothing more to do has left nothing. */
  #checkLeft({ links, process }: Client): void {
    for (const server of this.#servers) {
      const state = server.peek(name)
      if (state !== undefined && links.some(({ values }) => values.has(state))) {
        this.#violated(`${process.name} has left its value on ${server.name}`)
      }
    }
  }
}
