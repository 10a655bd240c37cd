/**
 * What `redsync demo` shows on a terminal, frame by frame. `npm run pictures -- --record` keeps it anew in
 * `recording.json`.
 */
import { execFileSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { root } from "../../support/pages.ts"

export interface Frame {
  readonly seconds: number
  readonly headline: string
  readonly total: number
  /** Of each worker its initial: resting, waiting, holding. */
  readonly states: string
  readonly turns: ReadonlyArray<number>
  /** Of each node its initial: up, down. */
  readonly nodes: string
  /** How many columns of votes there are. */
  readonly attempts: number
}

export interface Recording {
  readonly introduction: string
  readonly legend: string
  readonly overlaps: string
  /** Of each node, at the end. */
  readonly votes: ReadonlyArray<string>
  readonly summary: ReadonlyArray<string>
  readonly frames: ReadonlyArray<Frame>
}

const file = new URL("recording.json", import.meta.url)

export const recorded = (): Recording => JSON.parse(readFileSync(file, "utf8"))

/** By the `script` of util-linux, which gives the demo a terminal. */
export const record = (): void => {
  const shown = execFileSync("script", ["-qec", "stty cols 80 rows 40; node src/bin.ts demo", "/dev/null"], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 2 ** 24
  })
  const { frames, ...rest } = parse(shown)
  const entries = [
    ...Object.entries(rest).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)}`),
    `  "frames": [\n${frames.map((frame) => `    ${JSON.stringify(frame)}`).join(",\n")}\n  ]`
  ]
  writeFileSync(file, `{\n${entries.join(",\n")}\n}\n`)
}

/** Each frame is drawn between two marks, which keep a terminal from showing half of it. */
export const parse = (shown: string): Recording => {
  // oxlint-disable-next-line no-control-regex
  const plain = (text: string) => text.replaceAll(/\u001B\[[?\d;]*[a-zA-Z]|\r/g, "")
  const parts = shown.split("\u001B[?2026h").slice(1).map((part) => part.split("\u001B[?2026l"))
  const screens = parts.map(([screen = ""]) => plain(screen).split("\n"))
  const [first = []] = screens
  const votes = nodesOf(screens.at(-1)!).map(([, , votes = ""]) => votes)
  return {
    introduction: first[1]!,
    legend: first.at(-1)!,
    overlaps: /\d+ overlaps/.exec(first[0]!)![0],
    votes,
    summary: plain(parts.at(-1)?.[1] ?? "").split("\n").filter((line) => line.trim() !== ""),
    frames: screens.map(frameOf)
  }
}

const workersOf = (screen: ReadonlyArray<string>) =>
  screen.flatMap((line) => {
    const match = /worker \d+ +(\w).* (\d+)$/.exec(line)
    return match === null ? [] : [match]
  })

const nodesOf = (screen: ReadonlyArray<string>) =>
  screen.flatMap((line) => {
    const match = /node-\d+ +(up|down) +([✓✗·]*)$/.exec(line)
    return match === null ? [] : [match]
  })

const frameOf = (screen: ReadonlyArray<string>): Frame => ({
  seconds: Number(/([\d.]+) s of/.exec(screen[0]!)![1]),
  headline: screen.slice(3, 5).join(" ").trim(),
  total: Number(/(\d+) turn/.exec(screen[0]!)![1]),
  states: workersOf(screen).map(([, state]) => state).join(""),
  turns: workersOf(screen).map(([, , turns]) => Number(turns)),
  nodes: nodesOf(screen).map(([, state]) => state![0]).join(""),
  attempts: nodesOf(screen)[0]![2]!.length
})
