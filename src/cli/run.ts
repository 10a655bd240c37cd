/**
 * `redsync run`: a command that runs while the lock is held.
 */
import * as Cause from "effect/Cause"
import * as Argument from "effect/cli/Argument"
import * as Cli from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { mostPermits, mostSlots } from "../internal/nodeContract.ts"
import type { Lock } from "../Lock.ts"
import type { LockError } from "../LockError.ts"
import * as Redsync from "../Redsync.ts"
import { durationFlag } from "./duration.ts"
import { beyondReach, fail, Failure, fromLockError, heldByAnother, lockLost, wrongOptionsAreUsage } from "./failure.ts"
import { givenLabel, labelFlag, labelled } from "./label.ts"
import { givenOptions, serviceWith } from "./nodes.ts"
import { logToStandardError } from "./output.ts"
import { Child, type Command } from "./run/child.ts"
import { hold, inWords, type Wanted, wanted } from "./run/hold.ts"
import type { Watchdog } from "./run/watchdog.ts"
import { endOfPipeIsNoSignal, Signals } from "./signals.ts"
import { switchFlag } from "./switch.ts"

/** For how long too few nodes may answer, however long `run` is to wait for the holder. */
const unavailableMillis = 10_000

/** Retries until the wait is over, or too few nodes have answered for too long. */
export const patience = (wait: Option.Option<Duration.Duration>): Schedule.Schedule<unknown, LockError> => {
  const waitMillis = Duration.toMillis(Option.getOrElse(wait, () => Duration.infinity))
  if (waitMillis === 0) return Redsync.retryPolicy({ tries: 1 })
  let answeredAt = 0
  return Redsync.retryPolicy({ delay: "500 millis", within: waitMillis }).pipe(
    Schedule.setInputType<LockError>(),
    Schedule.while(({ elapsed, input }) => {
      if (input._tag !== "NodesUnavailable") answeredAt = elapsed
      return elapsed - answeredAt < unavailableMillis
    })
  )
}

interface Limits {
  readonly expiryMillis: number
  readonly graceMillis: number
  /** Processes that the command leaves running do not keep the lock. */
  readonly leave: boolean
}

/** For how long all of the locks are still guaranteed. */
const remainingMillis = (locks: ReadonlyArray<Lock>): Effect.Effect<number> =>
  Effect.map(
    Effect.forEach(locks, ({ remaining }) => remaining),
    (remaining) => Math.min(...remaining.map(Duration.toMillis))
  )

/** Whether they are lost because their lease has ended: then others may hold them by now. */
const areOver = (locks: ReadonlyArray<Lock>): Effect.Effect<boolean> =>
  Effect.raceAllFirst([
    ...locks.map(({ lost }) => Effect.map(Effect.flip(lost), ({ reason }) => reason !== "Taken")),
    Effect.as(Effect.yieldNow, false)
  ])

/**
 * Runs the command for as long as the lock is held, and terminates it before the lease
 * ends: only then is it certain to be gone when another client gets the lock.
 */
