/** Pictures for the README: plain SVG, as wide as its column, light or dark as the reader's system is. */
import { short } from "./table.ts"

const width = 840
const margin = 16

const style = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .head { font-weight: 600 }
  .faint { fill: #59636e; font-size: 11px }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .other { fill: #afb8c1 }
  .raw { fill: #818b98 }
  .ours { fill: #0969da }
  .spread { stroke: #1f2328; stroke-width: 1.2 }
  .curve { stroke: #0969da; stroke-width: 2; fill: none }
  .strong { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .faint { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .other { fill: #59636e }
    .raw { fill: #818b98 }
    .ours { fill: #4493f8 }
    .spread { stroke: #f0f6fc }
    .curve { stroke: #4493f8 }
  }`

const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

const at = (value: number) => String(Math.round(value * 10) / 10)

interface TextOptions {
  readonly class?: string
  readonly anchor?: "start" | "middle" | "end"
}

const text = (x: number, y: number, content: string, options: TextOptions = {}) =>
  `<text x="${at(x)}" y="${at(y)}" class="${options.class ?? ""}" text-anchor="${options.anchor ?? "start"}">${
    escape(content)
  }</text>`

const line = (x1: number, y1: number, x2: number, y2: number, name: string) =>
  `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" class="${name}"/>`

const document = (height: number, title: string, elements: ReadonlyArray<string>) =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${style}\n</style>`,
    text(margin, 26, title, { class: "title" }),
    ...elements,
    "</svg>",
    ""
  ].join("\n")

// -----------------------------------------------------------------------------
// bars
// -----------------------------------------------------------------------------

export interface Bars {
  readonly title: string
  readonly subtitle: string
  readonly rows: ReadonlyArray<{ readonly label: string; readonly kind: "ours" | "raw" | "other" }>
  /** Side by side, each with a value for every row, and where the middle half of its samples lies. */
  readonly measures: ReadonlyArray<{
    readonly title: string
    readonly values: ReadonlyArray<{ readonly median: number; readonly low: number; readonly high: number }>
  }>
}

const labelWidth = 175
const rowHeight = 24

export const drawBars = ({ measures, rows, subtitle, title }: Bars): string => {
  const top = 86
  const each = (width - margin * 2 - labelWidth) / measures.length
  const elements = [text(margin, 46, subtitle, { class: "faint" })]
  rows.forEach(({ kind, label }, row) => {
    elements.push(text(margin, top + row * rowHeight + 12, label, { class: kind === "ours" ? "strong" : "" }))
  })
  measures.forEach((measure, column) => {
    const left = margin + labelWidth + column * each
    // Room for the number behind the longest bar.
    const scale = (each - 70) / Math.max(...measure.values.map(({ high, median }) => Math.max(high, median)))
    elements.push(text(left, top - 14, measure.title, { class: "head" }))
    measure.values.forEach(({ high, low, median }, row) => {
      const { kind } = rows[row]!
      const y = top + row * rowHeight
      const end = Math.max(median, high) * scale
      elements.push(
        `<rect x="${at(left)}" y="${y}" width="${at(median * scale)}" height="16" rx="2" class="${kind}"/>`,
        line(left + low * scale, y + 8, left + high * scale, y + 8, "spread"),
        text(left + end + 6, y + 12, short(median), { class: kind === "ours" ? "strong" : "" })
      )
    })
  })
  return document(top + rows.length * rowHeight + 10, title, elements)
}

// -----------------------------------------------------------------------------
// lines
// -----------------------------------------------------------------------------

export interface Panel {
  readonly title: string
  readonly subtitle: string
  readonly x: { readonly label: string; readonly logarithmic: boolean }
  /** Those that are no numbers are left out. */
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
}

const panelHeight = 170

export const drawLines = (
  { columns, panels, title }: {
    readonly title: string
    readonly columns: number
    readonly panels: ReadonlyArray<Panel>
  }
): string => {
  const each = (width - margin) / columns
  const elements = panels.flatMap((panel, index) =>
    drawPanel(panel, margin + (index % columns) * each, 48 + Math.floor(index / columns) * panelHeight, each - margin)
  )
  return document(48 + Math.ceil(panels.length / columns) * panelHeight, title, elements)
}

const drawPanel = ({ points, subtitle, title, x }: Panel, left: number, top: number, wide: number): Array<string> => {
  const finite = points.filter(([, y]) => Number.isFinite(y))
  if (finite.length < 2) return []
  const [inset, plotTop, bottom] = [44, top + 40, top + panelHeight - 46]
  const place = x.logarithmic ? Math.log10 : (value: number) => value
  const [first, last] = [place(points[0]![0]), place(points.at(-1)![0])]
  const highest = niceCeiling(Math.max(...finite.map(([, y]) => y)))
  const xOf = (value: number) => left + inset + (place(value) - first) / (last - first) * (wide - inset - 14)
  const yOf = (value: number) => bottom - value / highest * (bottom - plotTop)
  return [
    text(left, top + 12, title, { class: "head" }),
    text(left, top + 27, subtitle, { class: "faint" }),
    ...[0, highest / 2, highest].flatMap((value) => [
      line(left + inset, yOf(value), left + wide, yOf(value), "grid"),
      text(left + inset - 6, yOf(value) + 4, value.toLocaleString("en"), { class: "faint", anchor: "end" })
    ]),
    ...points.map(([value]) =>
      text(xOf(value), bottom + 15, value.toLocaleString("en"), { class: "faint", anchor: "middle" })
    ),
    text(left + wide, bottom + 30, x.label, { class: "faint", anchor: "end" }),
    `<polyline class="curve" points="${finite.map(([a, b]) => `${at(xOf(a))},${at(yOf(b))}`).join(" ")}"/>`,
    ...finite.map(([a, b]) => `<circle cx="${at(xOf(a))}" cy="${at(yOf(b))}" r="3" class="ours"/>`)
  ]
}

/** The next number up that reads well, and so does its half. */
const niceCeiling = (value: number): number => {
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 1.6, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value)!
}
