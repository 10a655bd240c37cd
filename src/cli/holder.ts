/**
 * Who holds a lock, or permits of a semaphore: one view of it, for people and for programs.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Inspection, NodeView } from "../Inspection.ts"
import { untrusted } from "../internal/base/text.ts"
import * as Redsync from "../Redsync.ts"
import { type Label, labelOf, labelsAtOnce, whoIs } from "./label.ts"
import { counted, type Paint, quorumOf, seconds } from "./output.ts"
import { describePermits, lookAtPermits, type PermitsView } from "./permits.ts"

/**
 * - `held`: one value is on a quorum of nodes.
 * - `shared`: readers are on a quorum of nodes.
 * - `unknown`: too few nodes answered to rule out a holder.
 * - `foreign`: nobody holds it, but some node has a key of that name that is not a lock.
 * - `contested`: nobody holds it, but some node stores a value, as after a split vote.
 * - `permits`: there is no lock of that name, but some node has permits of a semaphore.
 * - `free`: no node that answered has a key of that name.
 */
export type State = "held" | "shared" | "permits" | "free" | "foreign" | "contested" | "unknown"

export interface View {
  readonly name: string
  readonly quorum: number
  readonly state: State
  readonly holder: { readonly value: string; readonly ttlMillis: number; readonly by?: Label } | null
  /** The readers that a quorum lists, if it is shared. */
  readonly readers: ReadonlyArray<{ readonly value: string; readonly ttlMillis: number; readonly by?: Label }>
  /** How many services stand in line for it, if a node can tell. */
  readonly waiting: number | null
  /** The semaphore of that name, whether or not there is a lock. */
  readonly permits: PermitsView | null
  readonly nodes: ReadonlyArray<
    & { readonly node: string; readonly abstains?: string }
    & (
      | { readonly state: "free" }
      | { readonly state: "held"; readonly value: string; readonly ttlMillis: number }
      | {
        readonly state: "shared"
        readonly readers: number
        readonly holders: ReadonlyArray<{ readonly value: string; readonly ttlMillis: number }>
        readonly isWriterWaiting: boolean
        readonly ttlMillis: number
      }
      | { readonly state: "not a lock"; readonly found: string }
      | { readonly state: "failed"; readonly error: string }
    )
  >
}

/** What the nodes store under a name, and the labels of the holders. */
export const look = Effect.fnUntraced(function*(name: string) {
  const [inspection, permits] = yield* Effect.all([Redsync.inspect(name), lookAtPermits(name)], { concurrency: 2 })
  const holder = Option.getOrNull(inspection.holder)
  const state = stateOf(inspection)
  const view: View = {
    name,
    quorum: inspection.quorum,
    state: state === "free" && permits !== null ? "permits" : state,
    holder: holder === null ? null : yield* withLabel(name, holder, "exclusive"),
    readers: yield* Effect.forEach(
      inspection.readers,
      (reader, index) => index < labelsAtOnce ? withLabel(name, reader, "shared") : Effect.succeed(reader),
      { concurrency: "unbounded" }
    ),
    waiting: Option.getOrNull(inspection.waiting),
    permits,
    nodes: inspection.nodes.map(nodeOf)
  }
  return view
})

const withLabel = <A extends { readonly value: string }>(name: string, holder: A, mode: "exclusive" | "shared") =>
  Effect.map(
    labelOf({ name, value: holder.value, mode }),
    (by): A & { readonly by?: Label } => by === undefined ? holder : { ...holder, by }
  )

const stateOf = ({ holder, nodes, quorum }: Inspection): State => {
  if (Option.isSome(holder)) return "held"
  const readers = nodes.filter((node) => node._tag === "Shared" && node.readers > 0).length
  if (readers >= quorum) return "shared"
  const has = (tag: NodeView["_tag"]) => nodes.filter(({ _tag }) => _tag === tag).length
  const byValue = new Map<string, number>()
  for (const node of nodes) {
    if (node._tag === "Held") byValue.set(node.value, (byValue.get(node.value) ?? 0) + 1)
  }
  if (Math.max(readers, ...byValue.values()) + has("Failed") >= quorum) return "unknown"
  return has("NotALock") > 0 ? "foreign" : has("Held") + has("Shared") > 0 ? "contested" : "free"
}

