/**
 * One history of a shared lock in the simulated world: services that read and write under it,
 * over a network and servers that fail, and whether all promises are kept.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import {
  Lock,
  LockError,
  type LockNode,
  type NodeError,
  Redsync,
  retryPolicy,
  withFencedLock,
  withFencedSharedLock,
  withLock,
  withSharedLock
} from "../../../src/index.ts"
import type { HeldLock } from "../../../src/internal/hold/heldLock.ts"
import { ReaderTables } from "../../../src/internal/memory/readerTable.ts"
import { abstentionReason, sharedMarker } from "../../../src/internal/nodeContract.ts"
import { Chance } from "../world/chance.ts"
import { Link, type LinkOptions } from "../world/link.ts"
import { Process } from "../world/process.ts"
import { Server } from "../world/server.ts"
import { World } from "../world/world.ts"

export interface History {
  /** The promise that was broken first, and how. */
  readonly violation: { readonly promise: string; readonly how: string } | undefined
  readonly counts: ReadonlyMap<string, number>
  readonly timeline: ReadonlyArray<string>
}

const name = "s"

/** What a server keeps: the key of the lock, its readers and its counter. */
class Store {
  readonly #entries = new Map<string, { readonly value: string; readonly expiresAt: number }>()
  readers = this.#tables()
  counter = 0

  held(now: number): string | undefined {
    const entry = this.#entries.get(name)
    return entry === undefined || entry.expiresAt <= now ? undefined : entry.value
  }

  set(value: string, expiryMillis: number, now: number) {
    this.#entries.set(name, { value, expiresAt: now + expiryMillis })
  }

  acquire(value: string, expiryMillis: number, now: number): boolean {
    if (this.held(now) !== undefined) return false
    this.set(value, expiryMillis, now)
    return true
  }

  extend(value: string, expiryMillis: number, ifPresent: boolean, now: number): boolean {
    const held = this.held(now)
    if (held === value || (held === undefined && !ifPresent)) this.set(value, expiryMillis, now)
    return held === value
  }

  release(value: string, now: number): boolean {
    return this.held(now) === value && this.#entries.delete(name)
  }

  /** Counts up, or answers what it has. */
  count(isGranted: boolean, token: number): Option.Option<number> {
    return isGranted ? Option.some(this.counter = token) : Option.none()
  }

  raise(isHeld: boolean, token: number): boolean {
    if (isHeld) this.counter = Math.max(this.counter, token)
    return isHeld
  }

  wipe() {
    this.#entries.clear()
    this.readers = this.#tables()
    this.counter = 0
  }

  #tables() {
    return new ReaderTables({
      get: (key, now) => {
        const entry = this.#entries.get(key)
        return entry === undefined || entry.expiresAt <= now ? undefined : entry
      },
      set: (key, entry) => void this.#entries.set(key, entry),
      delete: (key) => void this.#entries.delete(key)
    })
  }
}

class Checker {
  violation: History["violation"]
  readonly counts = new Map<string, number>()
  readonly #world: World
  readonly #holds = new Set<{ readonly process: Process; readonly held: HeldLock }>()
  #lastWrite = 0
  #lastRead = 0

