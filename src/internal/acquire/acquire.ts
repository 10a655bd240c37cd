/**
 * Acquiring: one attempt, and attempts on a schedule.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import {
  ErrFailed,
  type LockError,
  type LockLost,
  type NodeError,
  NodesUnavailable,
  type Vote
} from "../../LockError.ts"
import type { KeyState } from "../../LockNode.ts"
import { type AdminContext, inspect } from "../admin/unlock.ts"
import { type Instant, monotonicMillis, now } from "../base/clock.ts"
import { quoted } from "../base/text.ts"
import { Acquire, type Claim, look, type OwnClaim, raiseQuestion } from "../claim/claim.ts"
import type { Settings } from "../claim/settings.ts"
import { clockError, type Fence } from "../claim/tokenAllocation.ts"
import { HeldLock, HeldLocks, type HoldContext } from "../hold/heldLock.ts"
import { sayIfNested } from "../hold/nested.ts"
import { untilLost } from "../lease/guard.ts"
import { end, remainingMillis } from "../lease/lease.ts"
import { notALockReason } from "../nodeContract.ts"
import { type Answers, granted, lockOf, nodesUnavailable, unavailable, votes } from "../quorum/ballot.ts"
import type { Outcome } from "../telemetry/metrics.ts"
import type { Room, Rooms, Waiter } from "../waiting/waitQueues.ts"

/** What acquiring needs of the service. */
export interface AcquireContext extends HoldContext, AdminContext {
  readonly rooms: Rooms<Answers<boolean>>
  /** Whether what is said at debug level is heard. */
  readonly logsDebug: boolean
  /** A claim of our own, which nobody has heard of yet. */
  claim(name: string, settings: Settings): OwnClaim
}

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** One attempt: the lock, or the answers that refused it. */
export const attempt = (
  service: AcquireContext,
  name: string,
  settings: Settings,
  restore: Restore,
  conclusive = false
): Effect.Effect<HeldLock | Answers<boolean>> =>
  Effect.suspend(() => {
    const { quorum } = service
    const claim = service.claim(name, settings)
    const start = now(service.clock)
    // Whoever closes the service waits for what the attempt leaves behind, too.
    quorum.begin()
    const asked = quorum.ask(new Acquire(claim, conclusive))
    const agreed = claim.fence === undefined
      ? asked
      : Effect.flatMap(asked, (answers) => agree(service, claim, claim.fence!, answers))
    // Outside `restore`, so that it sees an interruption that comes after the votes were in.
    const voted = Effect.onExitPrimitive(restore(agreed), (exit) => {
      if (Exit.isFailure(exit)) {
        service.cleanUps.over(claim, service.nodes)
        quorum.end()
      }
      return undefined
    })
    return Effect.map(voted, (answers) => {
      const concluded = conclude(service, claim, start, answers)
      quorum.end()
      return concluded
    })
  })

/** One attempt under each name, all in one round trip. */
const attemptAll = (
  service: AcquireContext,
  names: ReadonlyArray<string>,
  settings: Settings,
  restore: Restore
): Effect.Effect<Array<HeldLock | Answers<boolean>>> =>
  Effect.suspend(() => {
    const { quorum } = service
    const claims = names.map((name) => service.claim(name, settings))
    const start = now(service.clock)
    quorum.begin()
    const asked = Effect.callback<Array<Answers<boolean>>>((resume) => {
      const all: Array<Answers<boolean>> = []
      let open = claims.length
      claims.forEach((claim, index) =>
        quorum.start(new Acquire(claim, false), (answers) => {
          all[index] = answers
          if (--open === 0) resume(Effect.succeed(all))
        })
      )
    })
    const voted = Effect.onExitPrimitive(restore(asked), (exit) => {
      if (Exit.isFailure(exit)) {
        for (const claim of claims) service.cleanUps.over(claim, service.nodes)
        quorum.end()
      }
      return undefined
    })
    return Effect.map(voted, (all) => {
      const concluded = all.map((answers, index) => conclude(service, claims[index]!, start, answers))
      quorum.end()
      return concluded
    })
  })

/** Before a fenced lock is handed out, a quorum has to count as far as its token. */
export const agree = (
  service: AcquireContext,
  claim: Claim,
  fence: Fence,
  answers: Answers<boolean>
): Effect.Effect<Answers<boolean>> =>
  !granted(answers) || fence.settle(answers)
    ? Effect.succeed(answers)
    : service.quorum.ask(raiseQuestion(claim))

