/**
 * What `run` holds while the command runs: an exclusive or a shared lock, several
 * locks, or permits of a semaphore.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { isatty } from "node:tty"
import { quoted } from "../../internal/base/text.ts"
import type { Lock } from "../../Lock.ts"
import type { LockError, LockLost } from "../../LockError.ts"
import * as Redsync from "../../Redsync.ts"
import { type Permits, withFencedPermits, withPermits } from "../../Semaphore.ts"
import { fail, type Failure, wrongUsage } from "../failure.ts"
import { counted, say } from "../output.ts"

export interface Wanted {
  readonly names: readonly [string, ...ReadonlyArray<string>]
  readonly fenced: boolean
  readonly shared: boolean
  /** How many permits the semaphore has, and how many of them are wanted. */
  readonly permits: { readonly limit: number; readonly permits: number } | undefined
}

interface Flags {
  readonly name: string
  readonly also: ReadonlyArray<string>
  readonly fenced: boolean
  readonly shared: boolean
  readonly permits: Option.Option<number>
  readonly take: Option.Option<number>
}

/** What the flags ask for. Fails if they cannot be combined. */
export const wanted = (flags: Flags): Effect.Effect<Wanted, Failure> => {
  const { also, fenced, name, shared } = flags
  const limit = Option.getOrUndefined(flags.permits)
  const permits = Option.getOrElse(flags.take, () => 1)
  const among = Object.entries({ fenced, shared, permits: limit !== undefined }).flatMap(([flag, isGiven]) =>
    isGiven ? [`--${flag}`] : []
  )
  if (also.length > 0 && among.length > 0) {
    return fail(wrongUsage, `${among[0]} works with a single name, so it cannot be combined with --also`)
  }
  if (limit === undefined) {
    return Option.isSome(flags.take)
      ? fail(wrongUsage, "--take says how many of the --permits to take, but --permits is missing")
      : Effect.succeed({ names: [name, ...also], fenced, shared, permits: undefined })
  }
  if (shared) {
    return fail(wrongUsage, "--shared and --permits cannot be combined: one is for locks, the other for semaphores")
  }
  return permits > limit
    ? fail(wrongUsage, `--take ${permits} is more than --permits ${limit}`)
    : Effect.succeed({ names: [name], fenced, shared, permits: { limit, permits } })
}

/** As text for the middle of a sentence. */
export const inWords = ({ names, permits, shared }: Wanted): string => {
  const all = names.map((name) => quoted(name)).join(", ")
  return permits === undefined
    ? `${shared ? "shared lock" : "lock"} ${all}`
    : `${permits.permits} of ${counted(permits.limit, "permit")} of ${all}`
}

/** Says that it is waiting, if standard error is a terminal. */
const sayThatWeWait = (what: Wanted) =>
  isatty(2) ? Effect.delay(say(`waiting for ${inWords(what)}`), "1 second") : Effect.void

/**
 * Holds what is wanted while the program runs, which is given the command's variables. Variables
 * that do not apply are removed, since they may come from another `run` that this one runs under.
 */
export const hold = <A, E, R>(
  what: Wanted,
  options: Redsync.LockOptions,
  program: (locks: ReadonlyArray<Lock>, env: NodeJS.ProcessEnv) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockError | LockLost, R | Redsync.Redsync> =>
  Effect.flatMap(Effect.forkChild(sayThatWeWait(what)), (waiting) => {
    const { fenced, names, permits, shared } = what
    const [name] = names
    const begin = (locks: ReadonlyArray<Lock>, given: NodeJS.ProcessEnv = {}) => {
      waiting.interruptUnsafe()
      return program(locks, { REDSYNC_LOCK: name, REDSYNC_SLOT: undefined, REDSYNC_TOKEN: undefined, ...given })
    }
    if (permits !== undefined) {
      const beginWith = (held: Permits, tokens?: ReadonlyArray<number>) =>
        begin([held], { REDSYNC_SLOT: held.slots.join(","), REDSYNC_TOKEN: tokens?.join(",") })
      const all = { ...options, ...permits }
      return fenced
        ? withFencedPermits(name, (held) => beginWith(held, held.tokens), all)
        : withPermits(name, (held) => beginWith(held), all)
    }
    if (fenced) {
      const withToken = shared ? Redsync.withFencedSharedLock : Redsync.withFencedLock
      return withToken(name, (token, lock) => begin([lock], { REDSYNC_TOKEN: String(token) }), options)
    }
    if (shared) return Redsync.withSharedLock(name, (lock) => begin([lock]), options)
    return names.length === 1
      ? Redsync.withLock(name, (lock) => begin([lock]), options)
      : Redsync.withLocks(names, begin, options)
  })