  constructor(world: World) {
    this.#world = world
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  violated(promise: string, how: string): void {
    this.#world.log(() => `VIOLATION of ${promise}: ${how}`)
    this.violation ??= { promise, how }
  }

  granted(process: Process, held: HeldLock): void {
    const { mode, token = 0 } = held
    this.count(mode)
    this.#world.log(() => `${process.name} holds ${held.value.slice(-4)}, ${mode}, with ${token}`)
    // Where the process stood still since the grant, the lease may be over, and others have had the lock.
    const isHeld = process.observe(() => held.remainingMillis()) > 0
    if (token > 0 && isHeld) {
      if (mode === "shared" && token < this.#lastWrite) this.violated("readers know the last writer", String(token))
      if (mode === "exclusive" && token <= Math.max(this.#lastWrite, this.#lastRead)) {
        this.violated("tokens grow", String(token))
      }
      if (mode === "exclusive") this.#lastWrite = token
      else this.#lastRead = Math.max(this.#lastRead, token)
    }
    this.#holds.add({ process, held })
  }

  /** A writer is believed to be alone, by its own lease and those of all others, at every moment. */
  look(): void {
    const inside: Array<{ readonly process: Process; readonly held: HeldLock }> = []
    for (const hold of this.#holds) {
      if (hold.process.observe(() => hold.held.remainingMillis()) > 0) inside.push(hold)
      else this.#holds.delete(hold)
    }
    const writer = inside.find(({ held }) => held.mode === "exclusive")
    const other = inside.find((hold) => hold !== writer)
    if (writer !== undefined && other !== undefined) {
      const promise = other.held.mode === "shared" ? "no reader beside a writer" : "no two writers"
      this.violated(promise, `${other.process.name} beside ${writer.process.name}`)
    }
    this.counts.set("most readers", Math.max(this.counts.get("most readers") ?? 0, inside.length))
  }
}

const nodeOver = (link: Link, store: Store, minUptimeMillis = 0): LockNode => {
  const { server } = link

  const ask = <A>(
    operation: NodeError["operation"],
    what: () => string,
    execute: (store: Store, now: number) => A,
    isNew = false
  ): Effect.Effect<A, NodeError> => {
    const fail = (reason: NodeError["reason"], cause: string) =>
      Effect.fail(new LockError.NodeError({ node: server.name, operation, reason, cause }))
    return Effect.callback((resume) => {
      const forget = link.request(
        what,
        (): { readonly answer: A } | { readonly abstains: string } => {
          const abstains = isNew ? abstentionReason(server.uptime(), minUptimeMillis) : Option.none()
          if (Option.isSome(abstains)) return { abstains: abstains.value }
          return { answer: execute(store, server.clock()) }
        },
        (reply) => {
          if ("disconnected" in reply) return resume(fail("Disconnected", reply.disconnected))
          const { answer } = reply
          resume("abstains" in answer ? fail("Abstained", answer.abstains) : Effect.succeed(answer.answer))
        }
      )
      return Effect.sync(forget)
    })
  }

  const short = (value: string) => value.slice(-4)
  return {
    id: server.name,
    resends: link.options.resends,
    acquire: (_, value, expiry) =>
      ask("acquire", () => `acquire ${short(value)}`, (store, now) => store.acquire(value, expiry, now), true),
    extend: (_, value, expiry, ifPresent = false) =>
      ask("extend", () => `extend ${short(value)}`, (store, now) => store.extend(value, expiry, ifPresent, now)),
    release: (_, value) => ask("release", () => `release ${short(value)}`, (store, now) => store.release(value, now)),
    inspect: () =>
      ask("inspect", () => "inspect", (store, now) => {
        const value = store.held(now)
        return value === undefined ? Option.none() : Option.some({ value, ttlMillis: 1 })
      }),
    remove: () => Effect.die(new Error("nobody removes")),
    mayOvertake: () => link.mayOvertake,
    ...link.options.reconnects && { reconnect: Effect.sync(() => link.break()) },
    delayedRestart: (millis) => nodeOver(link, store, millis),
    fencing: {
      acquire: (_, value, expiry, proposal) =>
        ask(
          "acquire",
          () => `acquire ${short(value)} with a token`,
          (store, now) => store.count(store.acquire(value, expiry, now), Math.max(store.counter + 1, proposal)),
          true
        ),
      raise: (_, value, token) =>
        ask("acquire", () => `raise ${short(value)}`, (store, now) => store.raise(store.held(now) === value, token))
    },
    shared: {
      acquire: (_, value, expiry, wait = 0) =>
        ask(
          "acquire",
          () => `share ${short(value)}`,
          ({ readers }, now) => readers.acquire(name, value, expiry, wait, now),
          true
        ),
      extend: (_, value, expiry, ifPresent = false) =>
        ask(
          "extend",
          () => `extend reader ${short(value)}`,
          ({ readers }, now) => readers.extend(name, value, expiry, ifPresent, now)
        ),
      release: (_, value) =>
        ask("release", () => `release reader ${short(value)}`, ({ readers }, now) => readers.release(name, value, now)),
      downgrade: (_, value, newValue, expiry) =>
        ask(
          "acquire",
          () => `downgrade ${short(value)} to ${short(newValue)}`,
          ({ readers }, now) => readers.downgrade(name, value, newValue, expiry, now)
        ),
      inspect: (_, value = "") =>
        ask("inspect", () => "inspect readers", ({ readers }, now) => readers.inspect(name, value, now)),
      yieldToReaders: (_, value, grace) =>
        ask(
          "release",
          () => `yield ${short(value)}`,
          ({ readers }, now) => readers.yieldToReaders(name, value, grace, now)
        ),
      announce: (_, wait) =>
        ask("inspect", () => `announce for ${wait}`, ({ readers }, now) => {
          readers.announce(name, wait, now)
          return true
        }),
      fencing: {
        acquire: (_, value, expiry, proposal, wait = 0) =>
          ask("acquire", () => `share ${short(value)} with a token`, (store, now) =>
            store.count(
              store.readers.acquire(name, value, expiry, wait, now),
              store.counter === 0 ? Math.max(1, proposal) : store.counter
            ), true),
        raise: (_, value, token) =>
          ask(
            "acquire",
            () => `raise reader ${short(value)}`,
            (store, now) => store.raise(store.readers.isReader(name, value, now), token)
          )
      }
    }
  }
}

export const run = (seed: number, record = false): History => {
  const chance = new Chance(seed)
  const world = new World(new Chance(seed, 1), record)
  const checker = new Checker(world)
  const isCalm = chance.in(0.25)
  const driftFactor = chance.pick([0.01, 0.05])
  const rate = () => 1 + chance.pick([-driftFactor / 2, driftFactor / 2, chance.between(-driftFactor, driftFactor) / 2])
  const expiry = chance.pick([150, 300, 800])
  const isFenced = chance.in(0.4)
  const healedAt = chance.between(300, 2500)
  const losesData = !isCalm && chance.in(0.5)

  const tables = new Map<Server, Store>()
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
        tables.get(lost)!.wipe()
      }
    })
    tables.set(server, new Store())
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
    const workers = Array.from({ length: chance.int(1, 4) }, () => ({
      turns: Array.from({ length: chance.int(1, 4) }, () => ({
        thinkMillis: chance.skewed(0, isCalm ? 20 : healedAt / 3),
        holdMillis: chance.in(0.1) ? expiry * chance.between(1, 3) : chance.skewed(0, 60),
        kind: chance.pick(["read", "read", "read", "write", "write", "downgrade"]),
        isKilled: !isCalm && chance.in(0.05),
        isExtended: chance.in(0.2),
        interruptAfter: chance.in(0.1) ? chance.skewed(0, 60) : undefined
      }))
    }))