/** What the votes on a claim that was made at `start` mean. */
const conclude = (service: AcquireContext, claim: OwnClaim, start: Instant, answers: Answers<boolean>) => {
  claim.settings.trace?.attempted(votes(answers))
  if (granted(answers) && remainingMillis(service.clock, end(start, claim.settings.validityMillis)) > 0) {
    return new HeldLock(service, claim, start)
  }
  service.cleanUps.over(claim, possiblyGranted(answers))
  return answers
}

/** Those that may have our value: all but the ones whose no is a proof that they do not. */
const possiblyGranted = (answers: Answers<boolean>) =>
  answers.nodes.filter((node, index) => {
    const answer = answers.byNode[index]
    return node.resends === true || answer === undefined || Result.isFailure(answer) || answer.success
  })

/** One attempt that tells "held by another" from "too few nodes". */
export const attemptOnce = (
  service: AcquireContext,
  name: string,
  settings: Settings,
  restore: Restore
): Effect.Effect<Option.Option<HeldLock>, NodesUnavailable> =>
  Effect.suspend(() => {
    const unusable = settings.isFenced ? clockError(service.quorum, { name, key: service.key(name) }) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const at = monotonicMillis(service.clock)
    // What is held in this very service is known without asking.
    const tried = service.rooms.isHeld(service.key(name))
      ? Effect.succeed(undefined)
      : attempt(service, name, settings, restore, true)
    const acquired = Effect.flatMap(tried, (result) =>
      result instanceof HeldLock
        ? Effect.succeedSome(result)
        : result !== undefined && unavailable(result)
        ? Effect.fail(nodesUnavailable({ name, key: service.key(name) }, result))
        : Effect.succeedNone)
    return Effect.onExitPrimitive(acquired, (exit) => {
      const isHeld = Exit.isSuccess(exit) && Option.isNone(exit.value)
      service.quorum.metrics.acquired(isHeld ? "held_by_another" : outcome(exit), monotonicMillis(service.clock) - at)
      return undefined
    })
  })

/** A first attempt that has been made already, and when it was sent. */
interface Refused {
  readonly answers: Answers<boolean>
  readonly at: number
}

/** Attempts until the lock is granted or the schedule is used up. */
export const acquire = (
  service: AcquireContext,
  name: string,
  settings: Settings,
  restore: Restore,
  before?: Refused
): Effect.Effect<HeldLock, LockError> =>
  Effect.suspend(() => {
    const unusable = settings.isFenced ? clockError(service.quorum, { name, key: service.key(name) }) : undefined
    if (unusable !== undefined) return Effect.fail(unusable)
    const waiter: Waiter = { wake: undefined }
    const room = service.rooms.enter(service.key(name), waiter)
    const startedAt = before?.at ?? monotonicMillis(service.clock)
    const isTurn = room.isTurnOf(waiter)
    if (isTurn) room.attemptedAt = startedAt
    const first = isTurn && before === undefined
      ? attempt(service, name, settings, restore)
      : Effect.succeed(isTurn ? before?.answers : undefined)
    const acquired = Effect.flatMap(first, (result): Effect.Effect<HeldLock, LockError> =>
      result instanceof HeldLock
        ? Effect.succeed(result)
        : wait(service, name, room, waiter, settings, restore, startedAt, result))
    return Effect.onExitPrimitive(acquired, (exit) => {
      service.rooms.leave(room, waiter)
      service.quorum.metrics.acquired(outcome(exit), monotonicMillis(service.clock) - startedAt)
      return undefined
    })
  })

/** What became of an acquisition, for the metrics. */
const outcome = (exit: Exit.Exit<unknown, LockError>): Outcome => {
  if (Exit.isSuccess(exit)) return "granted"
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isNone(error)) return "interrupted"
  return error.value._tag === "ErrFailed" ? "held_by_another" : "nodes_unavailable"
}

/**
 * Acquires all of the names or none. All that nobody in here waits for are tried
 * at once. If one is refused, those that sort before it are kept and it is waited
 * for: as all wait in the order of the names, nobody waits for one that waits for
 * them. The loss of one that is kept ends the waiting.
 */
