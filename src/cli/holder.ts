/**
 * Who holds a lock, in words.
 */
import * as Option from "effect/Option"
import type { Inspection, NodeView } from "../Redsync.ts"
import { type Paint, seconds } from "./output.ts"

/** So many nodes failed that nobody can tell who holds it. */
export const isUnknown = ({ nodes, quorum }: Inspection): boolean =>
  nodes.filter(({ _tag }) => _tag === "Failed").length > nodes.length - quorum

/** A line on the lock, and one on each node. */
export const describe = (inspection: Inspection, paint: Paint): ReadonlyArray<string> => {
  const width = Math.max(...inspection.nodes.map(({ node }) => node.length))
  return [
    `${paint("bold", inspection.name)}  ${summary(inspection, paint)}`,
    ...inspection.nodes.map((view) => `  ${view.node.padEnd(width)}  ${nodeLine(view, paint)}`)
  ]
}

const summary = (inspection: Inspection, paint: Paint): string => {
  const { holder, nodes, quorum } = inspection
  const on = (count: number) => `on ${count} of ${nodes.length} nodes, ${quorum} have to agree`
  if (Option.isSome(holder)) {
    const { ttlMillis, value } = holder.value
    const count = nodes.filter((view) => view._tag === "Held" && view.value === value).length
    return paint("green", `held by ${value} for ${seconds(ttlMillis)} more, ${on(count)}`)
  }
  if (isUnknown(inspection)) return paint("red", "unknown: too few nodes answer")
  const count = nodes.filter(({ _tag }) => _tag === "Held" || _tag === "NotALock").length
  return count === 0 ? "free" : paint("yellow", `held by nobody, but not free either: keys ${on(count)}`)
}

const nodeLine = (view: NodeView, paint: Paint): string => {
  switch (view._tag) {
    case "Free":
      return paint("dim", "free")
    case "Held":
      return `${view.value} for ${seconds(view.ttlMillis)}`
    case "NotALock":
      return paint("yellow", `a key of that name that is no lock but ${view.found}`)
    case "Failed":
      return paint("red", view.error.summary)
  }
}

/** The same for programs: `null` where there is none. */
export const toJson = (inspection: Inspection) => ({
  name: inspection.name,
  quorum: inspection.quorum,
  state: Option.isSome(inspection.holder) ? "held" : isUnknown(inspection) ? "unknown" : "free",
  holder: Option.getOrNull(inspection.holder),
  nodes: inspection.nodes.map((view) => {
    switch (view._tag) {
      case "Free":
        return { node: view.node, state: "free" }
      case "Held":
        return { node: view.node, state: "held", value: view.value, ttlMillis: view.ttlMillis }
      case "NotALock":
        return { node: view.node, state: "not a lock", found: view.found }
      case "Failed":
        return { node: view.node, state: "failed", error: view.error.summary }
    }
  })
})