    const live = Effect.gen(function*() {
      const scope = yield* Scope.make()
      const layer = Redsync.layer({
        nodes: own.map((link) => nodeOver(link, tables.get(link.server)!)),
        driftFactor,
        expiry,
        nodeTimeout: Math.max(30, expiry / 6),
        ...losesData && { delayedRestart: Math.ceil(expiry * 1.25) + 50 }
      })
      const context = yield* Layer.buildWithScope(layer, scope)
      const fibers = yield* Effect.forEach(workers, (worker) =>
        Effect.forkChild(Effect.gen(function*() {
          for (const turn of worker.turns) {
            yield* process.nap(turn.thinkMillis)
            const use = (held: Lock) =>
              Effect.gen(function*() {
                checker.granted(process, held as HeldLock)
                yield* process.nap(turn.holdMillis / 2)
                if (turn.isExtended) yield* Effect.exit(held.extend)
                if (turn.isKilled) return yield* held.abandon
                yield* process.nap(turn.holdMillis / 2)
              })
            const both = (writer: Lock) =>
              Effect.scoped(Effect.andThen(use(writer), Effect.flatMap(Lock.downgrade(writer), use)))
            const options = { retry: retryPolicy({ tries: 60, delay: 20 }) }
            const write = turn.kind === "downgrade" ? both : use
            const held = Effect.provideContext(
              turn.kind === "read"
                ? isFenced
                  ? withFencedSharedLock(name, (_, held) => use(held), options)
                  : withSharedLock(name, use, options)
                : isFenced
                ? withFencedLock(name, (_, held) => write(held), options)
                : withLock(name, write, options),
              context
            )
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

  world.onEvent = () => checker.look()
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
      for (const [server, store] of tables) {
        const left = store.held(server.clock())
        // A key may be kept for readers for a moment.
        const isKept = left === sharedMarker && store.readers.inspect(name, "", server.clock()).readers === 0
        if (left !== undefined && !isKept) checker.violated("nothing is left", `${left} on ${server.name}`)
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
  world.at(healedAt, () => {
    for (const link of links.flat()) link.isFaulty = false
  })
  world.runOut(10_000_000)
  if (world.stopped) checker.violated("no spinning", `there is no end after ${world.events} events`)
  for (const { isDone, process } of processes) {
    if (!isDone && !process.dead) checker.violated("liveness", `${process.name} has not come to its end`)
  }
  return { violation: checker.violation, counts: checker.counts, timeline: world.timeline ?? [] }
}