export const acquireAll = (
  service: AcquireContext,
  names: Iterable<string>,
  settings: Settings,
  restore: Restore
): Effect.Effect<Array<HeldLock>, LockError | LockLost> =>
  Effect.suspend(() => {
    const held: Array<HeldLock> = []
    const next = (names: ReadonlyArray<string>): Effect.Effect<Array<HeldLock>, LockError | LockLost> => {
      const at = monotonicMillis(service.clock)
      const busy = names.findIndex((name) => service.rooms.isBusy(service.key(name)))
      const tried = busy === -1 ? names : names.slice(0, busy)
      const attempts = tried.length === 0 ? Effect.succeed([]) : attemptAll(service, tried, settings, restore)
      return Effect.flatMap(attempts, (results: Array<HeldLock | Answers<boolean>>) => {
        const locks = results.filter((result) => result instanceof HeldLock)
        const refused = results.findIndex((result) => !(result instanceof HeldLock))
        const millis = monotonicMillis(service.clock) - at
        for (const _ of locks) service.quorum.metrics.acquired("granted", millis)
        held.push(...(refused === -1 ? locks : locks.slice(0, refused)))
        if (refused !== -1) { for (const lock of locks.slice(refused)) lock.startRelease() }
        const waitedFor = names[refused === -1 ? tried.length : refused]
        if (waitedFor === undefined) return Effect.succeed(held)
        const before = refused === -1 ? undefined : { answers: results[refused] as Answers<boolean>, at }
        // Kept as soon as it is there: the loss may come at the same moment, and then it is released with the others.
        const waiting = Effect.uninterruptibleMask((restore) =>
          Effect.map(acquire(service, waitedFor, settings, restore, before), (lock) => held.push(lock))
        )
        return Effect.flatMap(
          restore(untilLost(new HeldLocks([...held]), waiting)),
          () => next(names.slice(names.indexOf(waitedFor) + 1))
        )
      })
    }
    return Effect.onExitPrimitive(next([...new Set(names)].sort()), (exit) => {
      if (Exit.isFailure(exit)) { for (const lock of held) lock.startRelease() }
      return undefined
    })
  })

/** How often in a row a split vote is tried again before the schedule decides. */
const splitTries = 2

/** All that comes after the first attempt, or after finding others waiting. */
const wait = Effect.fnUntraced(function*(
  service: AcquireContext,
  name: string,
  room: Room<Answers<boolean>>,
  waiter: Waiter,
  settings: Settings,
  restore: Restore,
  startedAt: number,
  first: Answers<boolean> | undefined
) {
  const { clock, rooms } = service
  const step = yield* Schedule.toStep(settings.retry)
  let splits = 0
  if (first !== undefined) yield* refused(first)
  if (service.logsDebug) service.quorum.background(sayThatWeWait(service, name, settings))
  for (let attempts = 1;; attempts++) {
    // The schedule decides when the next attempt is due, and is told the monotonic time: setting the wall clock must
    // not end or prolong a wait.
    const now = monotonicMillis(clock)
    const error = refusal(name, service, room.answers, attempts, now - startedAt)
    const delay = yield* restore(step(now, error)).pipe(
      Effect.map(([, delay]) => Option.some(Duration.toMillis(delay))),
      Pull.catchDone(() => Effect.succeedNone)
    )
    if (Option.isNone(delay)) {
      // The next in line need not wait for what we find out.
      rooms.leave(room, waiter)
      const failure = explained(service, settings, error, () => monotonicMillis(clock) - startedAt)
      return yield* restore(sayIfNested(service, failure))
    }
    const dueAt = now + delay.value
    // Behind others nothing else would, with a schedule that never pauses.
    if (delay.value <= 0) yield* Effect.yieldNow
    // Whatever wakes the head before it is due leads to an attempt that uses up no step.
    while (true) {
      if (rooms.closed) return yield* Effect.fail(error)
      const isDue = monotonicMillis(clock) >= dueAt
      if (room.isTurnOf(waiter)) {
        if (isDue) splits = 0
        if (room.behindOthers) {
          room.behindOthers = room.changed = false
          rooms.join(room)
        } else if (room.changed || isDue) {
          room.changed = false
          room.attemptedAt = monotonicMillis(clock)
          const result = yield* attempt(service, name, settings, restore)
          if (result instanceof HeldLock) return result
          yield* refused(result)
        }
      } else if (isDue && now >= room.attemptedAt) {
        // Nobody has asked since we were last due: the head's schedule must not keep us waiting.
        room.wake()
      }
      if (isDue) break
      yield* restore(sleep(service, room, waiter, dueAt))
    }
  }

  /** Stands in line, or tries again soon if the votes were split. */
  function* refused(answers: Answers<boolean>) {
    const took = monotonicMillis(clock) - room.attemptedAt
    room.answers = answers
    rooms.refused(room)
    // Contenders who have parted the nodes among them: perhaps nobody has a quorum.
    if (answers.yes > 0 && answers.no > 0 && splits < splitTries) {
      const random = yield* Random.next
      rooms.wakeAfter(room, random * 2 ** ++splits * Math.max(1, took))
    } else {
      rooms.join(room)
    }
  }
})

