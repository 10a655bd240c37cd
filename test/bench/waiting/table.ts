/** Tables for people. */
import { median } from "./statistics.ts"

const short = (value: number) =>
  !Number.isFinite(value) ? "–" : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

/** The median, and the lowest and highest where there are several. */
export const range = (values: ReadonlyArray<number>): string =>
  values.length < 2
    ? short(values[0] ?? Number.NaN)
    : `${short(median(values))} (${short(Math.min(...values))}–${short(Math.max(...values))})`

export const table = (title: string, rows: ReadonlyArray<ReadonlyArray<string>>): Array<string> => {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
  return [title, "", lines[0]!, widths.map((width) => "-".repeat(width)).join("  "), ...lines.slice(1), ""]
}
