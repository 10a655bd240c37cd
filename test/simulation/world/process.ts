/**
 * A process: an event loop with a clock of its own, which can block, be stopped,
 * be suspended with its machine, and crash, while time goes on for all others.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import { WebCrypto } from "effect/crypto/WebCrypto"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import type { webcrypto } from "node:crypto"
import type { Chance } from "./chance.ts"
import type { World } from "./world.ts"

interface Timer {
  readonly due: number
  readonly order: number
  run: (() => void) | undefined
}

/** The wall clocks of all processes tell about this time when a history begins. */
const epoch = 1_700_000_000_000

export interface NodeTimeouts {
  readonly shortest: number
  readonly longest: number
}

export interface ProcessOptions {
  readonly name: string
  /** How many of its milliseconds go by in one of true time. */
  readonly rate: number
  /** By how much its wall clock is ahead. */
  readonly wallAhead: number
  /** The share of a fiber's steps before which it yields to others; less than 1. */
  readonly yields: number
}

export class Process {
  readonly name: string
  readonly world: World
  readonly rate: number
  readonly context: Context.Context<never>
  dead = false
  /** True time at which it last stood still in the middle of a step. */
  blockedUntil = Number.NEGATIVE_INFINITY
  /** True time at which somebody last touched its wall clock, or its machine was suspended. */
  wallTouchedAt = Number.NEGATIVE_INFINITY
  wallTouched = 0
  /** Sleeps under way. */
  sleeping = 0
  /** Those of them that are the history's own. */
  naps = 0
  /** Those of its verbs, in true time. */
  nodeTimeouts: NodeTimeouts = { shortest: 0, longest: 0 }
  /** True times at which its service began and ended to close. */
  closing = { beganAt: Number.POSITIVE_INFINITY, endedAt: Number.POSITIVE_INFINITY }
  /** Called after each turn of its event loop. */
  onTurn: () => void = () => {}
  /** Called with what would end a real process. */
  onUncaught: (error: unknown) => void = () => {}
  onLog: (line: string) => void = () => {}
  readonly #chance: Chance
  #wallAhead: number
  /** How often it stands still at present. */
  #stopped = 0
  /** How long the monotonic clock has stood still. */
  #suspended = 0
  #suspendedSince: number | undefined
  /** True time until which it is stopped or its machine suspended. */
  #frozenUntil = Number.NEGATIVE_INFINITY
  #order = 0
  /** Blocks at the clock reading that comes then. */
  #armed: Array<{ reads: number; readonly millis: number }> = []
  readonly #timersDue: Array<Timer> = []
  readonly #messages: Array<() => void> = []
  #immediates: Array<() => void> = []
  #isTurnComing = false
  #isObserved = false
  #behind = 0

