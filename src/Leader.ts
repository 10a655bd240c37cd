/**
 * Work that only one of many instances of a program does: leader election, and cron jobs whose runs
 * each take place once.
 *
 * Every instance builds the same layer. {@link singleton} runs its program on one instance at a
 * time, and on another when that instance ends, crashes or is cut off. {@link cron} executes each
 * scheduled run of a job on one instance.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Cron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import {
  dieWithIllegalArgument,
  given,
  invalidOption,
  invalidResult,
  millis,
  passes
} from "./internal/base/arguments.ts"
import { instantNow, monotonicMillis } from "./internal/base/clock.ts"
import { quoted } from "./internal/base/text.ts"
import { checkName, resolveSettings } from "./internal/claim/settings.ts"
import { isProgram } from "./internal/service/dualApi.ts"
import { type FencedLock, guard, type Lock } from "./Lock.ts"
import type { LockError } from "./LockError.ts"
import type { LockOptions } from "./LockOptions.ts"
import { type Program, Redsync } from "./RedsyncService.ts"

// -----------------------------------------------------------------------------
// leaders
// -----------------------------------------------------------------------------

/**
 * The options of {@link singleton} and {@link lead}: those of a lock, except how to
 * wait for it, since a candidate waits until it is elected.
 *
 * @category options
 * @since 0.1.0
 */
export interface LeaderOptions extends Omit<LockOptions, "retry"> {
  /**
   * The pauses before an instance stands for election again after its program has
   * failed. The schedule is given the cause, and starts over after a term of 30
   * seconds or more. Once the schedule ends, the instance no longer stands for election.
   *
   * @default 200 ms, doubled from failure to failure up to 30 s, without end
   */
  readonly restart?: Schedule.Schedule<unknown, Cause.Cause<unknown>> | undefined
}

const defaultRestart = Schedule.min([Schedule.exponential("200 millis"), Schedule.spaced("30 seconds")])

/** A program that has run for this long did not fail at once. */
const longTermMillis = 30_000

/** Candidates are woken by the release. This is for a leader that has crashed, and for nodes that recover. */
const candidacy = Schedule.jittered(Schedule.spaced("1 second"))

/**
 * Runs a program on one of the instances that build this layer with the same name.
 *
 * **Details**
 *
 * The layer is built at once; the instance stands for election in the background, for as long as
 * the layer is open, and does what {@link lead} does. If the program can never run, for instance
 * because of an invalid option, the layer dies.
 *
 * **Example** (One instance sends what is in the outbox)
 *
 * ```ts
 * import { Effect, Schedule } from "effect"
 * import { Leader, Redsync } from "effect-redsync"
 *
 * const send = Effect.log("sending").pipe(Effect.repeat(Schedule.spaced("1 second")))
 *
 * const layer = Leader.singleton("outbox", send)
 * ```
 *
 * @see {@link lead} for the same as an effect
 * @category leaders
 * @since 0.1.0
 */
export const singleton = <E, R>(
  name: string,
  program: Program<[lock: FencedLock], unknown, E, R>,
  options?: LeaderOptions
): Layer.Layer<never, never, Redsync | Exclude<R, Scope.Scope>> =>
  inBackground("Leader of", name, lead(name, program, options))