const supervise = (
  what: Wanted,
  locks: ReadonlyArray<Lock>,
  command: Command,
  { expiryMillis, graceMillis, leave }: Limits,
  child: (child: Child) => void
) =>
  Effect.gen(function*() {
    const signals = yield* Signals
    // Extensions need time to succeed before the command is asked to end.
    const restMillis = Math.min(graceMillis, expiryMillis / 3)
    // Timers are late on a busy machine.
    const spareMillis = expiryMillis / 10
    const leftMillis = Effect.map(remainingMillis(locks), (remaining) => remaining - restMillis - spareMillis)
    /** Returns when extending has failed for so long that the command has to end. */
    const untilNearEnd = (watchdog: Watchdog): Effect.Effect<void> =>
      Effect.flatMap(leftMillis, (left) => {
        if (left <= 0) return Effect.void
        // The watchdog begins a little later than we do, and is done at the same time.
        watchdog.lease(left + spareMillis / 2, restMillis - spareMillis / 2)
        return Effect.andThen(Effect.sleep(Math.min(left, expiryMillis / 6)), untilNearEnd(watchdog))
      })
    const tooLate = Effect.fail(
      new Failure({
        code: lockLost,
        message: `${capitalized(inWords(what))} could not be extended: terminated the command before the lease ended`
      })
    )
    const ended = (child: Child) =>
      Effect.gen(function*() {
        const code = yield* child.exitCode
        // The watchdog's first output may arrive together with the end that it brought about.
        yield* Effect.sleep(1)
        if (child.watchdog.hasActed) return yield* tooLate
        if (!leave) yield* child.alone
        return code
      })
    return yield* Effect.acquireUseRelease(
      Effect.sync(() => {
        const mayGoOn = () => Effect.runSync(remainingMillis(locks)) > 0
        const started = new Child(command, graceMillis, mayGoOn)
        signals.receiver = (signal) => started.forward(signal)
        child(started)
        return started
      }),
      (child) => Effect.raceFirst(ended(child), Effect.andThen(untilNearEnd(child.watchdog), tooLate)),
      (child, exit) =>
        Effect.gen(function*() {
          if (Exit.isFailure(exit)) {
            const nearEnd = Math.max(0, (yield* remainingMillis(locks)) - spareMillis)
            const isTaken = Cause.hasInterruptsOnly(exit.cause) && !(yield* areOver(locks))
            yield* child.terminate(isTaken ? graceMillis : Math.min(restMillis, nearEnd), spareMillis / 2)
          }
          child.close()
          signals.receiver = undefined
        })
    )
  })

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** A whole number of permits. */
const permitsFlag = (name: string, most: number, description: string) =>
  Flag.Int(name).pipe(
    Flag.withMetavar("number"),
    Flag.withDescription(description),
    Flag.filter(
      (number) => number >= 1 && number <= most,
      () => `a whole number from 1 to ${most}`
    ),
    Flag.optional
  )

