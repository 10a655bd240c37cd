/**
 * Where results live: every scenario's last full run in `results/samples.json`,
 * and what is made of it: `results/table.md`, the pictures, and what stands between
 * the markers of `README.md` here and at the root. Running one scenario replaces its
 * own results only.
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { type Column, drawCost } from "../pictures/cost.ts"
import type { Picture, Report, Table } from "./scenario.ts"
import { markdown } from "./table.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const directory = `${root}/test/bench/results`
const samplesFile = `${directory}/samples.json`
const tableFile = `${directory}/table.md`
const readmeFile = `${root}/test/bench/README.md`
const frontFile = `${root}/README.md`
const frontPicture = "src/pictures/cost.svg"

/** A scenario's last full run. */
export interface Run extends Omit<Report, "pictures"> {
  readonly day: string
  readonly machine: string
}

type Runs = Readonly<Record<string, Run>>

/** The last full run of every scenario that has had one. */
export const lastRuns = (): Runs => existsSync(samplesFile) ? JSON.parse(readFileSync(samplesFile, "utf8")) : {}

/** Keeps a run, and makes everything that is made of runs anew. `order` is that of the scenarios. */
export const record = (
  name: string,
  { pictures = {}, ...report }: Report,
  machine: string,
  order: ReadonlyArray<string>
) => {
  mkdirSync(directory, { recursive: true })
  const day = new Date().toISOString().slice(0, 10)
  const runs: Runs = { ...lastRuns(), [name]: { day, machine, ...report } }
  const inOrder = Object.fromEntries(order.filter((name) => name in runs).map((name) => [name, runs[name]!]))
  // A line a scenario, so that a change of one is a change of one line.
  const lines = Object.entries(inOrder).map(([name, run]) => `${JSON.stringify(name)}: ${JSON.stringify(run, rounded)}`)
  writeFileSync(samplesFile, `{\n${lines.join(",\n")}\n}\n`)
  for (const [file, picture] of Object.entries(pictures)) writeFileSync(`${directory}/${file}`, picture)
  publish(inOrder)
}

const publish = (runs: Runs): void => {
  writeFileSync(tableFile, tableOf(runs).join("\n"))
  writeFileSync(`${root}/${frontPicture}`, drawCost(frontColumns(runs)))
  const pages = partsOf(runs)
  for (const [file, lines] of pages) writeBetweenMarkers(file, lines)
  execFileSync(`${root}/node_modules/.bin/dprint`, ["fmt", tableFile, ...pages.keys()], { cwd: root, stdio: "ignore" })
}

const rounded = (_: string, value: unknown) =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value

const tableOf = (runs: Runs): Array<string> => [
  "# What locks cost",
  "",
  "Written by `npm run bench`; the samples are in `samples.json`. How to read it: `../README.md`.",
  "",
  ...ranOn(runs),
  ...Object.entries(runs).flatMap(([name, { aims, tables }]) => [
    `## ${name}`,
    "",
    ...tables.flatMap(section("###")),
    ...aims.map(({ is, met }) => `- ${met ? "met" : "**not met**"}: ${is}`),
    ""
  ])
]

const section = (level: string) => ({ notes = [], rows, title }: Table): Array<string> => [
  `${level} ${title}`,
  "",
  ...markdown(rows),
  "",
  ...notes.flatMap((note) => [note, ""])
]

const ranOn = (runs: Runs): Array<string> => {
  const machines = [...new Set(Object.values(runs).map(({ machine }) => machine))]
  return machines.flatMap((machine) => {
    const names = Object.keys(runs).filter((name) => runs[name]!.machine === machine)
    const days = [...new Set(names.map((name) => runs[name]!.day))].sort()
    const where = machines.length === 1 ? "" : `${names.join(", ")}: `
    return [`${where}${machine}; ${days.length === 1 ? days[0] : `${days[0]} to ${days.at(-1)}`}.`, ""]
  })
}

// -----------------------------------------------------------------------------
// the two READMEs
// -----------------------------------------------------------------------------

/** What stands between the markers of each page, by its file. */
export const partsOf = (runs: Runs): ReadonlyMap<string, ReadonlyArray<string>> =>
  new Map([[readmeFile, readmeOf(runs)], [frontFile, frontOf(runs)]])

const [begin, end] = ["<!-- written by npm run bench -->\n", "<!-- up to here -->"]

/** A page's text before, between and after its markers. */
export const splitAtMarkers = (file: string): readonly [before: string, between: string, after: string] => {
  const page = readFileSync(file, "utf8")
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${file} has no part between ${begin} and ${end}`)
  return [page.slice(0, from + begin.length), page.slice(from + begin.length, to), page.slice(to)]
}

const writeBetweenMarkers = (file: string, lines: ReadonlyArray<string>): void => {
  const [before, , after] = splitAtMarkers(file)
  writeFileSync(file, `${before}\n${lines.join("\n")}\n${after}`)
}

const readmeOf = (runs: Runs): Array<string> => [
  ...ranOn(runs),
  ...Object.values(runs).flatMap(({ readme = [] }) => readme).flatMap((part: Table | Picture) =>
    "picture" in part
      ? [`![${part.alt}](results/${part.picture})`, ""]
      : section("##")(part)
  )
]

/** Four figures for each library, one column of one of the tables of the other README each. */
export const frontColumns = (runs: Runs): ReadonlyArray<Column> =>
  ([
    ["lock-3", "64", ["CPU, 64 in flight", "(hand-written = 1)"]],
    ["trouble", "one stopped", ["p50 in ms,", "one node stopped"]],
    ["handover", "p50", ["from a release to the", "next acquisition"]],
    ["crowd", "wait p99", ["wait p99,", "64 contenders"]]
  ] as const).map(([scenario, column, title]) => ({ title, cells: columnOf(runs[scenario], column) }))

const frontOf = (runs: Runs): Array<string> => {
  const ours = frontColumns(runs).map(({ cells, title }) =>
    `${title.join(" ")} ${cells.get("effect-redsync")?.replace(/ \(.*/, "") ?? "–"}`
  )
  return [`![What a lock costs, by library; effect-redsync: ${ours.join("; ")}](${frontPicture})`, "", ...ranOn(runs)]
}

/** The cells of a column, by library, in the first table that has it. */
const columnOf = (run: Run | undefined, column: string): ReadonlyMap<string, string> => {
  for (const part of run?.readme ?? []) {
    const index = "picture" in part ? -1 : part.rows[0]!.indexOf(column)
    if (!("picture" in part) && index > 0) return new Map(part.rows.slice(1).map((row) => [row[0]!, row[index]!]))
  }
  return new Map()
}
