/**
 * The recorded demo as a picture that moves. Whatever changes stands in a strip, one value below the other, and a step of the
 * animation moves the strip behind a window that shows one of them. Where motion is unwelcome it shows a moment of the outage.
 */
import { draw, line, text } from "../svg.ts"
import type { Frame, Recording } from "./recording.ts"

/** The summary stays for some seconds before all begins again. */
const seconds = 14
/** Shown where nothing moves. */
const still = 5.2
/** The height of a line, and so the way from one value of a strip to the next. */
const step = 21
const unit = 25

export const drawDemo = ({ frames, introduction, legend, overlaps, summary, votes }: Recording): string => {
  const names = frames[0]!.turns.map((_, index) => `worker ${index + 1}`)
  const most = Math.max(...frames.flatMap(({ turns }) => turns))
  const last = frames.at(-1)!
  const columns = votes[0]!.length
  const headlines = [...new Set(frames.map(({ headline }) => headline))]
  const rules: Array<string> = []

  /** Moves what has the class of this name, in steps. */
  const moved = <A>(
    name: string,
    valueOf: (frame: Frame) => A,
    move: (value: A) => readonly [x: number, y: number]
  ) => {
    const changes = new Map<string, Array<string>>()
    let before = ""
    let atStill = ""
    for (const frame of frames) {
      const translate = `translate:${move(valueOf(frame)).map((way) => way === 0 ? "0" : `${way}px`).join(" ")}`
      if (frame.seconds <= still) atStill = translate
      if (translate === before) continue
      before = translate
      const at = `${Number((frame.seconds / seconds * 100).toFixed(1))}%`
      changes.set(translate, [...changes.get(translate) ?? [], at])
    }
    const steps = [...changes].map(([translate, at]) => `${at.join()}{${translate}}`)
    rules.push(`@keyframes ${name}{${steps.join("")}}`, `.${name}{animation-name:${name};${atStill}}`)
  }

  /** A window on a strip. */
  const look = (x: number, y: number, wide: number, strip: string, name: string) =>
    `<svg x="${x}" y="${y}" width="${wide}" height="${step}"><use href="#${strip}" class="m ${name}"/></svg>`

  const strip = (id: string, values: ReadonlyArray<string>, draw: (value: string, y: number) => string) =>
    `<g id="${id}">${values.map((value, index) => draw(value, index * step + 15)).join("")}</g>`

  const word = (value: string, y: number) => text(0, y, value)

  const words = ["resting", "waiting", "holding"]
  names.forEach((_, worker) => {
    moved(
      `s${worker}`,
      ({ states }) => states[worker]!,
      (state) => [0, -words.findIndex((word) => word.startsWith(state)) * step]
    )
    moved(`t${worker}`, ({ turns }) => turns[worker]!, (turns) => [turns * unit, -turns * step])
  })
  // Out of sight while nobody holds the lock.
  moved("h", ({ states }) => states.indexOf("h"), (worker) => [
    worker < 0 ? -900 : 0,
    Math.max(0, worker) * step
  ])
  votes.forEach((_, node) => moved(`n${node}`, ({ nodes }) => nodes[node]!, (state) => [0, state === "u" ? 0 : -step]))
  moved("v", ({ attempts }) => attempts, (votes) => [votes * 18, 0])
  moved("w", ({ headline }) => headlines.indexOf(headline), (index) => [0, -index * step])
  const digit = (place: number) => (number: number): readonly [number, number] => // The tenth value of the strip is empty.
   [0, -(place > 1 && number < place ? 10 : Math.floor(number / place) % 10) * step]
  for (const place of [1, 10, 100]) moved(`d${place}`, ({ total }) => total, digit(place))
  for (const place of [1, 10]) {
    const shown = (frame: Frame) => Math.round(frame.seconds * 10)
    moved(`c${place}`, shown, (tenths) => [0, -(Math.floor(tenths / place) % 10) * step])
  }

  const top = 130
  const nodesTop = top + (names.length + 1) * step + 6
  const scrolled = step * (summary.length + 1) + 14
  const end = nodesTop + votes.length * step + 48
  const summaryAt = ((last.seconds + 1) / seconds * 100).toFixed(2)
  const votesOf = (votes: string, y: number) =>
    [
      ["line-green", "✓", "m-5 0l4 4.5l7-9"],
      ["line-rule", "✗", "m-4-4l8 8m0-8l-8 8"],
      ["line-red", "·", "m-2 0h4"]
    ].map(([name, vote, path]) => {
      const all = votes.split("").flatMap((each, column) => each === vote ? [`M${column * 18 + 8} ${y}${path}`] : [])
      return all.length === 0 ? "" : `<path class="${name}" d="${all.join("")}"/>`
    }).join("")

  return draw({
    title: "redsync demo",
    description: `${introduction} A recording: ${headlines.join(" ")} ${
      summary.slice(1).map((row) => row.trim()).join("; ")
    }`
      .replaceAll(/ {2,}/g, " "),
    height: end + 36,
    style: [
      "text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}",
      ".line-rule{stroke:var(--grey);stroke-width:1.5;fill:none}.cover{fill:var(--card)}",
      `.m{animation-duration:${seconds}s;animation-timing-function:step-end;animation-iteration-count:infinite}`,
      "@media(prefers-reduced-motion){.m{animation:none}}",
      `@keyframes e{0%{translate:0}${summaryAt}%{translate:0 -${scrolled}px}}.e{animation-name:e}`,
      ...rules
    ],
    elements: [
      "<defs>",
      strip("s", words, (state, y) => text(0, y, state, state === "holding" ? { class: "green strong" } : {})),
      strip("d", Array.from({ length: 10 }, (_, digit) => String(digit)), word),
      strip("n", ["up", "down"], (state, y) => text(0, y, state, state === "down" ? { class: "red strong" } : {})),
      strip("w", headlines, (headline, y) => text(0, y, headline, { class: "amber strong" })),
      // Each bar ends where the strip begins, with its number behind it.
      strip(
        "t",
        Array.from({ length: most + 1 }, (_, turns) => String(turns)),
        (turns, y) => `<path class="blue" d="M-${most * unit} ${y - 11}H0v13H-${most * unit}z"/>${text(8, y, turns)}`
      ),
      "</defs>",
      ...[26, 46, 66].map((x) => `<circle class="box-grey" cx="${x}" cy="20" r="5.5"/>`),
      text(420, 25, "npx effect-redsync demo", { anchor: "middle", class: "faint" }),
      line(0, 40, 840, 40),
      `<svg y="41" width="840" height="${end - 6}"><g class="m e">`,
      "<text x=\"24\" y=\"33\" class=\"strong\" textLength=\"125\">effect-redsync:</text>",
      look(153, 18, 9, "d", "d100"),
      look(161, 18, 9, "d", "d10"),
      look(169, 18, 9, "d", "d1"),
      text(184, 33, `turns, ${overlaps}`, { class: "strong" }),
      look(716, 18, 9, "d", "c10"),
      text(724, 33, "."),
      look(732, 18, 9, "d", "c1"),
      text(746, 33, "s of 9 s"),
      text(24, 57, introduction, { class: "faint" }),
      look(24, 80, 800, "w", "w"),
      `<g class="m h"><rect class="in-green" x="16" y="${top - 14}" width="808" height="${step}" rx="4"/>`,
      `${text(24, top + 1, "▸", { class: "green" })}</g>`,
      ...names.flatMap((name, worker) => {
        const y = top + worker * step
        return [
          text(44, y + 1, name),
          look(136, y - 14, 80, "s", `s${worker}`),
          look(222, y - 14, 600, "t", `t${worker}`)
        ]
      }),
      ...votes.flatMap((each, node) => {
        const y = nodesTop + node * step
        return [
          text(44, y + 1, `node-${node + 1}`),
          look(136, y - 14, 60, "n", `n${node}`),
          `<g transform="translate(222)">${votesOf(each, y - 4)}</g>`
        ]
      }),
      `<rect class="cover m v" x="222" y="${nodesTop - 14}" width="${columns * 18}" height="${votes.length * step}"/>`,
      text(24, end - 40, legend, { class: "faint" }),
      ...summary.map((row, index) => `<text x="24" y="${end + 12 + index * step}" xml:space="preserve">${row}</text>`),
      "</g></svg>"
    ]
  })
}
