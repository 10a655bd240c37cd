/**
 * Does everything on a node that a lock does there, under a name of its own: the only
 * sure way to tell that the permissions suffice and the server does what it should.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { NodeError } from "../../LockError.ts"
import type { LockNode, Notice, WaitingList } from "../../LockNode.ts"
import { fencing, limiting, sharing } from "./features.ts"
import { error, type Finding, note, warning } from "./finding.ts"
import { entry, isItRedis, not, other, waiterId, withPatience } from "./steps.ts"

export const rights = "The user needs this permission: src/guide/deploying.md in the package has the exact rule."

/** Explains a failed operation: what the node could not do, or that the user may not use this name. */
const explain = (failure: NodeError, what: string, level: typeof error): Finding => {
  const summary = failure.summary
  return /NOPERM.* access .*\b(?:key|channel)s?\b/.test(summary)
    ? note(
      "rights",
      `cannot check whether the user may ${what}, since it is confined to other names: set REDSYNC_PREFIX, or pass --name NAME`
    )
    : level("rights", `cannot ${what}: ${summary}`, /NOPERM|can't run this command/.test(summary) ? rights : undefined)
}

export const trial = Effect.fnUntraced(function*(node: LockNode, name: string, value: string) {
  const findings = yield* locking(node, name, value)
  if (findings.length > 0) return findings
  return [
    ...yield* fencing(node, name, value),
    ...yield* wakeUps(node, name, value),
    ...yield* sharing(node, name, value),
    ...yield* limiting(node, name, value)
  ]
})

interface Step {
  readonly what: string
  readonly run: Effect.Effect<boolean, NodeError>
  /** What is wrong with a server that does not answer as it should. */
  readonly otherwise: string
}

/** The life of a lock, beside another client that tries to acquire and to release it. */
const lifeOfALock = (node: LockNode, name: string, value: string): ReadonlyArray<Step> => [
  { what: "acquire", run: node.acquire(name, value, 5000), otherwise: "did not grant a lock that was free" },
  {
    what: "inspect",
    run: Effect.map(
      node.inspect(name),
      Option.exists((key) => key.value === value && key.ttlMillis > 0 && key.ttlMillis <= 5000)
    ),
    otherwise: "does not show the lock that it has granted"
  },
  { what: "acquire", run: not(node.acquire(name, other, 5000)), otherwise: "granted a lock that another holds" },
  { what: "extend", run: node.extend(name, value, 5000), otherwise: "did not extend a lock for its holder" },
  {
    what: "extend",
    run: not(node.extend(name, other, 5000)),
    otherwise: "extended a lock for someone other than its holder"
  },
  {
    what: "release",
    run: not(node.release(name, other)),
    otherwise: "released a lock for someone other than its holder"
  },
  { what: "release", run: node.release(name, value), otherwise: "did not release a lock for its holder" },
  {
    what: "inspect",
    run: Effect.map(node.inspect(name), Option.isNone),
    otherwise: "still has a lock that was released"
  },
  { what: "delete", run: Effect.as(node.remove(name), true), otherwise: "" }
]

/** What every lock needs. */
const locking = (node: LockNode, name: string, value: string): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.gen(function*() {
    // One cause may make several operations fail.
    const failures = new Map<string, { readonly error: NodeError; readonly what: Set<string> }>()
    const wrong: Array<string> = []
    for (const { otherwise, run, what } of lifeOfALock(node, name, value)) {
      const result = yield* Effect.result(withPatience(node, run))
      if (result._tag === "Success") {
        if (!result.success) wrong.push(otherwise)
        continue
      }
      const error = result.failure
      const cause = error.summary
      const failure = failures.get(cause) ?? { error, what: new Set<string>() }
      failure.what.add(what)
      failures.set(cause, failure)
    }
    if (failures.size > 0) {
      return [...failures.values()].map(({ error: failure, what }) =>
        explain(failure, `${[...what].join(", ")} a lock`, error)
      )
    }
    // The first shows the cause; the others would only follow from it.
    return wrong.slice(0, 1).map((answer) => error("answers", `does not do what locks need: it ${answer}`, isItRedis))
  })

/** Hands the lock over to the entry in line. */
const handOver = (
  node: LockNode,
  { handOver, join }: WaitingList,
  name: string,
  value: string
): Effect.Effect<ReadonlyArray<Finding>, NodeError> =>
  handOver === undefined ? Effect.succeed([]) : Effect.gen(function*() {
    yield* node.acquire(name, value, 5000)
    yield* join(name, entry, "back")
    yield* handOver.listen(name)
    yield* handOver.transfer(name, value, entry, { expiryMillis: 5000, proposal: 0, chain: { length: 1, millis: 0 } })
    yield* node.release(name, entry.value)
    return []
  }).pipe(
    Effect.catch((failure) =>
      Effect.as(Effect.ignore(node.release(name, value)), [
        explain(failure, "hand locks over, so waiters are only woken", warning)
      ])
    )
  )

/** Notifies all waiters that a lock was lost. */
const alert = ({ alert }: WaitingList, name: string): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.match(alert?.(name) ?? Effect.void, {
    onFailure: (failure) => [explain(failure, "notify all waiters when a lock was deleted", warning)],
    onSuccess: () => []
  })

/** Stands in line for the lock while it is held, and waits for both kinds of notification of its release. */
const wakeUps = (node: LockNode, name: string, value: string): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.gen(function*() {
    if (node.waitingList === undefined) return []
    const turn = yield* Deferred.make<void>()
    const changed = yield* Deferred.make<void>()
    let unable: string | undefined
    const onNotice = (notice: Notice) => {
      if (notice._tag === "WakeUp") Deferred.doneUnsafe(turn, Effect.void)
      if (notice._tag === "KeyChanged") Deferred.doneUnsafe(changed, Effect.void)
      if (notice._tag === "Unsupported") unable = notice.why
    }
    // Channels have the prefix that the user is confined to, as names have.
    const list = yield* node.waitingList(name + waiterId, onNotice)
    yield* node.acquire(name, value, 5000)
    yield* list.join(name, entry, "back")
    yield* list.release(name, value, undefined)
    const heard = (word: Deferred.Deferred<void>) =>
      Effect.map(Effect.timeoutOption(Deferred.await(word), "1 second"), Option.isSome)
    const [isTurn, isChanged] = yield* Effect.all([heard(turn), heard(changed)], { concurrency: 2 })
    const polls = "waiters for a lock poll on their schedules alone"
    if (isTurn && isChanged && unable === undefined) {
      return [...yield* handOver(node, list, name, value), ...yield* alert(list, name)]
    }
    return [
      warning(
        "wake-ups",
        unable === undefined ? `sends no notifications of releases: ${polls}` : `${polls}: ${unable}`,
        rights
      )
    ]
  }).pipe(
    Effect.scoped,
    (wakeUps) => withPatience(node, wakeUps),
    Effect.catch((failure) =>
      Effect.as(Effect.ignore(node.release(name, value)), [
        explain(failure, "wake waiters, which then poll", warning)
      ])
    )
  )
