/** What a lock costs by library: the chart of the README, from the last run of the benchmark. */
import { at, draw, lines, text } from "./svg.ts"

export interface Column {
  readonly title: ReadonlyArray<string>
  /** By library, as the benchmark's tables have them. */
  readonly cells: ReadonlyMap<string, string>
}

const [left, each, top, step] = [208, 154, 104, 26]

/** Of "0.29 (0.9)" the first number, and more than anything of "> 3,000". */
const numberOf = (cell: string): number => {
  const number = Number.parseFloat(cell.replaceAll(/[,>\s]/g, ""))
  return cell.startsWith(">") ? Number.POSITIVE_INFINITY : number
}

const shownOf = (cell: string): string => cell.startsWith(">") ? "> 3 s" : cell.replace(/ \(.*/, "")

export const drawCost = (columns: ReadonlyArray<Column>): string => {
  const libraries = [...columns[0]!.cells.keys()]
  const row = (library: string) => top + libraries.indexOf(library) * step
  return draw({
    title: "What a lock costs, by library",
    description: columns.map(({ cells, title }) =>
      `${title.join(" ")}: ${[...cells].map(([library, cell]) => `${library} ${shownOf(cell)}`).join(", ")}.`
    ).join(" "),
    height: top + libraries.length * step + 18,
    elements: [
      text(24, 32, "Three servers, the same work for each library; shorter is better", { class: "title" }),
      ...libraries.map((library) =>
        text(24, row(library) + 13, library, library === "effect-redsync" ? { class: "strong" } : {})
      ),
      ...columns.flatMap(({ cells, title }, column) => {
        const x = left + column * each
        const longest = Math.max(...[...cells.values()].map(numberOf).filter(Number.isFinite))
        // What never ends reaches the end of its column; without such a bar the longest does.
        const never = [...cells.values()].some((cell) => numberOf(cell) === Number.POSITIVE_INFINITY)
        const room = each - 62
        return [
          lines(x, 64, title, { class: "strong small" }),
          ...libraries.map((library) => {
            const cell = cells.get(library) ?? "–"
            const value = numberOf(cell)
            const ours = library === "effect-redsync"
            const wide = value === Number.POSITIVE_INFINITY ? room : value / longest * room * (never ? 0.1 : 1)
            const bar = Number.isNaN(value)
              ? ""
              : `<rect class="${ours ? "blue" : "grey"}" x="${at(x)}" y="${row(library)}" width="${
                at(Math.max(2, wide))
              }" height="17" rx="2"/>`
            const end = x + (Number.isNaN(value) ? 0 : Math.max(2, wide) + 6)
            return bar + text(end, row(library) + 13, shownOf(cell), { class: ours ? "small strong" : "small" })
          })
        ]
      })
    ]
  })
}
