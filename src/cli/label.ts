/**
 * Who holds a lock, described for people: `run --label` writes it beside the lock,
 * and `status` and `unlock` show it. It is deleted with the lock.
 */
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { hostname } from "node:os"
import { quoted, untrusted } from "../internal/base/text.ts"
import { companionKey } from "../internal/redis/keys.ts"
import type { Lock } from "../Lock.ts"
import type { NodeError } from "../LockError.ts"
import type { LockNode } from "../LockNode.ts"
import * as Redsync from "../Redsync.ts"
import { fail, wrongUsage } from "./failure.ts"
import { OpenNodes } from "./nodes.ts"
import { say } from "./output.ts"

export interface Label {
  readonly host: string
  readonly pid: number
  readonly label: string
}

/** The number of holders of one name whose labels are read. */
export const labelsAtOnce = 100

/** In bytes: nodes show not much more of a key than the value of a lock. */
const longest = 100

/** The flag; its alternative is REDSYNC_LABEL. */
export const labelFlag: Flag.Flag<Option.Option<string>> = Flag.String("label").pipe(
  Flag.withMetavar("text"),
  Flag.withDescription(
    "Text that status and unlock show for the holder, with its host and process id; also REDSYNC_LABEL. Needs permissions for keys beside the lock"
  ),
  Flag.optional
)

/** The label of the flag or of REDSYNC_LABEL. Fails if it is too long. */
export const givenLabel = Effect.fnUntraced(function*(flag: Option.Option<string>) {
  const label = Option.getOrUndefined(flag) ?? process.env["REDSYNC_LABEL"]
  if (label === undefined || Buffer.byteLength(label) <= longest) return label
  return yield* fail(wrongUsage, `the label ${quoted(label)} is too long: at most ${longest} bytes are allowed`)
})

/** Whose label it is. If a name has several holders, each has a key of its own. */
type Holder = Pick<Lock, "name" | "value" | "mode">

/** The key of a holder's label. */
const keyOf = ({ mode, name, value }: Holder) =>
  Effect.gen(function*() {
    const { prefix } = yield* (yield* Redsync.Redsync).topology
    const key = companionKey("label", prefix + name)
    return mode === "exclusive" ? key : `${key}:${value}`
  })

/** Contains the lock's value, so that it is not taken for another holder's. */
const textOf = ({ value }: Lock, label: string): string =>
  `${value} ${process.pid} ${hostname().slice(0, 64) || "?"} ${label}`

const labelIn = (text: string, value: string): Label | undefined => {
  const [, holder, pid, host = "", label = ""] = /^(\S+) (\d{1,10}) (\S+) (.*)$/s.exec(text) ?? []
  return holder === value ? { host, pid: Number(pid), label } : undefined
}

/** On all nodes at once, without waiting for long for a node that does not answer. */
const onEach = <A>(ask: (node: LockNode) => Effect.Effect<A, NodeError>) =>
  Effect.flatMap(OpenNodes, (nodes) =>
    Effect.forEach(
      nodes,
      (node) => Effect.result(ask(node)).pipe(Effect.timeoutOption("500 millis"), Effect.map(Option.getOrUndefined)),
      { concurrency: "unbounded" }
    ))

/** Keeps the label beside the locks for as long as the program runs, which continues even if that fails. */
export const labelled = <A, E, R>(
  locks: ReadonlyArray<Lock>,
  label: string | undefined,
  expiry: Duration.Duration,
  program: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Redsync.Redsync | OpenNodes> =>
  label === undefined ? program : Effect.acquireUseRelease(
    Effect.forEach(
      locks,
      (lock) => Effect.forkDetach(Effect.interruptible(keep(lock, textOf(lock, label), Duration.toMillis(expiry))))
    ),
    () => program,
    (fibers) =>
      Effect.andThen(
        Fiber.interruptAll(fibers),
        Effect.forEach(
          locks,
          (lock) => Effect.flatMap(keyOf(lock), (key) => onEach((node) => node.release(key, textOf(lock, label)))),
          { concurrency: "unbounded", discard: true }
        )
      )
  )

const keep = (lock: Lock, text: string, expiryMillis: number) =>
  Effect.gen(function*() {
    const key = yield* keyOf(lock)
    const written = yield* onEach((node) =>
      Effect.flatMap(node.acquire(key, text, expiryMillis), (isWritten) =>
        // Left by a holder that crashed.
        isWritten ? Effect.void : Effect.andThen(node.remove(key), node.acquire(key, text, expiryMillis)))
    )
    const failure = written.find((result) => result?._tag === "Failure")
    if (failure?._tag === "Failure" && written.every((result) => result?._tag !== "Success")) {
      return yield* say(`cannot write the label: ${failure.failure.message}`)
    }
    while (true) {
      yield* Effect.sleep(expiryMillis / 3)
      if (Duration.toMillis(yield* lock.remaining) === 0) return
      yield* onEach((node) => node.extend(key, text, expiryMillis))
    }
  })

/** The label of a holder, if it has written one. */
export const labelOf = (holder: Holder): Effect.Effect<Label | undefined, never, Redsync.Redsync | OpenNodes> =>
  Effect.map(
    Effect.flatMap(keyOf(holder), (key) => onEach((node) => node.inspect(key))),
    (results) =>
      results
        .flatMap((result) => result?._tag === "Success" && Option.isSome(result.success) ? [result.success.value] : [])
        .map((state) => labelIn(state.value, holder.value))
        .find((label) => label !== undefined)
  )

/** A label as text. */
export const whoIs = ({ host, label, pid }: Label): string =>
  `process ${pid} on ${untrusted(host)}${label === "" ? "" : `: ${untrusted(label)}`}`
