/**
 * One seed: two services over three servers, of which some are broken, and what
 * must hold whatever those say.
 */
import { type Context, Duration, Effect, Exit, Layer, Logger, Option, Predicate, Schema, Scope } from "effect"
import { Redis } from "ioredis"
import { setTimeout as sleep } from "node:timers/promises"
import {
  type Inspection,
  type Lock,
  LockError,
  type LockLost,
  type LockOptions,
  Redsync,
  type ServiceOptions,
  withFencedLock,
  withLock,
  withLocks
} from "../../src/index.ts"
import * as IoredisNode from "../../src/IoredisNode.ts"
import { Chance } from "../simulation/world/chance.ts"
import { Hostile, type Upstream } from "./hostile.ts"
import { makePlan, type Plan, type Step } from "./plan.ts"

/** A promise that was broken: which, and how that was seen. */
export interface Violation {
  readonly promise: string
  readonly what: string
}

export interface Outcome {
  readonly seed: number
  readonly violations: ReadonlyArray<Violation>
  readonly counts: Readonly<Record<string, number>>
  /** The most that there was of something at any time. */
  readonly peaks: Readonly<Record<string, number>>
  readonly exchange: ReadonlyArray<string>
}

/** Far beyond what the busiest of machines needs: all that is waited for here ends in less than a second. */
const patienceMillis = 30_000

/** What is said to people is no longer than this, whatever a server sent. */
const mostWords = 5000

type Service = Context.Context<Redsync>

const nodeTimeout = 60
const expiry = 400

const short = { retry: Redsync.retryPolicy({ delay: 30, within: 300 }) }

/** `say` hears of each command as it is answered. */
export const run = async (
  seed: number,
  servers: ReadonlyArray<Upstream>,
  say: (line: string) => void = () => {}
): Promise<Outcome> => {
  const world = new World(makePlan(seed), servers, say)
  const timers = countTimers()
  await world.open()
  await world.steps()
  await world.close()
  await world.settle("no timer is left", () => countTimers() <= timers, () => `${countTimers()} instead of ${timers}`)
  return world.outcome()
}

const countTimers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length

class World {
  readonly plan: Plan
  readonly #chance: Chance
  readonly #servers: ReadonlyArray<Upstream>
  readonly #say: (line: string) => void
  readonly #hostile: Array<Hostile> = []
  readonly #clients: Array<Redis> = []
  readonly #violations: Array<Violation> = []
  readonly #counts: Record<string, number> = {}
  readonly #peaks: Record<string, number> = {}
  readonly #scope = Scope.makeUnsafe()
  readonly #startedAt = performance.now()
  /** Makes names of one run differ from those of another on the same servers. */
  readonly #run = Math.random().toString(36).slice(2, 8)
  /** Who believes to hold what. */
  readonly #holders = new Map<string, Set<Lock>>()
  #services: ReadonlyArray<Service> = []
  #names = 0

  constructor(plan: Plan, servers: ReadonlyArray<Upstream>, say: (line: string) => void) {
    this.plan = plan
    this.#say = say
    this.#chance = new Chance(plan.seed, 1)
    this.#servers = servers.slice(0, plan.broken.length)
  }

  outcome(): Outcome {
    for (const { counts } of this.#hostile) {
      this.#count("connections", counts.connections)
      this.#count("commands", counts.commands)
      this.#count("commands tampered with", counts.deeds)
    }
    return {
      seed: this.plan.seed,
      violations: this.#violations,
      counts: this.#counts,
      peaks: this.#peaks,
      exchange: this.#hostile.flatMap(({ exchange }) => exchange)
    }
  }

