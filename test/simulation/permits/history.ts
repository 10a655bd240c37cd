/**
 * One history of a semaphore in the simulated world: services that want permits of it,
 * over a network and servers that fail, and whether all promises are kept.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { LockError, type LockNode, type NodeError, Redsync, retryPolicy, Semaphore } from "../../../src/index.ts"
import type { HeldPermits } from "../../../src/internal/hold/heldPermits.ts"
import { type CountTokens, PermitTable } from "../../../src/internal/memory/permitTable.ts"
import { abstentionReason } from "../../../src/internal/nodeContract.ts"
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

/** The table of a server, and the counters of its slots. */
class Slots {
  table = new PermitTable()
  counters = new Map<number, number>()

  readonly count = (proposal: number | undefined): CountTokens => (slots, isNew) => {
    if (proposal === undefined) return []
    return slots.map((slot) => {
      const before = this.counters.get(slot) ?? 0
      const token = isNew(slot) || before === 0 ? Math.max(before + 1, proposal) : before
      this.counters.set(slot, token)
      return token
    })
  }

  raise(value: string, slots: ReadonlyArray<number>, tokens: ReadonlyArray<number>, now: number) {
    const held = this.table.slotsOf(value, now)
    return slots.filter((slot, index) => {
      if (!held.includes(slot)) return false
      this.counters.set(slot, Math.max(this.counters.get(slot) ?? 0, tokens[index]!))
      return true
    })
  }

  wipe() {
    this.table = new PermitTable()
    this.counters.clear()
  }
}

class Checker {
  violation: History["violation"]
  readonly counts = new Map<string, number>()
  readonly #world: World
  readonly #holds = new Set<{ readonly process: Process; readonly permits: HeldPermits }>()
  readonly #lastTokens = new Map<number, number>()

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

  granted(process: Process, permits: HeldPermits, limit: number, weight: number): void {
    this.count("grants")
    this.#world.log(() => `${process.name} holds ${permits.slots.join(",")} with ${permits.tokens.join(",")}`)
    if (permits.slots.length !== weight || permits.slots.some((slot) => slot < 0 || slot >= limit)) {
      this.violated("as many permits as requested", `${permits.slots.join(",")} of ${limit}`)
    }
    // Where the process stood still since the grant, the lease may be over, and others have had the slots.
    const isHeld = process.observe(() => permits.remainingMillis()) > 0
    const tokens = isHeld ? permits.tokens : []
    tokens.forEach((token, index) => {
      const slot = permits.slots[index]!
      if (token <= (this.#lastTokens.get(slot) ?? 0)) this.violated("tokens grow", `${token} for slot ${slot}`)
      this.#lastTokens.set(slot, token)
    })
    this.#holds.add({ process, permits })
  }

  /** No slot is believed to be held by two at the same moment. */
  look(): void {
    const owners = new Map<number, string>()
    for (const hold of this.#holds) {
      const { permits, process } = hold
      if (process.observe(() => permits.remainingMillis()) <= 0) {
        this.#holds.delete(hold)
        continue
      }
      for (const slot of permits.slots) {
        const other = owners.get(slot)
        if (other !== undefined) this.violated("no slot twice", `slot ${slot} of ${other} and ${process.name}`)
        owners.set(slot, process.name)
      }
    }
    this.counts.set("most held", Math.max(this.counts.get("most held") ?? 0, owners.size))
  }
}

const nodeOver = (link: Link, slots: Slots, minUptimeMillis = 0): LockNode => {
  const { server } = link

  const ask = <A>(
    operation: NodeError["operation"],
    what: () => string,
    execute: (slots: Slots, now: number) => A,
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
          return { answer: execute(slots, server.clock()) }
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

  const none = () => Effect.die(new Error("no locks here"))
  return {
    id: server.name,
    resends: link.options.resends,
    acquire: none,
    extend: none,
    release: none,
    inspect: none,
    remove: none,
    mayOvertake: () => link.mayOvertake,
    ...link.options.reconnects && { reconnect: Effect.sync(() => link.break()) },
    delayedRestart: (millis) => nodeOver(link, slots, millis),
    permits: {
      acquire: (_, value, request) =>
        ask(
          "acquire",
          () => `acquire ${value.slice(-4)}`,
          ({ count, table }, now) => table.acquire(value, request, count(request.proposal), now)!,
          true
        ),
      settle: (_, value, settlement) =>
        ask(
          "acquire",
          () => `settle ${value.slice(-4)} on ${settlement.slots.join(",")} in ${settlement.round}`,
          ({ count, table }, now) => table.settle(value, settlement, count(settlement.proposal), now)!,
          true
        ),
      extend: (_, value, expiryMillis, wanted, ifPresent = false) =>
        ask(
          "extend",
          () => `extend ${value.slice(-4)} on ${wanted.join(",")}`,
          ({ table }, now) => table.extend(value, expiryMillis, wanted, ifPresent, now)
        ),
      release: (_, value) =>
        ask("release", () => `release ${value.slice(-4)}`, ({ table }, now) => table.release(value, now)),
      raise: (_, value, wanted, tokens) =>
        ask(
          "acquire",
          () => `raise ${value.slice(-4)} to ${tokens.join(",")}`,
          (slots, now) => slots.raise(value, wanted, tokens, now)
        ),
      inspect: (_, value) => ask("inspect", () => "inspect", ({ table }, now) => table.inspect(value, now)),
      remove: () => Effect.die(new Error("nobody removes"))
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
  const limit = chance.int(1, 6)
  const isFenced = chance.in(0.4)
  const healedAt = chance.between(300, 2500)
  const losesData = !isCalm && chance.in(0.5)

  const tables = new Map<Server, Slots>()
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
    tables.set(server, new Slots())
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
      limit: chance.in(0.9) ? limit : chance.int(1, limit),
      turns: Array.from({ length: chance.int(1, 4) }, () => ({
        thinkMillis: chance.skewed(0, isCalm ? 20 : healedAt / 3),
        holdMillis: chance.in(0.1) ? expiry * chance.between(1, 3) : chance.skewed(0, 60),
        weight: chance.skewedInt(1, limit),
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
            const weight = Math.min(turn.weight, worker.limit)
            const hold = (permits: Semaphore.Permits) =>
              Effect.gen(function*() {
                checker.granted(process, permits as HeldPermits, worker.limit, weight)
                yield* process.nap(turn.holdMillis / 2)
                if (turn.isExtended) yield* Effect.exit(permits.extend)
                if (turn.isKilled) return yield* permits.abandon
                yield* process.nap(turn.holdMillis / 2)
              })
            const wanted = {
              limit: worker.limit,
              permits: weight,
              retry: retryPolicy({ tries: 60, delay: 20 })
            }
            const held = Effect.provideContext(
              isFenced ? Semaphore.withFencedPermits(name, hold, wanted) : Semaphore.withPermits(name, hold, wanted),
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
      for (const [server, { table }] of tables) {
        const left = table.inspect(undefined, server.clock()).holders.length
        if (left > 0) checker.violated("nothing is left", `${left} holders on ${server.name}`)
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
