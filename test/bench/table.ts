/** Numbers and tables for people. */
import { median } from "./statistics.ts"

export const short = (value: number): string =>
  !Number.isFinite(value) ? "–" : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

/** The median, and the lowest and highest where there are several. */
export const range = (values: ReadonlyArray<number>): string =>
  values.length < 2
    ? short(values[0] ?? Number.NaN)
    : `${short(median(values))} (${short(Math.min(...values))}–${short(Math.max(...values))})`

/** Markdown that can be read as it is. */
export const markdown = (rows: ReadonlyArray<ReadonlyArray<string>>): Array<string> => {
  const widths = rows[0]!.map((_, column) => Math.max(3, ...rows.map((row) => row[column]!.length)))
  const line = (cells: ReadonlyArray<string>) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`
  return [line(rows[0]!), line(widths.map((width) => "-".repeat(width))), ...rows.slice(1).map(line)]
}
