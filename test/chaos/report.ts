/** What came of a chaos run: a table, and what must not have happened. */
import { quantile } from "../bench/statistics.ts"
import type { Hold, Overlap, OverlapKind } from "./checker.ts"
import type { Options, Outcome } from "./run.ts"

const number = (value: number) => Math.round(value).toLocaleString("en")

export const overlapsOf = ({ verdict }: Outcome, kind: OverlapKind): ReadonlyArray<Overlap> =>
  verdict.overlaps.filter((overlap) => overlap.kind === kind)

export const countBy = (words: Iterable<string>): ReadonlyArray<readonly [string, number]> => {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  return [...counts].sort(([a], [b]) => a < b ? -1 : 1)
}

/** The table, as Markdown. */
export const table = (outcome: Outcome, options: Options): ReadonlyArray<string> => {
  const { events, verdict } = outcome
  const faults = countBy(events.flatMap((event) => event.kind === "fault" ? [event.fault] : []))
  const failures = countBy(events.flatMap((event) => event.kind === "failed" ? [event.reason] : []))
  const entered = events.flatMap((event) => event.kind === "entered" ? [event] : [])
  const waits = entered.map(({ waited }) => waited / 1000)
  const gaps = gapsOf(verdict.holds)
  const rows = [
    ["acquisitions", number(entered.length)],
    [
      "– of locks",
      number(entered.filter(({ permits, shared }) => permits === undefined && shared === undefined).length)
    ],
    ["– of permits", number(entered.filter(({ permits }) => permits !== undefined).length)],
    ["– by readers", number(entered.filter(({ shared }) => shared === true).length)],
    ["– by writers beside them", number(entered.filter(({ shared }) => shared === false).length)],
    ["wait p50 / p99", `${number(quantile(waits, 0.5))} / ${number(quantile(waits, 0.99))} ms`],
    ...gaps.length === 0 ? [] : [[
      "between two holds of a name that is always wanted: p50 / p99 / longest",
      `${number(quantile(gaps, 0.5))} / ${number(quantile(gaps, 0.99))} / ${number(Math.max(...gaps))} ms`
    ]],
    ["faults", number(faults.reduce((sum, [, count]) => sum + count, 0))],
    ...faults.map(([kind, count]) => [`– ${kind}`, number(count)]),
    ...failures.map(([reason, count]) => [reason, number(count)]),
    ["more permits held than there are, all with time", number(verdict.tooMany)],
    ["overlaps: both still had time", number(overlapsOf(outcome, "promised").length)],
    ["overlaps: a program was not stopped in time", number(overlapsOf(outcome, "overstayed").length)],
    ["overlaps: while we had stopped a client", number(overlapsOf(outcome, "paused").length)],
    ["overlaps: while a client did not get the processor", number(overlapsOf(outcome, "stalled").length)],
    ["late writes that a fenced resource would take", number(verdict.passedByFence.length)],
    ["fencing tokens not above all before", number(verdict.outOfOrder.length)]
  ]
  const mode = [
    `${options.millis / 60_000} minutes`,
    `seed ${options.seed}`,
    `delayedRestart ${options.delayedRestart ? "on" : "off"}`,
    ...options.rollingRestarts ? ["rolling restarts"] : [],
    ...options.effectRedis ? ["half of the clients over Effect's Redis service"] : [],
    ...options.clientPauses ? [] : ["no client pauses"]
  ].join(", ")
  return [`| ${mode} | |`, "| --- | --- |", ...rows.map(([what, value]) => `| ${what} | ${value} |`)]
}

/** For how long nobody had a name, in milliseconds, of those that are held for a moment and wanted all the time. */
const gapsOf = (holds: ReadonlyArray<Hold>): ReadonlyArray<number> => {
  const until = new Map<string, number>()
  return [...holds].filter(({ name }) => name.startsWith("chaos:short:")).sort((a, b) => a.entered - b.entered).flatMap(
    ({ entered, left, name }) => {
      const last = until.get(name)
      until.set(name, Math.max(last ?? 0, left))
      return last === undefined ? [] : [Math.max(0, entered - last) / 1000]
    }
  )
}

/** What breaks a promise. Servers that come back empty and vote at once break the assumptions. */
export const violations = (outcome: Outcome, options: Pick<Options, "delayedRestart">): ReadonlyArray<string> => {
  const { passedByFence, outOfOrder, tooMany } = outcome.verdict
  const overlaps = (kind: OverlapKind) => overlapsOf(outcome, kind).map((overlap) => `${kind}: ${pair(overlap)}`)
  return [
    ...overlaps("overstayed"),
    ...options.delayedRestart
      ? [
        ...overlaps("promised"),
        ...tooMany > 0 ? [`more permits were held than there are, ${tooMany} times`] : [],
        ...passedByFence.map((hold) => `a fence would take a late write: ${describe(hold)}`),
        ...outOfOrder.map((hold) => `a token that is not above all before: ${describe(hold)}`)
      ]
      : []
  ]
}

const pair = ({ newer, older }: Overlap) => `${describe(older)} and ${describe(newer)}`

const describe = (hold: Hold) =>
  `${hold.name} in process ${hold.process} from ${hold.entered} to ${hold.left} µs, lease to ${hold.leaseEnd}, token ${hold.token}`
