/**
 * `redsync run`: a command that runs while the lock is held.
 */
import * as Argument from "effect/cli/Argument"
import * as Cli from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { isatty } from "node:tty"
import type { Lock } from "../Lock.ts"
import type { LockError } from "../LockError.ts"
import * as Redsync from "../Redsync.ts"
import { Child, type Command } from "./child.ts"
import { durationFlag } from "./duration.ts"
import { Failure, fromLockError, lockLost, wrongOptionsAreUsage } from "./failure.ts"
import { connected } from "./nodes.ts"
import { logToStandardError, say } from "./output.ts"
import { Signals } from "./signals.ts"

/** For how long too few nodes may answer, whatever the patience with the holder. */
const unavailableMillis = 10_000

/** Tries on until the wait is over, or too few nodes have answered for too long. */
const patience = (wait: Option.Option<Duration.Duration>): Schedule.Schedule<unknown, LockError> => {
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

/** Says that it waits, where a person sits and waits too. */
const sayThatWeWait = (name: string) =>
  isatty(2)
    ? Effect.delay(say(`waiting for lock ${JSON.stringify(name)}`), "1 second")
    : Effect.void

/** Returns when no more than the reserve is left of the lease: extending it fails, or it would be longer. */
const untilNearEnd = (lock: Lock, reserveMillis: number): Effect.Effect<void> =>
  Effect.flatMap(lock.remaining, (remaining) => {
    const left = Duration.toMillis(remaining) - reserveMillis
    return left <= 0 ? Effect.void : Effect.andThen(Effect.sleep(left), untilNearEnd(lock, reserveMillis))
  })

/**
 * Runs the command for as long as the lock is held, and ends it before the lease
 * does: only so is it certainly gone when another gets the lock.
 */
const supervise = (lock: Lock, command: Command, grace: Duration.Duration, expiry: Duration.Duration) =>
  Effect.gen(function*() {
    const signals = yield* Signals
    const graceMillis = Duration.toMillis(grace)
    // With something to spare, as timers are late on a busy machine; but extending has to have its chances first.
    const expiryMillis = Duration.toMillis(expiry)
    const reserveMillis = Math.min(graceMillis, expiryMillis / 3) + expiryMillis / 20
    return yield* Effect.acquireUseRelease(
      Effect.sync(() => {
        const child = new Child(command)
        signals.receiver = (signal) => child.forward(signal)
        return child
      }),
      (child) =>
        Effect.raceFirst(
          child.exitCode,
          Effect.andThen(
            untilNearEnd(lock, reserveMillis),
            Effect.fail(
              new Failure({
                code: lockLost,
                message: `Lock ${JSON.stringify(lock.name)} could not be extended: ended the command before the lease`
              })
            )
          )
        ),
      (child) => Effect.ensuring(child.terminate(graceMillis), Effect.sync(() => signals.receiver = undefined))
    )
  })

/** Holds the lock, with a token if it is to be fenced, and says so if it has to wait for it. */
const hold = Effect.fnUntraced(function*<A, E, R>(
  name: string,
  fenced: boolean,
  options: Redsync.LockOptions,
  program: (lock: Lock, env: NodeJS.ProcessEnv) => Effect.Effect<A, E, R>
) {
  const waiting = yield* Effect.forkChild(sayThatWeWait(name))
  const begin = (lock: Lock, env: NodeJS.ProcessEnv) => {
    waiting.interruptUnsafe()
    return program(lock, { REDSYNC_LOCK: name, ...env })
  }
  return yield* fenced
    ? Redsync.withFencedLock(name, (token, lock) => begin(lock, { REDSYNC_TOKEN: String(token) }), options)
    // Nor one of a `run` that this one runs under.
    : Redsync.withLock(name, (lock) => begin(lock, { REDSYNC_TOKEN: undefined }), options)
})

export const run = Cli.make(
  "run",
  {
    name: Argument.String("name").pipe(Argument.withDescription("The lock: the key on the nodes")),
    command: Argument.String("command").pipe(
      Argument.withDescription("The command and its arguments, after --"),
      Argument.variadic({ min: 1 })
    ),
    expiry: durationFlag("expiry").pipe(
      Flag.withDescription(
        "How long the lock outlives a redsync that crashes (30s); it is extended while the command runs"
      ),
      Flag.withDefault(Duration.seconds(30))
    ),
    wait: durationFlag("wait").pipe(
      Flag.withDescription("How long to wait for the lock (for ever); 0 tries once"),
      Flag.optional
    ),
    grace: durationFlag("grace").pipe(
      Flag.withDescription("How long the command has to end after SIGTERM when the lock is lost, before SIGKILL (10s)"),
      Flag.withDefault(Duration.seconds(10))
    ),
    fenced: Flag.Boolean("fenced").pipe(
      Flag.withDescription("Give the command a fencing token in REDSYNC_TOKEN"),
      Flag.withDefault(false)
    )
  },
  Effect.fn(function*({ command: [program = "", ...args], expiry, fenced, grace, name, wait }) {
    const code = yield* hold(
      name,
      fenced,
      { expiry, retry: patience(wait) },
      (lock, env) => supervise(lock, { program, args, env: { ...process.env, ...env } }, grace, expiry)
    ).pipe(
      Effect.catchTags({
        ErrFailed: (error) => Effect.fail(fromLockError(error)),
        NodesUnavailable: (error) => Effect.fail(fromLockError(error)),
        // The library's log has told already.
        LockLost: () => Effect.fail(new Failure({ code: lockLost, message: "" }))
      }),
      Effect.provide(connected()),
      wrongOptionsAreUsage,
      Effect.provide(logToStandardError)
    )
    if (code !== 0) return yield* Effect.fail(new Failure({ code, message: "" }))
  })
).pipe(
  Cli.withDescription(
    "Runs a command while holding a lock.\n\n" +
      "The command finds the lock's name in REDSYNC_LOCK. It gets the signals that redsync gets. When the lock is lost " +
      "or cannot be extended, it gets SIGTERM, and SIGKILL after --grace.\n\n" +
      "Exits with the command's code, or 128 and the number of the signal that ended it; 75 if another holds the lock, " +
      "69 if too few nodes answer, 70 if the lock was lost, 64 for wrong usage, 127 if there is no such command."
  ),
  Cli.withShortDescription("Runs a command while holding a lock."),
  Cli.withExamples([
    { command: "redsync run nightly-billing -- ./bill.sh --all", description: "Waits its turn, then runs ./bill.sh" },
    { command: "redsync run --wait 0 report -- make report", description: "Exits with 75 if another has the lock" },
    {
      command: "redsync run --fenced import -- sh -c './import --token $REDSYNC_TOKEN'",
      description: "With a number that is higher for every holder, for the resource to check"
    }
  ])
)