const nodeOf = (view: NodeView): View["nodes"][number] => {
  const { node } = view
  switch (view._tag) {
    case "Failed":
      return { node, state: "failed", error: view.error.summary }
    case "Free":
      return { node, state: "free", ...abstention(view) }
    case "Held":
      return { node, state: "held", value: view.value, ttlMillis: view.ttlMillis, ...abstention(view) }
    case "Shared": {
      const { holders, isWriterWaiting, readers, ttlMillis } = view
      return { node, state: "shared", readers, holders, isWriterWaiting, ttlMillis, ...abstention(view) }
    }
    case "NotALock":
      return { node, state: "not a lock", found: view.found, ...abstention(view) }
  }
}

const abstention = ({ abstains }: { readonly abstains?: string }) => abstains === undefined ? {} : { abstains }

/** The lock and the semaphore; a missing lock is shown only if there is no semaphore either. */
export const describe = (view: View, paint: Paint): ReadonlyArray<string> => [
  ...view.state === "permits" ? [] : describeLock(view, paint),
  ...view.permits === null ? [] : describePermits(view.name, view.quorum, view.permits, paint)
]

/** A line for the lock, one for each holder with a label, and one for each node. */
const describeLock = (view: View, paint: Paint): ReadonlyArray<string> => {
  const ids = view.nodes.map(({ node }) => untrusted(node))
  const width = Math.max(...ids.map((id) => id.length))
  const holders = view.holder === null ? view.readers : [view.holder]
  return [
    `${paint("bold", untrusted(view.name))}  ${summary(view, paint)}`,
    ...holders.flatMap(({ by }) => by === undefined ? [] : [`  ${whoIs(by)}`]),
    ...(view.waiting ?? 0) === 0 ? [] : [`  ${counted(view.waiting!, "service")} in line`],
    ...view.nodes.map((node, index) => `  ${ids[index]!.padEnd(width)}  ${nodeLine(node, paint)}`)
  ]
}

const summary = ({ holder, nodes, quorum, state }: View, paint: Paint): string => {
  const on = (isCounted: (node: View["nodes"][number]) => boolean) =>
    `on ${nodes.filter(isCounted).length} of ${counted(nodes.length, "node")}, ${quorumOf(quorum)}`
  switch (state) {
    case "held": {
      const { ttlMillis, value } = holder!
      const has = on((node) => node.state === "held" && node.value === value)
      return paint("green", `held by ${shown(value)} for ${seconds(ttlMillis)} more, ${has}`)
    }
    case "shared":
      return paint("green", sharedSummary(nodes, quorum, on((node) => node.state === "shared" && node.readers > 0)))
    case "unknown":
      return paint("red", "unknown: too few nodes answer")
    case "foreign":
      return paint("yellow", `foreign: keys that are not locks ${on((node) => node.state === "not a lock")}`)
    case "contested":
      return paint(
        "yellow",
        `contested: no value has a quorum; keys ${on((node) => node.state === "held" || node.state === "shared")}`
      )
    case "permits":
    case "free":
      return "free"
  }
}

/** The number of readers, and the time, that a quorum of nodes confirms. */
const sharedSummary = (nodes: View["nodes"], quorum: number, on: string): string => {
  const shared = nodes.flatMap((node) => node.state === "shared" ? [node] : [])
  const nth = (numbers: ReadonlyArray<number>) => [...numbers].sort((a, b) => b - a)[quorum - 1] ?? 0
  const readers = counted(nth(shared.map(({ readers }) => readers)), "reader")
  const waits = shared.some(({ isWriterWaiting }) => isWriterWaiting) ? ", a writer is waiting" : ""
  return `shared by ${readers} for ${seconds(nth(shared.map(({ ttlMillis }) => ttlMillis)))} more${waits}, ${on}`
}

const nodeLine = (node: View["nodes"][number], paint: Paint): string => {
  const abstains = node.abstains === undefined ? "" : `; abstains: ${untrusted(node.abstains)}`
  switch (node.state) {
    case "free":
      return paint("dim", `free${abstains}`)
    case "held":
      return `${shown(node.value)} for ${seconds(node.ttlMillis)}${abstains}`
    case "shared":
      return `${counted(node.readers, "reader")} for ${seconds(node.ttlMillis)}${abstains}`
    case "not a lock":
      return paint("yellow", `a key of that name that is not a lock but ${untrusted(node.found)}${abstains}`)
    case "failed":
      return paint("red", untrusted(node.error))
  }
}

/** A value, which may be any text, even empty. */
export const shown = (value: string): string => value === "" ? "an empty value" : untrusted(value)
