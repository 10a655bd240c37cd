/**
 * Doing on a node, under a name of its own, all that a lock does there: the only
 * sure way to tell that the rights suffice and the server does what it should.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { keyBeside } from "../../internal/keys.ts"
import { NodeError } from "../../LockError.ts"
import type { LockNode, Notice } from "../../LockNode.ts"
import { error, type Finding, note, warning } from "./finding.ts"

export const rights = "The user needs these rights: see the README for the exact rule."

/** Which line of which script it was helps nobody here. */
const inScript = / script: .*$/s

/** Says of a failed operation what was to be done, or that the server may not be asked about this name. */
const explain = (failure: NodeError, what: string, level: typeof error): Finding => {
  const summary = failure.summary.replace(inScript, "")
  return /NOPERM.*(keys|channels) /.test(summary)
    ? note("rights", `not checked whether it may ${what}, as the user is confined to other names: doctor --name NAME`)
    : level("rights", `cannot ${what}: ${summary}`, /NOPERM|can't run this command/.test(summary) ? rights : undefined)
}

export const trial = Effect.fnUntraced(function*(node: LockNode, name: string, value: string) {
  const findings = yield* locking(node, name, value)
  if (findings.length > 0) return findings
  return [...yield* fencing(node, name, value), ...yield* wakeUps(node, name, value)]
})

/** What every lock needs. The first that fails tells why, and the others would say the same. */
const locking = (node: LockNode, name: string, value: string): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.gen(function*() {
    const steps: ReadonlyArray<readonly [string, Effect.Effect<unknown, NodeError>]> = [
      ["take", node.acquire(name, value, 5000)],
      ["look at", node.inspect(name)],
      ["extend", node.extend(name, value, 5000)],
      ["release", node.release(name, value)],
      ["delete", node.remove(name)]
    ]
    // One cause may keep it from several things.
    const failures = new Map<string, { readonly error: NodeError; readonly what: Array<string> }>()
    for (const [what, step] of steps) {
      const result = yield* Effect.result(withPatience(node, step))
      if (result._tag === "Success") continue
      const error = result.failure
      const cause = error.summary.replace(inScript, "")
      const failure = failures.get(cause) ?? { error, what: [] }
      failure.what.push(what)
      failures.set(cause, failure)
    }
    return [...failures.values()].map((failure) => explain(failure.error, `${failure.what.join(", ")} a lock`, error))
  })

const withPatience = <A>(node: LockNode, step: Effect.Effect<A, NodeError>) =>
  Effect.timeoutOrElse(step, {
    duration: "3 seconds",
    orElse: () => Effect.fail(new NodeError({ node: node.id, operation: "inspect", reason: "Timeout" }))
  })

const fencing = (node: LockNode, name: string, value: string): Effect.Effect<ReadonlyArray<Finding>> =>
  node.fencing === undefined ? Effect.succeed([]) : node.fencing.acquire(name, value, 5000, 1).pipe(
    Effect.andThen(node.release(name, value)),
    Effect.andThen(node.remove(keyBeside("fencing", name))),
    Effect.as([]),
    Effect.catch((failure) =>
      Effect.succeed([note("fencing", `gives no fencing tokens (run --fenced, withFencedLock): ${failure.summary}`)])
    )
  )

/** Stands in line for the lock while it is held, and waits for word of its release, both ways. */
const wakeUps = (node: LockNode, name: string, value: string): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.gen(function*() {
    if (node.waitingList === undefined) return []
    const turn = yield* Deferred.make<void>()
    const changed = yield* Deferred.make<void>()
    let unable: string | undefined
    const hear = (notice: Notice) => {
      if (notice._tag === "Turn") Deferred.doneUnsafe(turn, Effect.void)
      if (notice._tag === "Changed") Deferred.doneUnsafe(changed, Effect.void)
      if (notice._tag === "Unable") unable = notice.why
    }
    const list = yield* node.waitingList(`doctor:${value}`, hear)
    yield* node.acquire(name, value, 5000)
    yield* list.join(name, "back")
    yield* list.release(name, value, false)
    const heard = (word: Deferred.Deferred<void>) =>
      Effect.map(Effect.timeoutOption(Deferred.await(word), "1 second"), Option.isSome)
    const [isTurn, isChanged] = yield* Effect.all([heard(turn), heard(changed)], { concurrency: 2 })
    const polls = "waiters for a lock poll, on their schedule alone"
    return isTurn && isChanged && unable === undefined ? [] : [
      warning("wake-ups", unable === undefined ? `sends no word of releases: ${polls}` : `${polls}: ${unable}`, rights)
    ]
  }).pipe(
    Effect.scoped,
    Effect.catch((failure) => Effect.succeed([explain(failure, "wake waiters, which then poll", warning)]))
  )
