/**
 * How the demo is shown: redrawn in place on a terminal, as plain lines everywhere
 * else, and with the same summary on both.
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { isatty } from "node:tty"
import { type Paint, paint as chosenPaint, plainly, seconds } from "../output.ts"
import type { Board, Outage, Worker } from "./board.ts"

export interface View {
  /** Shows that something notable has happened. */
  readonly announce: (headline: string) => Effect.Effect<void>
}

export const now: Effect.Effect<number> = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const legend = "votes: ✓ granted  ✗ held by another  · no answer"
const columns = 78

export const make = (board: Board): Effect.Effect<View, never, Scope.Scope> =>
  Effect.suspend(() => {
    const { stdout } = process
    const fits = stdout.columns >= columns && stdout.rows > frame(board, 0, plainly).length
    return isatty(1) && fits ? live(board) : lines(board)
  })

// -----------------------------------------------------------------------------
// plain lines
// -----------------------------------------------------------------------------

const lines = Effect.fnUntraced(function*(board: Board) {
  const say = (text: string) =>
    Effect.flatMap(now, (now) => Console.log(`${seconds(now - board.startedAt).padStart(6)}  ${text}`))
  yield* Console.log(`${introduction(board)}\nNodes: ${board.nodes.map(({ id }) => id).join(", ")}`)
  yield* Console.log(`Last ${legend}; one group per node\n`)
  const snapshot = Effect.suspend(() => {
    const votes = board.nodes.map((_, index) => board.votes(index, 6).join("")).join("  ")
    return say(`${count(board.acquisitions, "turn").padStart(9)}, ${holder(board).padEnd(15)}  ${votes}`)
  })
  // Half a second after the events, which happen on the full second.
  yield* Effect.forkScoped(Effect.delay(Effect.repeat(snapshot, Schedule.spaced("1 second")), "500 millis"))
  return { announce: say }
})

const holder = ({ workers }: Board) => {
  const holding = workers.filter(({ state }) => state === "holding")
  return holding.length === 0 ? "nobody has it" : `${holding.map(({ name }) => name).join(" and ")} has it`
}

// -----------------------------------------------------------------------------
// live
// -----------------------------------------------------------------------------

const live = Effect.fnUntraced(function*(board: Board) {
  const paint = yield* chosenPaint
  let height = 0
  const draw = Effect.flatMap(now, (now) => {
    const lines = frame(board, now - board.startedAt, paint)
    const back = height === 0 ? "" : `\x1b[${height}A`
    height = lines.length
    // One write, which the terminal shows at once: lines are overwritten without being cleared first.
    return Console.log(`\x1b[?2026h${back}${lines.map((line) => `${line}\x1b[K`).join("\n")}\x1b[?2026l`)
  })
  yield* Effect.acquireRelease(Console.log("\x1b[?25l\x1b[1A"), () => Console.log("\x1b[?25h\x1b[1A"))
  yield* Effect.forkScoped(Effect.repeat(draw, Schedule.spaced("100 millis")))
  return {
    announce: (headline: string) => Effect.andThen(Effect.sync(() => board.headline = headline), draw)
  }
})

const frame = (board: Board, elapsed: number, paint: Paint): ReadonlyArray<string> => {
  const time = `${seconds(Math.min(elapsed, board.seconds * 1000))} of ${board.seconds} s`
  const title = `effect-redsync: ${count(board.acquisitions, "turn")}, ${count(board.overlaps, "overlap")}`
  const width = Math.min(24, Math.max(...board.nodes.map(({ id }) => id.length)))
  const most = Math.max(...board.workers.map(({ turns }) => turns))
  return [
    paint("bold", title) + time.padStart(columns - title.length),
    paint("dim", introduction(board)),
    "",
    ...wrapped(board.headline, 2).map((line) => paint("yellow", line)),
    "",
    ...board.workers.map((worker) => workerLine(worker, most, paint)),
    "",
    ...board.nodes.map(({ answers, id }, index) => {
      const name = (id.length > width ? `${id.slice(0, width - 1)}…` : id).padEnd(width)
      const votes = board.votes(index, columns - 34).map((vote) =>
        vote === "✗" ? paint("dim", vote) : paint(vote === "✓" ? "green" : "red", vote)
      )
      return `  ${name}  ${answers ? "up  " : paint("red", "down")}  ${votes.join("")}`
    }),
    paint("dim", `${legend}; one column per attempt`)
  ]
}

const workerLine = ({ name, state, turns }: Worker, most: number, paint: Paint) => {
  const bar = "█".repeat(Math.round(turns * 40 / Math.max(40, most)))
  const line = `${state === "holding" ? "▸" : " "} ${name}  ${state.padEnd(7)}  ${bar} ${turns}`
  return state === "holding" ? paint("green", line) : line
}

/** Wraps text to the frame's width, to at least `least` lines, so that the frame keeps its height. */
const wrapped = (text: string, least = 1): ReadonlyArray<string> => {
  const lines = [""]
  for (const word of text.split(" ")) {
    const line = `${lines.at(-1)} ${word}`.trim()
    if (line.length > columns) lines.push(word)
    else lines[lines.length - 1] = line
  }
  while (lines.length < least) lines.push("")
  return lines
}

// -----------------------------------------------------------------------------
// both
// -----------------------------------------------------------------------------

const introduction = ({ nodes, quorum, workers }: Board) =>
  `${workers.length} workers take turns with one lock. It takes the votes of ${quorum} of ${
    count(nodes.length, "node")
  }.`

export const summary = (board: Board, elapsed: number): string => {
  const { outage, workers } = board
  const turns = workers.map(({ turns }) => turns)
  const rows: Array<readonly [string, string]> = [
    ["acquisitions", `${board.acquisitions}, each worker ${Math.min(...turns)} to ${Math.max(...turns)}`],
    ["overlaps", `${board.overlaps} (two workers inside at once)`],
    ["hand-over", `${spread(board.handOvers)} (release to next turn)`],
    ["refused", `${count(board.refused, "attempt")} that did not get ${count(board.quorum, "vote")}`],
    ["waits", spread(board.waits)],
    ...board.lost === 0
      ? []
      : [["lost", `${count(board.lost, "lock")} (the lease ended before the work did)`] as const],
    ...outage === undefined ? [] : [["node down", describe(board, outage)] as const],
    ["left behind", count(board.leftBehind, "key")]
  ]
  return [
    "",
    `What happened in ${seconds(elapsed)}`,
    ...rows.map(([label, text]) => `  ${label.padEnd(14)}${text}`)
  ].join("\n")
}

const describe = ({ startedAt }: Board, { from, node, to, turns }: Outage) =>
  `${node.id}, from ${seconds(from - startedAt)} to ${seconds(to - startedAt)}; ${count(turns, "turn")} meanwhile`

const spread = (millis: ReadonlyArray<number>): string => {
  const sorted = [...millis].sort((a, b) => a - b)
  const within = (share: number) => `${Math.round(sorted[Math.ceil(sorted.length * share) - 1] ?? 0)} ms`
  return `half within ${within(0.5)}, 99 % within ${within(0.99)}`
}

const count = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`
