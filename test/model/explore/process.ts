/**
 * A process without chance: its clock is the world's, what it draws is always the
 * same, and whatever comes in is worked off before anything else happens.
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
import type { World } from "./world.ts"

/** The first wall clock tells this time in the beginning; each of the others is an hour behind the one before it. */
const epoch = 1_700_000_000_000
const apartMillis = 3_600_000

/** More rounds of the event loop than this are taken for a program that spins. */
const mostRounds = 10_000

export class Process {
  readonly name: string
  readonly index: number
  readonly world: World
  readonly context: Context.Context<never>
  isDead = false
  /** It stands still until then. */
  frozenUntil = 0
  /** Interrupts what it does at present, if that can be interrupted. */
  interrupt: (() => void) | undefined
  onCrash: () => void = () => {}
  #drawn = 0
  #immediates: Array<() => void> = []

  constructor(world: World, name: string, index: number) {
    this.name = name
    this.index = index
    this.world = world
    this.context = Context.empty().pipe(
      Context.add(Clock.Clock, this.#clock()),
      Context.add(Random.Random, this.#random()),
      Context.add(WebCrypto, this.#crypto()),
      Context.add(
        Scheduler.Scheduler,
        new Scheduler.MixedScheduler("async", (task) => {
          let isCancelled = false
          this.#immediates.push(() => isCancelled || task())
          return () => {
            isCancelled = true
          }
        })
      ),
      Context.add(
        Logger.CurrentLoggers,
        new Set([
          Logger.make(({ logLevel, message }) => world.log(`${name} logs: ${logLevel} ${[message].flat().join(" ")}`))
        ])
      )
    )
  }

  /** Runs an effect in this process. */
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  /** Something comes in, and the event loop goes round until there is nothing left to do. */
  turn(task: () => void): void {
    if (this.isDead) return
    task()
    for (let round = 0; this.#immediates.length > 0 && !this.isDead; round++) {
      if (round > mostRounds) throw new Error(`${this.name} spins`)
      for (const immediate of this.#immediates.splice(0)) immediate()
    }
  }

  crash(): void {
    this.isDead = true
    this.#immediates = []
    this.onCrash()
  }

  #clock(): Clock.Clock {
    const { world } = this
    const wall = () => epoch - this.index * apartMillis + Math.floor(world.now)
    const clock: Clock.Clock = {
      currentTimeMillisUnsafe: wall,
      currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe()),
      currentTimeNanosUnsafe: () => BigInt(wall()) * 1_000_000n,
      currentTimeNanos: Effect.sync(() => clock.currentTimeNanosUnsafe()),
      monotonicTimeNanosUnsafe: () => nanos(world.now),
      monotonicTimeNanos: Effect.sync(() => clock.monotonicTimeNanosUnsafe()),
      sleep: (duration) => {
        const millis = Duration.toMillis(duration)
        if (millis <= 0) return Effect.yieldNow
        if (!Number.isFinite(millis)) return Effect.never
        return Effect.callback((resume) =>
          Effect.sync(world.timer(this, world.now + Math.max(1, millis), () => resume(Effect.void)))
        )
      }
    }
    return clock
  }

  /** Not the same as another process draws, or two that are in each other's way would be so for ever. */
  #random(): (typeof Random.Random)["Service"] {
    const drawn = (this.index + 1) / 4
    return { nextIntUnsafe: () => Math.floor(drawn * Number.MAX_SAFE_INTEGER), nextDoubleUnsafe: () => drawn }
  }

  /** Values are never drawn twice. */
  #crypto(): webcrypto.Crypto {
    return {
      getRandomValues: (array: Uint8Array) => {
        for (let at = 0; at < array.length; at++) {
          if (at % 4 === 0) this.#drawn++
          array[at] = at % 4 === 0 ? this.index + 1 : this.#drawn >>> (8 * (at % 4 - 1))
        }
        return array
      }
    } as unknown as webcrypto.Crypto
  }
}

const nanos = (millis: number): bigint => BigInt(Math.round(millis * 1_000_000))
