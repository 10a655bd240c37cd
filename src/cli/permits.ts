/**
 * Who holds permits of a semaphore: one view of it, for people and for programs.
 *
 * A semaphore and a lock of one name are independent, and a name does not tell which of
 * them is meant. So both are read, and what exists is shown.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { untrusted } from "../internal/base/text.ts"
import { notWhatItShouldHold } from "../internal/redis/errors.ts"
import type * as Redsync from "../Redsync.ts"
import { inspectPermits, type PermitHolder, type PermitNodeView } from "../Semaphore.ts"
import { type Label, labelOf, labelsAtOnce, whoIs } from "./label.ts"
import type { OpenNodes } from "./nodes.ts"
import { counted, type Paint, quorumOf, seconds } from "./output.ts"

export interface PermitsView {
  /** The largest of the limits last seen by the nodes, if any. */
  readonly limit: number | null
  /** How many are held, according to a quorum of the nodes. */
  readonly taken: number
  /** The holders, and on how many nodes each is. */
  readonly holders: ReadonlyArray<PermitHolder & { readonly nodes: number; readonly by?: Label }>
  readonly nodes: ReadonlyArray<
    & { readonly node: string }
    & (
      | { readonly state: "permits"; readonly limit: number; readonly holders: ReadonlyArray<PermitHolder> }
      | { readonly state: "failed"; readonly error: string }
    )
  >
}

/** What the nodes store of a semaphore of that name; `null` if there is none, or if we may not read it. */
export const lookAtPermits = (
  name: string
): Effect.Effect<PermitsView | null, never, Redsync.Redsync | OpenNodes> =>
  Effect.flatMap(inspectPermits(name), ({ holders, limit, nodes, taken }) => {
    if (!nodes.some(isThere)) return Effect.succeed(null)
    const slotsByNode = nodes.map(slotsByValue)
    const inOrder = [...holders].sort((a, b) => a.slots[0]! - b.slots[0]!)
    const labelled = Effect.forEach(inOrder, (holder, index) => {
      const on = slotsByNode.filter((byValue) =>
        holder.slots.every((slot) => byValue.get(holder.value)?.includes(slot))
      )
      const label = index < labelsAtOnce
        ? labelOf({ name, value: holder.value, mode: "permits" })
        : Effect.undefined
      return Effect.map(label, (by) => ({ ...holder, nodes: on.length, ...by !== undefined && { by } }))
    }, { concurrency: "unbounded" })
    return Effect.map(labelled, (holders): PermitsView => ({
      limit: Option.getOrNull(limit),
      taken,
      holders,
      nodes: nodes.map((view) =>
        view._tag === "Permits"
          ? { node: view.node, state: "permits", limit: view.limit, holders: view.holders }
          : { node: view.node, state: "failed", error: view.error.summary }
      )
    }))
  })

/** Some slots are taken, or the key is not a semaphore's. A node that does not answer, or may not be asked, proves nothing. */
const isThere = (view: PermitNodeView): boolean =>
  view._tag === "Permits"
    ? view.holders.length > 0
    : view.error.reason === "Rejected" && view.error.summary.includes(notWhatItShouldHold)

const slotsByValue = (view: PermitNodeView): ReadonlyMap<string, ReadonlyArray<number>> =>
  new Map(view._tag === "Permits" ? view.holders.map(({ slots, value }) => [value, slots]) : [])

/** The number of holders that are listed; JSON has all of them. */
const mostShown = 100

/** A line for the semaphore, one for each holder, and one for each node. */
export const describePermits = (
  name: string,
  quorum: number,
  { holders, limit, nodes, taken }: PermitsView,
  paint: Paint
): ReadonlyArray<string> => {
  const ids = nodes.map(({ node }) => untrusted(node))
  const width = Math.max(...ids.map((id) => id.length))
  const of = `of ${counted(nodes.length, "node")}`
  const used = nodes.filter((node) => node.state === "permits" && node.holders.length > 0).length
  const isPartial = nodes.some(({ state }) => state === "failed")
  const all = limit === null ? counted(taken, "permit") : `${taken} of ${counted(limit, "permit")}`
  const summary = `${isPartial ? "at least " : ""}${all} taken, on ${used} ${of}, ${quorumOf(quorum)}`
  return [
    `${paint("bold", untrusted(name))}  ${paint("green", summary)}`,
    ...holders.slice(0, mostShown).flatMap(({ by, nodes, slots, ttlMillis, value }) => [
      `  ${slots.length === 1 ? "slot" : "slots"} ${untrusted(slots.join(","))}: ${untrusted(value)} for ${
        seconds(ttlMillis)
      } more, on ${nodes} ${of}`,
      ...by === undefined ? [] : [`    ${whoIs(by)}`]
    ]),
    ...holders.length > mostShown ? [`  and ${holders.length - mostShown} more holders`] : [],
    ...nodes.map((node, index) => {
      const id = ids[index]!.padEnd(width)
      if (node.state === "failed") return `  ${id}  ${paint("red", untrusted(node.error))}`
      const slots = node.holders.reduce((sum, holder) => sum + holder.slots.length, 0)
      return `  ${id}  ${slots === 0 ? paint("dim", "none taken") : `${slots} taken`}`
    })
  ]
}