/**
 * Waits until this instance is elected, runs the program while it leads, and stands
 * for election again. Never ends by itself.
 *
 * **Details**
 *
 * The leader is the holder of a fenced lock of that name. The program has a scope of its own for
 * each term. A program given as a function receives the lock, with its fencing token: if the token
 * is passed along with every write, the resource can reject the writes of a former leader, see
 * `Fencing`.
 *
 * - **The program succeeds**: this instance remains the leader, so that the program does not run
 *   again on another. It runs again after a loss of the lock or a crash.
 * - **The program fails or dies**: the lock is released, and another instance leads at once. The
 *   cause is logged as a warning. This instance stands for election again after a pause, see `restart`.
 * - **The lock is lost**: the program is interrupted, and this instance stands for election again at once.
 * - **Too few nodes respond**: this instance tries again about every second. The first failure is
 *   logged as a warning.
 * - **Interruption**: the program is interrupted, its finalizers run, then the lock is released,
 *   and another instance leads at once.
 *
 * If a leader crashes, its lease ends after at most `expiry`, and the next attempt of a candidate
 * succeeds; each candidate makes an attempt about every second. If the schedule of `restart` ends,
 * this dies with the last failure. Invalid options are a defect.
 *
 * **Gotchas**
 *
 * Interrupting a program takes as long as its finalizers. A leader that has lost its lock may
 * therefore still be working while the next one leads, and it learns of a `forceUnlock` only at its
 * next extension. The fencing token is what lets its writes be rejected.
 *
 * **Example** (The token goes along with every write)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Leader } from "effect-redsync"
 *
 * const program = Leader.lead("outbox", (lock) =>
 *   Effect.log(`UPDATE outbox SET …, token = ${lock.token} WHERE token <= ${lock.token}`), { expiry: "5 seconds" })
 * ```
 *
 * @category leaders
 * @since 0.1.0
 */
export const lead = <E, R>(
  name: string,
  program: Program<[lock: FencedLock], unknown, E, R>,
  options: LeaderOptions = {}
): Effect.Effect<never, never, Redsync | Exclude<R, Scope.Scope>> =>
  Effect.gen(function*() {
    const read = leaderOptionsOf(name, program, options)
    if (Predicate.isString(read)) return yield* dieWithIllegalArgument(read)
    const { restart = defaultRestart, ...lockOptions } = read
    const redsync = yield* Redsync
    const clock = yield* Clock.Clock
    const leader = `leader of ${quoted(name)}`

    let isCutOff = false
    const retry = candidacy.pipe(
      Schedule.setInputType<LockError>(),
      Schedule.tap(({ input }) => {
        const isFirst = input._tag === "NodesUnavailable" && !isCutOff
        isCutOff = input._tag === "NodesUnavailable"
        return isFirst ? Effect.logWarning(`Cannot become ${leader} for now`, input) : Effect.void
      })
    )

    let electedAt = 0
    /** From the election to the failure of the program. */
    const term = (lock: FencedLock) =>
      Effect.gen(function*() {
        isCutOff = false
        electedAt = monotonicMillis(clock)
        yield* Effect.logDebug(`Elected ${leader}`)
        const exit = yield* Effect.exit(Effect.scoped(run(program, lock)))
        return Exit.isFailure(exit) ? exit.cause : yield* Effect.never
      }).pipe(Effect.annotateLogs("redsync.token", lock.token))

    /** Succeeds with the cause of the failure, or with nothing if the lock was lost. */
    const candidate = redsync.withFencedLock(name, (_, lock) => term(lock), { ...lockOptions, retry }).pipe(
      Effect.catchTag("LockLost", () => Effect.logInfo(`No longer ${leader}: standing for election again`)),
      // The schedule has no end, so the service has been closed.
      Effect.catch((error) => Effect.succeed<Cause.Cause<E | LockError>>(Cause.fail(error)))
    )

    let pause = yield* Schedule.toStepWithSleep(restart)
    while (true) {
      electedAt = Number.POSITIVE_INFINITY
      const cause = yield* candidate
      if (cause === undefined) continue
      yield* Effect.logWarning(`The ${leader} failed: standing for election again`, cause)
      if (monotonicMillis(clock) - electedAt >= longTermMillis) pause = yield* Schedule.toStepWithSleep(restart)
      yield* pause(cause).pipe(Pull.catchDone(() => Effect.die(Cause.squash(cause))))
    }
  }).pipe(Effect.annotateLogs("redsync.lock", name))

const leaderOptions = ["restart", "expiry", "autoExtend", "driftFactor", "nodeTimeout"] as const