  get #quorum(): number {
    return Math.floor(this.plan.broken.length / 2) + 1
  }

  /** Whether those that are not broken are a quorum. */
  get #isMinority(): boolean {
    return this.plan.broken.filter((isBroken) => !isBroken).length >= this.#quorum
  }

  #violated(promise: string, what: string) {
    this.#violations.push({ promise, what })
  }

  #count(what: string, by = 1) {
    this.#counts[what] = (this.#counts[what] ?? 0) + by
  }

  // ---------------------------------------------------------------------------
  // opening and closing
  // ---------------------------------------------------------------------------

  async open(): Promise<void> {
    const inputs: Array<() => ServiceOptions["nodes"][number]> = []
    for (const [index, isBroken] of this.plan.broken.entries()) {
      const server = this.#servers[index]!
      if (!isBroken) {
        inputs.push(() => `redis://${server.host}:${server.port}`)
        continue
      }
      const hostile = new Hostile(this.plan.seed, index, this.plan.style, server, this.#say)
      this.#hostile.push(hostile)
      const port = await hostile.listen()
      inputs.push(() => this.#input(port))
    }
    const layer = () =>
      Redsync.layer({
        nodes: inputs.map((input) => input()),
        expiry,
        nodeTimeout,
        ...this.plan.delayedRestart && { delayedRestart: "1 second" },
        ...this.plan.replicas && { replicas: 1 }
      }).pipe(Layer.provide(Logger.layer([Logger.make(({ message }) => this.#said([message].flat().join(" ")))])))
    const opened = await this.#within(
      "a layer is built",
      Effect.runPromiseExit(
        Effect.all([layer(), layer()].map((each) => Layer.buildWithScope(each, this.#scope)), {
          concurrency: "unbounded"
        })
      )
    )
    if (opened === undefined) return
    if (Exit.isSuccess(opened)) this.#services = opened.value
    else this.#violated("opening never fails", String(opened.cause))
  }

  #input(port: number): ServiceOptions["nodes"][number] {
    const address = { host: "127.0.0.1", port }
    if (this.plan.input === "url") return `redis://127.0.0.1:${port}`
    if (this.plan.input === "options") return IoredisNode.make({ ...address, protocol: 2 })
    const client = new Redis({ ...address, enableOfflineQueue: false, maxRetriesPerRequest: 0 })
    client.on("error", () => {})
    this.#clients.push(client)
    return IoredisNode.fromClient(client)
  }

  async close(): Promise<void> {
    await this.#within("closing ends", Effect.runPromiseExit(Scope.close(this.#scope, Exit.void)))
    for (const client of this.#clients) client.disconnect()
    for (const hostile of this.#hostile) hostile.listenAgain()
    await this.settle(
      "no connection is left",
      () => this.#hostile.every(({ open }) => open.length === 0),
      () =>
        this.#hostile.flatMap(({ node, open }) => open.map(({ number }) => `${node}.${number}`))
          .join(", ")
    )
    await Promise.all(this.#hostile.map((hostile) => hostile.close()))
    const seconds = (performance.now() - this.#startedAt) / 1000
    for (const { counts } of this.#hostile) {
      // Two services with three connections each, every one of which may be about to be replaced.
      this.#atMost("connections at once", counts.mostOpen, 12 + this.#clients.length)
      // Each begins anew every 50 ms at the most.
      this.#atMost("connections in all", counts.connections, 20 + seconds * 6 * 25)
      this.#atMost("commands in flight", counts.mostInFlight, 150)
      this.#atMost("commands in all", counts.commands, 5000 + seconds * 5000)
    }
  }

  #atMost(what: string, count: number, most: number) {
    this.#peaks[what] = Math.max(this.#peaks[what] ?? 0, count)
    if (count > most) this.#violated(`${what} are bounded`, `${count} ${what}, at most ${most.toFixed(0)} expected`)
  }

  // ---------------------------------------------------------------------------
  // watching
  // ---------------------------------------------------------------------------

  async #within<A>(promise: string, ends: Promise<A>): Promise<A | undefined> {
    const stop = new AbortController()
    const late = sleep(patienceMillis, "late" as const, { signal: stop.signal }).catch(() => "late" as const)
    const first = await Promise.race([ends, late])
    if (first === "late") {
      this.#violated(promise, `not within ${patienceMillis} ms`)
      return undefined
    }
    stop.abort()
    return first
  }

  async settle(promise: string, isSo: () => boolean, what: () => string): Promise<void> {
    for (const end = performance.now() + patienceMillis; !isSo(); await sleep(5)) {
      if (performance.now() > end) return this.#violated(promise, `not within ${patienceMillis} ms: ${what()}`)
    }
  }

  /** What is said to people can be printed, and is no longer than they can read. */
  #said(text: string) {
    if (text.length > mostWords) {
      this.#violated("what is said is short", `${text.length} characters: ${text.slice(0, 200)}`)
    }
    // oxlint-disable-next-line no-control-regex -- is what is looked for
    if (/[\u0000-\u001f\u007f-\u009f]/.test(text)) {
      this.#violated("what is said can be printed", JSON.stringify(text.slice(0, 500)))
    }
  }

  /** Runs to its end, which has to be a success or an error that is documented. */
  async #end<A>(
    label: string,
    effect: Effect.Effect<A, unknown, Redsync>,
    of: Service
  ): Promise<A | undefined> {
    const exit = await this.#within(`${label} ends`, Effect.runPromiseExit(Effect.provide(effect, of)))
    if (exit === undefined) return undefined
    if (Exit.isSuccess(exit)) {
      this.#count(`${label}: success`)
      return exit.value
    }
    for (const reason of exit.cause.reasons) {
      if (reason._tag === "Interrupt") this.#count(`${label}: interrupted`)
      else if (reason._tag === "Die") {
        const { defect } = reason
        this.#violated("no defects", `${label}: ${defect instanceof Error ? defect.stack : String(defect)}`)
      } else this.#failed(label, reason.error)
    }
    return undefined
  }

  #failed(label: string, error: unknown) {
    const known = [LockError.ErrFailed, LockError.NodesUnavailable, LockError.LockLost]
    const type = known.find((type) => error instanceof type)
    if (type === undefined) return this.#violated("errors are documented", `${label}: ${String(error)}`)
    this.#count(`${label}: ${(error as LockError)._tag}`)
    this.#said((error as LockError).message)
    try {
      Schema.encodeUnknownSync(Schema.toCodecJson(type))(error)
    } catch (cause) {
      this.#violated("errors can be encoded", `${label}: ${String(cause)}`)
    }
  }

  /** Runs as long as a lock is held, and sees whether another holds it too. */
  #hold(lock: Lock, program: Effect.Effect<unknown, unknown, Redsync>) {
    const holders = this.#holders.get(lock.name) ?? new Set()
    this.#holders.set(lock.name, holders)
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        const other = [...holders].find(({ remaining }) => Duration.toMillis(Effect.runSync(remaining)) > 0)
        const isHeld = Duration.toMillis(Effect.runSync(lock.remaining)) > 0
        if (other !== undefined && isHeld && !this.plan.style.lies) {
          this.#violated("never two holders", `${lock.name} is held as ${other.value} and as ${lock.value}`)
        }
        holders.add(lock)
      }),
      () => program,
      () => Effect.sync(() => holders.delete(lock))
    )
  }

  // ---------------------------------------------------------------------------
  // what is done
  // ---------------------------------------------------------------------------

  async steps(): Promise<void> {
    const [first, second] = this.#services
    if (first === undefined || second === undefined) return
    for (const [index, step] of this.plan.steps.entries()) {
      const isLast = index === this.plan.steps.length - 1
      const done = this.#step(step, first, second)
      if (isLast && this.plan.closesEarly) {
        await sleep(this.#chance.int(0, 40))
        await this.#within("closing early ends", Effect.runPromiseExit(Scope.close(this.#scope, Exit.void)))
      }
      await done
    }
  }

  #name(): string {
    return `fuzz:${this.#run}:${this.plan.seed}:${this.#names++}`
  }

  #step(step: Step, first: Service, second: Service): Promise<unknown> {
    switch (step) {
      case "free":
        return this.#end("free", this.#anyVerb(this.#name(), short), first)
      case "taken":
        return this.#taken(first)
      case "deleted":
        return this.#deleted(first)
      case "contended":
        return this.#contended([first, second])
      case "alive":
        return this.#alive(first)
      case "adopted":
        return this.#adopted(first, second)
      case "looked at":
        return this.#lookedAt(first)
      case "removed":
        return this.#removed(first)
      case "interrupted":
        return this.#interrupted(first)
      case "held long":
        return this.#heldLong(first)
    }
  }

  /** Locks by one verb or another; what is run meanwhile extends and looks. */
  #anyVerb(
    name: string,
    options: LockOptions
  ): Effect.Effect<unknown, LockError | LockLost, Redsync> {
    const used = (lock: Lock) =>
      this.#hold(
        lock,
        Effect.all([Effect.ignore(lock.extend), Effect.ignore(lock.isHeld), Effect.sleep(this.#chance.int(0, 20))], {
          concurrency: "unbounded"
        })
      ).pipe(Effect.ignore)
    switch (this.#chance.int(0, 4)) {
      case 0:
        return withLock(name, used, options)
      case 1:
        return withFencedLock(name, (token, lock) => {
          if (!Number.isSafeInteger(token) || token <= 0) this.#violated("tokens are whole numbers", String(token))
          return used(lock)
        }, options)
      case 2:
        return withLocks([name, `${name}:2`], (locks) => Effect.forEach(locks, used, { concurrency: 2 }), options)
      case 3:
        return Effect.scoped(Effect.flatMap(Redsync.lock(name, options), used))
      default:
        return Effect.scoped(Effect.flatMap(
          Redsync.tryLock(name, options),
          Option.match({ onNone: () => Effect.void, onSome: used })
        ))
    }
  }

  /**
   * So many nodes that no quorum is left without them: of those that tell the truth, where the others do not, and else
   * the broken ones first, whose word is not to be taken for a yes. None if there are too few.
   */
  #preventing(): ReadonlyArray<number> | undefined {
    const { broken, style } = this.plan
    const least = broken.length - this.#quorum + 1
    const nodes = broken.map((_, index) => index)
    const able = style.lies
      ? nodes.filter((index) => !broken[index])
      : nodes.sort((a, b) => Number(broken[b]) - Number(broken[a]))
    if (able.length < least) return undefined
    return able.slice(0, this.#chance.in(0.6) ? least : able.length)
  }

  async #deleted(service: Service): Promise<void> {
    const name = this.#name()
    const where = this.#preventing()
    // Closing releases the lock, before it is deleted perhaps.
    if (where === undefined || this.plan.closesEarly) {
      return void await this.#end("free", this.#anyVerb(name, short), service)
    }
    let confirmed: string | undefined
    const program = Redsync.lock(name, { ...short, autoExtend: false, expiry: "5 seconds" }).pipe(
      Effect.tap(() => Effect.promise(() => this.#on(where, "SET", name, "another's value", "PX", "60000"))),
      Effect.flatMap((lock) =>
        Effect.gen(function*() {
          if (yield* Effect.orElseSucceed(lock.isHeld, () => false)) confirmed = "isHeld"
          if (yield* Effect.isSuccess(lock.extend)) confirmed = "extend"
          if (yield* lock.release) confirmed = "release"
        })
      ),
      Effect.scoped
    )
    await this.#end("deleted", program, service)
    if (confirmed !== undefined) {
      this.#violated(
        "nonsense confirms nothing",
        `${confirmed} of ${name}, which others had on the nodes ${where.join(", ")}`
      )
    }
    await this.#on(where, "DEL", name)
  }

  async #taken(service: Service): Promise<void> {
    const name = this.#name()
    const where = this.#preventing()
    if (where === undefined) return void await this.#end("free", this.#anyVerb(name, short), service)
    await this.#on(where, "SET", name, "another's value", "PX", "60000")
    let entered = false
    const enter = Effect.sync(() => {
      entered = true
    })
    const value = "a value of nobody's"
    const verbs: ReadonlyArray<Effect.Effect<unknown, unknown, Redsync>> = [
      withLock(name, enter, short),
      withFencedLock(name, () => enter, short),
      withLocks([`${name}:2`, name], enter, short),
      Redsync.withLockIfAvailable(name, enter, short),
      Effect.scoped(Effect.andThen(Redsync.adopt(name, value, short), enter)),
      Effect.flatMap(Redsync.unlock(name, value), (released) => released ? enter : Effect.void)
    ]
    await this.#end("taken", this.#chance.pick(verbs), service)
    if (entered) {
      this.#violated("nonsense grants nothing", `${name} was held by another on the nodes ${where.join(", ")}`)
    }
    await this.#on(where, "DEL", name)
  }

  #contended(services: ReadonlyArray<Service>) {
    const name = this.#name()
    const options = { retry: Redsync.retryPolicy({ delay: 60, within: 500 }) }
    const one = (service: Service) =>
      this.#end(
        "contended",
        withLock(name, (lock) => this.#hold(lock, Effect.sleep(this.#chance.int(1, 30))), options),
        service
      )
    return Promise.all(services.flatMap((service) => [one(service), one(service), one(service)]))
  }

  async #alive(service: Service): Promise<void> {
    const { closesEarly, delayedRestart, replicas, style } = this.plan
    const name = this.#name()
    if (!this.#isMinority || replicas || delayedRestart || closesEarly) {
      return void await this.#end("free", this.#anyVerb(name, short), service)
    }
    let entered = false
    const enter = Effect.sync(() => {
      entered = true
    })
    const options = {
      expiry: "10 seconds",
      nodeTimeout: "300 millis",
      retry: Redsync.retryPolicy({ delay: 50, within: "20 seconds" })
    } as const
    const verbs = [
      withLock(name, enter, options),
      withLocks([name, `${name}:2`], enter, options),
      // A token of the largest size there is would have to be believed.
      style.lies ? withLock(name, enter, options) : withFencedLock(name, () => enter, options)
    ]
    await this.#end("alive", this.#chance.pick(verbs), service)
    if (!entered) this.#violated("a minority keeps nobody out", `${name} was free on a quorum of good nodes`)
  }

  #adopted(first: Service, second: Service) {
    const name = this.#name()
    const adopt = (value: string) =>
      Effect.provide(
        Effect.scoped(Effect.flatMap(Redsync.adopt(name, value), (lock) => Effect.ignore(lock.extend))),
        second
      )
    return this.#end(
      "adopted",
      Effect.scoped(Effect.flatMap(Redsync.lock(name, short), ({ value }) => adopt(value))),
      first
    )
  }

  async #lookedAt(service: Service) {
    const name = this.#name()
    if (this.#chance.in(0.5)) await this.#on([0], "SET", name, "another's value", "PX", "60000")
    const seen = await this.#end("inspect", Redsync.inspect(name), service)
    if (seen !== undefined) this.#looks(seen)
    const health = await this.#end("health", Redsync.health, service)
    for (const node of health?.nodes ?? []) if (node._tag === "Down") this.#said(node.error.message)
    const good = this.plan.broken.filter((isBroken) => !isBroken).length
    const isWell = health === undefined ||
      health.isReady === (health.nodes.filter(({ _tag }) => _tag === "Up").length >= this.#quorum)
    if (!isWell) this.#violated("health adds up", JSON.stringify(health))
    this.#count(`health: ${health?.isReady ? "ready" : "not ready"} with ${good} good`)
  }

  #looks({ holder, nodes }: Inspection) {
    const isTtl = (millis: number) => millis >= 0 && (Number.isFinite(millis) || millis === Infinity)
    if (Option.isSome(holder) && !isTtl(holder.value.ttlMillis)) {
      this.#violated("what is looked at is what it says", `a time to live of ${holder.value.ttlMillis}`)
    }
    for (const node of nodes) {
      if (node._tag === "Failed") this.#said(node.error.message)
      if (node._tag === "NotALock") this.#said(node.found)
      if (node._tag !== "Held") continue
      if (!Predicate.isString(node.value) || !isTtl(node.ttlMillis)) {
        this.#violated("what is looked at is what it says", `${typeof node.value}, a time to live of ${node.ttlMillis}`)
      } else if (node.value.length > mostWords) {
        this.#violated("what is looked at is short", `a value of ${node.value.length} characters`)
      }
    }
  }

  #removed(service: Service) {
    const name = this.#name()
    return this.#end(
      "removed",
      Effect.andThen(Effect.ignore(withLock(name, Redsync.forceUnlock(name), short)), Redsync.forceUnlock(name)),
      service
    )
  }

  async #interrupted(service: Service) {
    const name = this.#name()
    const where = this.plan.broken.map((_, index) => index)
    if (this.#chance.in(0.7)) await this.#on(where, "SET", name, "another's value", "PX", "60000")
    await this.#end(
      "interrupted",
      Effect.timeoutOption(this.#anyVerb(name, short), this.#chance.int(0, 100)),
      service
    )
    await this.#on(where, "DEL", name)
  }

  #heldLong(service: Service) {
    const program = (lock: Lock) => this.#hold(lock, Effect.sleep(expiry * 1.5))
    return this.#end("held long", withLock(this.#name(), program, short), service)
  }

  /** A command on the real servers behind these nodes. */
  async #on(nodes: ReadonlyArray<number>, ...command: ReadonlyArray<string>) {
    for (const index of nodes) {
      const { host, port } = this.#servers[index]!
      const client = administrators.get(port) ?? new Redis({ host, port })
      administrators.set(port, client)
      const [name = "", ...rest] = command
      await client.call(name, ...rest)
    }
  }
}

/** Connections to the real servers, by port. */
const administrators = new Map<number, Redis>()

export const closeAdministrators = (): void => {
  for (const client of administrators.values()) client.disconnect()
  administrators.clear()
}
