/**
 * One use of a verb by a fiber of a process, and whether it ended as it should.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { Lock, Redsync } from "../../src/index.ts"
import type { Client, Surroundings } from "./client.ts"
import type { Holder } from "./leases.ts"
import type { Op, Step } from "./plan.ts"

/** A program fails on purpose. */
class Intended {
  readonly _tag = "Intended"
}

/** One use of a verb. */
export class Attempt {
  readonly #client: Client
  readonly #around: Surroundings
  readonly #op: Op
  readonly #holders: Array<Holder> = []
  /** The value of somebody else that it is about, where it is. */
  #value = ""
  #enteredAt: number | undefined
  #leftAt: number | undefined

  constructor(client: Client, around: Surroundings, op: Op) {
    this.#client = client
    this.#around = around
    this.#op = op
  }

  run() {
    return Effect.suspend(() => {
      const { checker } = this.#around
      const { process } = this.#client
      const { names, verb } = this.#op
      const startedAt = process.world.now
      checker.count(`verb: ${verb}`)
      process.world.log(() => `${process.name} ${verb} ${names.join(", ")}`)
      return Effect.onExit(this.#verb(), (exit) =>
        Effect.sync(() => {
          const outcome = describe(exit)
          process.world.log(() => `${process.name} ${verb} ${names.join(", ")}: ${outcome}`)
          checker.count(`outcome: ${outcome}`)
          // Who cannot tell whether he may adopt a lock has let it live longer, perhaps, and must not release it.
          if (verb === "adopt" && this.#enteredAt === undefined && outcome !== "LockLost Taken") {
            checker.prolonged.add(this.#value)
          }
          this.#judge(exit, outcome, startedAt)
        }))
    })
  }

  #verb(): Effect.Effect<unknown, unknown, Redsync.Redsync> {
    const { checker } = this.#around
    const { guarded, names, options, retry, verb } = this.#op
    const name = names[0]!
    const settings = { ...options, retry: Redsync.retryPolicy(retry) }
    const scoped = (lock: Lock.Lock) => guarded ? Lock.guard(lock, this.#hold([lock], true)) : this.#hold([lock], false)
    const value = this.#value = checker.leases.lastValue(name) ?? "no such value"
    switch (verb) {
      case "withLock":
        return Redsync.withLock(name, (lock) => this.#hold([lock], true), settings)
      case "withLocks":
        return Redsync.withLocks(names, (locks) => this.#hold(locks, true), settings)
      case "withFencedLock":
        return Redsync.withFencedLock(name, (_token, lock) => this.#hold([lock], true), settings)
      case "fencedLock":
        return Effect.scoped(Effect.flatMap(Redsync.fencedLock(name, settings), scoped))
      case "withLockIfAvailable":
        return Redsync.withLockIfAvailable(name, (lock) => this.#hold([lock], true), settings)
      case "lock":
        return Effect.scoped(Effect.flatMap(Redsync.lock(name, settings), scoped))
      case "tryLock":
        return Effect.scoped(Effect.flatMap(
          Redsync.tryLock(name, settings),
          (lock): Effect.Effect<unknown, unknown> => Option.isSome(lock) ? scoped(lock.value) : Effect.succeed(lock)
        ))
      case "adopt":
        checker.leases.adopting(name, value)
        return Effect.scoped(Effect.flatMap(Redsync.adopt(name, value, settings), scoped))
      case "unlock":
        checker.leases.releasing(name, value)
        return Redsync.unlock(name, value)
      case "inspect":
        return Redsync.inspect(name)
      case "forceUnlock":
        return Redsync.forceUnlock(name)
    }
  }

  /** What is done while holding the locks. */
  #hold(locks: ReadonlyArray<Lock.Lock>, isGuarded: boolean): Effect.Effect<void, unknown> {
    const { checker } = this.#around
    const { process } = this.#client
    const enter = () => {
      this.#enteredAt = process.world.now
      // It lives longer now than its first owner knows of.
      if (this.#op.verb === "adopt") checker.prolonged.add(this.#value)
      for (const lock of locks) {
        const holder: Holder = {
          process,
          lock,
          expiry: this.#op.options.expiry,
          isGuarded,
          isAdopted: this.#op.verb === "adopt",
          hasReleased: false,
          hasOutlived: false,
          isForsaken: false,
          end: Number.NEGATIVE_INFINITY
        }
        this.#holders.push(holder)
        checker.leases.enter(holder)
      }
    }
    const { hold } = this.#op
    const left = () => {
      this.#leftAt = process.world.now
      this.#holders.forEach((holder) => checker.leases.leave(holder))
    }
    if (typeof hold === "number") {
      return Effect.sync(() => {
        enter()
        process.block(hold)
        this.#holders.forEach((holder) => checker.step(holder))
        left()
      })
    }
    const look = Effect.sync(() => this.#holders.forEach((holder) => checker.step(holder)))
    const steps = Effect.forEach(hold, (step) => Effect.andThen(this.#step(step), look), { discard: true })
    return Effect.ensuring(Effect.andThen(Effect.sync(enter), steps), Effect.sync(left))
  }

  #step(step: Step): Effect.Effect<void, unknown> {
    const { process } = this.#client
    const [first] = this.#holders
    switch (step._tag) {
      case "Work":
        return Effect.sleep(step.millis)
      case "Block":
        return Effect.sync(() => process.block(step.millis))
      case "Spin":
        return Effect.repeat(Effect.yieldNow, { times: 20 })
      case "Extend":
        return first === undefined ? Effect.void : Effect.ignore(first.lock.extend)
      case "IsHeld":
        return first === undefined ? Effect.void : Effect.ignore(first.lock.isHeld)
      case "Release":
        return first === undefined ? Effect.void : Effect.suspend(() => {
          first.hasReleased = true
          this.#around.checker.leases.leave(first)
          return Effect.asVoid(first.lock.release)
        })
      case "Fail":
        return Effect.fail(new Intended())
    }
  }

  #judge(exit: Exit.Exit<unknown, unknown>, outcome: string, startedAt: number) {
    const { checker, plan } = this.#around
    const { process } = this.#client
    if (process.dead) return
    if (Exit.isFailure(exit) && exit.cause.reasons.some(Cause.isDieReason)) {
      checker.violated("no defects", `${process.name} ${this.#op.verb}: ${outcome}`)
    }
    if (Exit.isSuccess(exit) && this.#holders.some(({ hasOutlived, isGuarded }) => hasOutlived && isGuarded)) {
      checker.violated("4 stopped in time", `${process.name} ${this.#op.verb} succeeds though it outlived its lock`)
    }
    if (plan.kind === "minority") this.#judgeMinority(outcome, startedAt)
    this.#judgeLiveness(startedAt)
  }

  /** With a minority of servers away nothing is to be noticed. */
  #judgeMinority(outcome: string, startedAt: number) {
    const { checker, plan } = this.#around
    const { process } = this.#client
    const isAlone = plan.processes.length === 1
    // Others may take or release the lock on one node after the other while one is asking about a value.
    const asksForValue = this.#op.verb === "adopt" || this.#op.verb === "unlock"
    const isJudged = process.blockedUntil < startedAt && (isAlone || !asksForValue)
    if (outcome.includes("NodesUnavailable") && isJudged) {
      checker.violated("5 minorities are invisible", `${process.name} ${this.#op.verb}: ${outcome}`)
    }
    const took = (this.#enteredAt ?? process.world.now) - startedAt
    const roundTrips = this.#op.names.length
    const isSlow = took > roundTrips * (2 * plan.link.delay[1] + 5) && process.blockedUntil < startedAt
    if (isAlone && this.#enteredAt !== undefined && isSlow) {
      checker.violated("5 minorities are invisible", `${process.name} ${this.#op.verb} took ${took.toFixed(1)} ms`)
    }
  }

  /** Whoever wants a lock has it, or an error, within its schedule and a bound. */
  #judgeLiveness(startedAt: number) {
    const { checker, plan } = this.#around
    const { process } = this.#client
    const { names, options, retry, verb } = this.#op
    // These have no options of their own.
    const nodeTimeout = ["unlock", "inspect", "forceUnlock"].includes(verb) ? 400 : options.nodeTimeout
    const { now } = process.world
    const from = Math.max(startedAt, plan.healedAt, process.blockedUntil)
    const perTry = 1.2 * retry.delay + 2 * nodeTimeout + 50
    const bound = (names.length * (retry.tries + 1) * perTry + 3 * nodeTimeout + 100) / process.rate
    const waited = (this.#enteredAt ?? now) - from
    if (waited > bound) {
      checker.violated("liveness", `${process.name} ${this.#op.verb} waited for ${waited.toFixed(0)} ms`)
    }
    const leftAt = this.#leftAt ?? now
    const ended = now - Math.max(leftAt, from)
    // Who stood still meanwhile gives the nodes their time once more.
    const times = process.blockedUntil > leftAt ? 2 : 1
    if (ended > (times * nodeTimeout + 50) / process.rate) {
      checker.violated("liveness", `${process.name} ${this.#op.verb} took ${ended.toFixed(0)} ms to release`)
    }
  }
}

/** An outcome in a few words. */
const describe = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return Option.isOption(exit.value) && Option.isNone(exit.value) ? "not available" : "ok"
  if (Cause.hasInterruptsOnly(exit.cause)) return "interrupted"
  const error: unknown = Cause.squash(exit.cause)
  if (!Predicate.hasProperty(error, "_tag")) return error instanceof Error ? error.message : "a failure without a tag"
  return "reason" in error ? `${String(error._tag)} ${String(error.reason)}` : String(error._tag)
}