/** The options, each read once, or a sentence about what is invalid and not checked by the service. */
const leaderOptionsOf = (name: unknown, program: unknown, options: unknown): LeaderOptions | string => {
  const read = given(options, leaderOptions)
  if (Predicate.isString(read)) return read
  const { restart } = read
  if (restart !== undefined && !passes(() => Schedule.isSchedule(restart))) {
    return invalidOption("restart", restart, "it must be a Schedule")
  }
  return checkName(name) ?? (isProgram(program) ? read as LeaderOptions : noProgram(program))
}

const noProgram = (program: unknown) =>
  invalidOption("program", program, "it must be an Effect, or a function that returns one")

const run = <E, R>(program: Program<[lock: FencedLock], unknown, E, R>, lock: FencedLock) =>
  Effect.suspend(() => {
    const returned = Effect.isEffect(program) ? program : program(lock)
    return Effect.isEffect(returned) ? returned : dieWithIllegalArgument(invalidResult(returned))
  })

/** Runs in the background for as long as the layer is open. If it dies at once, so does the layer. */
const inBackground = <R>(
  what: string,
  name: unknown,
  program: Effect.Effect<never, never, R>
): Layer.Layer<never, never, Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const fiber = yield* Effect.forkScoped(
      Effect.tapCause(program, (cause) =>
        Effect.logError(`${what} ${Predicate.isString(name) ? quoted(name) : "no name"} ended for good`, cause)),
      { startImmediately: true }
    )
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) {
      return yield* exit
    }
  }))

// -----------------------------------------------------------------------------
// cron jobs
// -----------------------------------------------------------------------------

/**
 * The time for which the current run of a job is scheduled, in `execute` of {@link cron}.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export class CurrentScheduledTime extends Context.Service<CurrentScheduledTime, DateTime.Utc>()(
  "effect-redsync/CurrentScheduledTime"
) {}

/**
 * The options of {@link cron}.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface CronOptions<E, R> extends Omit<LockOptions, "retry" | "autoExtend"> {
  /** The name of the job: instances that give the same name share its runs. */
  readonly name: string
  /**
   * When the job runs. If the `Cron` has no time zone, that of the process applies, so set a time
   * zone if instances could run in different ones.
   */
  readonly cron: Cron.Cron
  /** The job itself. Each run has a scope of its own, and can read {@link CurrentScheduledTime}. */
  readonly execute: Effect.Effect<unknown, E, R>
  /**
   * The most by which the clocks of any two instances may differ, from a second to a day. An
   * instance that wakes up for a run later than this, or cannot reach enough nodes for this long,
   * skips the run.
   *
   * @default "1 minute"
   */
  readonly clockSkew?: Duration.Input | undefined
  /**
   * What to do with a run while an earlier one of the same job is still running, on any instance:
   * skip it, or run both.
   *
   * @default "skip"
   */
  readonly overlap?: "skip" | "allow" | undefined
}

const defaultSkew = "1 minute"

const longestSleepMillis = 30_000

/** The pauses between the attempts of one instance, while votes are split or nodes do not respond. */
const contention = Schedule.jittered(Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("1 second")]))

/**
 * Runs a job on a cron schedule, each run on one of the instances that build this layer with the
 * same name.
 *
 * **Details**
 *
 * No leader has to be up when a run is due: every instance wakes up for every run and tries to
 * claim it, by a lock named after the job and the time of the run,
 * `nightly@2026-11-26T02:00:00.000Z`. The claim is left to expire after slightly more than twice
 * the `clockSkew`, so that an instance whose clock is behind still finds it. The run takes place
 * once, on the instance that claimed it:
 *
 * - **A run fails, or its instance ends or crashes**: it is not repeated. If the work must be done,
 *   have the run put it into a queue, such as `PersistedQueue`, or a workflow.
 * - **A run is still running when the next is due**: the next run is skipped, on every instance. A
 *   lock with the job's name is held during a run; if that lock is lost, the run is interrupted.
 *   With `overlap: "allow"` both run, and no lock is held.
 * - **No instance is up, or too few nodes respond**: the run is missed. Instances try for as long as `clockSkew`.
 * - **The layer is closed**: the run is interrupted and its finalizers run.
 *
 * Runs that failed, were interrupted, could not be claimed, or were due while the process stood
 * still are logged as warnings, and so is a clock that was set back: no run is repeated, so the next
 * one is late by as much. Runs skipped because an earlier one is still running are logged as
 * information. Invalid options make the layer die.
 *
 * **Gotchas**
 *
 * Each run happens at most once if the clocks differ by no more than `clockSkew` and no quorum of
 * servers loses its keys before the claim has expired: for servers without persistence,
 * `delayedRestart` has to be longer than that, slightly more than twice the `clockSkew`.
 *
 * **Example** (A report every night)
 *
 * ```ts
 * import { Cron, Effect } from "effect"
 * import { Leader } from "effect-redsync"
 *
 * const layer = Leader.cron({
 *   name: "nightly",
 *   cron: Cron.parseUnsafe("0 3 * * *", "Europe/Berlin"),
 *   execute: Effect.flatMap(Leader.CurrentScheduledTime, (time) => Effect.log("the report of", time))
 * })
 * ```
 *
 * @stability unstable
 * @category cron jobs
 * @since 0.1.0
 */
