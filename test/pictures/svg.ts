/**
 * What the pictures of the pages are made of: plain SVG in the colours of the reader's system, light or dark, on a card of
 * their own, so that they can be read on a page that does not follow the system.
 */

export const width = 840

const light = { ink: "#1f2328", faint: "#59636e", rule: "#d1d9e0", card: "#ffffff" }
const dark: typeof light = { ink: "#f0f6fc", faint: "#9198a1", rule: "#3d444d", card: "#0d1117" }

/** For lines and words, and for the insides of boxes; each light, then dark. */
const tints = {
  blue: ["#0969da", "#ddf4ff", "#4493f8", "#121d2f"],
  green: ["#1a7f37", "#dafbe1", "#3fb950", "#12261e"],
  red: ["#cf222e", "#ffebe9", "#f85149", "#2d1517"],
  amber: ["#9a6700", "#fff8c5", "#d29922", "#272115"],
  grey: ["#818b98", "#f6f8fa", "#818b98", "#1c2128"]
} as const
export type Tint = keyof typeof tints

const variables = (colours: typeof light, [line, inside]: readonly [0 | 2, 1 | 3]) =>
  [
    ...Object.entries(colours).map(([name, value]) => `--${name}:${value}`),
    ...Object.entries(tints).map(([name, values]) => `--${name}:${values[line]};--in-${name}:${values[inside]}`)
  ].join(";")

const style = [
  `svg{${variables(light, [0, 1])}}`,
  `@media(prefers-color-scheme:dark){svg{${variables(dark, [2, 3])}}}`,
  "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:var(--ink)}",
  ".mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px}",
  ".title{font-size:15px;font-weight:600}.strong{font-weight:600}.small{font-size:12px}.faint{fill:var(--faint)}",
  ".card{fill:var(--card);stroke:var(--rule)}.rule{stroke:var(--rule);fill:none}",
  ".line{stroke:var(--ink);stroke-width:1.5;fill:none}.dashed{stroke-dasharray:4 4}",
  ...Object.keys(tints).map((tint) =>
    `.${tint}{fill:var(--${tint})}.box-${tint}{fill:var(--in-${tint});stroke:var(--${tint});stroke-width:1.5}` +
    `.in-${tint}{fill:var(--in-${tint})}` +
    `.line-${tint}{stroke:var(--${tint});stroke-width:2;fill:none}`
  )
]

const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

export const at = (value: number) => String(Math.round(value * 10) / 10)

export interface Picture {
  readonly title: string
  /** The same for those who do not see it. */
  readonly description: string
  readonly height: number
  readonly elements: ReadonlyArray<string>
  readonly style?: ReadonlyArray<string>
}

/** Only the rules that the picture uses, since a picture is to be small. */
export const draw = ({ description, elements, height, style: own = [], title }: Picture): string => {
  const content = elements.join("\n")
  const used = style.flatMap((rules) => rules.split(/(?<=\})(?=\.)/)).filter((rule) => {
    const name = /^\.([\w-]+)\{/.exec(rule)?.[1]
    return name === undefined || new RegExp(`class="[^"]*\\b${name}(?![\\w-])`).test(`${content} class="card"`)
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<desc>${escape(description)}</desc>`,
    `<style>${[...used, ...own].join("\n")}</style>`,
    `<rect class="card" x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="8"/>`,
    content,
    "</svg>",
    ""
  ].join("\n")
}

export interface TextOptions {
  readonly class?: string
  readonly anchor?: "middle" | "end"
}

export const text = (x: number, y: number, content: string, options: TextOptions = {}) =>
  `<text x="${at(x)}" y="${at(y)}"${options.class ? ` class="${options.class}"` : ""}${
    options.anchor ? ` text-anchor="${options.anchor}"` : ""
  }>${escape(content)}</text>`

/** Lines of text below each other. */
export const lines = (x: number, y: number, content: ReadonlyArray<string>, options: TextOptions = {}) =>
  content.map((each, index) => text(x, y + index * 18, each, options)).join("")

export const box = (x: number, y: number, wide: number, high: number, tint: Tint, extra = "") =>
  `<rect class="box-${tint}${extra}" x="${at(x)}" y="${at(y)}" width="${at(wide)}" height="${at(high)}" rx="5"/>`

/** A box with words in its middle. */
export const labelled = (
  x: number,
  y: number,
  wide: number,
  high: number,
  tint: Tint,
  label: string,
  options: TextOptions = {}
) => box(x, y, wide, high, tint) + text(x + wide / 2, y + high / 2 + 4.5, label, { anchor: "middle", ...options })

export const line = (x1: number, y1: number, x2: number, y2: number, name = "rule") =>
  `<path class="${name}" d="M${at(x1)} ${at(y1)}L${at(x2)} ${at(y2)}"/>`

const tintOf = (name: string): string => /line-(\w+)/.exec(name)?.[1] ?? "ink"

/** A line that ends in a head. */
export const arrow = (x1: number, y1: number, x2: number, y2: number, name = "line") => {
  const angle = Math.atan2(y2 - y1, x2 - x1)
  const corner = (turn: number) => `${at(x2 - 9 * Math.cos(angle + turn))} ${at(y2 - 9 * Math.sin(angle + turn))}`
  return line(x1, y1, x2 - 6 * Math.cos(angle), y2 - 6 * Math.sin(angle), name) +
    `<path fill="var(--${tintOf(name)})" d="M${at(x2)} ${at(y2)}L${corner(0.4)}L${corner(-0.4)}z"/>`
}

/** A server, drawn as databases are. */
export const server = (x: number, y: number, label: string, tint: Tint, extra = "") =>
  `<path class="box-${tint}${extra}" d="M${x} ${y + 9}a48 9 0 0 1 96 0v36a48 9 0 0 1-96 0z"/>` +
  `<path class="box-${tint}${extra}" style="fill:none" d="M${x} ${y + 9}a48 9 0 0 0 96 0"/>` +
  text(x + 48, y + 40, label, { class: "strong", anchor: "middle" })

export const cross = (x: number, y: number, tint: Tint = "red", size = 5) =>
  `<path class="line-${tint}" d="M${at(x - size)} ${at(y - size)}l${2 * size} ${2 * size}m0 ${-2 * size}l${-2 * size} ${
    2 * size
  }"/>`

export const tick = (x: number, y: number, tint: Tint = "green") =>
  `<path class="line-${tint}" d="M${at(x - 5)} ${at(y)}l4 4.5l7-9"/>`
