/**
 * One use of a verb by a fiber of a process, and whether it ended as it should.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { Lock, Redsync } from "../../../src/index.ts"
import type { Op, Step, Verb } from "../plan/plan.ts"
import type { Client, Surroundings } from "../world/client.ts"
import type { Together } from "./checker.ts"
import { type Holder, remaining, valueOf } from "./leases.ts"

/** A program fails on purpose. */
class Intended {
  readonly _tag = "Intended"
}

const scopedVerbs: ReadonlySet<Verb> = new Set(["lock", "tryLock", "fencedLock", "adopt", "adoptFenced"])

const waitingVerbs: ReadonlySet<Verb> = new Set(["lock", "withLock", "fencedLock", "withFencedLock"])

/** One use of a verb. */
export class Attempt {
  readonly #client: Client
  readonly #around: Surroundings
  readonly #op: Op
  readonly #holders: Array<Holder> = []
  #together: Together | undefined
  /** Whether what it held was given back, so that nothing is left to extend. */
  #hasEnded = false
  /** Whether it was detached or abandoned. */
  #isGivenUp = false
  readonly #ending = Latch.makeUnsafe(false)
  #startedAt = 0
  #grantedAt: number | undefined
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
      const startedAt = this.#startedAt = process.world.now
      checker.count(`verb: ${verb}`)
      process.world.log(() => `${process.name} ${verb} ${names.join(", ")}`)
      const work = checker.work(process)
      work.verbs++
      if (verb === "withLocks" || verb === "withFencedLocks") this.#together = checker.startTogether(process, names)
      return Effect.onExit(this.#verb(), (exit) =>
        Effect.sync(() => {
          work.verbs--
          work.ended.push(process.world.now)
          this.#hasEnded = !this.#isGivenUp
          if (this.#together !== undefined) this.#together.isOpen = false
          const outcome = describe(exit)
          process.world.log(() => `${process.name} ${verb} ${names.join(", ")}: ${outcome}`)
          checker.count(`outcome: ${outcome}`)
          this.#judge(exit, outcome, startedAt)
        }))
    })
  }

  #verb(): Effect.Effect<unknown, unknown, Redsync> {
    const { checker } = this.#around
    const { process } = this.#client
    const { guarded, names, options, retry, verb } = this.#op
    const name = names[0]!
    const settings = { ...options, retry: Redsync.retryPolicy(retry) }
    const scoped = (lock: Lock) => {
      this.#granted()
      const hold = this.#hold([lock], guarded)
      // Interrupted before it enters, it holds the lock for as long as the scope is open all the same.
      const held = Effect.sync(() => checker.claims.held(valueOf(lock)))
      const left = Effect.sync(() => {
        this.#leave()
        if (this.#holders.length === 0) checker.claims.ended(valueOf(lock))
      })
      return Effect.acquireRelease(held, () => left).pipe(
        Effect.andThen(guarded ? Lock.guard(lock, hold) : hold),
        Effect.ensuring(process.nap(this.#op.lingers))
      )
    }
    const value = checker.leases.lastValue(name) ?? "no such value"
    switch (verb) {
      case "withLock":
        return Redsync.withLock(name, (lock) => this.#hold([lock], true), settings)
      case "withLocks":
        return Redsync.withLocks(names, (locks) => this.#hold(locks, true), settings)
      case "withFencedLocks":
        return Redsync.withFencedLocks(names, (locks) => this.#hold(locks, true), settings)
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
          (lock): Effect.Effect<unknown, unknown, Scope.Scope> =>
            Option.isSome(lock) ? scoped(lock.value) : Effect.succeed(lock)
        ))
      case "adopt":
      case "adoptFenced":
        checker.leases.adopting(name, value)
        checker.give(process, value)
        return Effect.scoped(
          Effect.flatMap((verb === "adopt" ? Redsync.adopt : Redsync.adoptFenced)(name, value, settings), scoped)
        )
      case "unlock":
        checker.leases.releasing(name, value)
        checker.give(process, value)
        return Effect.tap(Redsync.unlock(name, value), () => this.#ownHoldsEnded(value))
      case "inspect":
        return Redsync.inspect(name)
      case "forceUnlock":
        checker.give(process, name)
        return this.#forceUnlock(name)
    }
  }

  #forceUnlock(name: string): Effect.Effect<unknown, unknown, Redsync> {
    return Effect.suspend(() => {
      const held = this.#around.checker.leases.holdsOf(this.#client.process, name).map(({ lock }) => valueOf(lock))
      return Effect.tap(Redsync.forceUnlock(name), () => Effect.forEach(held, (value) => this.#ownHoldsEnded(value)))
    })
  }

  /** What a service deletes itself it does not go on to hold. */
  #ownHoldsEnded(value: string): Effect.Effect<void> {
    return Effect.sync(() => {
      const { checker } = this.#around
      const { process } = this.#client
      for (const holder of checker.leases.holdsOf(process, value)) {
        if (remaining(holder) === 0 || holder.hasReleased) continue
        checker.violated("2 own deletions end own holds", `${process.name} still holds ${checker.short(value)}`)
      }
    })
  }

  /** What is done while holding the locks. */
  #hold(locks: ReadonlyArray<Lock>, isGuarded: boolean): Effect.Effect<void, unknown> {
    const { checker } = this.#around
    const { process } = this.#client
    const isScoped = scopedVerbs.has(this.#op.verb)
    const enter = () => {
      this.#enteredAt = process.world.now
      if (!isScoped) this.#granted()
      if (this.#together !== undefined) this.#together.isOpen = false
      for (const lock of locks) {
        const holder: Holder = {
          process,
          lock,
          expiry: this.#op.options.expiry,
          isGuarded,
          hasReleased: false,
          hasOutlived: false,
          isForsaken: false,
          isLost: false,
          end: Number.NEGATIVE_INFINITY
        }
        this.#holders.push(holder)
        checker.leases.enter(holder)
        if (this.#op.readsValue) checker.leases.read(lock)
      }
      if (this.#op.beside.length > 0) this.#client.besides.push(this.#meddle())
    }
    const { hold } = this.#op
    const left = () => {
      if (!isScoped) this.#leave()
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

  /** First come, first served in one process: nobody who came later was granted the lock before. */
  #granted() {
    const { checker } = this.#around
    const { process } = this.#client
    this.#grantedAt = process.world.now
    const { names: [name], verb } = this.#op
    if (!waitingVerbs.has(verb) || this.#client.plan.yields > 0) return
    const overtaken = checker.granted(process, name!, this.#startedAt)
    if (overtaken) checker.violated("9 first come, first served", `${process.name} ${verb} ${name} was overtaken`)
  }

  /** The locks are given back from here on. */
  #leave(): void {
    this.#ending.openUnsafe()
    this.#leftAt = this.#client.process.world.now
    this.#holders.forEach((holder) => this.#around.checker.leases.leave(holder))
  }

  /** Another fiber uses the first lock, and does not care whether it is still held. */
  #meddle(): Fiber.Fiber<unknown, unknown> {
    const { checker } = this.#around
    const { process } = this.#client
    const work = checker.work(process)
    work.verbs++
    const fiber = process.fork(Effect.forEach(this.#op.beside, (step) => this.#step(step), { discard: true }))
    fiber.addObserver((exit) => {
      work.verbs--
      if (Exit.isFailure(exit) && !process.dead) {
        checker.violated("no defects", `${process.name} beside ${this.#op.verb}: ${describe(exit)}`)
      }
    })
    return fiber
  }

  #step(step: Step): Effect.Effect<void, unknown> {
    const { process } = this.#client
    const [first] = this.#holders
    switch (step._tag) {
      case "Work":
        return process.nap(step.millis)
      case "Block":
        return Effect.sync(() => process.block(step.millis))
      case "Spin":
        return Effect.repeat(Effect.yieldNow, { times: 20 })
      case "Extend":
        return first === undefined ? Effect.void : this.#extend(first)
      case "IsHeld":
        return first === undefined ? Effect.void : Effect.ignore(first.lock.isHeld)
      case "Release":
        return first === undefined ? Effect.void : Effect.suspend(() => {
          first.hasReleased = true
          this.#around.checker.leases.leave(first)
          return Effect.map(first.lock.release, () => {
            this.#hasEnded ||= !this.#isGivenUp
          })
        })
      case "Detach":
        return first === undefined ? Effect.void : Effect.suspend(() => {
          // Where it was detached before, the scope may have closed before that was noted.
          const hasEnded = this.#hasEnded && !this.#isGivenUp
          first.hasReleased = true
          return Effect.map(Effect.exit(this.#orInterrupted(first, first.lock.detach)), (exit) => {
            this.#around.checker.count(`detached: ${describe(exit)}`)
            if (Exit.isFailure(exit)) return
            this.#giveUp(first)
            if (hasEnded) this.#around.checker.violated("4 what has ended stays ended", `${process.name} detaches`)
          })
        })
      case "Abandon":
        return first === undefined ? Effect.void : Effect.suspend(() => {
          first.hasReleased = true
          return Effect.map(this.#orInterrupted(first, first.lock.abandon), () => {
            if (remaining(first) > 0) this.#giveUp(first)
          })
        })
      case "AwaitEnd":
        return this.#ending.await
      case "Fail":
        return Effect.fail(new Intended())
    }
  }

  /** Who is interrupted while the lock is given up does not learn whether it was. */
  #orInterrupted<A, E>(holder: Holder, givingUp: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.onInterrupt(givingUp, () => Effect.sync(() => this.#giveUp(holder, false)))
  }

  /** Nobody deletes it from here on. */
  #giveUp(holder: Holder, isCertain = true): void {
    this.#isGivenUp = true
    this.#around.checker.claims.givenUp(valueOf(holder.lock), isCertain)
    this.#around.checker.count("locks given up by hand")
  }

  /** Extends by hand. What has ended before stays ended. */
  #extend(holder: Holder): Effect.Effect<void> {
    const { checker } = this.#around
    const { process } = this.#client
    return Effect.suspend(() => {
      const hasEnded = this.#hasEnded
      return Effect.map(Effect.exit(holder.lock.extend), (exit) => {
        checker.count(`extended by hand: ${describe(exit)}`)
        if (Exit.isSuccess(exit) ? hasEnded : exit.cause.reasons.some(Cause.isDieReason)) {
          checker.violated("4 what has ended stays ended", `${process.name} extends: ${describe(exit)}`)
        }
      })
    })
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
    const asksForValue = ["adopt", "adoptFenced", "unlock"].includes(this.#op.verb)
    const isJudged = process.blockedUntil < startedAt && (isAlone || !asksForValue)
    if (outcome.includes("NodesUnavailable") && isJudged) {
      checker.violated("5 minorities are invisible", `${process.name} ${this.#op.verb}: ${outcome}`)
    }
    // Whoever is refused waits as long as the schedule says, and now and then for the look that explains the error.
    const { options: { nodeTimeout }, names, retry, verb } = this.#op
    const bound = retry.tries * (1.2 * retry.delay + 4 * plan.link.delay[1] + 10) + 3 * nodeTimeout + 300
    const refusedAfter = process.world.now - startedAt
    if (waitingVerbs.has(verb) && outcome === "ErrFailed" && isJudged && refusedAfter > bound / process.rate) {
      checker.violated(
        "5 minorities are invisible",
        `${process.name} ${verb} was refused after ${refusedAfter.toFixed(1)} ms`
      )
    }
    const took = (this.#enteredAt ?? process.world.now) - startedAt
    const roundTrips = names.length
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
    const waited = (this.#grantedAt ?? this.#enteredAt ?? now) - from
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