export const cron = <E, R>(
  options: CronOptions<E, R>
): Layer.Layer<never, never, Redsync | Exclude<Exclude<R, CurrentScheduledTime>, Scope.Scope>> =>
  Layer.unwrap(Effect.suspend(() => {
    const read = cronOptionsOf(options)
    return Predicate.isString(read)
      ? dieWithIllegalArgument(read)
      : Effect.succeed(inBackground("Cron job", read.name, runs(read)))
  }))

/** Runs a job whenever it is due. */
const runs = <E, R>(
  { clockSkew = defaultSkew, cron, execute, name, overlap = "skip", ...lockOptions }: CronOptions<E, R>
) =>
  Effect.gen(function*() {
    const skewMillis = millis(clockSkew)
    const redsync = yield* Redsync
    const problem = checkName(claimName(name, 0), (yield* redsync.topology).prefix)
    if (problem !== undefined) return yield* dieWithIllegalArgument(problem)
    const scope = yield* Effect.scope
    const nameOfRun = (at: number) => `Run ${iso(at)} of cron job ${quoted(name)}`

    /** `None` if another instance has it. If that cannot be decided, it retries until the deadline. */
    const take = (name: string, deadline: number, options: LockOptions) =>
      Effect.gen(function*() {
        const taken = yield* redsync.tryLock(name, options)
        if (Option.isSome(taken)) return taken
        const { holder } = yield* redsync.inspect(name)
        return Option.isSome(holder) ? Option.none<Lock>() : yield* Effect.fail("no instance has a quorum")
      }).pipe(Effect.retry({
        schedule: contention,
        while: () => Effect.map(Clock.currentTimeMillis, (now) => now <= deadline)
      }))

    // From the first claim to the last possible one, by an instance whose clock is behind by
    // `clockSkew` and which is late by as much.
    const claimOptions = { ...lockOptions, expiry: 2.2 * skewMillis + 1000 }

    /** Whether this instance is the one to run it. */
    const claim = (at: number) =>
      Effect.gen(function*() {
        const claimed = yield* take(claimName(name, at), at + skewMillis, claimOptions)
        if (Option.isNone(claimed)) return false
        // A claim that came too late is released with the scope: another instance might claim the run again.
        if ((yield* Clock.currentTimeMillis) > at + skewMillis) return yield* Effect.fail("it was claimed too late")
        yield* claimed.value.abandon
        return true
      }).pipe(Effect.scoped)

    const runOnce = Effect.fnUntraced(function*(at: number) {
      const run = nameOfRun(at)
      const isOurs = yield* claim(at).pipe(
        Effect.catch((error) =>
          Effect.as(Effect.logWarning(`${run} could not be claimed on this instance`, error), false)
        )
      )
      if (!isOurs) return
      const program = Effect.scoped(Effect.provideService(execute, CurrentScheduledTime, DateTime.makeUnsafe(at)))
      const alone = Effect.gen(function*() {
        const lock = yield* take(name, at + skewMillis, lockOptions)
        if (Option.isNone(lock)) yield* Effect.logInfo(`${run} is skipped: an earlier one is still running`)
        else yield* guard(lock.value, program)
      })
      const guarded: Effect.Effect<unknown, unknown, Exclude<R, CurrentScheduledTime>> = overlap === "allow"
        ? program
        : Effect.scoped(alone)
      yield* guarded.pipe(
        Effect.catchCause((cause) => Effect.logWarning(`${run} failed and will not be repeated`, cause))
      )
    }, (runs, at) =>
      Effect.onInterrupt(runs, () => Effect.logWarning(`${nameOfRun(at)} was interrupted on this instance`)))

    let after = yield* Clock.currentTimeMillis
    while (true) {
      const at = Cron.next(cron, after).getTime()
      const now = yield* sleepUntil(at, skewMillis, (backMillis) =>
        Effect.logWarning(
          `This instance runs cron job ${quoted(name)} next at ${iso(at)}: its clock was set back by ` +
            `${(backMillis / 1000).toFixed(1)} s, and no run is repeated`
        ))
      // A run that this instance has slept through is due for as long as it can still be claimed.
      after = Math.max(at, now - skewMillis)
      if (after === at) {
        yield* Effect.forkIn(runOnce(at), scope)
      } else {
        yield* Effect.logWarning(
          `This instance skips the runs of cron job ${quoted(name)} due from ${iso(at)} to ${iso(after)}: ` +
            "this process was blocked or suspended, or its clock was set"
        )
      }
    }
  }).pipe(Effect.annotateLogs("redsync.lock", name))