  constructor(world: World, { name, rate, wallAhead, yields }: ProcessOptions) {
    this.world = world
    this.name = name
    this.rate = rate
    this.#wallAhead = wallAhead
    this.#chance = world.chance.fork()
    this.context = Context.empty().pipe(
      Context.add(Clock.Clock, this.#clock()),
      Context.add(Random.Random, random(this.#chance.fork())),
      Context.add(WebCrypto, webCrypto(this.#chance.fork())),
      Context.add(
        Scheduler.Scheduler,
        yields === 0
          ? new Scheduler.MixedScheduler("async", (task) => this.#immediate(task))
          : new YieldingScheduler((task) => this.#immediate(task), this.#chance.fork(), yields)
      ),
      Context.add(
        Logger.CurrentLoggers,
        new Set([Logger.make(({ logLevel, message }) => this.onLog(`${logLevel} ${[message].flat().join(" ")}`))])
      )
    )
  }

  /** Runs an effect in this process, now. */
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  /** A pause that belongs to the history, not to the library. */
  nap(millis: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.naps++
      return Effect.ensuring(Effect.sleep(millis), Effect.sync(() => this.naps--))
    })
  }

  /** Milliseconds on the monotonic clock. */
  monotonic(): number {
    const since = this.#suspendedSince
    return ((since ?? this.world.now) - this.#suspended) * this.rate
  }

  wall(): number {
    return epoch + this.#wallAhead + this.world.now * this.rate
  }

  /** Looks into the process from outside, as it is or as if its clocks were a little behind; nothing happens to it. */
  observe<A>(look: () => A, behindMillis = 0): A {
    this.#isObserved = true
    this.#behind = behindMillis
    try {
      return look()
    } finally {
      this.#isObserved = false
      this.#behind = 0
    }
  }

  /** True time at which it last went on after it had stood still, in the middle of a step or between two. */
  get stoodStillUntil(): number {
    return Math.max(this.blockedUntil, this.#frozenUntil)
  }

  get isRunning(): boolean {
    return !this.dead && this.#stopped === 0
  }

  /** Something comes in from outside: it is looked at when the event loop gets to it. */
  deliver(message: () => void): void {
    if (this.dead) return
    if (this.#stopped > 0) this.#messages.push(message)
    else this.#turn(message)
  }

  /** The event loop stands still for so long, in the middle of whatever it does. */
  block(millis: number): void {
    if (this.dead || this.world.stopped) return
    this.world.log(() => `${this.name} blocks for ${millis.toFixed(1)} ms`)
    this.#stopped++
    this.world.runUntil(this.world.now + millis)
    // Stopped or suspended meanwhile, it does not go on before that is over.
    while (this.#frozenUntil > this.world.now && !this.world.stopped) this.world.runUntil(this.#frozenUntil)
    this.blockedUntil = this.world.now
    this.world.log(() => `${this.name} goes on`)
    this.#resume()
  }

  /** Blocks as soon as it has looked at the clock so many times: in the middle of a step. */
  blockAtRead(reads: number, millis: number): void {
    this.#armed.push({ reads, millis })
  }

  /** The process is stopped, as by SIGSTOP, between two steps. */
  stop(millis: number): void {
    if (this.dead) return
    this.world.log(() => `${this.name} is stopped for ${millis.toFixed(1)} ms`)
    this.#freeze(millis)
    this.world.after(millis, () => {
      this.world.log(() => `${this.name} is continued`)
      this.#resume()
    })
  }

  /** The machine is suspended: the monotonic clock stands still, the wall clock does not. */
  suspend(millis: number): void {
    if (this.dead || this.#suspendedSince !== undefined) return
    this.world.log(() => `${this.name} is suspended for ${millis.toFixed(1)} ms`)
    this.#freeze(millis)
    this.#suspendedSince = this.world.now
    this.world.after(millis, () => {
      this.world.log(() => `${this.name} is awake again`)
      this.#suspended += this.world.now - this.#suspendedSince!
      this.#suspendedSince = undefined
      this.#touchedWall()
      this.#resume()
    })
  }

  #freeze(millis: number): void {
    this.#stopped++
    this.#frozenUntil = Math.max(this.#frozenUntil, this.world.now + millis)
  }

  /** Somebody sets the wall clock. */
  setWall(byMillis: number): void {
    if (this.dead) return
    this.world.log(() => `${this.name} has its wall clock set by ${byMillis.toFixed(1)} ms`)
    this.#wallAhead += byMillis
    this.#touchedWall()
  }

  crash(): void {
    this.dead = true
    this.sleeping = 0
    this.#messages.length = this.#timersDue.length = this.#immediates.length = 0
  }

  #touchedWall(): void {
    this.wallTouchedAt = this.world.now
    this.wallTouched++
  }

  #resume(): void {
    if (--this.#stopped > 0) return
    // Node's order: timers, then what has come in, then what was put off.
    this.world.at(this.world.now, () => {
      this.#timersDue.sort((a, b) => a.due - b.due || a.order - b.order)
      while (this.isRunning && this.#timersDue.length > 0) {
        const timer = this.#timersDue.shift()!
        this.#turn(() => timer.run?.())
      }
      while (this.isRunning && this.#messages.length > 0) this.#turn(this.#messages.shift()!)
      this.#scheduleImmediates()
    })
  }

  #turn(task: () => void): void {
    if (this.dead) return
    try {
      task()
    } catch (error) {
      this.onUncaught(error)
    }
    if (!this.dead) this.onTurn()
  }

  #immediate(task: () => void): () => void {
    let isCancelled = false
    this.#immediates.push(() => isCancelled || task())
    this.#scheduleImmediates()
    return () => {
      isCancelled = true
    }
  }

  /** One round of the event loop later. */
  #scheduleImmediates(): void {
    if (this.#isTurnComing || this.dead || this.#immediates.length === 0) return
    this.#isTurnComing = true
    this.world.after(this.#chance.between(0.001, 0.03), () => {
      this.#isTurnComing = false
      if (!this.isRunning) return
      const immediates = this.#immediates
      this.#immediates = []
      while (immediates.length > 0 && this.isRunning) this.#turn(immediates.shift()!)
      this.#immediates.unshift(...immediates)
      this.#scheduleImmediates()
    })
  }

  #sleep(millis: number, run: () => void): () => void {
    const timer: Timer = { due: this.monotonic() + Math.max(1, millis), order: this.#order++, run }
    this.sleeping++
    const forget = () => {
      if (timer.run === undefined) return
      timer.run = undefined
      this.sleeping--
    }
    const fire = () => {
      if (timer.run === undefined || this.dead) return
      const early = timer.due - this.monotonic()
      // The machine was suspended meanwhile.
      if (early > 0.001) return this.world.after(early / this.rate, fire)
      const due = () => {
        const { run } = timer
        forget()
        run?.()
      }
      if (this.#stopped > 0) this.#timersDue.push({ ...timer, run: () => timer.run && due() })
      else this.#turn(due)
    }
    // Timers of whole milliseconds are late by up to one.
    this.world.after(Math.max(1, millis) / this.rate + this.#chance.double(), fire)
    return forget
  }

  #clock(): Clock.Clock {
    const look = <A>(read: () => A): A => {
      const value = read()
      if (this.#armed.length > 0 && !this.#isObserved && this.isRunning && --this.#armed[0]!.reads <= 0) {
        this.block(this.#armed.shift()!.millis)
      }
      return value
    }
    const clock: Clock.Clock = {
      currentTimeMillisUnsafe: () => look(() => Math.floor(this.wall() - this.#behind)),
      currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe()),
      currentTimeNanosUnsafe: () => look(() => nanos(this.wall() - this.#behind)),
      currentTimeNanos: Effect.sync(() => clock.currentTimeNanosUnsafe()),
      monotonicTimeNanosUnsafe: () => look(() => nanos(this.monotonic() - this.#behind)),
      monotonicTimeNanos: Effect.sync(() => clock.monotonicTimeNanosUnsafe()),
      sleep: (duration) => {
        const millis = Duration.toMillis(duration)
        if (millis <= 0) return Effect.yieldNow
        if (!Number.isFinite(millis)) return Effect.never
        return Effect.callback((resume) => Effect.sync(this.#sleep(millis, () => resume(Effect.void))))
      }
    }
    return clock
  }
}

/** Lets fibers yield anywhere, so that what others do comes between any two of their steps. */
class YieldingScheduler extends Scheduler.MixedScheduler {
  readonly #chance: Chance
  readonly #share: number

  constructor(immediate: (task: () => void) => () => void, chance: Chance, share: number) {
    super("async", immediate)
    this.#chance = chance
    this.#share = share
  }

  override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return this.#chance.in(this.#share) || super.shouldYield(fiber)
  }
}

const nanos = (millis: number): bigint => BigInt(Math.round(millis * 1_000_000))

const random = (chance: Chance): (typeof Random.Random)["Service"] => ({
  nextIntUnsafe: () => Math.floor(chance.between(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)),
  nextDoubleUnsafe: () => chance.double()
})

const webCrypto = (chance: Chance): webcrypto.Crypto => ({
  getRandomValues: (array: Uint8Array) => {
    chance.bytes(array)
    return array
  }
} as unknown as webcrypto.Crypto)