export const run = Cli.make(
  "run",
  {
    name: Argument.String("name").pipe(
      Argument.withDescription(
        "The name of the lock, which is its key on the nodes; with --permits, the name of the semaphore"
      )
    ),
    command: Argument.String("command").pipe(
      Argument.withDescription("The command and its arguments, after --"),
      Argument.variadic({ min: 1 })
    ),
    expiry: durationFlag("expiry").pipe(
      Flag.withDescription(
        "The length of the lease, and so how long the lock outlives a redsync that crashes (default: REDSYNC_EXPIRY, or 30s). " +
          "The lease is extended while the command runs"
      ),
      Flag.optional
    ),
    wait: durationFlag("wait").pipe(
      Flag.withDescription("How long to wait for the lock (default: indefinitely); 0 makes one attempt"),
      Flag.optional
    ),
    grace: durationFlag("grace").pipe(
      Flag.withDescription("How long the command has between SIGTERM and SIGKILL when the lock is lost (default: 10s)"),
      Flag.withDefault(Duration.seconds(10))
    ),
    atLeast: durationFlag("at-least").pipe(
      Flag.withDescription(
        "The minimum time to keep the lock, however quick the command is (default: 0); for cron jobs on machines whose clocks differ"
      ),
      Flag.withDefault(Duration.zero)
    ),
    also: Flag.String("also").pipe(
      Flag.withMetavar("name"),
      Flag.withDescription("Another lock to hold at the same time. Repeat the flag for each: all are held, or none"),
      Flag.atLeast(0)
    ),
    busyExit: Flag.Int("busy-exit").pipe(
      Flag.withMetavar("code"),
      Flag.withDescription("The exit code if another client holds the lock (default: 75); with 0, nothing is printed"),
      Flag.filter(
        (code) => code >= 0 && code <= 255,
        () => "an exit code from 0 to 255"
      ),
      Flag.withDefault(heldByAnother)
    ),
    leave: switchFlag(
      "leave",
      "Release the lock when the command ends, even if processes that it has started are still running"
    ),
    label: labelFlag,
    shared: switchFlag(
      "shared",
      "Share the lock with all others that use this flag, the readers. Those without it are writers, which exclude everyone else"
    ),
    permits: permitsFlag(
      "permits",
      mostSlots,
      "How many commands may run at once: each holds one of this many permits of a semaphore, with its number in REDSYNC_SLOT"
    ),
    take: permitsFlag("take", mostPermits, "How many of the permits to hold, all or none (default: 1)"),
    fenced: switchFlag(
      "fenced",
      "Give the command a fencing token in REDSYNC_TOKEN; with --permits, a token for each permit"
    )
  },
  Effect.fn(
    function*(
      {
        also,
        atLeast,
        busyExit,
        command: [program = "", ...args],
        expiry: given,
        fenced,
        grace,
        label,
        leave,
        name,
        permits,
        shared,
        take,
        wait
      }
    ) {
      yield* endOfPipeIsNoSignal
      const what = yield* wanted({ name, also, fenced, shared, permits, take })
      const options = yield* givenOptions
      const expiry = Option.getOrElse(given, () => Duration.fromInputUnsafe(options.expiry ?? "30 seconds"))
      const limits = { expiryMillis: Duration.toMillis(expiry), graceMillis: Duration.toMillis(grace), leave }
      const description = yield* givenLabel(label)
      let child: Child | undefined
      let ended: number | undefined
      const code = yield* hold(
        what,
        { expiry, retry: patience(wait) },
        (locks, env) =>
          labelled(
            locks,
            description,
            expiry,
            Effect.gen(function*() {
              const [elapsed, code] = yield* Effect.timed(
                supervise(
                  what,
                  locks,
                  { program, args, env: { ...process.env, ...env } },
                  limits,
                  (started) => child = started
                )
              )
              ended = code
              yield* Effect.sleep(Duration.subtract(atLeast, elapsed))
              return code
            })
          )
      ).pipe(
        Effect.catchTags({
          ErrFailed: (error) => busyExit === 0 ? Effect.succeed(0) : fail(busyExit, error.message),
          NodesUnavailable: (error) => Effect.fail(fromLockError(error)),
          // The library has logged it already.
          LockLost: () => ended === undefined ? fail(lockLost, "") : Effect.succeed(ended)
        }),
        Effect.mapError((failure) =>
          failure.code === lockLost && child?.isBeyondReach === true
            ? new Failure({ code: beyondReach, message: failure.message })
            : failure
        ),
        Effect.provide(serviceWith(options)),
        wrongOptionsAreUsage,
        Effect.provide(logToStandardError)
      )
      if (code !== 0) return yield* new Failure({ code, message: "" })
    }
  )
).pipe(
  Cli.withDescription(
    "Runs a command while holding a lock, or permits of a semaphore.\n\n" +
      "The command finds the lock's name in REDSYNC_LOCK. With --permits, the numbers of its permits, counted from 0 and " +
      "separated by commas, are in REDSYNC_SLOT: no other holder has them. With --fenced, REDSYNC_TOKEN has the fencing token, " +
      "or with --permits a token for each permit. Signals sent to redsync are forwarded to the command. When the lock is lost or " +
      "cannot be extended, or redsync itself is killed, the command and every process that it has started get SIGTERM, and SIGKILL " +
      "after --grace. Processes that the command leaves running keep the lock, unless --leave is given.\n\n" +
      "Exits with the command's code, or 128 plus the number of the signal that ended it; 75 if another client holds the lock " +
      "or too few permits are free, 69 if too few nodes answer, 70 if the lock was lost, 77 if it was lost and redsync is not permitted to terminate the command, " +
      "64 for wrong usage, 126 if the command cannot be executed, 127 if there is no such command."
  ),
  Cli.withShortDescription("Runs a command while holding a lock."),
  Cli.withExamples([
    { command: "redsync run nightly-billing -- ./bill.sh --all", description: "Waits its turn, then runs ./bill.sh" },
    {
      command: "redsync run --wait 0 report -- make report",
      description: "Exits with 75 if another client has the lock"
    },
    {
      command: "redsync run --fenced import -- sh -c './import --token $REDSYNC_TOKEN'",
      description: "With a fencing token, larger for every new holder, for the resource to check"
    },
    {
      command: "redsync run --permits 3 browsers -- sh -c './browse --port 920$REDSYNC_SLOT'",
      description: "At most three at once, each with a port of its own"
    },
    {
      command: "redsync run --shared catalogue -- ./report.sh",
      description: "Together with other readers, but never with a writer"
    }
  ])
)