const iso = (at: number) => new Date(at).toISOString()

const claimName = (name: string, at: number) => `${name}@${iso(at)}`

const cronOptions = ["name", "cron", "execute", "clockSkew", "overlap", "expiry", "driftFactor", "nodeTimeout"] as const

/** The options, each read once, or a sentence if anything is invalid: found now, and not when the first run is due. */
const cronOptionsOf = <E, R>(options: CronOptions<E, R>): CronOptions<E, R> | string => {
  const read = given(options, cronOptions)
  if (Predicate.isString(read)) return read
  const { clockSkew = defaultSkew, cron, execute, name, overlap = "skip" } = read
  if (!passes(() => Cron.isCron(cron))) {
    return invalidOption("cron", cron, "it must be a Cron, for instance one made by Cron.parseUnsafe")
  }
  if (!passes(() => Cron.next(cron as Cron.Cron).getTime() > 0)) {
    return invalidOption("cron", cron, "it must match a time in the future")
  }
  if (!passes(() => Effect.isEffect(execute))) return invalidOption("execute", execute, "it must be an Effect")
  const skewMillis = millis(clockSkew)
  if (!(skewMillis >= 1000 && skewMillis <= 24 * 3600 * 1000)) {
    return invalidOption("clockSkew", clockSkew, "it must be a duration from a second to a day")
  }
  if (overlap !== "skip" && overlap !== "allow") {
    return invalidOption("overlap", overlap, `it must be "skip" or "allow"`)
  }
  const settings = resolveSettings(read, contention)
  return checkName(name) ?? (Predicate.isString(settings) ? settings : read as unknown as CronOptions<E, R>)
}

/**
 * Sleeps until the wall clock shows a time, and succeeds with what it shows. Timers use the
 * monotonic clock, but the wall clock may be set meanwhile, and continues while the machine is
 * suspended. Reports if it is set back by more than `skewMillis`.
 */
const sleepUntil = Effect.fnUntraced(function*(
  at: number,
  skewMillis: number,
  onSetBack: (millis: number) => Effect.Effect<void>
) {
  const clock = yield* Clock.Clock
  let before = instantNow(clock)
  while (true) {
    const now = instantNow(clock)
    const backMillis = before.wall - before.monotonic - (now.wall - now.monotonic)
    if (backMillis > skewMillis) yield* onSetBack(backMillis)
    if (now.wall >= at) return now.wall
    before = now
    yield* Effect.sleep(Math.min(at - now.wall, longestSleepMillis))
  }
})