/** At debug level a waiter says that it waits, and for how long the holder still has. */
const sayThatWeWait = (service: AcquireContext, name: string, settings: Settings) =>
  Effect.flatMap(inspect(service, name, settings), ({ holder }) => {
    const held = Option.match(holder, {
      onNone: () => "",
      onSome: ({ ttlMillis }) => `, held by another for about ${(ttlMillis / 1000).toFixed(1)} s more`
    })
    return Effect.logDebug(`Waiting for lock ${quoted(name)}${held}`)
  })

/** Sleeps until an instant on the monotonic clock, or until the waiter is woken. */
const sleep = (
  service: AcquireContext,
  room: Room<Answers<boolean>>,
  waiter: Waiter,
  until: number
): Effect.Effect<void> =>
  Effect.callback((resume) => {
    // It may have happened since we looked.
    if (service.rooms.closed || (room.changed && room.isTurnOf(waiter))) return resume(Effect.void)
    const { timers } = service.quorum
    const wake = () => {
      waiter.wake = undefined
      timer.takeOut()
      resume(Effect.void)
    }
    // Whole milliseconds, so that timers of many waiters are of few durations.
    const timer = timers.after(Math.max(0, Math.ceil(until - monotonicMillis(service.clock))), wake)
    waiter.wake = wake
    return Effect.sync(() => {
      waiter.wake = undefined
      timer.takeOut()
    })
  })

const refusal = (
  name: string,
  service: AcquireContext,
  answers: Answers<boolean> | undefined,
  attempts: number,
  waitedMillis: number
): LockError => {
  const claim = { name, key: service.key(name) }
  if (answers !== undefined && unavailable(answers)) return nodesUnavailable(claim, answers)
  const pending = () => service.nodes.map(({ id: node }): Vote => ({ _tag: "Pending", node }))
  return new ErrFailed({
    ...lockOf(claim),
    attempts,
    waited: Duration.millis(waitedMillis),
    votes: answers === undefined ? pending() : votes(answers)
  })
}

/** How long the look that explains an error may take. */
const explanationMillis = 250

/** Fails with the error after one look at what is in the way: how long the key still has, who does not answer. */
const explained = (
  service: AcquireContext,
  settings: Settings,
  error: LockError,
  waited: () => number
): Effect.Effect<never, LockError> => {
  const key = service.key(error.lock)
  const about = lockOf({ name: error.lock, key })
  const { health, size: quorum } = service.quorum
  const tell = (votes: ReadonlyArray<Vote>) => {
    // It may come out that too few nodes are left, whoever holds the lock.
    const failures = votes.filter((vote) => vote._tag === "Failed").length
    return Effect.fail(
      error._tag === "NodesUnavailable" || failures > votes.length - quorum
        ? new NodesUnavailable({ ...about, quorum, votes })
        : new ErrFailed({ ...about, attempts: error.attempts, waited: Duration.millis(waited()), votes })
    )
  }
  // Votes stand in the order of the nodes. To ask one that could not be reached a moment ago would only cost the time.
  const known = error.votes.map((vote, index): Vote => {
    const failure = vote._tag === "Pending" ? health.unreachable(service.nodes[index]!) : undefined
    return failure === undefined ? vote : failed(vote.node, failure)
  })
  const nodes = service.nodes.filter((node, index) => isOpen(known[index]) && !health.isUnreachable(node))
  if (nodes.length === 0) return tell(known)
  const looked = service.quorum.ask({
    operation: "inspect",
    timeoutMillis: Math.min(settings.nodeTimeoutMillis, explanationMillis),
    ask: (node) => look(node, key),
    isYes: Option.isSome,
    all: true,
    nodes
  })
  return Effect.flatMap(looked, ({ byNode }) =>
    tell(known.map((vote): Vote => {
      const answer = isOpen(vote) ? byNode[nodes.findIndex(({ id }) => id === vote.node)] : undefined
      if (answer === undefined) return vote
      if (Result.isSuccess(answer)) {
        return Option.isSome(answer.success)
          ? refusedBy(vote.node, answer.success.value)
          : vote._tag === "Pending"
          ? { _tag: "Free", node: vote.node }
          : vote
      }
      return vote._tag === "Pending" ? failed(vote.node, answer.failure) : vote
    })))
}

/** Whether a look can tell more than the vote does. */
const isOpen = (vote: Vote | undefined) => vote?._tag === "Refused" || vote?._tag === "Pending"

const failed = (node: string, error: NodeError): Vote => ({ _tag: "Failed", node, error })

const refusedBy = (node: string, state: KeyState): Vote => {
  const notALock = notALockReason(state)
  if (notALock !== undefined) return { _tag: "Refused", node, notALock }
  return Number.isFinite(state.ttlMillis)
    ? { _tag: "Refused", node, ttlMillis: state.ttlMillis }
    : { _tag: "Refused", node }
}
