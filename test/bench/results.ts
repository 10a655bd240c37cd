/**
 * Where results live: every scenario's last full run in `results/samples.json`,
 * and what is made of it: `results/table.md`, the pictures, and the README's part
 * between its markers. Running one scenario replaces its own results only.
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Picture, Report, Table } from "./scenario.ts"
import { markdown } from "./table.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const directory = `${root}/test/bench/results`
const samplesFile = `${directory}/samples.json`
const tableFile = `${directory}/table.md`
const readmeFile = `${root}/README.md`

/** A scenario's last full run. */
export interface Run extends Omit<Report, "pictures"> {
  readonly day: string
  readonly machine: string
}

type Runs = Readonly<Record<string, Run>>

/** Keeps a run, and makes everything that is made of runs anew. `order` is that of the scenarios. */
export const record = (
  name: string,
  { pictures = {}, ...report }: Report,
  machine: string,
  order: ReadonlyArray<string>
) => {
  mkdirSync(directory, { recursive: true })
  const last: Runs = existsSync(samplesFile) ? JSON.parse(readFileSync(samplesFile, "utf8")) : {}
  const day = new Date().toISOString().slice(0, 10)
  const runs: Runs = { ...last, [name]: { day, machine, ...report } }
  const inOrder = Object.fromEntries(order.filter((name) => name in runs).map((name) => [name, runs[name]!]))
  // A line a scenario, so that a change of one is a change of one line.
  const lines = Object.entries(inOrder).map(([name, run]) => `${JSON.stringify(name)}: ${JSON.stringify(run, rounded)}`)
  writeFileSync(samplesFile, `{\n${lines.join(",\n")}\n}\n`)
  writeFileSync(tableFile, tableOf(inOrder))
  for (const [file, picture] of Object.entries(pictures)) writeFileSync(`${directory}/${file}`, picture)
  writeReadme(inOrder)
  execFileSync(`${root}/node_modules/.bin/dprint`, ["fmt", tableFile, readmeFile], { cwd: root, stdio: "ignore" })
}

const rounded = (_: string, value: unknown) =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value

const tableOf = (runs: Runs): string =>
  [
    "# What locks cost",
    "",
    "Written by `npm run bench`; the samples are in `samples.json`. How to read it: the README.",
    "",
    ...ranOn(runs),
    ...Object.entries(runs).flatMap(([name, { aims, tables }]) => [
      `## ${name}`,
      "",
      ...tables.flatMap(section("###")),
      ...aims.map(({ is, met }) => `- ${met ? "met" : "**not met**"}: ${is}`),
      ""
    ])
  ].join("\n")

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
// the README
// -----------------------------------------------------------------------------

const [begin, end] = ["<!-- written by npm run bench -->", "<!-- up to here -->"]

const writeReadme = (runs: Runs): void => {
  const readme = readFileSync(readmeFile, "utf8")
  const [from, to] = [readme.indexOf(begin), readme.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`The README has no part between ${begin} and ${end}`)
  const parts = Object.values(runs).flatMap(({ readme = [] }) => readme)
  const text = [begin, "", ...ranOn(runs), ...parts.flatMap(readmeSection), ""].join("\n")
  writeFileSync(readmeFile, readme.slice(0, from) + text + readme.slice(to))
}

const readmeSection = (part: Table | Picture): Array<string> =>
  "picture" in part
    ? [`![${part.alt}](test/bench/results/${part.picture})`, ""]
    : section("###")(part)
